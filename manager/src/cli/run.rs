//! `spoacme run`.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::{complain, output};
use crate::clock;
use crate::daemon::{self, DaemonError};
use crate::exit::Exit;

pub(super) async fn execute(path: &Path) -> Exit {
    match daemon::run(path, clock::now, stop_signal()).await {
        Ok(()) => Exit::Done,
        Err(DaemonError::Config(error)) => complain(&error),
        Err(error) => output::fail(&error.to_string(), error.hint().as_deref()),
    }
}

/// SIGTERM or SIGINT, from this call on.
fn stop_signal() -> impl Future<Output = ()> {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM received"),
            _ = interrupt.recv() => info!("SIGINT received"),
        }
    }
}
