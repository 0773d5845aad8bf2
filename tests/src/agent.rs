//! `spoacme-agent`.

use std::process::Command;

use crate::haproxy::repository;
use crate::manager;
use crate::process::{Process, Signal};
use crate::stage::Stage;
use crate::wait;

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    process: Process,
}

impl Agent {
    pub(crate) fn start(stage: &Stage) -> Result<Self, String> {
        let configuration = format!(
            "listen = [{:?}]\ncontrol = {:?}\n",
            stage.agent_listen,
            stage.path("agent.sock"),
        );
        let path = stage.write("agent.toml", &configuration)?;
        let mut command = Command::new(binary("spoacme-agent"));
        let process = Process::start("agent", stage.root(), command.arg("--config").arg(path))?;
        let mut agent = Self { process };
        wait::until("the agent", || {
            agent.process.expect_running()?;
            manager::token(stage, &["list"]).map(drop)
        })?;
        Ok(agent)
    }

    /// Kills it without a chance to drain.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        self.process.signal(signal)
    }

    /// Ends it in an orderly way.
    ///
    /// # Errors
    ///
    /// When it does not end, or not well.
    pub fn stop(mut self) -> Result<(), String> {
        let status = self.process.terminate()?;
        wait::ensure(status.success(), format!("the agent ended with {status}"))
    }

    /// What it has logged.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// A binary of the workspace, built beside this test.
pub(crate) fn binary(name: &str) -> std::path::PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let built = own
        .ancestors()
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    built.unwrap_or_else(|| repository().join("target/debug").join(name))
}
