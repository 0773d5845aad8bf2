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
mod tests;
