//! Names: what a certificate is valid for, and what a certificate is called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A DNS name as it appears in a certificate: A-labels, lower case, no
/// trailing dot, no wildcard (RFC 8555 §8.3: http-01 cannot prove a wildcard).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

impl DnsName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DnsName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let name = text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase();
        if name.starts_with("*.") {
            return Err(NameError::Wildcard(text));
        }
        if !name.is_ascii() {
            return Err(NameError::NotAscii(text));
        }
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Err(NameError::Address(text));
        }
        let labels_fit = name.split('.').all(is_label);
        if name.len() > NAME_LENGTH_MAX || !name.contains('.') || !labels_fit {
            return Err(NameError::NotAName(text));
        }
        Ok(Self(name))
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a certificate is called: in commands, in the store, and as
/// `NAME.pem` in the directory that HAProxy loads.
///
/// Its alphabet, `[a-z0-9._-]`, is safe in a path and in a Runtime API
/// command; it never begins with a dot, because HAProxy skips such files.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificateName(String);

impl CertificateName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the file that HAProxy loads.
    pub fn file_name(&self) -> String {
        format!("{}.pem", self.0)
    }
}

impl TryFrom<String> for CertificateName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let alphabet = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if !starts_well || text.len() > CERTIFICATE_NAME_LENGTH_MAX || !text.bytes().all(alphabet) {
            return Err(NameError::NotACertificateName(text));
        }
        Ok(Self(text))
    }
}

impl From<&DnsName> for CertificateName {
    fn from(name: &DnsName) -> Self {
        Self(name.0.clone())
    }
}

impl From<CertificateName> for String {
    fn from(name: CertificateName) -> Self {
        name.0
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no name. The text is quoted with its control characters
/// escaped.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Not letters, digits, hyphens and dots in labels of 1 to 63.
    #[error("{0:?} is not a DNS name")]
    NotAName(String),
    /// Written in Unicode.
    #[error("{0:?} is not in ASCII; write its A-label form (xn--...)")]
    NotAscii(String),
    /// An IP address.
    #[error("{0:?} is an IP address; only DNS names can be issued for")]
    Address(String),
    /// A wildcard.
    #[error("{0:?} is a wildcard, which an http-01 challenge cannot prove; list the names")]
    Wildcard(String),
    /// A certificate name outside its alphabet.
    #[error("{0:?} is not a certificate name: use up to 240 of a-z, 0-9, '.', '_' and '-'")]
    NotACertificateName(String),
}

/// RFC 1035 §2.3.4, less the root label's length octet and the first label's.
const NAME_LENGTH_MAX: usize = 253;

/// `NAME.pem` with a temporary file's affixes must fit a file name of 255.
const CERTIFICATE_NAME_LENGTH_MAX: usize = 240;

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(text: &str) -> Result<DnsName, NameError> {
        DnsName::try_from(text.to_owned())
    }

    #[test]
    fn normalises_case_and_the_trailing_dot() {
        assert_eq!(dns("WWW.Example.COM.").unwrap().as_str(), "www.example.com");
    }

    #[test]
    fn says_why_a_text_is_no_name() {
        let own = |text: &str| text.to_owned();
        for (text, why) in [
            ("*.example.com", NameError::Wildcard(own("*.example.com"))),
            ("bücher.example", NameError::NotAscii(own("bücher.example"))),
            ("192.0.2.1", NameError::Address(own("192.0.2.1"))),
            ("2001:db8::1", NameError::Address(own("2001:db8::1"))),
            ("localhost", NameError::NotAName(own("localhost"))),
            ("", NameError::NotAName(own(""))),
            ("a..b", NameError::NotAName(own("a..b"))),
            ("-a.example", NameError::NotAName(own("-a.example"))),
            ("a b.example", NameError::NotAName(own("a b.example"))),
            ("a;b.example", NameError::NotAName(own("a;b.example"))),
            ("a\n.example", NameError::NotAName(own("a\n.example"))),
        ] {
            assert_eq!(dns(text), Err(why), "{text:?}");
        }
        assert!(dns(&format!("{}.example", "a".repeat(64))).is_err());
        assert!(dns(&format!("{}example", "a.".repeat(124))).is_err());
    }

    #[test]
    fn certificate_names_stay_inside_their_directory() {
        for text in [
            "",
            ".hidden",
            "..",
            "a/b",
            "-rf",
            "A",
            "a b",
            &"a".repeat(241),
        ] {
            assert!(
                CertificateName::try_from(text.to_owned()).is_err(),
                "{text:?}"
            );
        }
        let name = CertificateName::try_from("shop_2.example".to_owned()).unwrap();
        assert_eq!(name.file_name(), "shop_2.example.pem");
    }
}
