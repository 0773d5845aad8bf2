//! `spoacme run`: the loop that keeps every certificate issued and served.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::config::{Config, ConfigError};
use crate::deploy::DeployError;
use crate::manager::{Manager, Report, When};
use crate::names::CertificateName;
use crate::store::{Lock, StoreError};
use crate::watch::Watch;

/// Runs until `shutdown` is done.
///
/// # Errors
///
/// When it cannot even begin: no configuration, no state directory.
pub async fn run(
    path: &Path,
    clock: fn() -> Timestamp,
    shutdown: impl Future<Output = ()>,
) -> Result<(), DaemonError> {
    let mut daemon = Daemon::start(path, clock).await?;
    tokio::pin!(shutdown);
    loop {
        // Work stops at its next wait. Whatever was under way is on disk.
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = daemon.turn() => {}
        }
    }
    info!("stopped");
    Ok(())
}

/// Why the daemon cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is faulty.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// HAProxy's directory cannot be used.
    #[error(transparent)]
    Deploy(#[from] DeployError),
}

impl DaemonError {
    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(_) => None,
            Self::Store(error) => error.hint(),
            Self::Deploy(error) => error.hint(),
        }
    }
}

struct Daemon<'a> {
    path: &'a Path,
    // Held for life: there is one daemon.
    _claim: Lock,
    clock: fn() -> Timestamp,
    manager: Manager,
    watch: Watch,
    /// The last complaint about each certificate, so that one that lasts is
    /// logged once.
    complaints: BTreeMap<CertificateName, String>,
}

impl<'a> Daemon<'a> {
    async fn start(path: &'a Path, clock: fn() -> Timestamp) -> Result<Self, DaemonError> {
        let manager = Manager::open(Config::load_with_added(path)?, clock)?;
        let claim = manager.store().claim().await?;
        {
            let _lock = manager.lock(LOCK_PATIENCE).await?;
            manager.prepare()?;
        }
        let watch = watch(path, &manager);
        info!(
            version = env!("CARGO_PKG_VERSION"),
            certificates = manager.config().certificates.len(),
            "started"
        );
        Ok(Self {
            path,
            _claim: claim,
            clock,
            manager,
            watch,
            complaints: BTreeMap::new(),
        })
    }

    /// One pass over all certificates, and the wait for the next.
    async fn turn(&mut self) {
        let wait = match self.pass().await {
            Ok(wait) => wait,
            Err(error) => {
                warn!(%error, "this pass is skipped");
                RETRY_INTERVAL
            }
        };
        debug!(seconds = wait.as_secs(), "waiting");
        tokio::select! {
            () = sleep(wait) => {}
            () = self.watch.changed() => self.reload(),
        }
    }

    /// Works on every certificate, and says how long to wait.
    async fn pass(&mut self) -> Result<Duration, StoreError> {
        let mut wait = PASS_INTERVAL;
        for certificate in &self.manager.config().certificates {
            // For each anew: commands need not wait for a long pass.
            let _lock = self.manager.lock(LOCK_PATIENCE).await?;
            let report = self.manager.work(certificate, When::Due).await;
            wait = wait.min(self.wait_after(&report));
            complain(&mut self.complaints, report);
        }
        Ok(wait)
    }

    fn wait_after(&self, report: &Report) -> Duration {
        let until_due = report.next.as_ref().map(|step| {
            let left = step.at.duration_since((self.clock)());
            Duration::try_from(left).unwrap_or_default().max(WAIT_MIN)
        });
        match (&report.error, until_due) {
            (None, Some(wait)) => wait,
            _ => RETRY_INTERVAL,
        }
    }

    /// Takes a changed configuration; a faulty one changes nothing.
    fn reload(&mut self) {
        let opened = Config::load_with_added(self.path)
            .map_err(DaemonError::from)
            .and_then(|config| Ok(Manager::open(config, self.clock)?));
        match opened {
            Ok(manager) => {
                self.watch = watch(self.path, &manager);
                self.manager = manager;
            }
            Err(error) => error!("the changed configuration is not taken:\n{error}"),
        }
    }
}

/// Compares everything at least that often (reliability: drift is found).
const PASS_INTERVAL: Duration = Duration::from_secs(60);

/// While something is amiss that needs no CA to be mended.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// No loop runs hot, whatever the schedule says.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// A command may be issuing in the meantime.
const LOCK_PATIENCE: Duration = Duration::from_secs(300);

fn watch(path: &Path, manager: &Manager) -> Watch {
    let desired = manager.store().desired_directory();
    Watch::new(path, &[&manager.config().haproxy.certificates, &desired])
}

fn complain(complaints: &mut BTreeMap<CertificateName, String>, report: Report) {
    let Some(cause) = report.error else {
        complaints.remove(&report.name);
        return;
    };
    let text = cause.to_string();
    if complaints.get(&report.name) == Some(&text) {
        return debug!(certificate = %report.name, "still: {text}");
    }
    let hint = cause.hint().unwrap_or_default();
    let next = report
        .next
        .map(|step| step.at.to_string())
        .unwrap_or_default();
    error!(certificate = %report.name, hint, next, "{text}");
    complaints.insert(report.name, text);
}
