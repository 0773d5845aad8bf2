//! The replies. Texts say it all, and differ by version: all of them here were
//! captured from 2.6, 3.0, 3.2 and 3.4 (`testdata/runtime`).
//!
//! [`body`] sorts out what can happen to any command; then the function or
//! type named after the command reads what is left.

mod crt_list;
mod details;
mod entry;
mod info;
mod open;
mod quote;
mod servers;
mod store;
#[cfg(test)]
mod tests;
mod transaction;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till1, take_until};
use nom::combinator::rest;
use nom::sequence::{delimited, separated_pair};
use nom::{IResult, Parser};

use super::{Command, Error};

pub use crt_list::{CrtListEntry, crt_list, crt_lists};
pub use details::{Details, Status, several};
pub use entry::{add, remove};
pub use info::Info;
pub use open::open_transaction;
pub use quote::quote;
pub use servers::servers_up;
pub use store::{delete, new};
pub use transaction::{Set, abort, commit, set};

/// What a command that can be repeated did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// There was nothing to do: it was so already.
    Already,
}

/// Why a reply is not a success.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// It is none of the known ones, or speaks of something else.
    Unexpected,
    /// HAProxy does not do it in its present state.
    Refused,
    /// HAProxy does not take the content of the bundle.
    Rejected,
    /// No transaction is open.
    NoTransaction,
    /// The transaction of another certificate is open.
    ForeignTransaction(String),
    /// The bundle went into the transaction of another certificate: what 2.6
    /// does instead of refusing.
    Overwrote(String),
}

impl Failure {
    /// The error for the `command` that got this `reply`. What a socket with
    /// `severity-output` calls an error is one, in whatever words.
    pub fn into_error(self, command: Command<'_>, reply: &[u8]) -> Error {
        let line = command.line();
        let (body, level) = severity(reply).unwrap_or((reply, b""));
        let reply = quote(body, command.payload());
        match self {
            Self::Unexpected if ERRORS.contains(&level) => Error::Refused {
                command: line,
                reply,
            },
            Self::Unexpected => Error::UnexpectedReply {
                command: line,
                reply,
            },
            Self::Refused => Error::Refused {
                command: line,
                reply,
            },
            Self::Rejected => Error::Rejected {
                command: line,
                reply,
            },
            Self::NoTransaction => Error::NoTransaction { command: line },
            Self::ForeignTransaction(name) => Error::ForeignTransaction { name },
            Self::Overwrote(name) => Error::Overwrote { name },
        }
    }
}

/// What a whole reply says, once nothing is wrong with the exchange itself.
///
/// # Errors
///
/// When the reply is none or was cut, or says that HAProxy is busy, denies the
/// command, does not know it, or finds it too big.
pub fn body<'a>(reply: &'a [u8], command: Command<'_>) -> Result<&'a [u8], Error> {
    let text = severity(reply).map_or(reply, |(text, _)| text);
    if text.is_empty() {
        return Err(Error::Empty {
            command: command.line(),
        });
    }
    if is_too_big(text) {
        return Err(Error::TooLarge {
            size: command.size(),
            limit: None,
        });
    }
    // Every reply but "too big" ends with an empty line.
    if text != b"\n" && !text.ends_with(b"\n\n") {
        return Err(Error::Cut {
            command: command.line(),
        });
    }
    // To search the names of many thousand certificates would take longer than
    // HAProxy takes to list them.
    if text.len() < SENTENCES_MAX && says(text, LOCKED) {
        return Err(Error::Busy);
    }
    if text.starts_with(b"Permission denied") {
        return Err(Error::Denied);
    }
    if text.starts_with(b"Unknown command") {
        return Err(Error::UnknownCommand {
            command: command.line(),
        });
    }
    Ok(text)
}

/// One lock guards all certificates, and HAProxy only tries to take it.
const LOCKED: &str = "Operations on certificates are currently locked!";

/// In bytes. Whatever is longer is no sentence about a failure, but a list.
const SENTENCES_MAX: usize = 4 << 10;

/// `[err]: ` or `[3]: `, on a `stats socket ... severity-output`.
fn severity(reply: &[u8]) -> IResult<&[u8], &[u8]> {
    delimited(tag("["), take_till1(|b| b == b']'), tag("]: ")).parse(reply)
}

/// The levels of syslog that mean failure, as `severity-output` puts them.
const ERRORS: [&[u8]; 8] = [b"0", b"1", b"2", b"3", b"emerg", b"alert", b"crit", b"err"];

/// 3.0 and 3.2 before the colon, 3.4 after it. 2.6 says nothing at all.
fn is_too_big(text: &[u8]) -> bool {
    let subject = alt((tag("The command"), tag("The payload")));
    let mut sentence = (subject, take_until(" is too big"));
    let parsed: IResult<_, (&[u8], &[u8])> = sentence.parse(text);
    parsed.is_ok()
}

/// The lines that are not empty.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|&b| b == b'\n').filter(|line| !line.is_empty())
}

/// Whether one line is exactly this sentence.
fn says(body: &[u8], sentence: &str) -> bool {
    lines(body).any(|line| line == sentence.as_bytes())
}

/// The lines of the form `Key: value`.
fn fields(body: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(body).filter_map(|line| field(line).ok().map(|(_, pair)| pair))
}

fn field(line: &[u8]) -> IResult<&[u8], (&[u8], &[u8])> {
    separated_pair(take_until(": "), tag(": "), rest).parse(line)
}

/// Text for comparing and showing. A name that we asked for is ASCII, so
/// nothing else can come to equal it.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
