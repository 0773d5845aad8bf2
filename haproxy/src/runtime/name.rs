//! Names that can stand in a command.

use std::fmt;
use std::str::FromStr;

/// What HAProxy calls a certificate or a crt-list: the path it was loaded from.
///
/// The Runtime API ends a command at a newline or `;`, and an argument at a
/// space; `\`, `#`, quotes and `<<` have meanings too, a leading `*` names a
/// transaction, and a leading `-` an option. None of these can be in a
/// `StorePath`. Nor can it end like the side file of another certificate: to
/// set `a.pem.key` would be to set the key of `a.pem`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StorePath(String);

impl StorePath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StorePath {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let plain = |b: u8| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'@' | b':' | b'-')
        };
        let begins_well =
            text.starts_with(|c: char| c.is_ascii_alphanumeric() || "/@._".contains(c));
        let is_side_file = SIDE_FILES.iter().any(|suffix| text.ends_with(suffix));
        if begins_well && text.len() <= LENGTH_MAX && text.bytes().all(plain) && !is_side_file {
            Ok(Self(text))
        } else {
            Err(NameError::new(&text))
        }
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StorePath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.to_owned().try_into()
    }
}

/// The text cannot stand in a command.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} cannot be said to HAProxy: use up to {LENGTH_MAX} of letters, digits and \"./_@:-\", \
     and no side file's ending such as \".key\""
)]
pub struct NameError(String);

impl NameError {
    fn new(text: &str) -> Self {
        Self(text.chars().take(SHOWN_MAX).collect())
    }
}

/// In bytes. Linux's `PATH_MAX` is 4096, and HAProxy's own limit for a
/// certificate's path is that too.
const LENGTH_MAX: usize = 4000;

/// In characters.
const SHOWN_MAX: usize = 100;

const SIDE_FILES: [&str; 4] = [".key", ".ocsp", ".sctl", ".issuer"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_paths_and_aliases() {
        for text in [
            "/var/lib/spoacme/live/a.example.pem",
            "@/alias",
            "site.pem.ecdsa",
            "_wildcard_.example.com.pem",
        ] {
            assert_eq!(StorePath::try_from(text.to_owned()).unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_whatever_could_end_or_change_a_command() {
        let long = "a".repeat(LENGTH_MAX + 1);
        for text in [
            "",
            "*a.pem",
            "-n",
            &long,
            "a b",
            "a;b",
            "a\nb",
            "a\rb",
            "a\0b",
            "a\\b",
            "a#b",
            "a<<b",
            "a'b",
            "a\"b",
            "a\u{2028}b",
            "ä.pem",
            "a%b",
            "a$b",
            "a|b",
            "a>b",
            "a.pem.key",
            "a.pem.ocsp",
            "a.pem.sctl",
            "a.pem.issuer",
        ] {
            assert!(StorePath::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
