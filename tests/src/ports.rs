//! Ports that are free now.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port of the loopback that nobody listens on, and that no other call of
/// this process has returned.
///
/// Chosen from below the range that the kernel gives to outgoing connections,
/// so that none of those can take it before it is bound.
///
/// # Errors
///
/// When none is free.
pub fn free() -> Result<u16, String> {
    for _ in FIRST..LAST {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if port >= LAST {
            break;
        }
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port of the loopback is free".to_owned())
}

const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

static NEXT: AtomicU16 = AtomicU16::new(FIRST);
