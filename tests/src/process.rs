//! Child processes that end with the story that started them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Pid;

use crate::wait;

pub use rustix::process::Signal;

/// A running program, killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `directory/name.log`, after what an
    /// earlier run of the same name has left there.
    ///
    /// The kernel kills it when the thread that starts it ends, so that not
    /// even a Ctrl-C leaves anything running.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(name: &str, directory: &Path, command: &mut Command) -> Result<Self, String> {
        let log = directory.join(format!("{name}.log"));
        let fail = |error: io::Error| format!("cannot start {name}: {error}");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(fail)?;
        let errors = output.try_clone().map_err(fail)?;
        let child = with_parent(command)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn();
        Ok(Self {
            name: name.to_owned(),
            child: child.map_err(fail)?,
            log,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it has ended, with the end of what it printed.
    ///
    /// # Errors
    ///
    /// That it has ended.
    pub fn expect_running(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            ended => Err(format!(
                "{} has ended ({ended:?}):\n{}",
                self.name,
                self.output()
            )),
        }
    }

    /// Sends a signal. One that stops it has done so on return.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        let sent = rustix::process::kill_process(Pid::from_child(&self.child), signal);
        sent.map_err(|error| format!("cannot send {signal:?} to {}: {error}", self.name))?;
        if signal == Signal::STOP {
            self.wait_until_stopped()
        } else {
            Ok(())
        }
    }

    /// A stop takes effect a moment after it was sent.
    fn wait_until_stopped(&self) -> Result<(), String> {
        wait::until("the stop", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()));
            let stat = stat.map_err(|error| error.to_string())?;
            // proc(5): the state follows the name, which ends with ")".
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            wait::ensure(state == Some('T'), format!("state {state:?}"))
        })
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn terminate(&mut self) -> Result<ExitStatus, String> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// When it does not come.
    pub fn wait(&mut self) -> Result<ExitStatus, String> {
        let what = format!("the end of {}", self.name);
        wait::until_within(Duration::from_secs(10), &what, || {
            match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("still running".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// Kills it, as the kernel or an operator in despair would.
    pub fn kill(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that is not our child.
///
/// # Errors
///
/// When it cannot be sent.
pub fn send(id: u32, signal: Signal) -> Result<(), String> {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    let id = id.ok_or("no process id")?;
    rustix::process::kill_process(id, signal).map_err(|error| format!("{id:?}: {error}"))
}

/// `command`, killed when its parent dies (`PR_SET_PDEATHSIG`, prctl(2)).
fn with_parent(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]);
    tied.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    tied
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
