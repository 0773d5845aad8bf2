//! A stage: one HAProxy, one agent, one CA, one manager, and their directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::agent::Agent;
use crate::haproxy::{Haproxy, Release};
use crate::manager::Manager;
use crate::pebble::{self, Pebble};
use crate::ports;

/// Where everything of one story is.
#[derive(Debug)]
pub struct Stage {
    /// The HAProxy that the story runs on.
    pub release: Release,
    /// Port of the plain HTTP frontend.
    pub http: u16,
    /// Port of the TLS frontend.
    pub https: u16,
    /// Port of the application behind it.
    pub app: u16,
    /// Where the agent listens, in its own words.
    pub agent_listen: String,
    /// Where the agent listens, in HAProxy's words.
    pub agent_server: String,
    /// Where the plain HTTP frontend binds, if not at its port of 127.0.0.1.
    pub http_bind: Option<String>,
    /// HAProxy's configuration, if not a shipped one.
    pub configuration: Option<PathBuf>,
    /// The other load balancers: none or two, as `IP:PORT`.
    pub neighbours: Vec<String>,
    root: PathBuf,
    // Removed at the end of the story, unless somebody else owns it.
    _directory: Option<TempDir>,
}

impl Stage {
    /// An empty stage for `release`, in a directory of its own.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or no port is free.
    pub fn new(release: &Release) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("spoacme-").tempdir();
        let directory = directory.map_err(|error| format!("no temporary directory: {error}"))?;
        let root = directory.path().to_owned();
        Self::build(release, root, Some(directory))
    }

    /// An empty stage in `root`, which the caller removes.
    ///
    /// # Errors
    ///
    /// When it cannot be filled or no port is free.
    pub fn within(release: &Release, root: &Path) -> Result<Self, String> {
        Self::build(release, root.to_owned(), None)
    }

    fn build(release: &Release, root: PathBuf, directory: Option<TempDir>) -> Result<Self, String> {
        for part in ["chroot/spoacme", "conf.d"] {
            fs::create_dir_all(root.join(part)).map_err(|error| format!("{part}: {error}"))?;
        }
        // HAProxy's own user passes through it to the agent's socket.
        for part in ["chroot", "chroot/spoacme"] {
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(root.join(part), open).map_err(|error| error.to_string())?;
        }
        Ok(Self {
            release: release.clone(),
            http: ports::free()?,
            https: ports::free()?,
            app: ports::free()?,
            agent_listen: format!("unix:{}", root.join("chroot/spoacme/spop.sock").display()),
            agent_server: "unix@/spoacme/spop.sock".to_owned(),
            http_bind: None,
            configuration: None,
            neighbours: Vec::new(),
            root,
            _directory: directory,
        })
    }

    /// A path of this stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The stage's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a file of this stage.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.path(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Starts HAProxy with the shipped configuration.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn haproxy(&self) -> Result<Haproxy, String> {
        Haproxy::start(self)
    }

    /// Starts the agent.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn agent(&self) -> Result<Agent, String> {
        Agent::start(self)
    }

    /// Starts the CA.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn pebble(&self, options: &pebble::Options) -> Result<Pebble, String> {
        Pebble::start(self, options)
    }

    /// Writes the manager's configuration for one certificate of `names`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn manager(&self, pebble: &Pebble, names: &[&str]) -> Result<Manager<'_>, String> {
        Manager::configure(self, pebble, names)
    }
}
