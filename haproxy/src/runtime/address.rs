//! Where a Runtime API listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a Runtime API listens: what `stats socket` names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
    /// The socket of a master (`haproxy -S`), which passes commands on to its
    /// current worker (management.txt §9.4).
    Master(PathBuf),
}

impl Address {
    /// What stands before each command.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Self::Master(_) => "@1 ",
            _ => "",
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("master@") {
            return match path.starts_with('/') {
                true => Ok(Self::Master(path.into())),
                false => Err(AddressError(text.to_owned())),
            };
        }
        let path = text
            .strip_prefix("unix@")
            .or_else(|| text.strip_prefix("unix:"))
            .unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self::Unix(path.into()));
        }
        let tcp = text
            .strip_prefix("tcp@")
            .or_else(|| text.strip_prefix("tcp:"))
            .unwrap_or(text);
        match tcp.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(tcp.to_owned()))
            }
            _ => Err(AddressError(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Master(path) => write!(f, "master@{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// The text is no address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is neither the absolute path of a Unix socket, nor master@ and one, nor HOST:PORT")]
pub struct AddressError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        for (text, address) in [
            (
                "/run/haproxy/admin.sock",
                Address::Unix("/run/haproxy/admin.sock".into()),
            ),
            ("unix@/run/a.sock", Address::Unix("/run/a.sock".into())),
            (
                "master@/run/haproxy-master.sock",
                Address::Master("/run/haproxy-master.sock".into()),
            ),
            ("127.0.0.1:9999", Address::Tcp("127.0.0.1:9999".to_owned())),
            ("[::1]:9999", Address::Tcp("[::1]:9999".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(address));
        }
        for text in [
            "",
            "admin.sock",
            "master@run/master.sock",
            "master@127.0.0.1:9999",
            "run/admin.sock",
            ":9999",
            "host:99999",
            "host",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
