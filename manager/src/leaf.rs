//! What a leaf certificate says of itself.

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// What a leaf certificate says of itself.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Leaf {
    /// Its DNS names, lower case, in the order of the certificate.
    pub names: Vec<String>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Serial number in lower-case hexadecimal.
    pub serial: String,
    /// SHA-1 of the DER in upper-case hexadecimal: what HAProxy's
    /// `show ssl cert` calls its fingerprint.
    pub sha1: String,
    /// SHA-256 of the DER in lower-case hexadecimal.
    pub sha256: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// Whether subject and issuer are the same: a placeholder.
    pub self_signed: bool,
}

impl Leaf {
    /// Reads a certificate.
    ///
    /// # Errors
    ///
    /// When the DER is no X.509 certificate, or bears dates out of range.
    pub fn from_der(der: &CertificateDer<'_>) -> Result<Self, LeafError> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| LeafError)?;
        if !rest.is_empty() {
            return Err(LeafError);
        }
        Ok(Self {
            names: dns_names(&parsed)?,
            not_before: timestamp(parsed.validity().not_before)?,
            not_after: timestamp(parsed.validity().not_after)?,
            serial: hex(parsed.raw_serial()),
            sha1: hex(digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()).to_uppercase(),
            sha256: hex(digest::digest(&SHA256, der).as_ref()),
            issuer: parsed.issuer().to_string(),
            self_signed: parsed.issuer() == parsed.subject(),
        })
    }
}

/// The DER is no X.509 certificate that can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an X.509 certificate that can be read")]
pub struct LeafError;

fn dns_names(parsed: &X509Certificate<'_>) -> Result<Vec<String>, LeafError> {
    let extension = parsed.subject_alternative_name().map_err(|_| LeafError)?;
    let names = extension.iter().flat_map(|e| &e.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(text) => Some(text.to_ascii_lowercase()),
        _ => None,
    });
    Ok(dns.collect())
}

fn timestamp(time: ASN1Time) -> Result<Timestamp, LeafError> {
    Timestamp::from_second(time.timestamp()).map_err(|_| LeafError)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::issue;

    #[test]
    fn reads_names_dates_and_fingerprints() {
        let bundle = issue(&["example.com", "www.example.com"]);
        let leaf = Leaf::from_der(bundle.leaf()).unwrap();
        assert_eq!(leaf.names, ["example.com", "www.example.com"]);
        assert!(leaf.not_before < leaf.not_after);
        assert_eq!((leaf.sha1.len(), leaf.sha256.len()), (40, 64));
        assert!(!leaf.self_signed);
    }

    #[test]
    fn every_truncation_is_refused() {
        let bundle = issue(&["example.com"]);
        let der = bundle.leaf();
        for length in 0..der.len() {
            let cut = CertificateDer::from(&der[..length]);
            assert_eq!(Leaf::from_der(&cut), Err(LeafError), "{length}");
        }
    }
}
