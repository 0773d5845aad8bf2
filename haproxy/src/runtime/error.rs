//! What can go wrong between us and a Runtime API.

use std::io;
use std::time::Duration;

use super::{Address, StorePath};

/// Why HAProxy did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached.
    #[error("{address}: {source}")]
    Connect {
        /// Where.
        address: Address,
        /// What the system said.
        source: io::Error,
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
    /// No answer in time: the command may have been carried out or not.
    #[error("`{command}`: no answer within {limit:?}")]
    TimedOut {
        /// The command, without its payload.
        command: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection was closed without a word.
    #[error("`{0}`: no answer")]
    Empty(String),
    /// Other certificate operations go on (the CKCH lock).
    #[error("other operations on certificates go on")]
    Busy,
    /// The socket has no admin level.
    #[error("permission denied: the socket has not the level `admin`")]
    Denied,
    /// This HAProxy does not know the command.
    #[error("this HAProxy does not know `{0}`")]
    UnknownCommand(String),
    /// The command would not fit HAProxy's buffer. It was not sent.
    #[error("the bundle has {size} bytes, but HAProxy {version} takes {limit} over its socket")]
    TooLarge {
        /// The size of command and payload.
        size: usize,
        /// What this version takes.
        limit: usize,
        /// The version.
        version: String,
    },
    /// Somebody else's transaction stays open. HAProxy has only one.
    #[error("a transaction for {0} is open, and not ours")]
    ForeignTransaction(String),
    /// HAProxy refused, and said why.
    #[error("refused `{command}`: {reply}")]
    Refused {
        /// The command, without its payload.
        command: String,
        /// What it said, escaped and shortened.
        reply: String,
    },
    /// HAProxy said that all is well, but does not use the certificate.
    #[error("{name} was committed, but is not what HAProxy uses")]
    NotInUse {
        /// The certificate.
        name: StorePath,
    },
    /// HAProxy was reloaded again and again in the middle.
    #[error("HAProxy was reloaded in the middle, {0} times in a row")]
    Reloading(u32),
}

impl Error {
    /// Whether the same command may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Broken { .. }
                | Self::TimedOut { .. }
                | Self::Empty(_)
                | Self::Busy
                | Self::Reloading(_)
                | Self::ForeignTransaction(_)
        )
    }

    /// Whether HAProxy has refused this very certificate, so that trying it
    /// again is no use.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Connect { source, .. } => return connect_hint(source),
            Self::Denied => "write `stats socket ... level admin` in HAProxy's global section",
            Self::TooLarge { .. } => {
                "the file is in place: reload HAProxy to have it served; HAProxy 3.4 needs no reload"
            }
            Self::ForeignTransaction(_) => "`abort ssl cert NAME` on HAProxy's socket ends it",
            Self::NotInUse { .. } => {
                "does a `bind ... ssl crt` of this HAProxy name the directory in `certificates`?"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn connect_hint(error: &io::Error) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "is `socket` the path of HAProxy's `stats socket`?",
        io::ErrorKind::ConnectionRefused => "is HAProxy running?",
        io::ErrorKind::PermissionDenied => "run as root, or as a user of the socket's group",
        _ => return None,
    };
    Some(hint.to_owned())
}
