//! HAProxy's Runtime API, as far as certificates need it (management.txt §9.3).
//!
//! Commands are built from validated parts, replies are parsed into types.
//! Only [`Client`] does I/O: one fresh connection for each command, because a
//! connection that outlives a reload goes on talking to the old worker and
//! keeps it alive.
//!
//! ```text
//! StorePath, Payload ──▶ Command ──▶ Client ──▶ reply ──▶ Info, Details, ...
//!                                      └── swap: new, set, commit, add, look
//! ```
//!
//! There are no return codes: success and failure are sentences, and what
//! counts in the end is the fingerprint that HAProxy says it uses.

mod address;
#[cfg(test)]
mod capture;
#[cfg(feature = "client")]
mod client;
mod command;
mod error;
mod name;
mod payload;
pub mod reply;
#[cfg(feature = "client")]
mod swap;
mod version;

pub use address::{Address, AddressError};
#[cfg(feature = "client")]
pub use client::Client;
pub use command::Command;
pub use error::Error;
pub use name::{NameError, StorePath};
pub use payload::{Payload, PayloadError};
pub use reply::{CrtListEntry, Details, Info, Outcome, Status};
#[cfg(feature = "client")]
pub use swap::{Swapped, swap};
pub use version::Version;
