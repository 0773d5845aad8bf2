//! DISCONNECT: the end of a connection, and why (SPOE.txt 3.2.8, 3.2.9, 3.5).

use std::fmt;

use super::error::Malformed;
use super::frame::{self, FrameType, Head};
use super::{Value, item};

/// Why a peer ends the connection. Unknown codes survive: agents may define their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// No error.
    pub const NORMAL: Self = Self(0);
    /// The connection failed.
    pub const IO: Self = Self(1);
    /// The peer was too slow or idle for too long.
    pub const TIMEOUT: Self = Self(2);
    /// A frame was longer than agreed.
    pub const TOO_BIG: Self = Self(3);
    /// A frame did not parse, or came where it had no place.
    pub const INVALID_FRAME: Self = Self(4);
    /// HELLO said no version.
    pub const NO_VERSION: Self = Self(5);
    /// HELLO said no `max-frame-size`.
    pub const NO_FRAME_SIZE: Self = Self(6);
    /// HELLO said no capabilities.
    pub const NO_CAPABILITIES: Self = Self(7);
    /// No version is common to both.
    pub const BAD_VERSION: Self = Self(8);
    /// `max-frame-size` was out of its range.
    pub const BAD_FRAME_SIZE: Self = Self(9);
    /// A payload was split over several frames.
    pub const FRAGMENTATION_UNSUPPORTED: Self = Self(10);
    /// Fragments of several payloads were mixed.
    pub const INTERLACED: Self = Self(11);
    /// An ACK for no NOTIFY.
    pub const FRAME_ID_NOT_FOUND: Self = Self(12);
    /// Out of memory, connections or the like.
    pub const RESOURCES: Self = Self(13);
    /// Anything else.
    pub const UNKNOWN: Self = Self(99);

    /// The words of SPOE.txt 3.5, or of no one for an unknown code.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::NORMAL => "normal",
            Self::IO => "I/O error",
            Self::TIMEOUT => "a timeout occurred",
            Self::TOO_BIG => "frame is too big",
            Self::INVALID_FRAME => "invalid frame received",
            Self::NO_VERSION => "version value not found",
            Self::NO_FRAME_SIZE => "max-frame-size value not found",
            Self::NO_CAPABILITIES => "capabilities value not found",
            Self::BAD_VERSION => "unsupported version",
            Self::BAD_FRAME_SIZE => "max-frame-size too big or too small",
            Self::FRAGMENTATION_UNSUPPORTED => "payload fragmentation is not supported",
            Self::INTERLACED => "invalid interlaced frames",
            Self::FRAME_ID_NOT_FOUND => "frame-id not found",
            Self::RESOURCES => "resource allocation error",
            Self::UNKNOWN => "an unknown error occurred",
            _ => "unlisted status",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.description(), self.0)
    }
}

/// The payload of HAPROXY-DISCONNECT and of AGENT-DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// `status-code`
    pub status: Status,
    /// `message`: at most 200 bytes keep the frame within what every peer takes.
    pub message: &'a [u8],
}

impl<'a> Disconnect<'a> {
    /// Decodes a payload. Unknown items are skipped.
    ///
    /// # Errors
    ///
    /// When an item is missing, comes twice or has the wrong type.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut status = None;
        let mut message = None;
        for item in item::list(payload, item::decode) {
            let (name, value) = item?;
            match str::from_utf8(name) {
                Ok(STATUS_CODE) => item::fill(&mut status, STATUS_CODE, item::uint32(value))?,
                Ok(MESSAGE) => item::fill(&mut message, MESSAGE, item::string(value))?,
                _ => {}
            }
        }
        Ok(Self {
            status: status
                .map(Status)
                .ok_or(Malformed::ItemMissing(STATUS_CODE))?,
            message: message.ok_or(Malformed::ItemMissing(MESSAGE))?,
        })
    }

    /// Appends a whole frame of the type `kind`, which says who disconnects.
    pub fn encode(&self, kind: FrameType, output: &mut Vec<u8>) {
        frame::encode(&Head::control(kind), output, |output| {
            item::encode(STATUS_CODE, self.status.0.into(), output);
            item::encode(MESSAGE, Value::String(self.message), output);
        });
    }
}

impl From<Status> for Disconnect<'static> {
    fn from(status: Status) -> Self {
        Self {
            status,
            message: status.description().as_bytes(),
        }
    }
}

const STATUS_CODE: &str = "status-code";
const MESSAGE: &str = "message";

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::*;

    #[test]
    fn round_trips_with_known_and_unknown_codes() {
        for code in (0..=13).chain([99, 14, 4_000_000_000]) {
            let disconnect = Disconnect::from(Status(code));
            let mut output = Vec::new();
            disconnect.encode(FrameType::AGENT_DISCONNECT, &mut output);
            let (frame, rest) = Frame::split(&output, 256).unwrap().unwrap();
            assert!(rest.is_empty());
            assert_eq!(frame.head, Head::control(FrameType::AGENT_DISCONNECT));
            assert_eq!(Disconnect::decode(frame.payload), Ok(disconnect));
        }
    }

    #[test]
    fn a_message_of_200_bytes_fits_the_least_frame_size() {
        let disconnect = Disconnect {
            status: Status(u32::MAX),
            message: &[b'x'; 200],
        };
        let mut output = Vec::new();
        disconnect.encode(FrameType::AGENT_DISCONNECT, &mut output);
        assert!(output.len() <= 4 + 256, "{}", output.len());
    }

    #[test]
    fn rejects_a_payload_without_its_items() {
        let decode = |payload| Disconnect::decode(payload).map(|_| ());
        assert_eq!(decode(b""), Err(Malformed::ItemMissing(STATUS_CODE)));
        assert_eq!(
            decode(b"\x0bstatus-code\x03\x00"),
            Err(Malformed::ItemMissing(MESSAGE))
        );
        assert_eq!(
            decode(b"\x0bstatus-code\x08\x010"),
            Err(Malformed::ItemType(STATUS_CODE))
        );
        assert_eq!(decode(b"\x0bstatus-code\x03"), Err(Malformed::Truncated));
    }

    #[test]
    fn prints_words_and_number() {
        assert_eq!(Status::TOO_BIG.to_string(), "frame is too big (3)");
        assert_eq!(Status(14).to_string(), "unlisted status (14)");
    }
}
