use nom::branch::alt;
use nom::bytes::complete::{tag, take_until1};
use nom::combinator::{eof, value};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use super::entry::is_progress;
use super::{Failure, Outcome, lines, says, text};
use crate::runtime::StorePath;

/// What `set ssl cert` did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Set {
    /// A transaction was opened.
    Created,
    /// One was open already, and has this content now.
    Updated,
}

/// Reads the reply of `set ssl cert NAME`.
///
/// # Errors
///
/// When it is no success, or one for another certificate.
pub fn set(body: &[u8], name: &StorePath) -> Result<Set, Failure> {
    let transaction = lines(body).find_map(|line| opened(line).ok());
    match transaction {
        Some((_, (done, of))) if of == name.as_str().as_bytes() => Ok(done),
        Some((_, (_, other))) => Err(Failure::Overwrote(text(other))),
        None if !says(body, &format!("Can't update {name}!")) => Err(Failure::Unexpected),
        None if says(body, "Can't load the payload") => Err(Failure::Rejected),
        None => Err(foreign(body).unwrap_or(Failure::Refused)),
    }
}

/// Reads the reply of `commit ssl cert NAME`.
///
/// # Errors
///
/// When it is no success, or one for another certificate. The transaction is
/// then still open on 2.6 to 3.2.
pub fn commit(body: &[u8], name: &StorePath) -> Result<(), Failure> {
    let begin = format!("Committing {name}");
    let is_begun = lines(body).any(|line| is_progress(line, &begin));
    if is_begun && says(body, "Success!") {
        return Ok(());
    }
    if is_begun && says(body, "Failed!") {
        return Err(Failure::Rejected);
    }
    if !says(body, &format!("Can't commit {name}!")) {
        return Err(Failure::Unexpected);
    }
    if body.starts_with(NO_TRANSACTION) {
        return Err(Failure::NoTransaction);
    }
    if BAD_CONTENT.iter().any(|cause| body.starts_with(cause)) {
        return Err(Failure::Rejected);
    }
    Err(foreign(body).unwrap_or(Failure::Refused))
}

/// Reads the reply of `abort ssl cert NAME`.
///
/// # Errors
///
/// When another certificate's transaction is open, or the reply is something
/// else.
pub fn abort(body: &[u8], name: &StorePath) -> Result<Outcome, Failure> {
    if says(
        body,
        &format!("Transaction aborted for certificate '{name}'!"),
    ) {
        Ok(Outcome::Done)
    } else if body.starts_with(NO_TRANSACTION) {
        Ok(Outcome::Already)
    } else {
        Err(foreign(body).unwrap_or(Failure::Unexpected))
    }
}

const NO_TRANSACTION: &[u8] = b"No ongoing transaction!";

/// What only `commit` finds out of the content.
const BAD_CONTENT: [&[u8]; 2] = [
    b"inconsistencies between private key and certificate",
    b"The transaction must contain at least a certificate and a private key",
];

fn opened(line: &[u8]) -> IResult<&[u8], (Set, &[u8])> {
    let done = alt((
        value(Set::Created, tag("created")),
        value(Set::Updated, tag("updated")),
    ));
    let name = terminated(take_until1("!"), (tag("!"), eof));
    let begin = delimited(tag("Transaction "), done, tag(" for certificate "));
    (begin, name).parse(line)
}

fn foreign(body: &[u8]) -> Option<Failure> {
    let name = lines(body).find_map(|line| ongoing(line).ok());
    name.map(|(_, name)| Failure::ForeignTransaction(text(name)))
}

fn ongoing(line: &[u8]) -> IResult<&[u8], &[u8]> {
    let begin = tag("The ongoing transaction is about '");
    preceded(begin, take_until1("' but you are trying to ")).parse(line)
}
