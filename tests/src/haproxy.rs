//! HAProxy, as an operator runs it: master and worker, in a chroot, with the
//! configuration that spoacme ships.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use std::{env, fs};

use crate::process::{Process, Signal, send};
use crate::stage::Stage;
use crate::wait;

/// One HAProxy binary.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Release {
    /// Its branch, such as `2.6`.
    pub series: String,
    /// Its exact version, such as `2.6.12-1+deb12u4`.
    pub exact: String,
    /// The binary.
    pub path: PathBuf,
}

/// The branches that spoacme promises to work on.
pub const SERIES: [&str; 4] = ["2.6", "3.0", "3.2", "3.4"];

/// Every binary found: the system's, and what `scripts/haproxy-versions` has
/// brought.
///
/// # Errors
///
/// When there is none, which fails the tests rather than skipping them.
pub fn releases() -> Result<Vec<Release>, String> {
    let private = SERIES.map(|series| tools().join("haproxy").join(series).join("haproxy"));
    let mut found: Vec<Release> = Vec::new();
    for path in [PathBuf::from("/usr/sbin/haproxy")]
        .into_iter()
        .chain(private)
    {
        if let Some(release) = release(&path)
            && found.iter().all(|known| known.series != release.series)
        {
            found.push(release);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err("no HAProxy found: run scripts/haproxy-versions".to_owned());
    }
    Ok(found)
}

/// The folder that `scripts/haproxy-versions` fills.
pub fn tools() -> PathBuf {
    env::var_os("SPOACME_TOOLS").map_or_else(|| repository().join(".tools"), PathBuf::from)
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("/"))
}

/// What a HAProxy of that branch once replied
/// (`haproxy/testdata/runtime/SERIES/NAME.txt`).
///
/// # Errors
///
/// When there is no such reply.
pub fn captured(series: &str, name: &str) -> Result<String, String> {
    let file = format!("haproxy/testdata/runtime/{series}/{name}.txt");
    let file = repository().join(file);
    fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
}

fn release(path: &Path) -> Option<Release> {
    let output = Command::new(path).arg("-v").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let exact = text
        .strip_prefix("HAProxy version ")?
        .split_whitespace()
        .next()?;
    let series = exact.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    Some(Release {
        series,
        exact: exact.to_owned(),
        path: path.to_owned(),
    })
}

/// A running HAProxy.
#[derive(Debug)]
pub struct Haproxy {
    process: Process,
    socket: PathBuf,
    /// The worker that was stopped by a signal.
    stopped: Mutex<Option<u32>>,
}

impl Haproxy {
    pub(crate) fn start(stage: &Stage) -> Result<Self, String> {
        let mut command = command(stage);
        command.arg("-W").arg("-S").arg(stage.path("master.sock"));
        let process = Process::start("haproxy", stage.root(), &mut command)?;
        Self::up(process, stage.path("admin.sock"))
    }

    fn up(process: Process, socket: PathBuf) -> Result<Self, String> {
        let mut haproxy = Self {
            process,
            socket,
            stopped: Mutex::new(None),
        };
        let started = wait::until_within(START_PATIENCE, "HAProxy", || {
            match haproxy.process.expect_running() {
                Ok(()) => haproxy.worker().map(|_| Ok(())),
                // What has ended does not come up any more.
                ended => Ok(ended),
            }
        })?;
        started.map(|()| haproxy)
    }

    /// Starts another one on the same stage, with a configuration and a stats
    /// socket of its own.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_other(stage: &Stage, configuration: &Path, socket: &str) -> Result<Self, String> {
        let mut command = Command::new(&stage.release.path);
        command.arg("-f").arg(configuration).arg("-W");
        Self::up(
            Process::start("other", stage.root(), &mut command)?,
            stage.path(socket),
        )
    }

    /// Checks the configuration without starting, and returns what HAProxy
    /// says of it: nothing, if there is nothing to say.
    ///
    /// # Errors
    ///
    /// When it refuses.
    pub fn check(stage: &Stage) -> Result<String, String> {
        let output = command(stage)
            .arg("-c")
            .output()
            .map_err(|error| error.to_string())?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).replace("Configuration file is valid", "");
        let text = text.trim().to_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(text)
        }
    }

    /// The process id of the worker, which a reload changes.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn worker(&self) -> Result<u32, String> {
        let info = self.runtime("show info")?;
        let line = info.lines().find_map(|line| line.strip_prefix("Pid: "));
        line.and_then(|pid| pid.trim().parse().ok())
            .ok_or_else(|| format!("no Pid in {info:?}"))
    }

    /// Runs one command of the Runtime API.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn runtime(&self, command: &str) -> Result<String, String> {
        let exchange = || {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(format!("{command}\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        exchange().map_err(|error: std::io::Error| format!("{}: {error}", self.socket.display()))
    }

    /// Reloads, and returns once a new worker answers.
    ///
    /// # Errors
    ///
    /// When none does.
    pub fn reload(&self) -> Result<(), String> {
        self.reload_from(self.worker()?, RELOAD_PATIENCE)
    }

    /// Begins a reload. A master that has just been reloaded may lose it.
    ///
    /// # Errors
    ///
    /// When the signal cannot be sent.
    pub fn begin_reload(&self) -> Result<(), String> {
        self.process.signal(Signal::USR2)
    }

    /// Reloads, and returns once another worker than `old` answers. Asks again
    /// after `patience`.
    ///
    /// # Errors
    ///
    /// When none does.
    pub fn reload_from(&self, old: u32, patience: Duration) -> Result<(), String> {
        let is_new = || match self.worker()? {
            pid if pid == old => Err("still the old one".to_owned()),
            _ => Ok(()),
        };
        // A master that has just been reloaded may lose the signal.
        wait::until("a reload", || {
            self.begin_reload()?;
            wait::until_within(patience, "a new worker", is_new)
        })
    }

    /// Sends a signal to the worker, which carries the traffic.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    pub fn signal_worker(&self, signal: Signal) -> Result<(), String> {
        // A stopped worker does not tell its process id.
        let worker = match signal {
            Signal::CONT => self.stopped.lock().map_err(|e| e.to_string())?.take(),
            _ => Some(self.worker()?),
        };
        let worker = worker.ok_or("no worker was stopped")?;
        if signal == Signal::STOP {
            *self.stopped.lock().map_err(|e| e.to_string())? = Some(worker);
        }
        send(worker, signal)
    }

    /// What it has printed.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// To load 10,000 certificates takes 2.6 ten seconds on an idle machine.
const START_PATIENCE: Duration = Duration::from_secs(300);

/// Many times what a reload takes.
const RELOAD_PATIENCE: Duration = Duration::from_secs(3);

/// HAProxy with the shipped configuration, told where this stage is.
fn command(stage: &Stage) -> Command {
    let shipped = repository().join("haproxy/etc");
    let file = match stage.neighbours.as_slice() {
        [] => "haproxy.cfg",
        _ => "haproxy-neighbours.cfg",
    };
    let http_bind = stage.http_bind.clone();
    let http_bind = http_bind.unwrap_or_else(|| format!("127.0.0.1:{}", stage.http));
    let mut command = Command::new(&stage.release.path);
    command
        .arg("-f")
        .arg(
            stage
                .configuration
                .clone()
                .unwrap_or_else(|| shipped.join(file)),
        )
        .env("SPOACME_CHROOT", stage.path("chroot"))
        .env("SPOACME_STATS_SOCKET", stage.path("admin.sock"))
        .env("SPOACME_HTTP_BIND", http_bind)
        .env("SPOACME_HTTPS_BIND", format!("127.0.0.1:{}", stage.https))
        .env(
            "SPOACME_CERTIFICATES",
            format!("{}/", stage.path("live").display()),
        )
        .env("SPOACME_SPOE_CONF", shipped.join("spoe-acme.conf"))
        .env("SPOACME_AGENT", &stage.agent_server)
        .env("SPOACME_APP", format!("127.0.0.1:{}", stage.app));
    if let [first, second] = stage.neighbours.as_slice() {
        let bind = format!("unix@{}", stage.path("chroot/neighbour").display());
        command
            .env("SPOACME_NEIGHBOUR_1", first)
            .env("SPOACME_NEIGHBOUR_2", second)
            .env("SPOACME_NEIGHBOUR_BIND", bind)
            .env("SPOACME_NEIGHBOUR_SERVER", "unix@/neighbour");
    }
    command
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // The worker outlives a killed master for a moment; ask first.
        if self.process.terminate().is_err() {
            self.process.kill();
        }
        let _ = fs::remove_file(&self.socket);
    }
}
