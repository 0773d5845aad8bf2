//! `spoacme`: the daemon, or one command.

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Output};

use serde_json::Value;

use crate::agent::binary;
use crate::pebble::Pebble;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::stage::Stage;
use crate::wait;

/// The manager of a stage.
#[derive(Debug)]
pub struct Manager<'a> {
    stage: &'a Stage,
    dns: u16,
    names: Vec<String>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl<'a> Manager<'a> {
    pub(crate) fn configure(
        stage: &'a Stage,
        pebble: &Pebble,
        names: &[&str],
    ) -> Result<Self, String> {
        let manager = Self {
            stage,
            dns: pebble.dns(),
            names: names.iter().map(|&n| n.to_owned()).collect(),
        };
        manager.write_configuration(&pebble.directory(), &pebble.root().display().to_string())?;
        Ok(manager)
    }

    /// Writes the configuration, with a CA of that directory and root.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write_configuration(&self, directory: &str, root: &str) -> Result<(), String> {
        let Stage { http, https, .. } = self.stage;
        let dns = self.dns;
        let text = format!(
            "state-directory = {:?}\n\n\
             [account]\n\
             email = \"ops@example.com\"\n\
             agree-to-terms = true\n\
             directory = {directory:?}\n\
             directory-root = {root:?}\n\n\
             [agent]\n\
             control = {:?}\n\n\
             [haproxy]\n\
             socket = {:?}\n\
             certificates = {:?}\n\
             verify = [\"127.0.0.1:{https}\"]\n\n\
             [check]\n\
             dns = [\"127.0.0.1:{dns}\"]\n\
             port = {http}\n\
             tls-port = {https}\n\
             allow-reserved = true\n\n{}",
            self.stage.path("state"),
            self.stage.path("agent.sock"),
            self.stage.path("admin.sock"),
            self.stage.path("live"),
            match self.names.as_slice() {
                [] => String::new(),
                names => format!("[[certificate]]\nnames = {names:?}\n"),
            },
        );
        self.stage.write("spoacme.toml", &text).map(drop)
    }

    /// Writes `new` instead of `old` in the configuration.
    ///
    /// # Errors
    ///
    /// When `old` does not stand in it.
    pub fn amend(&self, old: &str, new: &str) -> Result<(), String> {
        let path = self.stage.path("spoacme.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        wait::ensure(text.contains(old), format!("{old:?} is missing in {text}"))?;
        self.stage
            .write("spoacme.toml", &text.replace(old, new))
            .map(drop)
    }

    /// Lets the manager speak to HAProxy through a proxy.
    ///
    /// # Errors
    ///
    /// When the proxy cannot be made.
    pub fn through_proxy(&self) -> Result<Proxy, String> {
        let (path, upstream) = (self.stage.path("proxy.sock"), self.stage.path("admin.sock"));
        let proxy = Proxy::start(&path, &upstream)?;
        self.amend("admin.sock", "proxy.sock")?;
        Ok(proxy)
    }

    /// Lets checks ask the DNS server at `address` instead of the CA's.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be rewritten.
    pub fn ask_dns(&self, address: &str) -> Result<(), String> {
        let path = self.stage.path("spoacme.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let old = format!("dns = [\"127.0.0.1:{}\"]", self.dns);
        let text = text.replace(&old, &format!("dns = [\"{address}\"]\ntimeout = 2"));
        self.stage.write("spoacme.toml", &text).map(drop)
    }

    /// Adds a certificate, as an operator does: a file in `conf.d`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn add(&self, names: &[&str]) -> Result<(), String> {
        let text = format!("[[certificate]]\nnames = {names:?}\n");
        self.stage
            .write(&format!("conf.d/{}.toml", names[0]), &text)
            .map(drop)
    }

    /// Starts the daemon.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn run(&self) -> Result<Daemon, String> {
        daemon(self.stage)
    }

    /// Starts one command that may take long.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start<const N: usize>(&self, arguments: [&str; N]) -> Result<Process, String> {
        Process::start("command", self.stage.root(), &mut self.command(arguments))
    }

    /// Runs one command to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn call<const N: usize>(&self, arguments: [&str; N]) -> Result<Ended, String> {
        end(self.command(arguments))
    }

    /// Runs one command that must end well.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn expect<const N: usize>(&self, arguments: [&str; N]) -> Result<Ended, String> {
        let ended = self.call(arguments)?;
        wait::ensure(ended.status.success(), format!("{arguments:?}: {ended:#?}"))?;
        Ok(ended)
    }

    /// `spoacme status --json`.
    ///
    /// # Errors
    ///
    /// When it prints no JSON.
    pub fn status(&self) -> Result<Value, String> {
        let ended = self.call(["status", "--json"])?;
        serde_json::from_str(&ended.stdout).map_err(|error| format!("{error}: {ended:#?}"))
    }

    /// Waits until the newest generation of every certificate is at least
    /// `generation`, and on disk, in HAProxy, and served.
    ///
    /// # Errors
    ///
    /// When that does not come about.
    pub fn wait_for_generation(&self, generation: u64) -> Result<Value, String> {
        wait::until(&format!("generation {generation}"), || {
            let status = self.status()?;
            let rows = status["certificates"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let number = |row: &Value| row["facts"]["issued"]["generation"].as_u64();
            let good =
                |row: &Value| row["agree"] == true && number(row).is_some_and(|n| n >= generation);
            if !rows.is_empty() && rows.iter().all(good) {
                return Ok(status);
            }
            Err(format!("{status:#}\n{}", self.log()))
        })
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.stage.path("spoacme.log")).unwrap_or_default()
    }

    /// One command, not yet started.
    pub fn command<const N: usize>(&self, arguments: [&str; N]) -> Command {
        spoacme(self.stage, arguments)
    }
}

impl Ended {
    /// The exit code.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
}

impl Daemon {
    /// Ends it in an orderly way.
    ///
    /// # Errors
    ///
    /// When it does not end, or not well.
    pub fn stop(mut self) -> Result<(), String> {
        let status = self.process.terminate()?;
        wait::ensure(status.success(), format!("the daemon ended with {status}"))
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// Starts the daemon on `stage`, which is configured.
///
/// # Errors
///
/// When it does not start.
pub fn daemon(stage: &Stage) -> Result<Daemon, String> {
    let mut command = spoacme(stage, ["run"]);
    Ok(Daemon {
        process: Process::start("spoacme", stage.root(), &mut command)?,
    })
}

/// Runs `spoacme` on `stage`, whether it is configured or not.
///
/// # Errors
///
/// When it cannot be run.
pub fn command(stage: &Stage, arguments: &[&str]) -> Result<Ended, String> {
    end(spoacme(stage, arguments))
}

/// Runs `spoacme token` against the agent of `stage`.
///
/// # Errors
///
/// When it does not end well.
pub fn token(stage: &Stage, arguments: &[&str]) -> Result<Ended, String> {
    let control = stage.path("agent.sock").display().to_string();
    let (verb, rest) = arguments.split_first().ok_or("no verb")?;
    let all = ["token", verb, "--control", &control]
        .into_iter()
        .chain(rest.iter().copied());
    let ended = end(spoacme(stage, all))?;
    wait::ensure(ended.status.success(), format!("{arguments:?}: {ended:#?}"))?;
    Ok(ended)
}

/// `spoacme` on `stage`, not yet started.
pub fn spoacme<S: AsRef<OsStr>>(stage: &Stage, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary("spoacme"));
    command
        .arg("--config")
        .arg(stage.path("spoacme.toml"))
        // What stories quote is what people read.
        .env("SPOACME_LOG_FORMAT", "human")
        .args(arguments);
    command
}

/// Runs a command to its end.
///
/// # Errors
///
/// When it cannot be started.
pub fn end(mut command: Command) -> Result<Ended, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    Ok(ended(output))
}

/// Waits for a command that was started with its output in pipes.
///
/// # Errors
///
/// When that fails.
pub fn wait(child: Child) -> Result<Ended, String> {
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    Ok(ended(output))
}

fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended {
        status: output.status,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
