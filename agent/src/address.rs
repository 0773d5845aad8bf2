//! Where HAProxy connects to.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where HAProxy connects to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// `IP:PORT`
    Tcp(SocketAddr),
    /// `unix:PATH`, absolute
    Unix(PathBuf),
    /// `abns:NAME`: an abstract socket, which a chroot does not hide.
    Abstract(String),
}

impl Address {
    /// Whether other machines can reach it. SPOP knows neither encryption nor
    /// authentication.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(error())
            };
        }
        if let Some(name) = text.strip_prefix("abns:") {
            let fits = (1..=ABSTRACT_NAME_LENGTH_MAX).contains(&name.len());
            return if fits {
                Ok(Self::Abstract(name.to_owned()))
            } else {
                Err(error())
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| error())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "abns:{name}"),
        }
    }
}

/// The text is no address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not IP:PORT, unix:PATH (absolute) or abns:NAME")]
pub struct AddressError(String);

/// `sun_path` has 108 bytes, the first of which is NUL.
pub(crate) const ABSTRACT_NAME_LENGTH_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_three_kinds_and_prints_them_back() {
        for text in [
            "127.0.0.1:9090",
            "[::1]:9090",
            "unix:/run/spop.sock",
            "abns:spoacme",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let long = format!("abns:{}", "a".repeat(108));
        for text in [
            "",
            "9090",
            "localhost:9090",
            "unix:spop.sock",
            "unix:",
            "abns:",
            &long,
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_tcp_beyond_the_loopback_is_remote() {
        assert!("0.0.0.0:1".parse::<Address>().unwrap().is_remote());
        assert!("[2001:db8::1]:1".parse::<Address>().unwrap().is_remote());
        assert!(!"127.0.0.2:1".parse::<Address>().unwrap().is_remote());
        assert!(!"unix:/a".parse::<Address>().unwrap().is_remote());
    }
}
