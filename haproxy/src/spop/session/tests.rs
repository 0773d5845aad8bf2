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
