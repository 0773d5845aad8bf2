//! Waiting for a condition: bounded, and never by luck.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Tries until it succeeds.
///
/// # Errors
///
/// What it failed of last, after [`PATIENCE`].
pub fn until<T, E: Display>(
    what: &str,
    attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, String> {
    until_within(PATIENCE, what, attempt)
}

/// Tries until it succeeds, for `patience` at most.
///
/// # Errors
///
/// What it failed of last.
pub fn until_within<T, E: Display>(
    patience: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, String> {
    let deadline = Instant::now() + patience;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(format!("gave up waiting for {what}: {error}"));
            }
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}

/// Fails unless a condition holds.
///
/// # Errors
///
/// `message` when it does not.
pub fn ensure(condition: bool, message: impl Display) -> Result<(), String> {
    if condition {
        Ok(())
    } else {
        Err(message.to_string())
    }
}
