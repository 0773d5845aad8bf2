//! NOTIFY: what HAProxy asks (SPOE.txt 3.2.6).

use nom::Parser;
use nom::combinator::recognize;
use nom::multi::fold;
use nom::number::complete::u8;

use super::error::{Malformed, Parsed};
use super::frame::{self, FrameId, FrameType, Head, StreamId};
use super::{Value, item, varint};

/// The payload of a NOTIFY: messages one after the other, parsed as they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify<'a> {
    payload: &'a [u8],
}

impl<'a> Notify<'a> {
    /// Takes a payload; nothing is parsed yet.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Self { payload }
    }

    /// The messages in order; there may be none. The first malformed one is the last item.
    pub fn messages(&self) -> impl Iterator<Item = Result<Message<'a>, Malformed>> + use<'a> {
        item::list(self.payload, Message::decode)
    }

    /// Appends a whole frame.
    pub fn encode(&self, stream_id: StreamId, frame_id: FrameId, output: &mut Vec<u8>) {
        let head = Head::stream(FrameType::NOTIFY, stream_id, frame_id);
        frame::encode(&head, output, |output| {
            output.extend_from_slice(self.payload);
        });
    }
}

/// One message of a NOTIFY, all of it known to parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    name: &'a [u8],
    arguments: &'a [u8],
}

impl<'a> Message<'a> {
    /// The name after `spoe-message`.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The arguments in the order of the configuration.
    pub fn arguments(&self) -> impl Iterator<Item = Argument<'a>> + use<'a> {
        // No error is cut off here: `decode` has seen these bytes.
        item::list(self.arguments, item::decode)
            .map_while(Result::ok)
            .map(|(name, value)| Argument { name, value })
    }

    /// The value of the first argument called `name`.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<Value<'a>> {
        self.arguments()
            .find(|argument| argument.name == name.as_bytes())
            .map(|argument| argument.value)
    }

    /// Appends a message to a NOTIFY's payload.
    ///
    /// The wire counts arguments in one byte: those after the first 255 are left out.
    pub fn encode(name: &str, arguments: &[Argument<'_>], payload: &mut Vec<u8>) {
        let count = u8::try_from(arguments.len()).unwrap_or(u8::MAX);
        varint::encode_string(name.as_bytes(), payload);
        payload.push(count);
        for argument in arguments.iter().take(count.into()) {
            item::encode(argument.name, argument.value, payload);
        }
    }

    fn decode(input: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, (name, count)) = (varint::decode_string, u8).parse(input)?;
        let arguments = fold(usize::from(count), item::decode, || (), |(), _| ());
        let (rest, arguments) = recognize(arguments).parse(rest)?;
        Ok((rest, Self { name, arguments }))
    }
}

/// One argument of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument<'a> {
    /// Its name; empty if the configuration gives none.
    pub name: &'a [u8],
    /// Its value.
    pub value: Value<'a>,
}

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::*;

    /// Two messages: one with two arguments, one with none.
    const PAYLOAD: &[u8] = b"\x01m\x02\x04path\x08\x02/x\x00\x11\x02mm\x00";

    fn decode(payload: &[u8]) -> Result<Vec<Message<'_>>, Malformed> {
        Notify::new(payload).messages().collect()
    }

    #[test]
    fn reads_messages_and_arguments_in_order() {
        let messages = decode(PAYLOAD).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].name(), b"m");
        let arguments = [
            Argument {
                name: b"path",
                value: "/x".into(),
            },
            Argument {
                name: b"",
                value: true.into(),
            },
        ];
        assert_eq!(messages[0].arguments().collect::<Vec<_>>(), arguments);
        assert_eq!(messages[0].argument("path"), Some("/x".into()));
        assert_eq!(messages[0].argument("host"), None);
        assert_eq!(messages[1].name(), b"mm");
        assert_eq!(messages[1].arguments().count(), 0);
    }

    #[test]
    fn round_trips() {
        let mut payload = Vec::new();
        for message in decode(PAYLOAD).unwrap() {
            let arguments: Vec<_> = message.arguments().collect();
            let name = str::from_utf8(message.name()).unwrap();
            Message::encode(name, &arguments, &mut payload);
        }
        assert_eq!(payload, PAYLOAD);
        let mut output = Vec::new();
        Notify::new(&payload).encode(StreamId(0), FrameId(1), &mut output);
        let (frame, _) = Frame::split(&output, 256).unwrap().unwrap();
        assert_eq!(
            frame.head,
            Head::stream(FrameType::NOTIFY, StreamId(0), FrameId(1))
        );
        assert_eq!(frame.payload, PAYLOAD);
    }

    #[test]
    fn may_hold_no_message() {
        assert_eq!(decode(b""), Ok(Vec::new()));
    }

    #[test]
    fn a_prefix_parses_only_where_a_message_ends() {
        let ends: Vec<usize> = (0..=PAYLOAD.len())
            .filter(|&end| decode(&PAYLOAD[..end]).is_ok())
            .collect();
        assert_eq!(ends, [0, 14, PAYLOAD.len()]);
    }

    #[test]
    fn rejects_an_argument_count_that_lies() {
        assert_eq!(decode(b"\x01m\x02\x01a\x00"), Err(Malformed::Truncated));
        assert_eq!(decode(b"\x01m\xff"), Err(Malformed::Truncated));
        assert_eq!(
            decode(b"\x01m\x01\x01a\x0f"),
            Err(Malformed::ReservedType(15))
        );
    }

    #[test]
    fn leaves_out_arguments_that_the_count_cannot_say() {
        let mut payload = Vec::new();
        Message::encode(
            "m",
            &[Argument {
                name: b"",
                value: Value::Null,
            }; 300],
            &mut payload,
        );
        assert_eq!(decode(&payload).unwrap()[0].arguments().count(), 255);
    }
}
