//! Counters, and who this agent is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use spoacme_control::Stats;

/// Counters since the start.
#[derive(Debug)]
pub struct Counters {
    started: Instant,
    pub(crate) lookups_found: Counter,
    pub(crate) lookups_not_found: Counter,
    pub(crate) connections_open: Counter,
    pub(crate) connections_accepted: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) health_checks: Counter,
    pub(crate) protocol_errors: Counter,
    pub(crate) panics: Counter,
}

impl Counters {
    /// All zero, at the start.
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            lookups_found: Counter::default(),
            lookups_not_found: Counter::default(),
            connections_open: Counter::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            health_checks: Counter::default(),
            protocol_errors: Counter::default(),
            panics: Counter::default(),
        }
    }

    /// What a client is told.
    pub fn report(&self, tokens: usize, now: Instant) -> Stats {
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: now.saturating_duration_since(self.started).as_secs(),
            tokens: tokens.try_into().unwrap_or(u64::MAX),
            lookups_found: self.lookups_found.get(),
            lookups_not_found: self.lookups_not_found.get(),
            connections_open: self.connections_open.get(),
            connections_accepted: self.connections_accepted.get(),
            connections_refused: self.connections_refused.get(),
            health_checks: self.health_checks.get(),
            protocol_errors: self.protocol_errors.get(),
            panics: self.panics.get(),
        }
    }
}

/// A number that several tasks count.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
