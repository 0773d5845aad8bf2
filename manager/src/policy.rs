//! The gate that a bundle passes before anything is published.
//!
//! HAProxy itself takes an expired certificate, or one for another name,
//! without a word.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::UnixTime;
use rustls::sign::CertifiedKey;

use crate::bundle::Bundle;
use crate::leaf::{Leaf, LeafError};
use crate::names::DnsName;

/// Checks an issued bundle and says what its leaf is.
///
/// # Errors
///
/// The first reason why it must not be published.
pub fn check(bundle: &Bundle, names: &[DnsName], now: Timestamp) -> Result<Leaf, Refusal> {
    let leaf = Leaf::from_der(bundle.leaf())?;
    check_key(bundle)?;
    check_names(&leaf, names)?;
    check_dates(&leaf, now)?;
    // The dates are checked with the skew above.
    check_signatures(bundle, now.max(leaf.not_before))?;
    Ok(leaf)
}

/// Checks a bundle before it is put in place, whoever made it: that HAProxy and
/// its visitors can use it today.
///
/// # Errors
///
/// The first reason why it must not be.
pub fn check_fit(bundle: &Bundle, now: Timestamp) -> Result<(), Refusal> {
    let leaf = Leaf::from_der(bundle.leaf())?;
    check_key(bundle)?;
    if leaf.not_before > now + SKEW_MAX {
        return Err(Refusal::NotYetValid(leaf.not_before));
    }
    if leaf.not_after <= now {
        return Err(Refusal::Expired(leaf.not_after));
    }
    check_signatures(bundle, now.max(leaf.not_before))
}

/// Why a bundle must not be published.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The leaf cannot be read.
    #[error("the CA's leaf is {0}")]
    Unreadable(#[from] LeafError),
    /// The key is none that TLS clients of today take.
    #[error(
        "the private key is none of ECDSA P-256, P-384, P-521, RSA of 2048 to 8192 bits, Ed25519"
    )]
    UnusableKey,
    /// The certificate is for another key.
    #[error("the certificate is not for its private key")]
    OtherKey,
    /// The certificate bears other names.
    #[error("the certificate is for {found}, not for {wanted}")]
    OtherNames {
        /// The names asked for.
        wanted: String,
        /// The names in the certificate.
        found: String,
    },
    /// Not valid yet.
    #[error("the certificate is valid only from {0}; is this machine's clock right?")]
    NotYetValid(Timestamp),
    /// Expired, or nearly so.
    #[error("the certificate is valid only until {0}; is this machine's clock right?")]
    Expiring(Timestamp),
    /// Expired.
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    /// The chain does not hold.
    #[error("the certificate chain does not hold: {0}")]
    BrokenChain(String),
}

impl Refusal {
    /// Whether time alone may mend it.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NotYetValid(_))
    }
}

/// How far this clock and the CA's may be apart.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(10);

fn check_key(bundle: &Bundle) -> Result<(), Refusal> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider
        .key_provider
        .load_private_key(bundle.key().clone_key());
    let key = key.map_err(|_| Refusal::UnusableKey)?;
    CertifiedKey::new(vec![bundle.leaf().clone()], key)
        .keys_match()
        .map_err(|_| Refusal::OtherKey)
}

fn check_names(leaf: &Leaf, names: &[DnsName]) -> Result<(), Refusal> {
    let wanted: BTreeSet<&str> = names.iter().map(DnsName::as_str).collect();
    let found: BTreeSet<&str> = leaf.names.iter().map(String::as_str).collect();
    if wanted == found {
        return Ok(());
    }
    let list = |set: BTreeSet<&str>| Vec::from_iter(set).join(", ");
    Err(Refusal::OtherNames {
        wanted: list(wanted),
        found: list(found),
    })
}

fn check_dates(leaf: &Leaf, now: Timestamp) -> Result<(), Refusal> {
    if leaf.not_before > now + SKEW_MAX {
        return Err(Refusal::NotYetValid(leaf.not_before));
    }
    let lifetime = leaf.not_after.duration_since(leaf.not_before);
    if leaf.not_after < now + lifetime / 10 {
        return Err(Refusal::Expiring(leaf.not_after));
    }
    Ok(())
}

/// Each certificate is signed by the next. The last one is trusted for this
/// purpose: which root is right is the CA's and the clients' matter.
fn check_signatures(bundle: &Bundle, at: Timestamp) -> Result<(), Refusal> {
    let (Some(top), [_, below @ ..]) = (bundle.chain().last(), bundle.chain()) else {
        return Ok(());
    };
    if below.is_empty() {
        return Ok(());
    }
    let broken = |error: webpki::Error| Refusal::BrokenChain(error.to_string());
    let anchor = webpki::anchor_from_trusted_cert(top).map_err(broken)?;
    let leaf = webpki::EndEntityCert::try_from(bundle.leaf()).map_err(broken)?;
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &[anchor],
        below,
        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        webpki::KeyUsage::server_auth(),
        None,
        None,
    )
    .map_err(broken)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Issue, issue};

    fn names(texts: &[&str]) -> Vec<DnsName> {
        texts
            .iter()
            .map(|t| DnsName::try_from((*t).to_owned()).unwrap())
            .collect()
    }

    #[test]
    fn passes_what_was_asked_for() {
        let bundle = issue(&["b.example", "a.example"]);
        let leaf = check(&bundle, &names(&["a.example", "b.example"]), Issue::NOW);
        assert_eq!(leaf.unwrap().names, ["b.example", "a.example"]);
    }

    #[test]
    fn refuses_another_key() {
        let chain = issue(&["a.example"]).chain().to_vec();
        let key = issue(&["a.example"]).key().clone_key();
        let mixed = Bundle::new(key, chain).unwrap();
        assert_eq!(
            check(&mixed, &names(&["a.example"]), Issue::NOW),
            Err(Refusal::OtherKey)
        );
    }

    #[test]
    fn refuses_names_missing_or_added() {
        let bundle = issue(&["a.example", "b.example"]);
        for wanted in [&["a.example"][..], &["a.example", "b.example", "c.example"]] {
            let refusal = check(&bundle, &names(wanted), Issue::NOW).unwrap_err();
            assert!(matches!(refusal, Refusal::OtherNames { .. }), "{refusal}");
        }
    }

    #[test]
    fn refuses_dates_beyond_the_skew() {
        let wanted = names(&["a.example"]);
        let hour = SignedDuration::from_hours(1);
        let early = Issue {
            not_before: Issue::NOW + hour,
            ..Issue::default()
        };
        let refusal = check(&early.bundle(&["a.example"]), &wanted, Issue::NOW).unwrap_err();
        assert!(matches!(refusal, Refusal::NotYetValid(_)), "{refusal}");
        let late = Issue {
            not_after: Issue::NOW - hour,
            ..Issue::default()
        };
        let refusal = check(&late.bundle(&["a.example"]), &wanted, Issue::NOW).unwrap_err();
        assert!(matches!(refusal, Refusal::Expiring(_)), "{refusal}");
    }

    #[test]
    fn a_short_life_passes() {
        let short = Issue {
            not_before: Issue::NOW,
            not_after: Issue::NOW + SignedDuration::from_secs(60),
        };
        let bundle = short.bundle(&["a.example"]);
        check(&bundle, &names(&["a.example"]), Issue::NOW).unwrap();
    }

    #[test]
    fn what_is_put_in_place_is_valid_today() {
        let hour = SignedDuration::from_hours(1);
        let issue = |not_before, not_after| {
            Issue {
                not_before,
                not_after,
            }
            .bundle(&["a.example"])
        };
        let (now, day) = (Issue::NOW, SignedDuration::from_hours(24));
        // Nearly expired is still better than nothing.
        check_fit(&issue(now - day * 90, now + hour), now).unwrap();
        let expired = check_fit(&issue(now - day, now - hour), now).unwrap_err();
        assert!(matches!(expired, Refusal::Expired(_)), "{expired}");
        let early = check_fit(&issue(now + hour, now + day), now).unwrap_err();
        assert!(matches!(early, Refusal::NotYetValid(_)), "{early}");
    }

    #[test]
    fn refuses_a_chain_of_strangers() {
        let bundle = issue(&["a.example"]);
        let stranger = issue(&["a.example"]).chain()[1].clone();
        let mixed = Bundle::new(
            bundle.key().clone_key(),
            vec![bundle.leaf().clone(), stranger],
        )
        .unwrap();
        let refusal = check(&mixed, &names(&["a.example"]), Issue::NOW).unwrap_err();
        assert!(matches!(refusal, Refusal::BrokenChain(_)), "{refusal}");
    }
}
