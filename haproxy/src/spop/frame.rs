//! Frames: length, type, flags, identifiers, payload (SPOE.txt 3.2).

use std::fmt;

use nom::Parser;
use nom::combinator::map;
use nom::number::complete::{be_u32, u8};

use super::error::{Error, Malformed, Parsed};
use super::varint;

/// A whole frame, its payload still undecoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What comes before the payload.
    pub head: Head,
    /// What [`Notify`](super::Notify), [`HaproxyHello`](super::HaproxyHello) and so on decode.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits the first frame off `input` and returns it with the rest, or `None` while it is
    /// incomplete.
    ///
    /// # Errors
    ///
    /// When its length is more than `size_max` bytes or less than a head takes, as soon as these
    /// four bytes are there; when its head is malformed.
    pub fn split(input: &'a [u8], size_max: u32) -> Result<Option<(Self, &'a [u8])>, Error> {
        let Ok((rest, size)) = be_u32::<_, Malformed>(input) else {
            return Ok(None);
        };
        if size > size_max {
            return Err(Error::FrameTooBig { size, size_max });
        }
        if size < FRAME_SIZE_MIN {
            return Err(Error::FrameTooShort(size));
        }
        let Some((body, rest)) = usize::try_from(size)
            .ok()
            .and_then(|size| rest.split_at_checked(size))
        else {
            return Ok(None);
        };
        let (payload, head) = Head::decode(body).map_err(Malformed::from)?;
        Ok(Some((Self { head, payload }, rest)))
    }

    /// Appends the frame, its length first.
    pub fn encode(&self, output: &mut Vec<u8>) {
        encode(&self.head, output, |output| {
            output.extend_from_slice(self.payload);
        });
    }
}

/// What a frame says before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the payload is.
    pub kind: FrameType,
    /// FIN and ABORT.
    pub flags: Flags,
    /// The stream it belongs to.
    pub stream_id: StreamId,
    /// The frame within the stream.
    pub frame_id: FrameId,
}

impl Head {
    /// The head of a HELLO or DISCONNECT: final, both identifiers 0.
    #[must_use]
    pub fn control(kind: FrameType) -> Self {
        Self {
            kind,
            flags: Flags::FIN,
            stream_id: StreamId(0),
            frame_id: FrameId(0),
        }
    }

    /// The head of a NOTIFY or an ACK.
    #[must_use]
    pub fn stream(kind: FrameType, stream_id: StreamId, frame_id: FrameId) -> Self {
        Self {
            kind,
            flags: Flags::FIN,
            stream_id,
            frame_id,
        }
    }

    fn decode(input: &[u8]) -> Parsed<'_, Self> {
        let fields = (u8, be_u32, varint::decode, varint::decode);
        map(fields, |(kind, flags, stream_id, frame_id)| Self {
            kind: FrameType(kind),
            flags: Flags(flags),
            stream_id: StreamId(stream_id),
            frame_id: FrameId(frame_id),
        })
        .parse(input)
    }

    fn encode(&self, output: &mut Vec<u8>) {
        output.push(self.kind.0);
        output.extend_from_slice(&self.flags.0.to_be_bytes());
        varint::encode(self.stream_id.0, output);
        varint::encode(self.frame_id.0, output);
    }
}

/// What a frame is (SPOE.txt 3.2.2). Unknown types survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameType(pub u8);

impl FrameType {
    /// A later fragment of a payload; HAProxy 3.0 and older, if asked for.
    pub const UNSET: Self = Self(0);
    /// HAProxy opens a connection.
    pub const HAPROXY_HELLO: Self = Self(1);
    /// HAProxy is about to close a connection.
    pub const HAPROXY_DISCONNECT: Self = Self(2);
    /// HAProxy asks.
    pub const NOTIFY: Self = Self(3);
    /// The agent accepts a connection.
    pub const AGENT_HELLO: Self = Self(101);
    /// The agent is about to close a connection.
    pub const AGENT_DISCONNECT: Self = Self(102);
    /// The agent answers.
    pub const ACK: Self = Self(103);

    /// The name that SPOE.txt gives it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::UNSET => "UNSET",
            Self::HAPROXY_HELLO => "HAPROXY-HELLO",
            Self::HAPROXY_DISCONNECT => "HAPROXY-DISCONNECT",
            Self::NOTIFY => "NOTIFY",
            Self::AGENT_HELLO => "AGENT-HELLO",
            Self::AGENT_DISCONNECT => "AGENT-DISCONNECT",
            Self::ACK => "ACK",
            _ => return None,
        })
    }
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A frame's flags. Reserved ones survive and mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// The payload ends with this frame: always so without fragmentation.
    pub const FIN: Self = Self(1);
    /// What the frame belongs to is cancelled.
    pub const ABORT: Self = Self(2);

    /// Whether FIN is set.
    #[must_use]
    pub fn is_final(self) -> bool {
        self.0 & Self::FIN.0 != 0
    }

    /// Whether ABORT is set.
    #[must_use]
    pub fn is_aborted(self) -> bool {
        self.0 & Self::ABORT.0 != 0
    }
}

/// A stream of HAProxy. Opaque: HAProxy 3.0 and older count all streams of the process from 0, later
/// ones count 1, 3, 5 on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A frame within its stream. Opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameId(pub u64);

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Appends one frame with the payload that `payload` appends.
pub(super) fn encode(head: &Head, output: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(head, output);
    payload(output);
    finish(start, output);
}

/// Begins a frame at the end of `output` and returns where that is.
pub(super) fn begin(head: &Head, output: &mut Vec<u8>) -> usize {
    let start = output.len();
    // Until it is known the length is one that no peer takes: an unfinished frame must not pass
    // for a short one.
    output.extend_from_slice(&[0xff; LENGTH_SIZE]);
    head.encode(output);
    start
}

/// Writes the length of the frame that began at `start`.
pub(super) fn finish(start: usize, output: &mut [u8]) {
    let size = size_from(start, output);
    if let Some(length) = output
        .get_mut(start..)
        .and_then(|frame| frame.first_chunk_mut())
    {
        *length = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
    }
}

/// The size of the frame that began at `start`, in bytes without its length.
pub(super) fn size_from(start: usize, output: &[u8]) -> usize {
    output
        .len()
        .saturating_sub(start)
        .saturating_sub(LENGTH_SIZE)
}

/// The size of the length that comes before each frame, in bytes.
pub(super) const LENGTH_SIZE: usize = 4;

/// The least size of a frame, in bytes without its length: type, flags, two short integers.
const FRAME_SIZE_MIN: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE_MAX: u32 = 256;

    fn split(input: &[u8]) -> Result<Option<(Frame<'_>, &[u8])>, Error> {
        Frame::split(input, SIZE_MAX)
    }

    /// An ACK of stream 0x1234 with an unknown flag, frame 1 and the payload "ab".
    const FRAME: [u8; 15] = [
        0, 0, 0, 11, 103, 0x80, 0, 0, 1, 0xf4, 0x94, 0x01, 1, b'a', b'b',
    ];

    #[test]
    fn round_trips_and_leaves_what_follows() {
        let input = [&FRAME[..], b"rest"].concat();
        let (frame, rest) = split(&input).unwrap().unwrap();
        assert_eq!(rest, b"rest");
        assert_eq!(frame.payload, b"ab");
        assert_eq!(frame.head.kind, FrameType::ACK);
        assert_eq!(frame.head.flags, Flags(0x8000_0001));
        assert_eq!(frame.head.stream_id, StreamId(0x1234));
        assert_eq!(frame.head.frame_id, FrameId(1));
        let mut output = Vec::new();
        frame.encode(&mut output);
        assert_eq!(output, FRAME);
    }

    #[test]
    fn every_proper_prefix_is_incomplete() {
        for end in 0..FRAME.len() {
            assert_eq!(split(&FRAME[..end]), Ok(None));
        }
    }

    #[test]
    fn checks_the_length_before_the_frame_is_there() {
        let too_big = |size| {
            Err(Error::FrameTooBig {
                size,
                size_max: SIZE_MAX,
            })
        };
        assert_eq!(split(&[0, 0, 1, 1]), too_big(257));
        assert_eq!(split(&[0, 0, 1, 0]), Ok(None));
        assert_eq!(split(&[0xff; 4]), too_big(u32::MAX));
        for size in 0..7 {
            assert_eq!(
                split(&[0, 0, 0, size]),
                Err(Error::FrameTooShort(size.into()))
            );
        }
    }

    #[test]
    fn another_protocol_on_the_port_is_too_big() {
        let too_big = |size| {
            Err(Error::FrameTooBig {
                size,
                size_max: SIZE_MAX,
            })
        };
        assert_eq!(split(b"\x16\x03\x01\x06\x00\x01\x00"), too_big(0x1603_0106));
        assert_eq!(split(b"GET / HTTP/1.1\r\n"), too_big(0x4745_5420));
    }

    #[test]
    fn rejects_an_identifier_that_reaches_past_the_frame() {
        let input = [0, 0, 0, 7, 3, 0, 0, 0, 1, 0xf0, 0x80, 0x00, 0x00];
        assert_eq!(split(&input), Err(Error::Malformed(Malformed::Truncated)));
    }

    #[test]
    fn prints_names_and_unknown_numbers() {
        assert_eq!(FrameType::HAPROXY_HELLO.to_string(), "HAPROXY-HELLO");
        assert_eq!(FrameType(200).to_string(), "200");
    }
}
