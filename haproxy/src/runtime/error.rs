//! What can go wrong between us and a Runtime API.

use std::io;
use std::time::Duration;

use super::{Address, StorePath};

/// Why HAProxy did not do what it was told.
///
/// Texts of HAProxy in here are escaped and shortened, and hold nothing of a
/// payload.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The way there.
    /// It cannot be reached.
    #[error("{address}: {source}")]
    Connect {
        /// Where.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not let us connect.
    #[error("{address}: this user may not connect to it")]
    Permission {
        /// Where.
        address: Address,
    },
    /// The connection broke in the middle: the command may have been carried
    /// out or not.
    #[error("{address}: the connection broke during `{command}`: {source}")]
    Broken {
        /// Where.
        address: Address,
        /// The command, without its payload.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// No whole reply in time: the command may have been carried out or not.
    #[error("`{command}`: no reply within {limit:?}")]
    TimedOut {
        /// The command, without its payload.
        command: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection was closed without a word: the command may have been
    /// carried out or not.
    #[error("`{command}`: no reply")]
    Empty {
        /// The command, without its payload.
        command: String,
    },
    /// The reply ended in the middle: the command may have been carried out or
    /// not.
    #[error("`{command}`: the reply was cut short")]
    Cut {
        /// The command, without its payload.
        command: String,
    },
    /// The reply is longer than any should be.
    #[error("`{command}`: a reply of more than {limit} bytes")]
    TooLong {
        /// The command, without its payload.
        command: String,
        /// What is read at most.
        limit: usize,
    },

    // How HAProxy was set up.
    /// The socket has no admin level.
    #[error("permission denied: the socket has not the level `admin`")]
    Denied,
    /// This HAProxy does not know the command.
    #[error("this HAProxy does not know `{command}`")]
    UnknownCommand {
        /// The command, without its payload.
        command: String,
    },
    /// The command does not fit HAProxy's buffer. Nothing was changed.
    #[error("the bundle is too large for HAProxy's socket: {size} bytes{}", at_most(*limit))]
    TooLarge {
        /// The size of command and payload, in bytes.
        size: usize,
        /// What this version takes, in bytes. Then it was not sent; if this is
        /// nothing, HAProxy itself refused it.
        limit: Option<usize>,
    },
    /// HAProxy said that all is well, but does not use the certificate.
    #[error("{name} is not what HAProxy uses")]
    NotInUse {
        /// The certificate.
        name: StorePath,
    },

    // What it does at the moment.
    /// Other certificate operations go on.
    #[error("other operations on certificates go on")]
    Busy,
    /// Somebody else's transaction is open. HAProxy has only one.
    #[error("a transaction for {} is open, and not ours", name.escape_debug())]
    ForeignTransaction {
        /// The certificate it is for.
        name: String,
    },
    /// Somebody else opened a transaction just before we set our bundle, and
    /// this HAProxy (before the fix of 2024-10-29) loaded it into that one. A
    /// commit of it would serve our certificate under a foreign name.
    #[error("the bundle went into a transaction for {}, which is not ours", name.escape_debug())]
    Overwrote {
        /// The certificate it is for.
        name: String,
    },
    /// The transaction is gone: HAProxy was reloaded, or somebody ended it.
    #[error("`{command}`: no transaction is open")]
    NoTransaction {
        /// The command.
        command: String,
    },
    /// HAProxy was reloaded again and again in the middle.
    #[error("HAProxy was reloaded in the middle, {times} times in a row")]
    Reloading {
        /// How often it was tried.
        times: u32,
    },

    // What it thinks of it.
    /// HAProxy does not take the content of the bundle.
    #[error("HAProxy rejects the certificate: {reply}")]
    Rejected {
        /// The command, without its payload.
        command: String,
        /// What it said.
        reply: String,
    },
    /// HAProxy does not do it in its present state.
    #[error("refused `{command}`: {reply}")]
    Refused {
        /// The command, without its payload.
        command: String,
        /// What it said.
        reply: String,
    },
    /// The reply is none that is known, or is about something else.
    #[error("`{command}`: unexpected reply: {reply}")]
    UnexpectedReply {
        /// The command, without its payload.
        command: String,
        /// What it said.
        reply: String,
    },
}

impl Error {
    /// Whether the same may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        let is_passing = matches!(
            self,
            Self::Connect { .. }
                | Self::Busy
                | Self::ForeignTransaction { .. }
                | Self::Overwrote { .. }
                | Self::NoTransaction { .. }
                | Self::Reloading { .. }
        );
        is_passing || self.is_unclear()
    }

    /// Whether the command may have been carried out or not.
    pub fn is_unclear(&self) -> bool {
        matches!(
            self,
            Self::Broken { .. } | Self::TimedOut { .. } | Self::Empty { .. } | Self::Cut { .. }
        )
    }

    /// Whether HAProxy has refused this very certificate, so that trying it
    /// again is no use.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Rejected { .. })
    }

    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Connect { source, .. } => return connect_hint(source),
            Self::Permission { .. } => "run as root, or as a user of the socket's group",
            Self::Denied => "write `stats socket ... level admin` in HAProxy's global section",
            Self::TooLarge { .. } => {
                "the file is in place: reload HAProxy to have it served; HAProxy 3.4 needs no reload"
            }
            Self::Overwrote { .. } => {
                "that transaction was ended; whoever began it must begin again"
            }
            Self::ForeignTransaction { name } => {
                let name = name.escape_debug();
                return Some(format!(
                    "`abort ssl cert {name}` on HAProxy's socket ends it"
                ));
            }
            Self::NotInUse { .. } => LOADED_HINT,
            Self::Refused { command, .. } if command.starts_with("add ssl crt-list") => LOADED_HINT,
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

const LOADED_HINT: &str =
    "does a `bind ... ssl crt` of this HAProxy name the directory in `certificates`?";

fn connect_hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "is `socket` the path of HAProxy's `stats socket`?",
        io::ErrorKind::ConnectionRefused => "is HAProxy running?",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn at_most(limit: Option<usize>) -> String {
    limit.map_or_else(String::new, |limit| format!(", of at most {limit}"))
}
