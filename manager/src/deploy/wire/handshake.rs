//! One handshake, never resumed: what a server shows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, IpAddr, Ipv4Addr, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme,
    SupportedProtocolVersion, version,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::deploy::KeyKind;
use crate::names::DnsName;

/// What a client offers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'a> {
    /// The name asked for (RFC 6066 §3); none without SNI.
    pub(super) name: Option<&'a DnsName>,
    /// The one version of TLS.
    pub(super) version: &'static SupportedProtocolVersion,
    /// The one kind of key, or any.
    pub(super) kind: Option<KeyKind>,
}

/// What a server shows.
#[derive(Debug)]
pub(super) enum Shown {
    /// A chain, leaf first, and proof of its leaf's key.
    Chain(Vec<CertificateDer<'static>>),
    /// It has nothing for what was offered: another version, or no certificate
    /// for that name.
    Declined,
    /// No handshake came about.
    Nothing(String),
}

pub(super) const TLS13: &SupportedProtocolVersion = &version::TLS13;
pub(super) const TLS12: &SupportedProtocolVersion = &version::TLS12;

/// For one handshake, connecting included.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes one handshake.
pub(super) async fn handshake(address: SocketAddr, offer: Offer<'_>) -> Shown {
    timeout(HANDSHAKE_TIMEOUT, try_handshake(address, offer))
        .await
        .unwrap_or_else(|_| Shown::Nothing("no handshake in time".to_owned()))
}

async fn try_handshake(address: SocketAddr, offer: Offer<'_>) -> Shown {
    let nothing = |why: &dyn std::fmt::Display| Shown::Nothing(why.to_string());
    let server = match server_name(offer.name) {
        Ok(server) => server,
        Err(why) => return Shown::Nothing(why),
    };
    let config = match config(&[offer.version], offer.kind) {
        Ok(mut config) => {
            config.enable_sni = offer.name.is_some();
            config
        }
        Err(error) => return nothing(&error),
    };
    let tcp = match TcpStream::connect(address).await {
        Ok(tcp) => tcp,
        Err(error) => return nothing(&error),
    };
    match TlsConnector::from(Arc::new(config))
        .connect(server, tcp)
        .await
    {
        Ok(tls) => {
            let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
            Shown::Chain(chain.iter().map(|der| der.clone().into_owned()).collect())
        }
        Err(error) if is_declined(&error) => Shown::Declined,
        Err(error) => nothing(&error),
    }
}

/// rustls wants a name in any case; without SNI it is not sent.
fn server_name(name: Option<&DnsName>) -> Result<ServerName<'static>, String> {
    match name {
        Some(name) => ServerName::try_from(name.as_str().to_owned()).map_err(|e| e.to_string()),
        None => Ok(ServerName::IpAddress(IpAddr::V4(
            Ipv4Addr::try_from("127.0.0.1").map_err(|e| e.to_string())?,
        ))),
    }
}

/// The alerts of a server that has nothing for this offer (RFC 8446 §6.2).
fn is_declined(error: &std::io::Error) -> bool {
    let tls = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    matches!(
        tls,
        Some(rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::UnrecognisedName
        ))
    )
}

/// A client that takes any certificate, of any version of TLS.
pub(crate) fn unverified_tls() -> Result<ClientConfig, rustls::Error> {
    config(&[TLS13, TLS12], None)
}

fn config(
    versions: &[&'static SupportedProtocolVersion],
    kind: Option<KeyKind>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let witness = Witness {
        provider: Arc::clone(&provider),
        kind,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(witness))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Takes any certificate, for it is compared afterwards; but the server must
/// prove that it holds the key.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    kind: Option<KeyKind>,
}

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
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    /// The `signature_algorithms` offered, by which a server that has several
    /// keys chooses one.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let all = self
            .provider
            .signature_verification_algorithms
            .supported_schemes();
        let fits = |scheme: &SignatureScheme| self.kind.is_none_or(|kind| kind.signs(*scheme));
        all.into_iter().filter(fits).collect()
    }
}
