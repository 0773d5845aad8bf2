//! By a program of the operator's: arguments as they stand, no shell.

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::event::Event;

/// Runs `command` with the event as JSON on its standard input, and in its
/// environment. The caller's time limit ends it.
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
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(fail)?;
    let input = serde_json::to_vec(event).unwrap_or_default();
    let mut stdin = child.stdin.take();
    let mut said = Vec::new();
    let feed = async {
        if let Some(stdin) = &mut stdin {
            // A program that does not read has its reasons.
            let _ = stdin.write_all(&input).await;
        }
        drop(stdin);
    };
    let listen = async {
        if let Some(stderr) = child.stderr.take() {
            let _ = stderr.take(SAID_MAX).read_to_end(&mut said).await;
        }
    };
    tokio::join!(feed, listen);
    let status = child.wait().await.map_err(fail)?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next().unwrap_or_default();
    Err(format!("{program}: {status}: {}", line.escape_debug()))
}

/// In bytes, of what a program complains. More stays in its pipe.
const SAID_MAX: u64 = 1024;
