//! By a program of the operator's: arguments as they stand, no shell.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::event::Event;

/// Runs `command` with the event as JSON on its standard input, and in its
/// environment. The caller's time limit ends it. What it prints goes nowhere:
/// its exit status says whether it did its work.
pub(super) async fn run(command: &[String], event: &Event) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("no program")?;
    let fail = |error: std::io::Error| format!("{program}: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .env("SPOACME_EVENT", event.event.as_str())
        .env(
            "SPOACME_CERTIFICATE",
            event.certificate.as_deref().unwrap_or_default(),
        )
        .env("SPOACME_TEXT", event.message())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(fail)?;
    let input = serde_json::to_vec(event).unwrap_or_default();
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read has its reasons.
        let _ = stdin.write_all(&input).await;
    }
    match child.wait().await.map_err(fail)? {
        status if status.success() => Ok(()),
        status => Err(format!("{program}: {status}")),
    }
}
