//! The wall clock. Everything else takes the time as an argument.

use jiff::Timestamp;

/// The time now, by the machine's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
