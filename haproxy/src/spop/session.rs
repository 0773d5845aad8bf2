//! The agent's side of one connection.

use super::{Ack, Action, Error, Message, Status};

/// What the agent allows its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame taken or sent, in bytes without its length field; [256, 65,532].
    pub frame_size_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_size_max: 16_380,
        }
    }
}

/// Answers messages.
pub trait Responder {
    /// Called for each message of a NOTIFY, in order; sets variables.
    fn respond(&mut self, message: &Message<'_>, ack: &mut Ack<'_>);

    /// The one action of an ACK that would otherwise be empty (no message, or none that
    /// `respond` knew): HAProxy 3.1 hangs on an ACK without action.
    fn fallback(&self) -> Action<'_>;
}

/// What the caller does after flushing the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read on.
    Continue,
    /// Flush the output, then close the connection.
    Close,
}

/// Why a session closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A health check was answered.
    HealthCheck,
    /// HAProxy disconnected with this status.
    Disconnected(Status),
    /// HAProxy was told this error.
    Error(Error),
    /// [`Session::disconnect`] was called.
    Left(Status),
}

/// What [`Session::receive`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes at the front of `input` are done with.
    pub consumed: usize,
    /// Whether to go on.
    pub next: Next,
    /// The output is full: flush it and call again before reading more.
    pub output_full: bool,
    /// How many NOTIFY frames were answered.
    pub notifies: usize,
    /// Why it closes; `Some` exactly when `next` is [`Next::Close`].
    pub cause: Option<Cause>,
}

/// The agent's side of one connection.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
}

impl Session {
    /// A session that waits for HAPROXY-HELLO.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Handles every complete frame at the front of `input` and appends the replies to `output`.
    pub fn receive(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
        responder: &mut impl Responder,
    ) -> Received {
        let _ = (output, responder.fallback());
        self.limits = Limits::default();
        Received {
            consumed: input.len(),
            next: Next::Continue,
            output_full: false,
            notifies: 0,
            cause: None,
        }
    }

    /// Whether the HELLO exchange is done.
    #[must_use]
    pub fn is_established(&self) -> bool {
        false
    }

    /// Appends AGENT-DISCONNECT, once, and ends the session.
    pub fn disconnect(&mut self, status: Status, output: &mut Vec<u8>) {
        let _ = status;
        self.limits = Limits::default();
        output.clear();
    }

    /// How much input the caller must be able to hold, in bytes: one frame of the largest size.
    #[must_use]
    pub fn buffer_size(&self) -> usize {
        65_536
    }
}
