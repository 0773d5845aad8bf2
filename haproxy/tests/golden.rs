//! Frames that HAProxy sent, byte for byte: `testdata/spop/SERIES/NAME.bin`, each one or more whole
//! frames.

use std::path::{Path, PathBuf};
use std::{fs, iter};

use spoacme_haproxy::spop::{
    Ack, Action, Actions, Argument, Disconnect, Error, Frame, FrameType, HaproxyHello, Limits,
    Malformed, Message, Notify, Responder, Scope, Session, Value,
};

#[test]
fn every_series_is_there() {
    let captures = captures();
    for series in ["2.6", "3.0", "3.2", "3.4"] {
        for name in ["haproxy-hello", "healthcheck-hello", "notify"] {
            let found = captures.iter().any(|capture| capture.is(series, name));
            assert!(found, "no {name} of HAProxy {series}");
        }
    }
    let farewell = captures
        .iter()
        .any(|capture| capture.is("2.6", "disconnect"));
    assert!(farewell, "no disconnect of HAProxy 2.6");
}

#[test]
fn every_frame_is_encoded_to_the_very_bytes() {
    for capture in captures() {
        for frame in capture.frames() {
            assert_eq!(reencode(&frame), Ok(encoded(&frame)), "{capture}");
        }
    }
}

#[test]
fn no_prefix_of_a_frame_is_a_frame() {
    for capture in captures() {
        for frame in capture.frames() {
            let bytes = encoded(&frame);
            for end in 0..bytes.len() {
                assert_eq!(Frame::split(&bytes[..end], SIZE_MAX), Ok(None), "{capture}");
            }
        }
    }
}

/// With its length made to fit, a frame that was cut short parses only where a message or an
/// optional item ends.
#[test]
fn a_payload_cut_short_is_malformed() {
    for capture in captures() {
        for frame in capture.frames() {
            let ends = (0..frame.payload.len()).filter(|&end| {
                let payload = &frame.payload[..end];
                reencode(&Frame { payload, ..frame }).is_ok()
            });
            let optional = match frame.head.kind {
                FrameType::NOTIFY => Notify::new(frame.payload).messages().count(),
                FrameType::HAPROXY_HELLO => 1,
                _ => 0,
            };
            assert_eq!(ends.count(), optional, "{capture}");
        }
    }
}

#[test]
fn any_changed_byte_is_survived() {
    let greeting = captures()
        .into_iter()
        .find(|capture| capture.is("2.6", "haproxy-hello"));
    let greeting = greeting.expect("every_series_is_there").bytes;
    for capture in captures() {
        for frame in capture.frames() {
            for bytes in changed(&encoded(&frame)) {
                if let Ok(Some((frame, _))) = Frame::split(&bytes, SIZE_MAX) {
                    let _ = reencode(&frame);
                }
                assert_answers_soundly(&bytes);
                assert_answers_soundly(&[&greeting, &bytes[..]].concat());
            }
        }
    }
}

/// Whatever HAProxy says, it hears whole frames, and no ACK without an action.
fn assert_answers_soundly(input: &[u8]) {
    let mut output = Vec::new();
    let mut session = Session::new(Limits::default());
    let received = session.receive(input, &mut output, &mut Found);
    assert!(received.consumed <= input.len());
    let mut rest = &output[..];
    while let Some((frame, after)) = Frame::split(rest, SIZE_MAX).expect("a whole frame") {
        if frame.head.kind == FrameType::ACK {
            let actions: Result<Vec<_>, _> = Actions::new(frame.payload).iter().collect();
            assert_ne!(actions.expect("actions"), []);
        }
        rest = after;
    }
    assert_eq!(rest, []);
}

/// Sets `found` for every message, and unsets it if there is none.
struct Found;

impl Responder for Found {
    fn respond(&mut self, message: &Message<'_>, ack: &mut Ack<'_>) {
        let value = message
            .arguments()
            .last()
            .map_or(Value::Null, |argument| argument.value);
        ack.set_var(Scope::Transaction, "found", value)
            .expect("an argument fits where it came from");
    }

    fn fallback(&self) -> Action<'_> {
        Action::UnsetVar {
            scope: Scope::Transaction,
            name: b"found",
        }
    }
}

/// Decodes a frame down to its values and encodes these.
fn reencode(frame: &Frame<'_>) -> Result<Vec<u8>, Error> {
    let mut output = Vec::new();
    match frame.head.kind {
        FrameType::HAPROXY_HELLO => HaproxyHello::decode(frame.payload)?.encode(&mut output),
        FrameType::HAPROXY_DISCONNECT => {
            Disconnect::decode(frame.payload)?.encode(frame.head.kind, &mut output);
        }
        FrameType::NOTIFY => {
            let payload = reencode_messages(frame.payload)?;
            Notify::new(&payload).encode(frame.head.stream_id, frame.head.frame_id, &mut output);
        }
        other => return Err(Error::Unexpected(other)),
    }
    Ok(output)
}

fn reencode_messages(payload: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut output = Vec::new();
    for message in Notify::new(payload).messages() {
        let message = message?;
        let arguments: Vec<Argument<'_>> = message.arguments().collect();
        Message::encode(
            &String::from_utf8_lossy(message.name()),
            &arguments,
            &mut output,
        );
    }
    Ok(output)
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut output = Vec::new();
    frame.encode(&mut output);
    output
}

/// The bytes with each one replaced by each other value.
fn changed(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).flat_map(move |at| {
        (1..=u8::MAX).map(move |bits| {
            let mut changed = bytes.to_vec();
            changed[at] ^= bits;
            changed
        })
    })
}

struct Capture {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Capture {
    fn is(&self, series: &str, name: &str) -> bool {
        self.path
            .ends_with(Path::new(series).join(name).with_extension("bin"))
    }

    fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut rest = &self.bytes[..];
        iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let split = Frame::split(rest, SIZE_MAX).expect("a sound capture");
            let (frame, after) = split.expect("a whole frame");
            rest = after;
            Some(frame)
        })
    }
}

impl std::fmt::Display for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.display().fmt(f)
    }
}

fn captures() -> Vec<Capture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/spop");
    let series = fs::read_dir(&root).expect("a folder of captures");
    let mut captures: Vec<Capture> = series
        .map(|series| series.expect("a series").path())
        .filter(|path| path.is_dir())
        .flat_map(|path| fs::read_dir(path).expect("a folder"))
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .map(|path| Capture {
            bytes: fs::read(&path).expect("a readable file"),
            path,
        })
        .collect();
    captures.sort_by(|left, right| left.path.cmp(&right.path));
    captures
}

/// As much as HAProxy sends with its default `tune.bufsize`.
const SIZE_MAX: u32 = 16_380;
