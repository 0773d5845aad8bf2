//! The PEM bundle: a private key with its certificate chain.
//!
//! PEM is read here, through rustls-pemfile, and nowhere else.

use std::fmt;

use aws_lc_rs::digest;
use pem::{EncodeConfig, LineEnding, Pem};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::leaf::hex;

/// A private key with its certificate chain, leaf first.
#[derive(Eq, PartialEq)]
pub struct Bundle {
    key: PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
}

impl Bundle {
    /// Puts a key and a chain together. Whether they belong together is for
    /// [`crate::policy`] to say.
    ///
    /// # Errors
    ///
    /// When the chain is empty.
    pub fn new(
        key: PrivateKeyDer<'static>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Self, BundleError> {
        if chain.is_empty() {
            return Err(BundleError::NoCertificate);
        }
        Ok(Self { key, chain })
    }

    /// Reads a bundle as HAProxy loads it: certificates and one key, in any
    /// order, text between the blocks ignored.
    ///
    /// # Errors
    ///
    /// When the PEM is broken, or has no certificate or not exactly one key.
    pub fn from_pem(text: &[u8]) -> Result<Self, BundleError> {
        let (mut keys, mut chain) = (Vec::new(), Vec::new());
        for item in blocks(text) {
            match item? {
                rustls_pemfile::Item::X509Certificate(der) => chain.push(der),
                rustls_pemfile::Item::Pkcs8Key(der) => keys.push(PrivateKeyDer::Pkcs8(der)),
                rustls_pemfile::Item::Pkcs1Key(der) => keys.push(PrivateKeyDer::Pkcs1(der)),
                rustls_pemfile::Item::Sec1Key(der) => keys.push(PrivateKeyDer::Sec1(der)),
                _ => {}
            }
        }
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Self::new(key, chain),
            (None, _) => Err(BundleError::NoKey),
            (Some(_), false) => Err(BundleError::SeveralKeys),
        }
    }

    /// The certificate for the names; the rest of the chain only vouches for it.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        // `new` refuses an empty chain.
        &self.chain[0]
    }

    /// The certificates as they are served, leaf first; at least one.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key.
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// The same again. There are two keys in memory then: it is not `Clone`, so
    /// that this is seen.
    pub fn copy(&self) -> Self {
        Self {
            key: self.key.clone_key(),
            chain: self.chain.clone(),
        }
    }

    /// The file that HAProxy loads: chain, then key. Encoded anew from DER,
    /// because a blank line or a comment would end a Runtime API payload.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(chain_to_pem(&self.chain));
        text.push_str(&key_to_pem(&self.key));
        text
    }
}

/// SHA-256 in lower-case hexadecimal: what a file held, without keeping it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Certificates as PEM, in the order given.
pub fn chain_to_pem(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|der| encode("CERTIFICATE", der)).collect()
}

/// A private key as PEM.
pub fn key_to_pem(key: &PrivateKeyDer<'_>) -> Zeroizing<String> {
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    Zeroizing::new(encode(label, key.secret_der()))
}

/// Reads a chain, leaf first, as a CA sends it (RFC 8555 §9.1).
///
/// # Errors
///
/// When the PEM is broken or holds no certificate.
pub fn chain_from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let mut chain = Vec::new();
    for item in blocks(text) {
        if let rustls_pemfile::Item::X509Certificate(der) = item? {
            chain.push(der);
        }
    }
    if chain.is_empty() {
        Err(BundleError::NoCertificate)
    } else {
        Ok(chain)
    }
}

/// Reads a private key.
///
/// # Errors
///
/// When the PEM is broken or holds no key.
pub fn key_from_pem(mut text: &[u8]) -> Result<PrivateKeyDer<'static>, BundleError> {
    rustls_pemfile::private_key(&mut text)
        .map_err(|_| BundleError::Broken)?
        .ok_or(BundleError::NoKey)
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// Why a text is no bundle.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BundleError {
    /// Armour or base64 that cannot be read.
    #[error("the PEM cannot be read")]
    Broken,
    /// No certificate.
    #[error("the PEM holds no certificate")]
    NoCertificate,
    /// No private key.
    #[error("the PEM holds no private key")]
    NoKey,
    /// More than one private key.
    #[error("the PEM holds more than one private key")]
    SeveralKeys,
}

fn blocks(mut text: &[u8]) -> impl Iterator<Item = Result<rustls_pemfile::Item, BundleError>> {
    std::iter::from_fn(move || match rustls_pemfile::read_one_from_slice(text) {
        Ok(Some((item, rest))) => {
            text = rest;
            Some(Ok(item))
        }
        Ok(None) => None,
        Err(_) => {
            text = &[];
            Some(Err(BundleError::Broken))
        }
    })
}

fn encode(label: &str, der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(label, der), config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::issue;

    #[test]
    fn survives_the_way_to_pem_and_back() {
        let bundle = issue(&["example.com"]);
        let text = bundle.to_pem();
        assert_eq!(Bundle::from_pem(text.as_bytes()).unwrap(), bundle);
        assert!(!text.contains("\n\n") && !text.contains('\r') && text.ends_with('\n'));
    }

    #[test]
    fn ignores_text_between_blocks_and_any_line_ending() {
        let bundle = issue(&["example.com"]);
        let text = bundle
            .to_pem()
            .replace("-----BEGIN", "subject: x\n\n-----BEGIN");
        assert_eq!(
            Bundle::from_pem(text.replace('\n', "\r\n").as_bytes()).unwrap(),
            bundle
        );
    }

    #[test]
    fn says_what_is_missing() {
        let bundle = issue(&["example.com"]);
        let chain = chain_to_pem(bundle.chain());
        let key = key_to_pem(bundle.key());
        for (text, error) in [
            (String::new(), BundleError::NoKey),
            (chain.clone(), BundleError::NoKey),
            (key.to_string(), BundleError::NoCertificate),
            (format!("{chain}{}{}", *key, *key), BundleError::SeveralKeys),
            (chain.replace("MII", "%%%"), BundleError::Broken),
        ] {
            assert_eq!(Bundle::from_pem(text.as_bytes()).unwrap_err(), error);
        }
    }

    #[test]
    fn debug_output_holds_no_key() {
        assert_eq!(
            format!("{:?}", issue(&["example.com"])),
            "Bundle { certificates: 2, .. }"
        );
    }
}
