//! Keys, requests for certificates, and the placeholder.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::PrivateKeyDer;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::bundle::Bundle;
use crate::names::DnsName;

/// What kind of key a certificate is for: those that public CAs take.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyType {
    /// ECDSA on P-256: small, fast, and known to every client of today.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA of 2048 bits, for clients of yesterday.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA of 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA of 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

impl KeyType {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// What the configuration calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

/// Makes a private key.
///
/// # Errors
///
/// When the crypto library fails.
pub fn generate(kind: KeyType) -> Result<PrivateKeyDer<'static>, KeyError> {
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
    let pair = match kind {
        KeyType::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        KeyType::EcdsaP384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
        KeyType::Rsa3072 => rsa(RsaKeySize::_3072),
        KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
    };
    let pair = pair.map_err(KeyError::Generate)?;
    Ok(PrivateKeyDer::Pkcs8(pair.serialize_der().into()))
}

/// A certificate signing request in DER (RFC 2986) for `names` alone: no
/// common name, which CAs are about to drop.
///
/// # Errors
///
/// When the key is of a kind that cannot sign.
pub fn signing_request(key: &PrivateKeyDer<'_>, names: &[DnsName]) -> Result<Vec<u8>, KeyError> {
    let pair = KeyPair::try_from(key).map_err(KeyError::Unusable)?;
    let mut params = params(names).map_err(KeyError::Unusable)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params
        .serialize_request(&pair)
        .map_err(KeyError::Unusable)?;
    Ok(request.der().to_vec())
}

/// A self-signed certificate that lets HAProxy start before the first real
/// one has been issued.
///
/// # Errors
///
/// When the crypto library fails.
pub fn placeholder(names: &[DnsName], now: Timestamp) -> Result<Bundle, KeyError> {
    let pair = KeyPair::generate().map_err(KeyError::Generate)?;
    let mut params = params(names).map_err(KeyError::Generate)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, PLACEHOLDER_NAME);
    params.not_before = offset(now - SignedDuration::from_hours(1));
    params.not_after = offset(now + PLACEHOLDER_LIFETIME);
    let certificate = params.self_signed(&pair).map_err(KeyError::Generate)?;
    let key = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
    Bundle::new(key, vec![certificate.der().clone()]).map_err(|_| KeyError::Empty)
}

/// Why there is no key, request or placeholder.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// The crypto library failed.
    #[error("making a key failed: {0}")]
    Generate(rcgen::Error),
    /// A key that cannot sign.
    #[error("the private key cannot be used: {0}")]
    Unusable(rcgen::Error),
    /// No certificate came out.
    #[error("making a placeholder failed")]
    Empty,
}

/// The common name of a placeholder.
pub const PLACEHOLDER_NAME: &str = "spoacme placeholder";

const PLACEHOLDER_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 365);

fn params(names: &[DnsName]) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<_> = names.iter().map(|name| name.as_str().to_owned()).collect();
    CertificateParams::new(names)
}

/// In the range of years that X.509 can write, whatever the clock says.
fn offset(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf::Leaf;
    use crate::testing::Issue;

    fn example() -> Vec<DnsName> {
        vec![DnsName::try_from("example.com".to_owned()).unwrap()]
    }

    #[test]
    fn every_kind_of_key_signs_a_request() {
        // The larger RSA keys take long to make, and differ in size alone.
        for kind in &KeyType::ALL[..3] {
            let key = generate(*kind).unwrap();
            signing_request(&key, &example()).unwrap();
        }
    }

    #[test]
    fn a_request_bears_the_names_and_no_subject() {
        let key = generate(KeyType::default()).unwrap();
        let request = signing_request(&key, &example()).unwrap();
        let der = request.as_slice().into();
        let parsed = rcgen::CertificateSigningRequestParams::from_der(&der).unwrap();
        assert_eq!(parsed.params.distinguished_name.iter().count(), 0);
        assert_eq!(parsed.params.subject_alt_names.len(), 1);
    }

    #[test]
    fn a_placeholder_is_for_the_names_and_says_what_it_is() {
        let bundle = placeholder(&example(), Issue::NOW).unwrap();
        let leaf = Leaf::from_der(bundle.leaf()).unwrap();
        assert_eq!(leaf.names, ["example.com"]);
        assert!(leaf.self_signed && leaf.issuer.contains(PLACEHOLDER_NAME));
    }
}
