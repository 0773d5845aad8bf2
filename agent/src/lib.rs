//! The agent: answers HAProxy's look-ups for ACME challenge paths over SPOP,
//! from a table of tokens in memory.
//!
//! ```text
//!   HAProxy ──SPOP──▶ listener ─▶ server ─▶ connection ─▶ responder ─▶ table
//!   clients ──JSON──▶ control ─────────────────────────────────────────▶│
//! ```
//!
//! It holds no secret, reads no file after its start, and opens no connection
//! of its own.

pub mod address;
pub mod cli;
pub mod config;
mod connection;
pub mod control;
pub mod listener;
mod responder;
pub mod run;
pub mod server;
pub mod stats;
pub mod table;
