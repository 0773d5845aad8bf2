//! What is served, seen in TLS handshakes: the only proof of a deployment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::leaf::Leaf;
use crate::names::DnsName;

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
        /// The SHA-256 of its leaf, and until when it is valid.
        leaf: Option<Box<Leaf>>,
    },
    /// Some handshakes showed one certificate, some another: two processes
    /// share the port.
    Mixed,
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

    /// In a few words, for a table.
    pub fn describe(&self) -> String {
        match self {
            Self::Served => "served".to_owned(),
            Self::OtherChain => "other chain".to_owned(),
            Self::Other { leaf: Some(leaf) } if leaf.self_signed => "self-signed".to_owned(),
            Self::Other { leaf: Some(leaf) } => format!("other, until {}", leaf.not_after),
            Self::Other { leaf: None } => "unreadable".to_owned(),
            Self::Mixed => "mixed answers".to_owned(),
            Self::Unreachable { why } => why.clone(),
        }
    }
}

/// Makes [`HANDSHAKES`] handshakes, none resumed, and compares each chain
/// with `wanted`.
pub(super) async fn look(
    address: SocketAddr,
    name: &DnsName,
    wanted: &[CertificateDer<'_>],
) -> Finding {
    let mut findings = Vec::new();
    for _ in 0..HANDSHAKES {
        let finding = match handshake(address, name).await {
            Ok(chain) => compare(&chain, wanted),
            Err(why) => Finding::Unreachable { why },
        };
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    match findings.pop() {
        Some(finding) if findings.is_empty() => finding,
        _ => Finding::Mixed,
    }
}

/// Looks until `wanted` is served, for [`PATIENCE`] at most: a reload leaves
/// an old process on the port for a moment.
pub(super) async fn wait_for(
    address: SocketAddr,
    name: &DnsName,
    wanted: &[CertificateDer<'_>],
) -> Finding {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let finding = look(address, name, wanted).await;
        if finding == Finding::Served || Instant::now() >= deadline {
            return finding;
        }
        sleep(PAUSE).await;
    }
}

const HANDSHAKES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

/// For one handshake, connecting included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

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

async fn handshake(
    address: SocketAddr,
    name: &DnsName,
) -> Result<Vec<CertificateDer<'static>>, String> {
    timeout(HANDSHAKE_TIMEOUT, try_handshake(address, name))
        .await
        .unwrap_or_else(|_| Err("no handshake in time".to_owned()))
}

async fn try_handshake(
    address: SocketAddr,
    name: &DnsName,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let server = ServerName::try_from(name.as_str().to_owned()).map_err(|e| e.to_string())?;
    let config = unverified_tls().map_err(|error| error.to_string())?;
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(server, tcp)
        .await;
    let tls = tls.map_err(|error| error.to_string())?;
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|der| der.clone().into_owned()).collect())
}

pub(crate) fn unverified_tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Witness(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Takes any certificate, for it is compared afterwards; but the server must
/// prove that it holds the key.
#[derive(Debug)]
struct Witness(Arc<CryptoProvider>);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
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

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let name = DnsName::try_from("a.example".to_owned()).unwrap();
        let finding = look(address, &name, &[]).await;
        assert!(
            matches!(finding, Finding::Unreachable { .. }),
            "{finding:?}"
        );
    }
}
