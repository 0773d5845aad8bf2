//! SPOP frames and the agent-side session, without I/O, clock or tasks.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod ack;
mod disconnect;
mod error;
mod notify;
mod session;
mod value;

pub use ack::{Ack, Action, ActionError, Scope};
pub use disconnect::Status;
pub use error::Error;
pub use notify::{Argument, Message};
pub use session::{Cause, Limits, Next, Received, Responder, Session};
pub use value::Value;
