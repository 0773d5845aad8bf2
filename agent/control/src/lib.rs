//! The messages between spoacme-agent and its clients, and the client.
//!
//! A client connects to the agent's Unix socket, sends one JSON object on a
//! line, and reads one back:
//!
//! ```text
//! {"op":"put","owner":"cli","tokens":[{"token":"…","key_authorization":"….…","hosts":["example.com"]}]}
//! {"ok":true,"boot_id":"5c2d…","stored":1}
//! ```
//!
//! | op | fields | answer |
//! |---|---|---|
//! | `put` | `owner`, `tokens` | `stored` |
//! | `delete` | `owner`, `tokens` (only their names) | `deleted` |
//! | `list` | | `tokens`, without key authorizations |
//! | `replace` | `owner`, `tokens`: the owner's whole set from now on | `stored` |
//! | `stats` | | `stats` |
//! | `ping` | | |
//!
//! Every answer carries the agent's `boot_id`. It changes when the agent
//! restarts, and tells clients to publish again: tokens live in memory only.
//! A refused request is answered with `"ok":false` and an `error` of `code`
//! and `message`.

mod client;
mod entry;
mod host;
mod message;
mod token;

pub use client::{Client, Error};
pub use entry::{Entry, EntryError, Owner, TTL_DEFAULT_SECONDS, TTL_MAX_SECONDS};
pub use host::{Host, HostError};
pub use message::{
    ANSWER_SIZE_MAX, Answer, Code, Listed, REQUEST_SIZE_MAX, Refusal, Request, Stats,
};
pub use token::{KeyAuthorization, Token, TokenError};
