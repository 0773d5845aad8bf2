//! Dialogues with the agent over real sockets: the tests play HAProxy, or a
//! client of the control socket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod control;
mod peer;
mod spop;
