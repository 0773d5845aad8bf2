//! The agent's life: bind, serve, drain.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, SocketAccess};
use crate::control::{self, Admission};
use crate::listener::{BindError, Listener, bind_unix};
use crate::server::{self, Service};
use crate::stats::Counters;
use crate::table::Table;

/// Runs until SIGTERM or SIGINT, then drains.
///
/// # Errors
///
/// When it cannot begin.
pub async fn run(config: &Config) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
    let service = Arc::new(Service {
        table: Table::default(),
        counters: Counters::new(Instant::now()),
        limits: config.limits,
        boot_id: draw_boot_id().map_err(RunError::Runtime)?,
    });
    let admission = Admission::new(config.control_group.as_deref()).map_err(RunError::Runtime)?;
    let access = SocketAccess {
        mode: 0o660,
        group: config.control_group.clone(),
    };
    let (control, _cleanup) = bind_unix(&config.control, &access).map_err(|source| BindError {
        address: config.control.display().to_string(),
        source,
    })?;
    let mut listeners = Vec::new();
    for address in &config.listen {
        listeners.push(Listener::bind(address, &config.socket).await?);
        info!(%address, "listening for HAProxy");
    }
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server::run(listeners, Arc::clone(&service), stop.clone()));
    tokio::spawn(control::run(
        control,
        admission,
        Arc::clone(&service),
        stop.clone(),
    ));
    tokio::spawn(sweep(Arc::clone(&service), stop.clone()));
    info!(version = env!("CARGO_PKG_VERSION"), control = %config.control.display(), "started");
    notify(NotifyState::Ready);
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM received; draining"),
        _ = interrupt.recv() => info!("SIGINT received; draining"),
    }
    notify(NotifyState::Stopping);
    stop.cancel();
    if timeout(DRAIN_TIMEOUT, serving).await.is_err() {
        warn!("connections are still open; leaving them");
    }
    info!("stopped");
    Ok(())
}

/// Why the agent cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system refused something basic.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    /// A socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl RunError {
    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Runtime(_) => None,
            Self::Bind(error) => error.hint(),
        }
    }
}

/// Well below systemd's `TimeoutStopSec`.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Removes expired tokens, which look-ups pass over already.
async fn sweep(service: Arc<Service>, stop: CancellationToken) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        service.table.sweep(Instant::now());
    }
}

/// A UUID of the kernel's: random, and one for each start.
fn draw_boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/uuid")?
        .trim()
        .to_owned())
}

/// Tells systemd, if it asked to be told.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot tell systemd");
    }
}
