//! What is deployed together: one bundle, or one of each kind of key.

use std::path::Path;

use rustls::SignatureScheme;

use crate::bundle::Bundle;
use crate::config::Certificate;
use crate::leaf::{Leaf, LeafError};
use crate::names::DnsName;
use crate::store::{Generation, Lineage, StoreError};

/// What is deployed together: all of its parts are served, or none.
#[derive(Debug)]
pub struct Object {
    /// What it is called.
    pub name: String,
    /// The names that handshakes ask for.
    pub names: Vec<DnsName>,
    /// One bundle, or one of each kind of key.
    pub parts: Vec<Part>,
    /// SHA-256 of the leaves that it has replaced, as far as they are known.
    pub older: Vec<String>,
    /// SHA-256 of the leaves that were taken back for it.
    pub withdrawn: Vec<String>,
}

/// A bundle, and the kind of its key if there are several.
#[derive(Debug)]
pub struct Part {
    /// The kind of key, when there is a file for each.
    pub kind: Option<KeyKind>,
    /// Its key and chain.
    pub bundle: Bundle,
    /// What its leaf says.
    pub leaf: Leaf,
}

/// The kinds of keys that HAProxy serves side by side under one name
/// (configuration.txt, `ssl-load-extra-files`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// ECDSA, in `NAME.pem.ecdsa`.
    Ecdsa,
    /// RSA, in `NAME.pem.rsa`.
    Rsa,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Ecdsa, Self::Rsa];

    /// What ends the name of its file.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Ecdsa => ".ecdsa",
            Self::Rsa => ".rsa",
        }
    }

    /// The kind that a file is for, by its name.
    pub fn of_file(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        Self::ALL
            .into_iter()
            .find(|kind| kind.suffix().strip_prefix('.') == Some(extension))
    }

    /// Whether such a key signs a handshake by `scheme`.
    pub(super) fn signs(self, scheme: SignatureScheme) -> bool {
        use SignatureScheme::{
            ECDSA_NISTP256_SHA256, ECDSA_NISTP384_SHA384, ECDSA_NISTP521_SHA512, ECDSA_SHA1_Legacy,
        };
        let is_ecdsa = matches!(
            scheme,
            ECDSA_NISTP256_SHA256
                | ECDSA_NISTP384_SHA384
                | ECDSA_NISTP521_SHA512
                | ECDSA_SHA1_Legacy
        );
        let is_eddsa = matches!(scheme, SignatureScheme::ED25519 | SignatureScheme::ED448);
        match self {
            Self::Ecdsa => is_ecdsa,
            Self::Rsa => !is_ecdsa && !is_eddsa,
        }
    }
}

impl Part {
    /// A bundle as it is.
    ///
    /// # Errors
    ///
    /// When its leaf cannot be read.
    pub fn new(kind: Option<KeyKind>, bundle: Bundle) -> Result<Self, LeafError> {
        let leaf = Leaf::from_der(bundle.leaf())?;
        Ok(Self { kind, bundle, leaf })
    }
}

/// What ends the name of a file for `kind`: nothing, if there is one for any.
pub(super) fn suffix(kind: Option<KeyKind>) -> &'static str {
    kind.map_or("", KeyKind::suffix)
}

impl Object {
    /// What `generation` of a certificate is.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn of_generation(
        certificate: &Certificate,
        lineage: &Lineage,
        generation: &Generation,
    ) -> Result<Self, StoreError> {
        let part = Part {
            kind: None,
            bundle: generation.bundle()?,
            leaf: generation.meta.leaf.clone(),
        };
        let (mut older, mut withdrawn) = (Vec::new(), Vec::new());
        for other in lineage.complete_generations()? {
            let sha256 = other.meta.leaf.sha256;
            match other.number.cmp(&generation.number) {
                std::cmp::Ordering::Less => older.push(sha256),
                std::cmp::Ordering::Greater => withdrawn.push(sha256),
                std::cmp::Ordering::Equal => {}
            }
        }
        Ok(Self {
            name: certificate.name.to_string(),
            names: certificate.names.clone(),
            parts: vec![part],
            older,
            withdrawn,
        })
    }

    /// The kinds of its parts.
    pub(super) fn kinds(&self) -> Vec<Option<KeyKind>> {
        self.parts.iter().map(|part| part.kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_file_is_its_last_extension() {
        for (file, kind) in [
            ("/live/a.pem", None),
            ("/live/a.pem.ecdsa", Some(KeyKind::Ecdsa)),
            ("/live/a.pem.rsa", Some(KeyKind::Rsa)),
            ("/live/rsa", None),
        ] {
            assert_eq!(KeyKind::of_file(Path::new(file)), kind, "{file}");
        }
    }
}
