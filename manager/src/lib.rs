//! The manager: issues and renews certificates over ACME, and deploys them to
//! HAProxy.
//!
//! ```text
//!              schedule ──▶ manager ──▶ acme ──▶ store
//!   daemon ──▶             │              └──▶ publication ──▶ agent
//!   cli    ──▶             └──▶ deploy ──▶ files, HAProxy, wire
//! ```

pub mod acme;
pub mod alert;
pub mod bundle;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod deploy;
pub mod exit;
mod failpoint;
pub mod key;
pub mod leaf;
pub mod manager;
pub mod names;
pub mod policy;
pub mod preflight;
pub mod publication;
pub mod roster;
pub mod schedule;
pub mod store;
pub mod watch;
pub mod watchman;

#[cfg(test)]
mod testing;
