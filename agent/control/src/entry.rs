//! What a client publishes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Host, HostError, KeyAuthorization, Token, TokenError};

/// A token with its answer: for which hosts, and for how long.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "RawEntry")]
pub struct Entry {
    token: Token,
    key_authorization: KeyAuthorization,
    hosts: Vec<Host>,
    any_host: bool,
    ttl_seconds: u32,
}

impl Entry {
    /// An entry for `hosts`, for `ttl_seconds`.
    ///
    /// # Errors
    ///
    /// What is wrong with one of the parts.
    pub fn new(
        token: &str,
        key_authorization: &str,
        hosts: &[String],
        ttl_seconds: u32,
    ) -> Result<Self, EntryError> {
        let hosts: Result<_, _> = hosts.iter().cloned().map(Host::try_from).collect();
        Self::try_from(RawEntry {
            token: Token::try_from(token.to_owned())?,
            key_authorization: KeyAuthorization::try_from(key_authorization.to_owned())?,
            hosts: hosts?,
            any_host: false,
            ttl_seconds,
        })
    }

    /// An entry for one host, for [`TTL_DEFAULT_SECONDS`].
    ///
    /// # Errors
    ///
    /// What is wrong with one of the parts.
    pub fn for_host(token: &str, key_authorization: &str, host: &str) -> Result<Self, EntryError> {
        Self::new(
            token,
            key_authorization,
            &[host.to_owned()],
            TTL_DEFAULT_SECONDS,
        )
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// What is answered.
    pub fn key_authorization(&self) -> &KeyAuthorization {
        &self.key_authorization
    }

    /// The hosts that it is answered for.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Whether it is answered for every host. Meant for a central validation
    /// host that others redirect to.
    pub fn any_host(&self) -> bool {
        self.any_host
    }

    /// How long it is answered, in seconds; 1 to [`TTL_MAX_SECONDS`].
    pub fn ttl_seconds(&self) -> u32 {
        self.ttl_seconds
    }
}

/// Who published a token. Clients with different names do not touch each
/// other's tokens.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(String);

impl Owner {
    /// The manager.
    pub fn manager() -> Self {
        Self("manager".to_owned())
    }

    /// `spoacme token`, by hand or as another client's hook.
    pub fn cli() -> Self {
        Self("cli".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Owner {
    type Error = EntryError;

    fn try_from(text: String) -> Result<Self, EntryError> {
        let alphabet = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=OWNER_LENGTH_MAX).contains(&text.len());
        if fits && text.bytes().all(alphabet) {
            Ok(Self(text))
        } else {
            Err(EntryError::Owner)
        }
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an entry is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// A malformed token or key authorization.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A malformed host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The key authorization begins with another token.
    #[error("the key authorization does not begin with the token and a dot")]
    OtherToken,
    /// No host, or too many.
    #[error("a token needs 1 to {HOSTS_MAX} hosts, or `any_host`")]
    Hosts,
    /// A time to live out of range.
    #[error("a time to live is 1 to {TTL_MAX_SECONDS} seconds")]
    Ttl,
    /// A malformed owner.
    #[error("an owner is 1 to {OWNER_LENGTH_MAX} of a-z, 0-9 and '-'")]
    Owner,
}

/// An hour: as long as Let's Encrypt keeps an authorization pending at the
/// least.
pub const TTL_DEFAULT_SECONDS: u32 = 3600;

/// A week: as long as Let's Encrypt keeps an authorization pending at the most.
pub const TTL_MAX_SECONDS: u32 = 7 * 86400;

const HOSTS_MAX: usize = 100;
const OWNER_LENGTH_MAX: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    token: Token,
    key_authorization: KeyAuthorization,
    #[serde(default)]
    hosts: Vec<Host>,
    #[serde(default)]
    any_host: bool,
    #[serde(default = "default_ttl")]
    ttl_seconds: u32,
}

fn default_ttl() -> u32 {
    TTL_DEFAULT_SECONDS
}

impl TryFrom<RawEntry> for Entry {
    type Error = EntryError;

    fn try_from(raw: RawEntry) -> Result<Self, EntryError> {
        let RawEntry {
            token,
            key_authorization,
            hosts,
            any_host,
            ttl_seconds,
        } = raw;
        if !key_authorization.is_for(&token) {
            return Err(EntryError::OtherToken);
        }
        if hosts.is_empty() != any_host || hosts.len() > HOSTS_MAX {
            return Err(EntryError::Hosts);
        }
        if !(1..=TTL_MAX_SECONDS).contains(&ttl_seconds) {
            return Err(EntryError::Ttl);
        }
        Ok(Self {
            token,
            key_authorization,
            hosts,
            any_host,
            ttl_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "ttttttttttttttttttttttt";

    fn entry(hosts: &[&str], ttl_seconds: u32) -> Result<Entry, EntryError> {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        Entry::new(TOKEN, &format!("{TOKEN}.x"), &hosts, ttl_seconds)
    }

    #[test]
    fn needs_a_host_a_fitting_answer_and_a_bounded_life() {
        assert!(entry(&["example.com"], 1).is_ok());
        assert_eq!(entry(&[], 1), Err(EntryError::Hosts));
        assert_eq!(entry(&["a.example"; 101], 1), Err(EntryError::Hosts));
        assert_eq!(entry(&["a.example"], 0), Err(EntryError::Ttl));
        assert_eq!(
            entry(&["a.example"], TTL_MAX_SECONDS + 1),
            Err(EntryError::Ttl)
        );
        let other = Entry::for_host(TOKEN, &format!("{TOKEN}t.x"), "a.example");
        assert_eq!(other, Err(EntryError::OtherToken));
    }

    #[test]
    fn json_passes_through_the_same_gate() {
        let good =
            format!(r#"{{"token":"{TOKEN}","key_authorization":"{TOKEN}.x","any_host":true}}"#);
        let entry: Entry = serde_json::from_str(&good).unwrap();
        assert!(entry.any_host() && entry.ttl_seconds() == TTL_DEFAULT_SECONDS);
        let again: Entry = serde_json::from_str(&serde_json::to_string(&entry).unwrap()).unwrap();
        assert_eq!(again, entry);
        for bad in [
            good.replace("true", "false"),
            good.replace("any_host", "anyhost"),
            good.replace(".x", ".x y"),
            good.replace(&format!("\"token\":\"{TOKEN}\""), "\"token\":\"short\""),
        ] {
            assert!(serde_json::from_str::<Entry>(&bad).is_err(), "{bad}");
        }
    }
}
