use std::str;

use super::{Failure, fields, text};
use crate::runtime::StorePath;

/// One certificate that HAProxy holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Details {
    /// Whether anything uses it.
    pub status: Status,
    /// The serial number of the leaf, upper-case hexadecimal.
    pub serial: Option<String>,
    /// From when it is valid, as OpenSSL prints it.
    pub not_before: Option<String>,
    /// Until when it is valid, as OpenSSL prints it.
    pub not_after: Option<String>,
    /// The DNS names it is for. HAProxy leaves other kinds out.
    pub dns_names: Vec<String>,
    /// Its key, such as `EC256` or `RSA2048`.
    pub algorithm: Option<String>,
    /// The SHA-1 of its leaf, upper-case hexadecimal; none if it is empty.
    pub sha1: Option<String>,
    /// Whom it is for, such as `/CN=example.com`.
    pub subject: Option<String>,
    /// Who issued it.
    pub issuer: Option<String>,
    /// The subjects of the chain, the leaf's issuer first.
    pub chain_subjects: Vec<String>,
}

/// Whether a certificate is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Status {
    /// A `bind` line uses it.
    Used,
    /// Nothing uses it.
    Unused,
    /// It has no content yet.
    Empty,
    /// The content of a transaction (3.2 and later).
    Uncommitted,
    /// Whatever else a later version says.
    Other(String),
}

impl Details {
    /// Whether a `bind` line uses it.
    pub fn is_used(&self) -> bool {
        self.status == Status::Used
    }

    /// Whether its leaf has this SHA-1 (hexadecimal).
    pub fn has_sha1(&self, sha1: &str) -> bool {
        let own = self.sha1.as_deref();
        own.is_some_and(|own| own.eq_ignore_ascii_case(sha1))
    }

    /// Reads the reply of `show ssl cert NAME`; nothing if HAProxy holds no
    /// such certificate. Which fields there are, and in what order, differs by
    /// version.
    ///
    /// # Errors
    ///
    /// When it is something else, or speaks of another certificate.
    pub fn parse(body: &[u8], name: &StorePath) -> Result<Option<Self>, Failure> {
        if body.starts_with(NOT_FOUND) {
            return Ok(None);
        }
        let value = |key: &str| {
            let field = fields(body).find(|(name, _)| *name == key.as_bytes());
            field.map(|(_, value)| text(value))
        };
        if value("Filename").as_deref() != Some(name.as_str()) {
            return Err(Failure::Unexpected);
        }
        Ok(Some(Self {
            status: value("Status").map_or(Err(Failure::Unexpected), |s| Ok(status(s)))?,
            serial: value("Serial"),
            not_before: value("notBefore"),
            not_after: value("notAfter"),
            dns_names: value("Subject Alternative Name").map_or_else(Vec::new, |v| dns_names(&v)),
            algorithm: value("Algorithm"),
            sha1: value("SHA1 FingerPrint"),
            subject: value("Subject"),
            issuer: value("Issuer"),
            chain_subjects: fields(body)
                .filter(|(key, _)| *key == b"Chain Subject")
                .map(|(_, value)| text(value))
                .collect(),
        }))
    }
}

/// Reads the replies of several `show ssl cert NAME` on one line, in the order
/// of `names`.
///
/// # Errors
///
/// When they are something else, or not as many.
pub fn several(body: &[u8], names: &[StorePath]) -> Result<Vec<Option<Details>>, Failure> {
    let text = str::from_utf8(body).map_err(|_| Failure::Unexpected)?;
    // Each ends with an empty line, and has none inside.
    let parts = Vec::from_iter(text.split_terminator("\n\n"));
    if parts.len() != names.len() {
        return Err(Failure::Unexpected);
    }
    let parse = |(part, name): (&&str, _)| Details::parse(part.trim_start().as_bytes(), name);
    parts.iter().zip(names).map(parse).collect()
}

const NOT_FOUND: &[u8] = b"Can't display the certificate: Not found";

fn status(text: String) -> Status {
    match text.as_str() {
        "Used" => Status::Used,
        "Unused" => Status::Unused,
        "Empty" => Status::Empty,
        "Uncommitted" => Status::Uncommitted,
        _ => Status::Other(text),
    }
}

/// `DNS:a.example, DNS:b.example, `: an address leaves an empty place.
fn dns_names(text: &str) -> Vec<String> {
    let names = text
        .split(", ")
        .filter_map(|name| name.strip_prefix("DNS:"));
    names.map(str::to_owned).collect()
}
