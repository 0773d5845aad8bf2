//! What is served, seen in TLS handshakes: the only proof of a deployment.

mod handshake;

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{KeyKind, Object};
use crate::leaf::Leaf;
use crate::names::DnsName;

pub(crate) use handshake::unverified_tls;
use handshake::{Offer, Shown, TLS12, TLS13, handshake};

/// What an address serves for a name, compared with what it should.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Finding {
    /// Every handshake showed the chain wanted, byte for byte.
    Served,
    /// Every handshake showed the right leaf with another chain.
    OtherChain,
    /// Another certificate.
    Other {
        /// What it says of itself, if it can be read.
        leaf: Option<Box<Leaf>>,
    },
    /// Some handshakes showed one certificate, some another: two processes
    /// share the port.
    Mixed,
    /// Clients that send no name get what it has replaced.
    StaleDefault,
    /// No handshake.
    Unreachable {
        /// What stood in the way.
        why: String,
    },
}

impl Finding {
    /// Whether there was no handshake at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether the address did not even decline: it is not worth asking for
    /// another name.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Unreachable { why } if why != DECLINED)
    }

    /// In a few words, for a table.
    pub fn describe(&self) -> String {
        match self {
            Self::Served => "served".to_owned(),
            Self::OtherChain => "other chain".to_owned(),
            Self::Other { leaf: Some(leaf) } if leaf.self_signed => "self-signed".to_owned(),
            Self::Other { leaf: Some(leaf) } => format!("other, until {}", leaf.not_after),
            Self::Other { leaf: None } => "unreadable".to_owned(),
            Self::Mixed => "mixed answers".to_owned(),
            Self::StaleDefault => "an older one without SNI".to_owned(),
            Self::Unreachable { why } => why.clone(),
        }
    }
}

/// What `strict-sni` does for a name that it does not know.
const DECLINED: &str = "it declines every handshake";

/// A chain to be shown, for one kind of key or any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) kind: Option<KeyKind>,
    pub(super) chain: &'a [CertificateDer<'static>],
}

impl Object {
    /// What its handshakes are to show.
    pub(super) fn wanted(&self) -> Vec<Wanted<'_>> {
        let wanted = self.parts.iter().map(|part| Wanted {
            kind: part.kind,
            chain: part.bundle.chain(),
        });
        wanted.collect()
    }
}

/// Asks an address for a name, by every kind of key and version of TLS, and
/// compares each chain with what is `wanted`.
pub(super) async fn look(address: SocketAddr, name: &DnsName, wanted: &[Wanted<'_>]) -> Finding {
    look_times(address, name, wanted, FEW).await
}

async fn look_times(
    address: SocketAddr,
    name: &DnsName,
    wanted: &[Wanted<'_>],
    times: usize,
) -> Finding {
    for wanted in wanted {
        let finding = look_for(address, name, *wanted, times).await;
        if finding != Finding::Served {
            return finding;
        }
    }
    Finding::Served
}

/// Handshakes for one look.
const FEW: usize = 3;

/// Handshakes that do not all meet one of two processes on a port but once in
/// a thousand times: the kernel chooses for each anew.
const MANY: usize = 10;

async fn look_for(
    address: SocketAddr,
    name: &DnsName,
    wanted: Wanted<'_>,
    times: usize,
) -> Finding {
    let mut findings = Vec::new();
    for version in [TLS13, TLS12].into_iter().cycle().take(times) {
        let offer = Offer {
            name: Some(name),
            version,
            kind: wanted.kind,
        };
        let finding = match handshake(address, offer).await {
            Shown::Chain(chain) => compare(&chain, wanted.chain),
            // It need not speak both versions.
            Shown::Declined => continue,
            Shown::Nothing(why) => Finding::Unreachable { why },
        };
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    merge(findings)
}

fn merge(mut findings: Vec<Finding>) -> Finding {
    match (findings.pop(), findings.is_empty()) {
        (Some(finding), true) => finding,
        (Some(_), false) => Finding::Mixed,
        (None, _) => Finding::Unreachable {
            why: DECLINED.to_owned(),
        },
    }
}

/// What an address serves to clients that send no name: its leaf, if it does.
/// With `strict-sni` it does not.
pub(super) async fn default_leaf(address: SocketAddr) -> Option<Leaf> {
    for version in [TLS13, TLS12] {
        let offer = Offer {
            name: None,
            version,
            kind: None,
        };
        if let Shown::Chain(chain) = handshake(address, offer).await {
            return Leaf::from_der(chain.first()?).ok();
        }
    }
    None
}

/// Looks until `wanted` is served, for `patience` at most: a reload leaves an
/// old process on the port for a moment. What has once been otherwise must
/// then be right many times: chance is no proof. With `thorough`, in any case.
pub(super) async fn wait_for(
    address: SocketAddr,
    name: &DnsName,
    wanted: &[Wanted<'_>],
    thorough: bool,
    patience: Duration,
) -> Finding {
    let deadline = Instant::now() + patience;
    let mut times = if thorough { MANY } else { FEW };
    loop {
        let finding = look_times(address, name, wanted, times).await;
        if finding == Finding::Served || Instant::now() >= deadline {
            return finding;
        }
        times = MANY;
        sleep(PAUSE).await;
    }
}

/// After a change.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

fn compare(served: &[CertificateDer<'_>], wanted: &[CertificateDer<'_>]) -> Finding {
    if served == wanted {
        return Finding::Served;
    }
    if served.first() == wanted.first() {
        return Finding::OtherChain;
    }
    let leaf = served.first().and_then(|der| Leaf::from_der(der).ok());
    Finding::Other {
        leaf: leaf.map(Box::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::issue;

    #[test]
    fn tells_another_chain_from_another_certificate() {
        let (ours, other) = (issue(&["a.example"]), issue(&["a.example"]));
        assert_eq!(compare(ours.chain(), ours.chain()), Finding::Served);
        assert_eq!(
            compare(&ours.chain()[..1], ours.chain()),
            Finding::OtherChain
        );
        assert!(matches!(
            compare(other.chain(), ours.chain()),
            Finding::Other { leaf: Some(_) }
        ));
        assert_eq!(compare(&[], ours.chain()), Finding::Other { leaf: None });
    }

    #[test]
    fn different_answers_are_a_finding_of_their_own() {
        let other = Finding::Other { leaf: None };
        assert_eq!(merge(vec![Finding::Served]), Finding::Served);
        assert_eq!(merge(vec![Finding::Served, other]), Finding::Mixed);
        assert!(merge(Vec::new()).is_unreachable());
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let name = DnsName::try_from("a.example".to_owned()).unwrap();
        let anything = Wanted {
            kind: None,
            chain: &[],
        };
        let finding = look(address, &name, &[anything]).await;
        assert!(
            matches!(finding, Finding::Unreachable { .. }),
            "{finding:?}"
        );
        assert!(default_leaf(address).await.is_none());
    }
}
