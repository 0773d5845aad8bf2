//! What commands print: results on stdout, complaints on stderr.

use std::io::{self, Write};

use serde::Serialize;

use super::progress::aside;
use crate::exit::Exit;

/// Prints a result. A reader that has gone is no error.
pub(super) fn print(text: &str) {
    let _ = aside(|| writeln!(io::stdout().lock(), "{text}"));
}

/// Prints a result as JSON.
pub(super) fn print_json<T: Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&text),
        Err(error) => drop(fail(&error.to_string(), None)),
    }
}

/// Complains in one message, with the way out, and says "failed".
pub fn fail(message: &str, hint: Option<&str>) -> Exit {
    aside(|| {
        let mut stderr = io::stderr().lock();
        for line in message.lines() {
            let _ = writeln!(stderr, "spoacme: {line}");
        }
        if let Some(hint) = hint {
            let _ = writeln!(stderr, "hint: {hint}");
        }
    });
    Exit::Failed
}
