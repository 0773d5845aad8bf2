//! `spoacme run`: the loop that keeps every certificate issued and served.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use crate::alert::outbox::Courier;
use crate::alert::{Condition, Patience, Sent, decide};
use crate::config::{Alert, Certificate, Config, ConfigError};
use crate::deploy::{DeployError, Survey};
use crate::manager::{Manager, Report, When};
use crate::names::CertificateName;
use crate::store::{Known, Lock, Store, StoreError};
use crate::watch::Watch;
use crate::watchman::{self, Watched};

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
    alarm: Alarm,
    /// What process each HAProxy was when the last pass began.
    processes: Vec<Option<u32>>,
    /// Which certificates are looked at again in this pass.
    window: usize,
    /// Those that were not served when they were looked at last.
    drifted: BTreeSet<CertificateName>,
    /// The last complaint about each certificate, so that one that lasts is
    /// logged once.
    complaints: BTreeMap<String, String>,
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
        let alarm = Alarm::new(&manager, clock);
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
            alarm,
            processes: Vec::new(),
            window: 0,
            drifted: BTreeSet::new(),
            complaints: BTreeMap::new(),
        })
    }

    /// One pass over all certificates, and the wait for the next.
    async fn turn(&mut self) {
        let begun = Instant::now();
        let wait = self.pass().await;
        debug!(seconds = wait.as_secs(), "waiting");
        // Whoever writes again and again does not make us run hot.
        sleep_until(begun + PASS_SPACING).await;
        tokio::select! {
            () = sleep(wait) => {}
            () = self.watch.changed() => self.reload().await,
            () = other_process(&self.manager, &self.processes) => debug!("another HAProxy process"),
        }
    }

    /// Works on every certificate, tells of trouble, and says how long to wait.
    async fn pass(&mut self) -> Duration {
        let begun = Instant::now();
        self.processes = self.manager.processes().await;
        let (silent, agent) = self.manager.look_around().await;
        let is_haproxy_there = silent.len() < self.processes.len();
        let mut conditions = watchman::neighbourhood(silent, agent);
        let mut wait = match conditions.is_empty() {
            true => PASS_INTERVAL,
            false => RETRY_INTERVAL,
        };
        let survey = self.manager.survey().await;
        let count = self.manager.config().certificates.len();
        let mut worked = 0_usize;
        for (index, certificate) in self.manager.config().certificates.iter().enumerate() {
            let name = &certificate.name;
            let distance = (index + count - self.window.min(count)) % count;
            let is_watched = distance < WINDOW || self.drifted.contains(name);
            let looks = is_watched && is_haproxy_there;
            match self.work(certificate, &survey, looks).await {
                Ok(work) => {
                    // What is not served is looked at until it is.
                    match work.is_drifted {
                        Some(true) => drop(self.drifted.insert(name.clone())),
                        Some(false) => drop(self.drifted.remove(name)),
                        None => {}
                    }
                    worked += usize::from(work.is_more_than_a_glance);
                    conditions.extend(self.conditions(&work.report, &work.known));
                    wait = wait.min(self.wait_after(&work.report));
                    complain(&mut self.complaints, work.report);
                }
                // One whose records cannot be read does not keep the others from
                // theirs, nor anybody from hearing of it.
                Err(error) => {
                    conditions.push(watchman::unreadable(certificate, &error));
                    wait = wait.min(RETRY_INTERVAL);
                    let (text, hint) = (error.to_string(), error.hint());
                    grumble(&mut self.complaints, name.to_string(), &text, hint, "");
                }
            }
        }
        self.window = (self.window + WINDOW) % count.max(1);
        drop(survey);
        conditions.extend(self.reconcile_externals().await);
        self.alarm.raise(&conditions, self.manager.store());
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        debug!(millis, certificates = count, worked, "pass");
        wait
    }

    /// Works on one certificate, and asks its addresses if it `looks`.
    async fn work(
        &self,
        certificate: &Certificate,
        survey: &Survey<'_>,
        looks: bool,
    ) -> Result<Work, StoreError> {
        let seen = self.manager.glance(certificate, survey);
        let is_more_than_a_glance = seen.is_none();
        let (mut report, known) = match seen {
            Some(seen) => seen,
            None => {
                // For each anew: commands need not wait for a long pass.
                let _lock = self.manager.lock(LOCK_PATIENCE).await?;
                let report = self.manager.work(certificate, When::Due).await;
                (report, self.manager.store().known(&certificate.name)?)
            }
        };
        let mut is_drifted = None;
        if looks && report.error.is_none() {
            // Under the lock: a command may be about to change what is served.
            let _lock = self.manager.lock(LOCK_PATIENCE).await?;
            self.manager.look_again(certificate, &mut report).await;
            is_drifted = Some(report.error.is_some());
        }
        Ok(Work {
            report,
            known,
            is_drifted,
            is_more_than_a_glance,
        })
    }

    /// What others have made.
    async fn reconcile_externals(&mut self) -> Vec<Condition> {
        if self.manager.config().externals.is_empty() {
            return Vec::new();
        }
        let _lock = match self.manager.lock(LOCK_PATIENCE).await {
            Ok(lock) => lock,
            Err(error) => {
                warn!(%error, "[[external]] is skipped");
                return Vec::new();
            }
        };
        let externals = match self.manager.reconcile_externals().await {
            Ok(externals) => externals,
            Err(error) => {
                warn!(%error, "[[external]] is skipped");
                return Vec::new();
            }
        };
        let conditions = externals.iter().filter_map(watchman::external);
        let conditions = Vec::from_iter(conditions);
        for external in externals {
            let name = external.path.display().to_string();
            match external.error {
                None => drop(self.complaints.remove(&name)),
                Some(error) => grumble(
                    &mut self.complaints,
                    name,
                    &error.to_string(),
                    error.hint(),
                    "",
                ),
            }
        }
        conditions
    }

    fn conditions(&self, report: &Report, known: &Known) -> Vec<Condition> {
        let newest = known.newest.as_ref();
        let watched = Watched {
            report,
            leaf: newest.map(|generation| &generation.meta.leaf),
            history: &known.history,
        };
        let thresholds = self.manager.config().thresholds;
        watchman::conditions(&watched, thresholds, (self.clock)())
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
    async fn reload(&mut self) {
        let opened = Config::load_with_added(self.path)
            .map_err(DaemonError::from)
            .and_then(|config| Ok(Manager::open(config, self.clock)?));
        let manager = match opened {
            Ok(manager) => manager,
            Err(error) => return error!("the changed configuration is not taken:\n{error}"),
        };
        self.watch = watch(self.path, &manager);
        // What is under way to somebody is not thrown away for nothing.
        if !self.alarm.is_for(&manager) {
            self.alarm = Alarm::new(&manager, self.clock);
        }
        self.manager = manager;
        let prepared = match self.manager.lock(LOCK_PATIENCE).await {
            Ok(_lock) => self.manager.prepare().map_err(DaemonError::from),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = prepared {
            warn!(%error, "HAProxy's files are not prepared");
        }
    }
}

/// What a pass has done for one certificate.
struct Work {
    report: Report,
    known: Known,
    /// Whether something else is served; nothing if nobody looked.
    is_drifted: Option<bool>,
    is_more_than_a_glance: bool,
}

/// Who is told of trouble.
struct Alarm {
    alerts: Vec<Alert>,
    patience: Patience,
    courier: Courier,
    clock: fn() -> Timestamp,
}

impl Alarm {
    fn new(manager: &Manager, clock: fn() -> Timestamp) -> Self {
        let Config {
            alerts, thresholds, ..
        } = manager.config();
        let patience = Patience {
            grace: thresholds.grace,
            repeat: thresholds.repeat,
        };
        let courier = Courier::start(alerts.clone(), manager.store().clone(), clock);
        Self {
            alerts: alerts.clone(),
            patience,
            courier,
            clock,
        }
    }

    /// Whether nothing has changed for it.
    fn is_for(&self, manager: &Manager) -> bool {
        let Config {
            alerts, thresholds, ..
        } = manager.config();
        let Patience { grace, repeat } = self.patience;
        self.alerts == *alerts && grace == thresholds.grace && repeat == thresholds.repeat
    }

    /// What was told is on disk before it is on its way: a crash in between
    /// loses an alert until it is repeated, and never sends a hundred.
    fn raise(&self, conditions: &[Condition], store: &Store) {
        let sent = store.sent_alerts().unwrap_or_else(|error| {
            warn!(%error, "what has been told is forgotten");
            Sent::default()
        });
        let (events, after) = decide(conditions, sent.clone(), self.patience, (self.clock)());
        if after != sent
            && let Err(error) = store.keep_sent_alerts(&after)
        {
            return error!(%error, "nobody is told");
        }
        for event in events {
            self.courier.send(event);
        }
    }
}

/// Compares everything at least that often (reliability: drift is found).
const PASS_INTERVAL: Duration = Duration::from_secs(60);

/// Between the beginnings of two passes, at least.
const PASS_SPACING: Duration = Duration::from_secs(1);

/// Certificates whose addresses are asked again in one pass.
const WINDOW: usize = 20;

/// While something is amiss that needs no CA to be mended.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// No loop runs hot, whatever the schedule says.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// A command may be issuing in the meantime.
const LOCK_PATIENCE: Duration = Duration::from_secs(300);

/// How soon another HAProxy process is noticed: a reload brings back what is on
/// disk, which is right, but a restart may have changed more.
const PROCESS_INTERVAL: Duration = Duration::from_secs(2);

/// Returns when a HAProxy has become another process.
async fn other_process(manager: &Manager, before: &[Option<u32>]) {
    loop {
        sleep(PROCESS_INTERVAL).await;
        let now = manager.processes().await;
        // One that does not answer is for the next pass to complain of.
        let is_other = |(before, now): (&Option<u32>, &Option<u32>)| now.is_some() && before != now;
        if before.iter().zip(&now).any(is_other) {
            return;
        }
    }
}

fn watch(path: &Path, manager: &Manager) -> Watch {
    let config = manager.config();
    let mut watched = vec![manager.store().desired_directory()];
    for haproxy in &config.haproxys {
        watched.push(haproxy.certificates.clone());
        watched.extend(haproxy.crt_list.iter().filter_map(|list| directory(list)));
    }
    let files = config.certificates.iter().filter_map(|c| c.file.as_deref());
    watched.extend(files.filter_map(directory));
    for external in &config.externals {
        watched.extend(match external.path.is_dir() {
            true => Some(external.path.clone()),
            false => directory(&external.path),
        });
    }
    watched.sort_unstable();
    watched.dedup();
    Watch::new(path, &watched)
}

fn directory(path: &Path) -> Option<PathBuf> {
    path.parent().map(Path::to_owned)
}

fn complain(complaints: &mut BTreeMap<String, String>, report: Report) {
    let name = report.name.to_string();
    let Some(cause) = report.error else {
        complaints.remove(&name);
        return;
    };
    let next = report
        .next
        .map(|step| step.at.to_string())
        .unwrap_or_default();
    grumble(complaints, name, &cause.to_string(), cause.hint(), &next);
}

/// Logs a complaint, once for as long as it lasts.
fn grumble(
    complaints: &mut BTreeMap<String, String>,
    certificate: String,
    text: &str,
    hint: Option<String>,
    next: &str,
) {
    if complaints
        .get(&certificate)
        .is_some_and(|last| last == text)
    {
        return debug!(certificate, "still: {text}");
    }
    let hint = hint.unwrap_or_default();
    error!(certificate, hint, next, "{text}");
    complaints.insert(certificate, text.to_owned());
}
