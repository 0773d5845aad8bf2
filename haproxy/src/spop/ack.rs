//! ACK: what the agent answers (SPOE.txt 3.2.7, 3.4).

use nom::Parser;
use nom::number::complete::u8;

use super::error::{Malformed, Parsed};
use super::frame::{self, FrameId, FrameType, Head, StreamId};
use super::{Value, item, varint};

/// An ACK under construction at the end of the output.
#[derive(Debug)]
pub struct Ack<'a> {
    output: &'a mut Vec<u8>,
    start: usize,
    size_max: usize,
    is_empty: bool,
}

impl<'a> Ack<'a> {
    /// Sets the variable `scope.PREFIX.name`. HAProxy ignores it unless its configuration mentions it.
    ///
    /// # Errors
    ///
    /// As [`Ack::push`].
    pub fn set_var(
        &mut self,
        scope: Scope,
        name: &str,
        value: Value<'_>,
    ) -> Result<(), ActionError> {
        self.push(Action::SetVar {
            scope,
            name: name.as_bytes(),
            value,
        })
    }

    /// Unsets the variable `scope.PREFIX.name`.
    ///
    /// # Errors
    ///
    /// As [`Ack::push`].
    pub fn unset_var(&mut self, scope: Scope, name: &str) -> Result<(), ActionError> {
        self.push(Action::UnsetVar {
            scope,
            name: name.as_bytes(),
        })
    }

    /// Adds an action.
    ///
    /// # Errors
    ///
    /// When the name has not 1 to 57 bytes, or the frame would be longer than HAProxy takes. The ACK
    /// is as it was before then.
    pub fn push(&mut self, action: Action<'_>) -> Result<(), ActionError> {
        if !(1..=NAME_SIZE_MAX).contains(&action.name().len()) {
            return Err(ActionError::NameSize);
        }
        let before = self.output.len();
        action.encode(self.output);
        if frame::size_from(self.start, self.output) > self.size_max {
            self.output.truncate(before);
            return Err(ActionError::FrameFull);
        }
        self.is_empty = false;
        Ok(())
    }

    /// Whether it has no action yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Begins the ACK of the NOTIFY with these identifiers; `size_max` is in bytes.
    pub(super) fn begin(
        stream_id: StreamId,
        frame_id: FrameId,
        size_max: u32,
        output: &'a mut Vec<u8>,
    ) -> Self {
        let start = frame::begin(&Head::stream(FrameType::ACK, stream_id, frame_id), output);
        let size_max = usize::try_from(size_max).unwrap_or(usize::MAX);
        Self {
            output,
            start,
            size_max,
            is_empty: true,
        }
    }

    pub(super) fn finish(self) {
        frame::finish(self.start, self.output);
    }
}

/// Why an action was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// The name is empty, or longer than HAProxy takes.
    #[error("variable name is empty or too long")]
    NameSize,
    /// The frame would be longer than HAProxy takes.
    #[error("no room in the frame")]
    FrameFull,
}

/// The payload of an ACK as HAProxy reads it: actions one after the other, parsed as they are asked
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions<'a> {
    payload: &'a [u8],
}

impl<'a> Actions<'a> {
    /// Takes a payload; nothing is parsed yet.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Self { payload }
    }

    /// The actions in order. The first malformed one is the last item.
    pub fn iter(&self) -> impl Iterator<Item = Result<Action<'a>, Malformed>> + use<'a> {
        item::list(self.payload, Action::decode)
    }
}

/// What an ACK asks HAProxy to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// `set-var`. [`Value::Null`] unsets the variable.
    SetVar {
        /// Where the variable lives.
        scope: Scope,
        /// Its name without scope and prefix.
        name: &'a [u8],
        /// Its value.
        value: Value<'a>,
    },
    /// `unset-var`
    UnsetVar {
        /// Where the variable lives.
        scope: Scope,
        /// Its name without scope and prefix.
        name: &'a [u8],
    },
}

impl<'a> Action<'a> {
    /// The name of the variable, without scope and prefix.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        match *self {
            Self::SetVar { name, .. } | Self::UnsetVar { name, .. } => name,
        }
    }

    fn decode(input: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, kind_and_count) = (u8, u8).parse(input)?;
        match kind_and_count {
            SET_VAR => (Scope::decode, varint::decode_string, Value::decode)
                .map(|(scope, name, value)| Self::SetVar { scope, name, value })
                .parse(rest),
            UNSET_VAR => (Scope::decode, varint::decode_string)
                .map(|(scope, name)| Self::UnsetVar { scope, name })
                .parse(rest),
            _ => Err(nom::Err::Failure(Malformed::UnknownAction)),
        }
    }

    fn encode(&self, output: &mut Vec<u8>) {
        let ((kind, count), scope) = match *self {
            Self::SetVar { scope, .. } => (SET_VAR, scope),
            Self::UnsetVar { scope, .. } => (UNSET_VAR, scope),
        };
        output.extend_from_slice(&[kind, count, scope as u8]);
        varint::encode_string(self.name(), output);
        if let Self::SetVar { value, .. } = self {
            value.encode(output);
        }
    }
}

/// Where a variable lives, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// `proc`: HAProxy's process. An agent cannot create such a variable.
    Process = 0,
    /// `sess`: the client's connection.
    Session = 1,
    /// `txn`: the request and its response.
    Transaction = 2,
    /// `req`: the request.
    Request = 3,
    /// `res`: the response.
    Response = 4,
}

impl Scope {
    fn decode(input: &[u8]) -> Parsed<'_, Self> {
        let (rest, scope) = u8(input)?;
        let scope = match scope {
            0 => Self::Process,
            1 => Self::Session,
            2 => Self::Transaction,
            3 => Self::Request,
            4 => Self::Response,
            unknown => return Err(nom::Err::Failure(Malformed::UnknownScope(unknown))),
        };
        Ok((rest, scope))
    }
}

/// The longest name, in bytes. HAProxy builds `scope.prefix.name` in a buffer for 63, and before
/// August 2026 read past it; the shortest scope and prefix take six.
const NAME_SIZE_MAX: usize = 57;

/// The type of an action and the number of its arguments.
const SET_VAR: (u8, u8) = (1, 3);
const UNSET_VAR: (u8, u8) = (2, 2);

#[cfg(test)]
mod tests {
    use super::super::Frame;
    use super::*;

    const FOUND: Action<'_> = Action::SetVar {
        scope: Scope::Transaction,
        name: b"found",
        value: Value::Bool(true),
    };

    /// The frame with what `fill` adds, and what `fill` returned.
    fn ack<T>(size_max: u32, fill: impl FnOnce(&mut Ack<'_>) -> T) -> (Vec<u8>, T) {
        let mut output = Vec::new();
        let mut ack = Ack::begin(StreamId(0), FrameId(1), size_max, &mut output);
        let filled = fill(&mut ack);
        ack.finish();
        (output, filled)
    }

    fn actions(frame: &[u8]) -> Vec<Action<'_>> {
        let (frame, rest) = Frame::split(frame, 16_380).unwrap().unwrap();
        assert!(rest.is_empty());
        assert_eq!(
            frame.head,
            Head::stream(FrameType::ACK, StreamId(0), FrameId(1))
        );
        Actions::new(frame.payload)
            .iter()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn is_what_haproxy_expects() {
        let (frame, ()) = ack(16_380, |ack| {
            assert!(ack.is_empty());
            ack.set_var(Scope::Transaction, "found", true.into())
                .unwrap();
            ack.unset_var(Scope::Session, "old").unwrap();
            assert!(!ack.is_empty());
        });
        let expected = b"\x00\x00\x00\x18\x67\x00\x00\x00\x01\x00\x01\
            \x01\x03\x02\x05found\x11\x02\x02\x01\x03old";
        assert_eq!(frame, expected);
        let old = Action::UnsetVar {
            scope: Scope::Session,
            name: b"old",
        };
        assert_eq!(actions(&frame), [FOUND, old]);
    }

    #[test]
    fn an_action_that_does_not_fit_leaves_no_trace() {
        let (frame, filled) = ack(256, |ack| {
            ack.push(FOUND).unwrap();
            ack.set_var(Scope::Transaction, "body", Value::Binary(&[0; 300]))
        });
        assert_eq!(filled, Err(ActionError::FrameFull));
        assert_eq!(actions(&frame), [FOUND]);
    }

    #[test]
    fn fills_the_frame_to_its_last_byte() {
        let value = [0; 256 - 7 - 3 - 2 - 3];
        let set = |value| {
            ack(256, |ack| {
                ack.set_var(Scope::Request, "a", Value::Binary(value))
            })
        };
        assert_eq!(set(&value).0.len(), 4 + 256);
        assert_eq!(
            set(&[0; 256 - 7 - 3 - 2 - 3 + 1]).1,
            Err(ActionError::FrameFull)
        );
    }

    #[test]
    fn refuses_names_that_haproxy_cannot_hold() {
        let (frame, _) = ack(16_380, |ack| {
            let long = "x".repeat(58);
            assert_eq!(
                ack.unset_var(Scope::Request, &long),
                Err(ActionError::NameSize)
            );
            assert_eq!(
                ack.unset_var(Scope::Request, ""),
                Err(ActionError::NameSize)
            );
            ack.unset_var(Scope::Request, &long[1..]).unwrap();
        });
        assert_eq!(actions(&frame)[0].name().len(), 57);
    }

    #[test]
    fn every_scope_round_trips() {
        use Scope::{Process, Request, Response, Session, Transaction};
        for scope in [Process, Session, Transaction, Request, Response] {
            let (frame, _) = ack(256, |ack| ack.unset_var(scope, "a").unwrap());
            assert_eq!(actions(&frame), [Action::UnsetVar { scope, name: b"a" }]);
        }
    }

    #[test]
    fn rejects_what_is_no_action() {
        let first = |payload| Actions::new(payload).iter().next().unwrap();
        assert_eq!(
            first(b"\x03\x03\x02\x01a\x00"),
            Err(Malformed::UnknownAction)
        );
        assert_eq!(
            first(b"\x01\x02\x02\x01a\x00"),
            Err(Malformed::UnknownAction)
        );
        assert_eq!(
            first(b"\x01\x03\x05\x01a\x00"),
            Err(Malformed::UnknownScope(5))
        );
        assert_eq!(first(b"\x01\x03\x02\x01a"), Err(Malformed::Truncated));
    }
}
