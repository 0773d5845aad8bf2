//! The agent's side of one connection.

use super::error::{Error, Malformed};
use super::frame::{self, Frame, FrameType, Head};
use super::hello::{AgentHello, FRAME_SIZE_MAX_MIN, HaproxyHello};
use super::{Ack, Action, Disconnect, Message, Notify, Status};

/// Answers messages.
pub trait Responder {
    /// Called for each message of a NOTIFY, in order; sets variables in `ack`.
    fn respond(&mut self, message: &Message<'_>, ack: &mut Ack<'_>);

    /// The one action of an ACK that `respond` left empty, or was not called for.
    ///
    /// A NOTIFY may hold no message (HAProxy 3.1 to 3.2.3), and HAProxy 3.1 waits out its processing
    /// time-out on an ACK without action. An action that [`Ack::push`] refuses ends the session.
    fn fallback(&self) -> Action<'_>;
}

/// What the agent takes from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame taken or sent, in bytes without its length; brought into 256 to 65,532.
    ///
    /// HAProxy is told the lesser of this and its own, and may yet send frames up to this size: 3.1
    /// ignored what it was told. The default is what HAProxy offers with its default `tune.bufsize`.
    pub frame_size_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_size_max: 16_380,
        }
    }
}

/// The agent's side of one connection.
#[derive(Debug)]
pub struct Session {
    frame_size_max: u32,
    state: State,
}

impl Session {
    /// A session that awaits HAPROXY-HELLO.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let frame_size_max = limits
            .frame_size_max
            .clamp(FRAME_SIZE_MAX_MIN, FRAME_SIZE_MAX_MAX);
        Self {
            frame_size_max,
            state: State::AwaitsHello,
        }
    }

    /// Handles the complete frames at the front of `input`, and appends whole reply frames in the
    /// same order to `output`.
    ///
    /// It stops early when `output` holds 48 KiB, so that `output` never passes 48 KiB and one
    /// frame: 64 KiB with the default limits. A closed session takes all input and replies nothing.
    pub fn receive(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        responder: &mut impl Responder,
    ) -> Received {
        let mut received = Received::default();
        let mut rest = input;
        while !self.is_closed() {
            let start = output.len();
            received.output_full = start >= OUTPUT_SIZE_FULL;
            if received.output_full {
                break;
            }
            match self.receive_frame(rest, output, responder, &mut received) {
                Ok(Some(after)) => rest = after,
                Ok(None) => break,
                Err(error) => {
                    output.truncate(start);
                    self.close(Cause::Error(error), Status::from(&error), output);
                }
            }
        }
        if let State::Closed(cause) = self.state {
            rest = &[];
            received.next = Next::Close;
            received.cause = Some(cause);
        }
        received.consumed = input.len().saturating_sub(rest.len());
        received
    }

    /// Ends the session from the agent's side: appends AGENT-DISCONNECT, once.
    ///
    /// The caller flushes the output and closes the connection. Nothing is appended when the session
    /// is closed already.
    pub fn disconnect(&mut self, status: Status, output: &mut Vec<u8>) {
        if !self.is_closed() {
            self.close(Cause::Left(status), status, output);
        }
    }

    /// Whether HELLO was exchanged and the session is not closed.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established { .. })
    }

    /// How much input the caller must be able to hold, in bytes: the longest frame and its length.
    #[must_use]
    pub fn buffer_size(&self) -> usize {
        let frame_size_max = usize::try_from(self.frame_size_max).unwrap_or(usize::MAX);
        frame_size_max.saturating_add(frame::LENGTH_SIZE)
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// Handles one frame and returns what follows it, or `None` while it is incomplete.
    fn receive_frame<'a>(
        &mut self,
        input: &'a [u8],
        output: &mut Vec<u8>,
        responder: &mut impl Responder,
        received: &mut Received,
    ) -> Result<Option<&'a [u8]>, Error> {
        let Some((frame, rest)) = Frame::split(input, self.frame_size_max)? else {
            return Ok(None);
        };
        self.handle(&frame, output, responder, received)?;
        Ok(Some(rest))
    }

    fn handle(
        &mut self,
        frame: &Frame<'_>,
        output: &mut Vec<u8>,
        responder: &mut impl Responder,
        received: &mut Received,
    ) -> Result<(), Error> {
        let Head { kind, flags, .. } = frame.head;
        match (self.state, kind) {
            (State::AwaitsHello, FrameType::HAPROXY_HELLO) => self.handle_hello(frame, output),
            (State::Established { .. }, _) if flags.is_aborted() => {
                received.dropped = received.dropped.saturating_add(1);
                Ok(())
            }
            (State::Established { .. }, kind) if !flags.is_final() || kind == FrameType::UNSET => {
                Err(Error::Fragmented(kind))
            }
            (State::Established { frame_size_max }, FrameType::NOTIFY) => {
                acknowledge(frame, frame_size_max, output, responder)?;
                received.notifies = received.notifies.saturating_add(1);
                Ok(())
            }
            (State::Established { .. }, FrameType::HAPROXY_DISCONNECT) => {
                self.handle_disconnect(frame, output)
            }
            (_, kind) if kind.name().is_none() => Err(Error::UnknownType(kind)),
            (_, kind) => Err(Error::Unexpected(kind)),
        }
    }

    fn handle_hello(&mut self, frame: &Frame<'_>, output: &mut Vec<u8>) -> Result<(), Error> {
        check_control(&frame.head)?;
        let hello = HaproxyHello::decode(frame.payload)?;
        let answer = AgentHello::answer(&hello, self.frame_size_max)?;
        answer.encode(output);
        self.state = if hello.is_health_check {
            State::Closed(Cause::HealthCheck)
        } else {
            State::Established {
                frame_size_max: answer.frame_size_max,
            }
        };
        Ok(())
    }

    fn handle_disconnect(&mut self, frame: &Frame<'_>, output: &mut Vec<u8>) -> Result<(), Error> {
        check_control(&frame.head)?;
        let disconnect = Disconnect::decode(frame.payload)?;
        self.close(
            Cause::Disconnected(disconnect.status),
            Status::NORMAL,
            output,
        );
        Ok(())
    }

    /// Says goodbye.
    fn close(&mut self, cause: Cause, status: Status, output: &mut Vec<u8>) {
        Disconnect::from(status).encode(FrameType::AGENT_DISCONNECT, output);
        self.state = State::Closed(cause);
    }
}

/// What [`Session::receive`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How many bytes at the front of the input are done with.
    pub consumed: usize,
    /// What the caller does after it has flushed the output.
    pub next: Next,
    /// The output is full and frames may be waiting: flush it, and call again before reading more.
    pub output_full: bool,
    /// How many NOTIFY frames were answered.
    pub notifies: usize,
    /// How many frames were dropped because HAProxy marked them as aborted.
    pub dropped: usize,
    /// Why the session is closed, when `next` is [`Next::Close`].
    pub cause: Option<Cause>,
}

/// What to do with the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// Keep it open.
    #[default]
    Continue,
    /// Flush the output, then close the connection.
    Close,
}

/// Why a session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was a health check, and was answered.
    HealthCheck,
    /// HAProxy disconnected, with this status.
    Disconnected(Status),
    /// HAProxy broke the protocol, and was told so.
    Error(Error),
    /// [`Session::disconnect`] was called with this status.
    Left(Status),
}

#[derive(Clone, Copy, Debug)]
enum State {
    AwaitsHello,
    /// `frame_size_max` is what HELLO agreed upon; only what is sent must keep to it.
    Established {
        frame_size_max: u32,
    },
    Closed(Cause),
}

/// "STREAM-ID and FRAME-ID are must be set 0" in HELLO and DISCONNECT (SPOE.txt 3.2.4, 3.2.8).
fn check_control(head: &Head) -> Result<(), Error> {
    if !head.flags.is_final() {
        return Err(Error::Fragmented(head.kind));
    }
    if head.flags.is_aborted() || head.stream_id.0 != 0 || head.frame_id.0 != 0 {
        return Err(Malformed::ControlHead.into());
    }
    Ok(())
}

/// Answers a NOTIFY with an ACK of at least one action.
fn acknowledge(
    notify: &Frame<'_>,
    frame_size_max: u32,
    output: &mut Vec<u8>,
    responder: &mut impl Responder,
) -> Result<(), Error> {
    let Head {
        stream_id,
        frame_id,
        ..
    } = notify.head;
    let mut ack = Ack::begin(stream_id, frame_id, frame_size_max, output);
    for message in Notify::new(notify.payload).messages() {
        responder.respond(&message?, &mut ack);
    }
    if ack.is_empty() {
        ack.push(responder.fallback())
            .map_err(|_| Error::Unanswerable)?;
    }
    ack.finish();
    Ok(())
}

/// An output of this size is flushed before the next frame is handled, in bytes.
const OUTPUT_SIZE_FULL: usize = 48 * 1024;

/// The most that [`Limits::frame_size_max`] may be, in bytes: with its length a frame has 64 KiB.
const FRAME_SIZE_MAX_MAX: u32 = 64 * 1024 - 4;

#[cfg(test)]
mod tests {
    use super::super::{Actions, Argument, Flags, FrameId, Scope, StreamId, Value};
    use super::*;

    const OFFER: HaproxyHello<'_> = HaproxyHello {
        supported_versions: b"2.0",
        frame_size_max: 16_380,
        capabilities: b"pipelining",
        engine_id: Some(b"engine"),
        is_health_check: false,
    };

    /// Sets `known` to the argument `path` of the message `lookup`.
    struct Echo;

    impl Responder for Echo {
        fn respond(&mut self, message: &Message<'_>, ack: &mut Ack<'_>) {
            if message.name() == b"lookup"
                && let Some(path) = message.argument("path")
            {
                // A path without room is answered by the fallback.
                let _ = ack.set_var(Scope::Transaction, "known", path);
            }
        }

        fn fallback(&self) -> Action<'_> {
            FALLBACK
        }
    }

    const FALLBACK: Action<'_> = Action::SetVar {
        scope: Scope::Transaction,
        name: b"known",
        value: Value::Bool(false),
    };

    /// HAProxy's side: a session, and all that it replied.
    struct Dialogue {
        session: Session,
        output: Vec<u8>,
    }

    impl Dialogue {
        fn new() -> Self {
            Self {
                session: Session::new(Limits::default()),
                output: Vec::new(),
            }
        }

        fn established(offer: HaproxyHello<'_>) -> Self {
            let mut dialogue = Self::new();
            dialogue.send(&hello(offer));
            assert!(dialogue.session.is_established());
            dialogue.output.clear();
            dialogue
        }

        fn send(&mut self, input: &[u8]) -> Received {
            self.session.receive(input, &mut self.output, &mut Echo)
        }

        fn replies(&self) -> Vec<Frame<'_>> {
            let mut rest = &self.output[..];
            let mut frames = Vec::new();
            while let Some((frame, after)) = Frame::split(rest, 65_532).unwrap() {
                frames.push(frame);
                rest = after;
            }
            assert!(rest.is_empty(), "a frame cut short");
            frames
        }

        /// Asserts that the last reply is a goodbye of this status.
        fn assert_left(&self, received: Received, status: Status) {
            assert_eq!(received.next, Next::Close);
            assert!(!self.session.is_established());
            let last = *self.replies().last().unwrap();
            assert_eq!(last.head, Head::control(FrameType::AGENT_DISCONNECT));
            assert_eq!(Disconnect::decode(last.payload).unwrap(), status.into());
        }
    }

    fn hello(offer: HaproxyHello<'_>) -> Vec<u8> {
        let mut frame = Vec::new();
        offer.encode(&mut frame);
        frame
    }

    fn with_head(head: Head, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        Frame { head, payload }.encode(&mut frame);
        frame
    }

    fn unfinished(kind: FrameType, payload: &[u8]) -> Vec<u8> {
        let head = Head {
            flags: Flags(0),
            ..Head::control(kind)
        };
        with_head(head, payload)
    }

    fn disconnect(status: Status) -> Vec<u8> {
        let mut frame = Vec::new();
        Disconnect::from(status).encode(FrameType::HAPROXY_DISCONNECT, &mut frame);
        frame
    }

    fn message(name: &str, path: Value<'_>) -> Vec<u8> {
        let mut payload = Vec::new();
        Message::encode(
            name,
            &[Argument {
                name: b"path",
                value: path,
            }],
            &mut payload,
        );
        payload
    }

    fn notify(stream: u64, frame: u64, payload: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        Notify::new(payload).encode(StreamId(stream), FrameId(frame), &mut output);
        output
    }

    fn lookup(stream: u64) -> Vec<u8> {
        notify(stream, 1, &message("lookup", "/x".into()))
    }

    fn known(path: &str) -> Action<'_> {
        Action::SetVar {
            scope: Scope::Transaction,
            name: b"known",
            value: path.into(),
        }
    }

    fn actions<'a>(ack: &Frame<'a>) -> Vec<Action<'a>> {
        assert_eq!(ack.head.kind, FrameType::ACK);
        Actions::new(ack.payload)
            .iter()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn answers_hello() {
        let mut dialogue = Dialogue::new();
        assert!(!dialogue.session.is_established());
        let input = hello(OFFER);
        let received = dialogue.send(&input);
        assert_eq!(
            received,
            Received {
                consumed: input.len(),
                ..Received::default()
            }
        );
        assert!(dialogue.session.is_established());
        let replies = dialogue.replies();
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].head, Head::control(FrameType::AGENT_HELLO));
        let answer = AgentHello::decode(replies[0].payload).unwrap();
        assert_eq!(answer, AgentHello::answer(&OFFER, 16_380).unwrap());
    }

    #[test]
    fn answers_health_check_and_closes() {
        let mut dialogue = Dialogue::new();
        let check = HaproxyHello {
            is_health_check: true,
            engine_id: None,
            capabilities: b"",
            ..OFFER
        };
        let received = dialogue.send(&hello(check));
        assert_eq!(received.next, Next::Close);
        assert_eq!(received.cause, Some(Cause::HealthCheck));
        assert!(!dialogue.session.is_established());
        let replies = dialogue.replies();
        assert_eq!(replies.len(), 1);
        assert_eq!(
            AgentHello::decode(replies[0].payload).unwrap().capabilities,
            b""
        );
    }

    #[test]
    fn acknowledges_in_order_and_takes_frames_byte_by_byte() {
        let input = [
            hello(OFFER),
            lookup(1),
            lookup(3),
            disconnect(Status::NORMAL),
        ]
        .concat();
        let mut whole = Dialogue::new();
        let received = whole.send(&input);
        assert_eq!(received.consumed, input.len());
        assert_eq!(received.notifies, 2);
        assert_eq!(received.cause, Some(Cause::Disconnected(Status::NORMAL)));
        whole.assert_left(received, Status::NORMAL);
        let replies = whole.replies();
        assert_eq!(replies.len(), 4);
        assert_eq!(
            replies[1].head,
            Head::stream(FrameType::ACK, StreamId(1), FrameId(1))
        );
        assert_eq!(
            replies[2].head,
            Head::stream(FrameType::ACK, StreamId(3), FrameId(1))
        );
        assert_eq!(actions(&replies[1]), [known("/x")]);

        let mut slow = Dialogue::new();
        let mut buffer = Vec::new();
        for byte in input {
            buffer.push(byte);
            let consumed = slow.send(&buffer).consumed;
            buffer.drain(..consumed);
        }
        assert_eq!(slow.output, whole.output);
    }

    #[test]
    fn echoes_stream_id_zero() {
        let mut dialogue = Dialogue::established(OFFER);
        dialogue.send(&lookup(0));
        let head = Head::stream(FrameType::ACK, StreamId(0), FrameId(1));
        assert_eq!(dialogue.replies()[0].head, head);
    }

    #[test]
    fn echoes_the_largest_identifiers() {
        let mut dialogue = Dialogue::established(OFFER);
        dialogue.send(&notify(u64::MAX, u64::MAX, b""));
        let head = Head::stream(FrameType::ACK, StreamId(u64::MAX), FrameId(u64::MAX));
        assert_eq!(dialogue.replies()[0].head, head);
    }

    #[test]
    fn never_sends_an_empty_ack() {
        let mut dialogue = Dialogue::established(OFFER);
        let no_arguments = b"\x06lookup\x00";
        let too_long = message("lookup", Value::Binary(&[0; 16_300]));
        for payload in [
            &b""[..],
            &message("other", "/x".into()),
            no_arguments,
            &too_long,
        ] {
            let received = dialogue.send(&notify(1, 1, payload));
            assert_eq!((received.notifies, received.next), (1, Next::Continue));
        }
        let replies = dialogue.replies();
        assert_eq!(actions(&replies[0]), [FALLBACK]);
        assert_eq!(actions(&replies[1]), [FALLBACK]);
        assert_eq!(actions(&replies[2]), [FALLBACK]);
        assert_eq!(actions(&replies[3]).len(), 1);
    }

    #[test]
    fn sends_no_frame_longer_than_agreed_but_takes_them() {
        let mut dialogue = Dialogue::established(HaproxyHello {
            frame_size_max: 256,
            ..OFFER
        });
        let long = "x".repeat(300);
        let payload = [
            message("lookup", long.as_str().into()),
            message("lookup", "/x".into()),
        ];
        let received = dialogue.send(&notify(1, 1, &payload.concat()));
        assert_eq!(received.notifies, 1);
        assert_eq!(actions(&dialogue.replies()[0]), [known("/x")]);
        assert!(dialogue.output.len() <= 4 + 256);
    }

    #[test]
    fn drops_an_aborted_frame() {
        let mut dialogue = Dialogue::established(OFFER);
        let mut head = Head::stream(FrameType::NOTIFY, StreamId(1), FrameId(1));
        head.flags = Flags(Flags::FIN.0 | Flags::ABORT.0);
        let input = with_head(head, b"anything");
        let received = dialogue.send(&input);
        assert_eq!(
            received,
            Received {
                consumed: input.len(),
                dropped: 1,
                ..Received::default()
            }
        );
        assert!(dialogue.output.is_empty());
    }

    #[test]
    fn answers_each_violation_with_its_status() {
        let control = |kind| with_head(Head::control(kind), b"");
        let cases = [
            ("second hello", hello(OFFER), 4),
            ("unknown type", control(FrameType(42)), 4),
            ("frame of an agent", control(FrameType::ACK), 4),
            (
                "goodbye without status",
                control(FrameType::HAPROXY_DISCONNECT),
                4,
            ),
            ("lying count", notify(1, 1, b"\x01m\x02\x00\x00"), 4),
            ("bad second message", notify(1, 1, b"\x01m\x00\x01m\x01"), 4),
            ("reserved type", notify(1, 1, b"\x01m\x01\x00\x0a"), 4),
            ("empty frame", vec![0, 0, 0, 0], 4),
            ("short frame", vec![0, 0, 0, 6], 4),
            ("long frame", vec![0, 0, 0x3f, 0xfd], 3),
            ("first fragment", unfinished(FrameType::NOTIFY, b""), 10),
            ("last fragment", control(FrameType::UNSET), 10),
        ];
        for (name, input, status) in cases {
            let mut dialogue = Dialogue::established(OFFER);
            let received = dialogue.send(&[lookup(1), input, lookup(3)].concat());
            assert_eq!(received.notifies, 1, "{name}");
            assert_eq!(dialogue.replies().len(), 2, "{name}");
            dialogue.assert_left(received, Status(status));
        }
    }

    #[test]
    fn refuses_each_bad_greeting_with_its_status() {
        let greeting = hello(OFFER);
        let payload = Frame::split(&greeting, 16_380).unwrap().unwrap().0.payload;
        let identified = |stream, frame| {
            let head = Head::stream(FrameType::HAPROXY_HELLO, StreamId(stream), FrameId(frame));
            with_head(head, payload)
        };
        let offering = |versions: &'static str, frame_size_max| {
            let supported_versions = versions.as_bytes();
            hello(HaproxyHello {
                supported_versions,
                frame_size_max,
                ..OFFER
            })
        };
        let cases = [
            ("notify first", lookup(1), 4),
            ("goodbye first", disconnect(Status::NORMAL), 4),
            ("stream-id", identified(1, 0), 4),
            ("frame-id", identified(0, 1), 4),
            (
                "fragment",
                unfinished(FrameType::HAPROXY_HELLO, payload),
                10,
            ),
            (
                "no item",
                with_head(Head::control(FrameType::HAPROXY_HELLO), b""),
                5,
            ),
            ("version 1.0", offering("1.0", 16_380), 8),
            ("frames of 255 bytes", offering("2.0", 255), 9),
            ("tls", b"\x16\x03\x01\x06\x00\x01\x00\x05\xfc".to_vec(), 3),
            ("http", b"GET / HTTP/1.1\r\n".to_vec(), 3),
        ];
        for (name, input, status) in cases {
            let mut dialogue = Dialogue::new();
            let received = dialogue.send(&input);
            assert_eq!(received.consumed, input.len(), "{name}");
            assert_eq!(dialogue.replies().len(), 1, "{name}");
            dialogue.assert_left(received, Status(status));
        }
    }

    #[test]
    fn a_closed_session_takes_everything_and_says_nothing() {
        let mut dialogue = Dialogue::established(OFFER);
        dialogue.send(&disconnect(Status::TIMEOUT));
        let said = dialogue.output.len();
        let received = dialogue.send(&lookup(1));
        assert_eq!(received.consumed, lookup(1).len());
        assert_eq!(received.cause, Some(Cause::Disconnected(Status::TIMEOUT)));
        dialogue
            .session
            .disconnect(Status::NORMAL, &mut dialogue.output);
        assert_eq!((received.next, dialogue.output.len()), (Next::Close, said));
    }

    #[test]
    fn says_goodbye_once() {
        let mut dialogue = Dialogue::established(OFFER);
        for _ in 0..2 {
            dialogue
                .session
                .disconnect(Status::TIMEOUT, &mut dialogue.output);
        }
        let received = dialogue.send(b"");
        assert_eq!(received.cause, Some(Cause::Left(Status::TIMEOUT)));
        dialogue.assert_left(received, Status::TIMEOUT);
        assert_eq!(dialogue.replies().len(), 1);
    }

    #[test]
    fn stops_while_the_output_is_full() {
        let mut dialogue = Dialogue::established(OFFER);
        let long = "x".repeat(16_000);
        let frame = notify(1, 1, &message("lookup", long.as_str().into()));
        let input = frame.repeat(6);
        let received = dialogue.send(&input);
        assert!(received.output_full);
        assert_eq!((received.notifies, received.consumed), (4, 4 * frame.len()));
        assert!(dialogue.output.len() <= 64 * 1024);
        let again = dialogue.send(&input[received.consumed..]);
        assert_eq!((again.consumed, again.output_full), (0, true));
        dialogue.output.clear();
        let rest = dialogue.send(&input[received.consumed..]);
        assert_eq!((rest.notifies, rest.output_full), (2, false));
    }

    #[test]
    fn a_fallback_that_cannot_be_sent_ends_the_session() {
        struct Mute;
        impl Responder for Mute {
            fn respond(&mut self, _: &Message<'_>, _: &mut Ack<'_>) {}
            fn fallback(&self) -> Action<'_> {
                Action::UnsetVar {
                    scope: Scope::Request,
                    name: b"",
                }
            }
        }
        let mut dialogue = Dialogue::established(OFFER);
        let received = dialogue
            .session
            .receive(&lookup(1), &mut dialogue.output, &mut Mute);
        assert_eq!(received.cause, Some(Cause::Error(Error::Unanswerable)));
        dialogue.assert_left(received, Status::UNKNOWN);
        assert_eq!(dialogue.replies().len(), 1);
    }

    #[test]
    fn limits_are_brought_into_range() {
        let buffer_size = |frame_size_max| Session::new(Limits { frame_size_max }).buffer_size();
        assert_eq!(buffer_size(0), 256 + 4);
        assert_eq!(buffer_size(16_380), 16_384);
        assert_eq!(buffer_size(u32::MAX), 65_536);
    }
}
