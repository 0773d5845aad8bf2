//! Hosts that a token is answered for.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A host as in a `Host` header, normalised: lower case, without port, without
/// trailing dot, an IPv6 address in its canonical form without brackets.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

impl Host {
    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a `Host` header (RFC 9110 §7.2) names this host. Does not
    /// allocate.
    pub fn matches(&self, header: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(header) else {
            return false;
        };
        match text.strip_prefix('[') {
            Some(rest) => self.matches_bracketed(rest),
            None => without_port_and_dot(text).eq_ignore_ascii_case(&self.0),
        }
    }

    fn matches_bracketed(&self, rest: &str) -> bool {
        let address = rest
            .split_once(']')
            .and_then(|(a, _)| a.parse::<Ipv6Addr>().ok());
        address.is_some() && address == self.0.parse().ok()
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        if let Some(address) = bracketed.and_then(|(a, _)| a.parse::<Ipv6Addr>().ok()) {
            return Ok(Self(address.to_string()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        let name = without_port_and_dot(&text).to_ascii_lowercase();
        if name.len() <= HOST_LENGTH_MAX && name.split('.').all(is_label) {
            return Ok(Self(name));
        }
        Err(HostError(text))
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text names no host.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a host name or IP address")]
pub struct HostError(String);

/// RFC 1035 §2.3.4.
const HOST_LENGTH_MAX: usize = 253;

fn without_port_and_dot(text: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => text,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// Underscores occur in host names, if not in certificates.
fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<Host, HostError> {
        Host::try_from(text.to_owned())
    }

    #[test]
    fn normalises() {
        for (text, expected) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("example.com:8080", "example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(host(text).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn refuses_what_is_no_host() {
        let long = format!("{}.test", "a".repeat(64));
        for text in [
            "",
            ".",
            "a..b",
            "a b",
            "a/b",
            "a\r\nb",
            "*.example.com",
            "[::1",
            long.as_str(),
        ] {
            assert!(host(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn matches_any_spelling_of_itself_and_nothing_else() {
        let example = host("example.com").unwrap();
        for header in [
            "example.com",
            "EXAMPLE.com.",
            "example.com:80",
            "example.com.:80",
        ] {
            assert!(example.matches(header.as_bytes()), "{header}");
        }
        for header in [
            "",
            "www.example.com",
            "example.com.evil",
            "example.comx",
            "[example.com]",
        ] {
            assert!(!example.matches(header.as_bytes()), "{header}");
        }
        assert!(!example.matches(b"example.com\xff"));
        let address = host("2001:db8::1").unwrap();
        assert!(address.matches(b"[2001:DB8::1]:80") && address.matches(b"[2001:db8:0::1]"));
        assert!(!address.matches(b"[2001:db8::2]"));
    }
}
