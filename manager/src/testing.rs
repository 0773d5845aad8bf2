//! A CA in a few lines, for unit tests.

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use crate::bundle::Bundle;

/// What to issue.
#[derive(Clone, Copy)]
pub(crate) struct Issue {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Issue {
    /// 2026-11-21T00:00:00Z.
    pub(crate) const NOW: Timestamp = Timestamp::constant(1_795_219_200, 0);

    /// Issues for `names` by a CA of its own.
    pub(crate) fn bundle(self, names: &[&str]) -> Bundle {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = self.params(&[]);
        ca.not_before = offset(Self::NOW - SignedDuration::from_hours(24));
        ca.not_after = offset(Self::NOW + SignedDuration::from_hours(24 * 400));
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name
            .push(rcgen::DnType::CommonName, "Test CA");
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = self
            .params(names)
            .signed_by(&key, &Issuer::new(ca, ca_key))
            .unwrap();
        let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Bundle::new(der, vec![leaf.der().clone(), ca_certificate.der().clone()]).unwrap()
    }

    fn params(self, names: &[&str]) -> CertificateParams {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = offset(self.not_before);
        params.not_after = offset(self.not_after);
        params
    }
}

impl Default for Issue {
    fn default() -> Self {
        Self {
            not_before: Self::NOW - SignedDuration::from_hours(1),
            not_after: Self::NOW + SignedDuration::from_hours(24 * 90),
        }
    }
}

/// Ninety days for `names`.
pub(crate) fn issue(names: &[&str]) -> Bundle {
    Issue::default().bundle(names)
}

fn offset(time: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(time.as_second()).unwrap()
}
