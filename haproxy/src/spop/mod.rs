//! SPOP: the protocol between HAProxy's SPOE filter and its agents (HAProxy's `doc/SPOE.txt`).
//!
//! ```text
//!   input bytes ──> Frame::split ──> Session ──> Responder   (look up, set variables)
//!                                       │            │
//!   output bytes <── HELLO, DISCONNECT ─┴─ ACK <─────┘
//! ```
//!
//! [`Session`] is the agent's side of one connection. It neither reads nor writes, knows no time and
//! starts no task: the caller brings the bytes, and the [`Responder`] brings the answers. Frames are
//! decoded where they lie, and a frame is answered without allocation beyond the growth of the output.
//!
//! What HAProxy sends can be encoded as well, so that tests can play HAProxy.
//!
//! It does not fragment payloads, nor does it take fragments: HAProxy gave them up in 3.1, and a request's
//! path and host never need them.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        reason = "there is no setting that allows it in tests alone"
    )
)]

mod ack;
mod disconnect;
mod error;
mod frame;
mod hello;
mod item;
mod notify;
mod session;
mod value;
mod varint;

pub use ack::{Ack, Action, ActionError, Actions, Scope};
pub use disconnect::{Disconnect, Status};
pub use error::{Error, Malformed};
pub use frame::{Flags, Frame, FrameId, FrameType, Head, StreamId};
pub use hello::{AgentHello, HaproxyHello};
pub use notify::{Argument, Message, Notify};
pub use session::{Cause, Limits, Next, Received, Responder, Session};
pub use value::Value;
