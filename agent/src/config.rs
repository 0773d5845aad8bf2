//! The configuration: a file, and flags that override it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::address::{Address, AddressError};
use crate::cli::Arguments;

/// A complete configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HAProxy connects; at least one.
    pub listen: Vec<Address>,
    /// Where clients publish tokens.
    pub control: PathBuf,
    /// Who may use the Unix sockets that HAProxy connects to.
    pub socket: SocketAccess,
    /// The group whose members may publish, besides root and the agent's own
    /// user.
    pub control_group: Option<String>,
    /// The limits of the SPOP server.
    pub limits: Limits,
}

/// Who may use a Unix socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketAccess {
    /// Permission bits.
    pub mode: u32,
    /// The group it is given to, if that exists.
    pub group: Option<String>,
}

/// What the SPOP server takes from HAProxy.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones are closed.
    pub connections_max: usize,
    /// From the connection to a whole HELLO.
    pub hello_timeout: Duration,
    /// From a frame's first byte to its last.
    pub frame_timeout: Duration,
    /// For writing a batch of answers.
    pub write_timeout: Duration,
    /// Between two frames; above HAProxy's own `timeout server`.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            hello_timeout: Duration::from_secs(2),
            frame_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(3600),
        }
    }
}

impl Config {
    /// What the file and the flags say together.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn load(arguments: Arguments) -> Result<Self, ConfigError> {
        let file = match &arguments.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        resolve(file, arguments)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is faulty. toml names the line and quotes it.
    #[error("{}: {error}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: Box<toml::de::Error>,
    },
    /// An address is faulty.
    #[error("listen: {0}")]
    Address(#[from] AddressError),
    /// An address that others can reach.
    #[error(
        "listen: other machines could reach {0}, and SPOP is neither encrypted nor authenticated; set `allow-remote = true` if a firewall keeps them away"
    )]
    Remote(Address),
    /// A mode is faulty.
    #[error("socket-mode {0:?} is not octal, such as \"0660\"")]
    Mode(String),
    /// A number out of range.
    #[error("connections-max is {0}, not 1 to 65536")]
    Connections(usize),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    listen: Vec<String>,
    allow_remote: bool,
    control: Option<PathBuf>,
    control_group: Option<String>,
    socket_mode: Option<String>,
    socket_group: Option<String>,
    connections_max: Option<usize>,
    hello_timeout_ms: Option<u64>,
    frame_timeout_ms: Option<u64>,
    write_timeout_ms: Option<u64>,
    idle_timeout_ms: Option<u64>,
}

/// Inside Debian's chroot of HAProxy, where it is `unix@/spoacme/spop.sock`.
const LISTEN: &str = "unix:/var/lib/haproxy/spoacme/spop.sock";
const CONTROL: &str = "/run/spoacme/agent.sock";
const SOCKET_MODE: u32 = 0o660;
const SOCKET_GROUP: &str = "haproxy";
const CONNECTIONS_MAX_MAX: usize = 65_536;

fn read(path: &PathBuf) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.clone(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| ConfigError::Syntax {
        path: path.clone(),
        error: Box::new(error),
    })
}

fn resolve(file: File, arguments: Arguments) -> Result<Config, ConfigError> {
    let limits = limits(&file)?;
    let socket = SocketAccess {
        mode: file
            .socket_mode
            .map_or(Ok(SOCKET_MODE), |text| mode(&text))?,
        group: Some(file.socket_group.unwrap_or_else(|| SOCKET_GROUP.to_owned())),
    };
    let mut texts = if arguments.listen.is_empty() {
        file.listen
    } else {
        arguments.listen
    };
    if texts.is_empty() {
        texts.push(LISTEN.to_owned());
    }
    let listen = texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<Address>, _>>()?;
    if let Some(remote) = listen.iter().find(|a| a.is_remote() && !file.allow_remote) {
        return Err(ConfigError::Remote(remote.clone()));
    }
    Ok(Config {
        listen,
        control: arguments
            .control
            .or(file.control)
            .unwrap_or_else(|| CONTROL.into()),
        socket,
        control_group: file.control_group,
        limits,
    })
}

fn limits(file: &File) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let connections_max = file.connections_max.unwrap_or(default.connections_max);
    if !(1..=CONNECTIONS_MAX_MAX).contains(&connections_max) {
        return Err(ConfigError::Connections(connections_max));
    }
    let time = |millis: Option<u64>, or: Duration| millis.map_or(or, Duration::from_millis);
    Ok(Limits {
        connections_max,
        hello_timeout: time(file.hello_timeout_ms, default.hello_timeout),
        frame_timeout: time(file.frame_timeout_ms, default.frame_timeout),
        write_timeout: time(file.write_timeout_ms, default.write_timeout),
        idle_timeout: time(file.idle_timeout_ms, default.idle_timeout),
    })
}

fn mode(text: &str) -> Result<u32, ConfigError> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| ConfigError::Mode(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn load(text: &str, flags: &[&str]) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        let all = ["spoacme-agent", "--config", &path]
            .into_iter()
            .chain(flags.iter().copied());
        Config::load(Arguments::parse_from(all)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_debians_haproxy() {
        let config = load("", &[]).unwrap();
        let path = "/var/lib/haproxy/spoacme/spop.sock";
        assert_eq!(config.listen, [Address::Unix(path.into())]);
        assert_eq!(
            config.socket,
            SocketAccess {
                mode: 0o660,
                group: Some("haproxy".to_owned())
            }
        );
    }

    #[test]
    fn flags_override_the_file() {
        let text = "listen = [\"unix:/a\"]\ncontrol = \"/b\"\nhello-timeout-ms = 50\n";
        let config = load(text, &["--listen", "127.0.0.1:1", "--control", "/c"]).unwrap();
        assert_eq!(config.listen.len(), 1);
        assert_eq!(config.listen[0].to_string(), "127.0.0.1:1");
        assert_eq!(config.control, PathBuf::from("/c"));
        assert_eq!(config.limits.hello_timeout, Duration::from_millis(50));
    }

    #[test]
    fn faults_are_named() {
        for (text, words) in [
            ("conections-max = 1", "line 1"),
            ("listen = [\"9090\"]", "\"9090\" is not IP:PORT"),
            ("listen = [\"0.0.0.0:1\"]", "allow-remote"),
            ("socket-mode = \"rw\"", "\"rw\" is not octal"),
            ("socket-mode = \"1777\"", "is not octal"),
            ("connections-max = 0", "connections-max is 0"),
        ] {
            let error = load(text, &[]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(load("allow-remote = true\nlisten = [\"0.0.0.0:1\"]", &[]).is_ok());
    }
}
