//! What a peer can do wrong, and the status that it hears.

use nom::error::{ErrorKind, ParseError};

use super::{FrameType, Status};

/// Why a session ends in error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A frame is longer than this agent takes. Text or TLS on the port looks like this.
    #[error("frame of {size} bytes is longer than {size_max}")]
    FrameTooBig {
        /// Its length field, in bytes.
        size: u32,
        /// The longest that is taken, in bytes.
        size_max: u32,
    },
    /// A frame is too short to have type, flags and identifiers.
    #[error("frame of {0} bytes is too short")]
    FrameTooShort(u32),
    /// A frame does not parse.
    #[error("malformed frame: {0}")]
    Malformed(#[from] Malformed),
    /// A frame has a type that SPOE.txt 3.2.2 does not list.
    #[error("unknown frame type {0}")]
    UnknownType(FrameType),
    /// A frame has no place in the dialogue: not HELLO as the first one, HELLO as a later one,
    /// or a frame that only agents send.
    #[error("unexpected {0}")]
    Unexpected(FrameType),
    /// A frame is one fragment of several, which this agent did not offer to take.
    #[error("fragmented {0}")]
    Fragmented(FrameType),
    /// HELLO without `supported-versions`.
    #[error("no supported-versions in hello")]
    VersionMissing,
    /// None of the offered versions is 2.x.
    #[error("no version 2.x in hello")]
    VersionUnsupported,
    /// HELLO without `max-frame-size`.
    #[error("no max-frame-size in hello")]
    FrameSizeMissing,
    /// The offered `max-frame-size` is below the least that peers must support.
    #[error("max-frame-size of {0} bytes is too small")]
    FrameSizeTooSmall(u32),
    /// HELLO without `capabilities`.
    #[error("no capabilities in hello")]
    CapabilitiesMissing,
    /// The [`Responder`](super::Responder) gave a fallback that cannot be sent.
    #[error("no action to answer with")]
    Unanswerable,
}

/// How the bytes of a frame are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Something reaches past the end of the frame.
    #[error("truncated")]
    Truncated,
    /// An integer says more than 64 bits.
    #[error("integer of more than 64 bits")]
    VarintOverflow,
    /// An integer does not fit its type.
    #[error("integer out of the range of its type")]
    IntegerRange,
    /// A value has one of the types 10 to 15.
    #[error("reserved data type {0}")]
    ReservedType(u8),
    /// HELLO or DISCONNECT with another stream-id or frame-id than 0, or aborted.
    #[error("identifiers or flags wrong for this type of frame")]
    ControlHead,
    /// A known item has a value of another type than SPOE.txt names.
    #[error("value of {0} has the wrong type")]
    ItemType(&'static str),
    /// A known item comes twice.
    #[error("{0} comes twice")]
    ItemTwice(&'static str),
    /// A mandatory item, whose lack has no status of its own, is not there.
    #[error("{0} is missing")]
    ItemMissing(&'static str),
    /// An action is neither set-var nor unset-var, or has the wrong number of arguments.
    #[error("unknown action")]
    UnknownAction,
    /// A variable scope is none of SPOE.txt 3.4.
    #[error("unknown variable scope {0}")]
    UnknownScope(u8),
}

/// What HAProxy is told (SPOE.txt 3.5): the only place that decides it.
impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::FrameTooBig { .. } => Self::TOO_BIG,
            Error::FrameTooShort(_)
            | Error::Malformed(_)
            | Error::UnknownType(_)
            | Error::Unexpected(_) => Self::INVALID_FRAME,
            Error::Fragmented(_) => Self::FRAGMENTATION_UNSUPPORTED,
            Error::VersionMissing => Self::NO_VERSION,
            Error::VersionUnsupported => Self::BAD_VERSION,
            Error::FrameSizeMissing => Self::NO_FRAME_SIZE,
            Error::FrameSizeTooSmall(_) => Self::BAD_FRAME_SIZE,
            Error::CapabilitiesMissing => Self::NO_CAPABILITIES,
            Error::Unanswerable => Self::UNKNOWN,
        }
    }
}

/// What a parser of part of a frame returns.
pub(super) type Parsed<'a, T> = nom::IResult<&'a [u8], T, Malformed>;

impl From<nom::Err<Self>> for Malformed {
    fn from(error: nom::Err<Self>) -> Self {
        match error {
            nom::Err::Incomplete(_) => Self::Truncated,
            nom::Err::Error(malformed) | nom::Err::Failure(malformed) => malformed,
        }
    }
}

/// Of nom's own parsers only those that take bytes are used: they fail for lack of bytes alone.
impl ParseError<&[u8]> for Malformed {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::Truncated
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_status() {
        let table = [
            (
                Error::FrameTooBig {
                    size: 0x1603_0106,
                    size_max: 16_380,
                },
                3,
            ),
            (Error::FrameTooShort(0), 4),
            (Error::Malformed(Malformed::Truncated), 4),
            (Error::UnknownType(FrameType(42)), 4),
            (Error::Unexpected(FrameType::NOTIFY), 4),
            (Error::VersionMissing, 5),
            (Error::FrameSizeMissing, 6),
            (Error::CapabilitiesMissing, 7),
            (Error::VersionUnsupported, 8),
            (Error::FrameSizeTooSmall(255), 9),
            (Error::Fragmented(FrameType::NOTIFY), 10),
            (Error::Unanswerable, 99),
        ];
        for (error, status) in table {
            assert_eq!(Status::from(&error), Status(status), "{error}");
        }
    }

    #[test]
    fn names_what_is_wrong_in_one_phrase() {
        let error = Error::from(Malformed::ItemType("max-frame-size"));
        assert_eq!(
            error.to_string(),
            "malformed frame: value of max-frame-size has the wrong type"
        );
        assert_eq!(
            Error::Unexpected(FrameType::NOTIFY).to_string(),
            "unexpected NOTIFY"
        );
        assert_eq!(
            Error::UnknownType(FrameType(42)).to_string(),
            "unknown frame type 42"
        );
    }
}
