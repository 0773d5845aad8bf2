//! The configuration: `spoacme.toml` and `conf.d/*.toml` beside it.

mod alert;
mod file;
mod haproxy;
mod parse;
mod problem;
mod resolve;

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::key::KeyType;
use crate::names::{CertificateName, DnsName};
use crate::roster::Roster;
use crate::store::{Store, StoreError};

pub use alert::{Alert, Channel, Login, SecretUrl, Smtp, SmtpSecurity, Thresholds, Webhook};
pub use haproxy::{External, Haproxy};
use problem::Notebook;
pub use problem::Problem;

/// Where the configuration is looked for by default.
pub const DEFAULT_PATH: &str = "/etc/spoacme/spoacme.toml";

/// Where the agent listens for its clients by default.
pub const DEFAULT_AGENT_CONTROL: &str = "/run/spoacme/agent.sock";

/// A complete configuration: every default filled in, every name valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// The manager's own directory; nothing but keys, certificates and what
    /// is known of them.
    pub state_directory: PathBuf,
    /// Who asks, and which CA.
    pub account: Account,
    /// Where tokens are published.
    pub agent: Agent,
    /// Where certificates are deployed; at least one, no two share a name.
    pub haproxys: Vec<Haproxy>,
    /// Certificates of others that are deployed there too.
    pub externals: Vec<External>,
    /// How names are looked at before the CA is asked.
    pub check: Check,
    /// When somebody is told of trouble.
    pub thresholds: Thresholds,
    /// Who is told; no two share a name.
    pub alerts: Vec<Alert>,
    /// The certificates, by name; no two share one.
    pub certificates: Vec<Certificate>,
}

/// How names are looked at before the CA is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// Whether they are, before every challenge.
    pub self_test: bool,
    /// The load balancers of these names, to be asked straight.
    pub connect_to: Vec<SocketAddr>,
    /// The DNS servers to ask; the system's if there are none.
    pub dns: Vec<SocketAddr>,
    /// Whether addresses that are not public are asked.
    pub allow_reserved: bool,
    /// The port of http, which is 80 for every public CA.
    pub port: u16,
    /// The port of https, which is 443 for every public CA.
    pub tls_port: u16,
    /// For one connection to come about and for its answer, each.
    pub timeout: Duration,
}

/// Who asks, and which CA.
#[derive(Clone, Debug)]
pub struct Account {
    /// The contact given to the CA, if any.
    pub email: Option<String>,
    /// The URL of the CA's directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// A PEM file of roots to trust for the directory instead of the system's.
    pub directory_root: Option<PathBuf>,
    /// Where rehearsals go: the CA's staging directory, if it has one.
    pub staging: Option<Directory>,
    /// What binds the account to another one at the CA, if it wants that.
    pub external: Option<ExternalAccount>,
    /// The CA's profile for certificates that name none of their own.
    pub profile: Option<String>,
}

/// What binds an account to another one at the CA (RFC 8555 §7.3.4).
#[derive(Clone, Debug)]
pub struct ExternalAccount {
    /// The key identifier that the CA gave.
    pub key_id: String,
    /// The file with the MAC key, base64url; read when the account is registered.
    pub key_file: PathBuf,
}

/// A CA's directory that is not the one certificates come from.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Its URL (RFC 8555 §7.1.1).
    pub url: String,
    /// A PEM file of roots to trust for it instead of the system's.
    pub root: Option<PathBuf>,
}

impl Account {
    /// The same person at the CA's staging directory, if there is one.
    pub fn at_staging(&self) -> Option<Self> {
        let staging = self.staging.as_ref()?;
        Some(Self {
            email: self.email.clone(),
            directory: staging.url.clone(),
            directory_root: staging.root.clone(),
            staging: None,
            external: None,
            profile: self.profile.clone(),
        })
    }
}

/// Where tokens are published.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The agent's control socket.
    pub control: PathBuf,
}

/// The most names that a CA puts into one certificate: Let's Encrypt's
/// classic profile.
pub const CERTIFICATE_NAMES_MAX: usize = 100;

/// One certificate: what it is called and what it is valid for.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Certificate {
    /// What it is called.
    pub name: CertificateName,
    /// Its names, in the order given; at least one, at most 100, no two alike.
    pub names: Vec<DnsName>,
    /// The one file that a `bind ... ssl crt` names, if it does not stand in
    /// HAProxy's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The kind of its key, from the next issue on.
    #[serde(default)]
    pub key_type: KeyType,
    /// The CA's profile for it; the account's if there is none
    /// (draft-ietf-acme-profiles).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

impl Config {
    /// Reads `path` and `conf.d/*.toml` beside it.
    ///
    /// # Errors
    ///
    /// All that is wrong with all of the files, at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut draft = resolve::Draft::default();
        for path in paths(path)? {
            let text = read(&path)?;
            let mut notebook = Notebook::new(&path, &text, &mut problems);
            let file = parse::parse(&text, &mut notebook);
            draft.add(file, &mut notebook);
        }
        let config = draft.finish(&mut Notebook::new(path, "", &mut problems));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Problems(problems)),
        }
    }

    /// Reads the files as [`Config::load`] does, and what commands have added.
    ///
    /// # Errors
    ///
    /// As `load`, and when the list of what was added cannot be read.
    pub fn load_with_added(path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::load(path)?;
        let added = Store::existing(&config.state_directory).desired();
        let added = added.map_err(ConfigError::Added)?;
        config.certificates = Roster::new(config.certificates, added).all();
        Ok(config)
    }

    /// The certificate called `name`, or one that bears it as a DNS name.
    pub fn certificate(&self, name: &str) -> Option<&Certificate> {
        let called = |c: &&Certificate| c.name.as_str() == name;
        let bears = |c: &&Certificate| c.names.iter().any(|n| n.as_str() == name);
        self.certificates
            .iter()
            .find(called)
            .or_else(|| self.certificates.iter().find(bears))
    }
}

impl Certificate {
    /// A certificate of `names`, called as the first of them unless told
    /// otherwise.
    pub fn new(name: CertificateName, names: Vec<DnsName>) -> Self {
        Self {
            name,
            names,
            file: None,
            key_type: KeyType::default(),
            profile: None,
        }
    }

    /// Its names as text.
    pub fn names_text(&self) -> Vec<String> {
        self.names
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect()
    }
}

/// `IP` or `IP:PORT`, an IPv6 address in brackets or not.
pub fn socket_address(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = text.parse().ok();
    with_port.or_else(|| Some(SocketAddr::new(bare.parse().ok()?, port)))
}

/// The directory of additional files, beside the main one.
pub fn drop_in_directory(path: &Path) -> PathBuf {
    path.with_file_name("conf.d")
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// A file cannot be read.
    Read(PathBuf, io::Error),
    /// The files are faulty.
    Problems(Vec<Problem>),
    /// What commands have added cannot be read.
    Added(StoreError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => {
                write!(
                    f,
                    "cannot read the configuration {}: {error}",
                    path.display()
                )
            }
            Self::Problems(problems) => {
                let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Added(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The main file, then the additional ones in the order of their names.
fn paths(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let directory = drop_in_directory(main);
    let mut extra = Vec::new();
    match fs::read_dir(&directory) {
        Ok(entries) => {
            for entry in entries {
                extra.push(
                    entry
                        .map_err(|e| ConfigError::Read(directory.clone(), e))?
                        .path(),
                );
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(ConfigError::Read(directory, error)),
    }
    extra.retain(|path| path.extension().is_some_and(|e| e == "toml") && !is_hidden(path));
    extra.sort();
    extra.insert(0, main.to_owned());
    Ok(extra)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let fail = |error| ConfigError::Read(path.to_owned(), error);
    let size = fs::metadata(path).map_err(fail)?.len();
    if size > FILE_SIZE_MAX {
        let text = format!("{size} bytes, more than the {FILE_SIZE_MAX} that a file may have");
        return Err(fail(io::Error::other(text)));
    }
    fs::read_to_string(path).map_err(fail)
}

/// In bytes: some 100,000 certificates.
const FILE_SIZE_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests;
