//! TLS as a visitor: handshakes, and a visitor who never stops making them.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use x509_parser::extensions::GeneralName;

/// The chain that a port of the loopback serves for `name`, leaf first.
///
/// # Errors
///
/// When there is no handshake.
pub fn chain(port: u16, name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let handshake = || -> io::Result<_> {
        let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut connection =
            ClientConnection::new(Arc::clone(&CONFIG), server).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let chain = connection
            .peer_certificates()
            .ok_or(ErrorKind::InvalidData)?;
        Ok(chain.iter().map(|der| der.clone().into_owned()).collect())
    };
    handshake().map_err(|error| format!("handshake with port {port} for {name}: {error}"))
}

/// The leaf that a port of the loopback serves for `name`.
///
/// # Errors
///
/// When there is no handshake.
pub fn leaf(port: u16, name: &str) -> Result<CertificateDer<'static>, String> {
    chain(port, name)?
        .into_iter()
        .next()
        .ok_or_else(|| "an empty chain".to_owned())
}

/// Who issued a certificate, as a distinguished name.
///
/// # Errors
///
/// When it is no certificate.
pub fn issuer(leaf: &CertificateDer<'_>) -> Result<String, String> {
    let parsed = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    Ok(parsed.1.issuer().to_string())
}

/// The serial number of a certificate.
///
/// # Errors
///
/// When it is no certificate, or the number has more than eight bytes.
pub fn serial(leaf: &CertificateDer<'_>) -> Result<u64, String> {
    let parsed = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    u64::try_from(&parsed.1.serial).map_err(|error| error.to_string())
}

/// The DNS names of a certificate.
///
/// # Errors
///
/// When it is no certificate.
pub fn names(leaf: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let parsed = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    let extension = parsed
        .1
        .subject_alternative_name()
        .map_err(|error| error.to_string())?;
    let names = extension
        .iter()
        .flat_map(|extension| &extension.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    Ok(dns.collect())
}

/// A visitor who makes one handshake after another.
#[derive(Debug)]
pub struct Visitor {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

/// What a visitor has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Handshakes that succeeded.
    pub handshakes: usize,
    /// What failed.
    pub failures: Vec<String>,
    /// The leaves in the order of their first appearance.
    pub leaves: Vec<CertificateDer<'static>>,
    /// How often the leaf was another than that of the handshake before.
    pub changes: usize,
}

impl Visitor {
    /// Begins to visit `name` on a port of the loopback.
    pub fn begin(port: u16, name: &str) -> Self {
        Self::begin_calmly(port, name, Duration::ZERO)
    }

    /// Begins to visit, with a pause after each handshake.
    pub fn begin_calmly(port: u16, name: &str, pause: Duration) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (name, stopped, book) = (name.to_owned(), Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || visit(port, &name, pause, &stopped, &book));
        Self {
            stop,
            seen,
            thread: Some(thread),
        }
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.seen
            .lock()
            .map(|seen| seen.clone())
            .unwrap_or_default()
    }

    /// Ends the visits.
    pub fn end(mut self) -> Seen {
        self.join();
        self.seen()
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.join();
    }
}

fn visit(port: u16, name: &str, pause: Duration, stop: &AtomicBool, seen: &Mutex<Seen>) {
    let mut last = None;
    while !stop.load(Ordering::Relaxed) {
        let outcome = leaf(port, name);
        let Ok(mut seen) = seen.lock() else { return };
        match outcome {
            Ok(leaf) => {
                seen.handshakes += 1;
                if last.as_ref().is_some_and(|last| *last != leaf) {
                    seen.changes += 1;
                }
                if !seen.leaves.contains(&leaf) {
                    seen.leaves.push(leaf.clone());
                }
                last = Some(leaf);
            }
            Err(error) => seen.failures.push(error),
        }
        drop(seen);
        std::thread::sleep(pause);
    }
}

/// Resumes nothing, so that all handshakes are whole ones.
static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(config()));

fn config() -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .expect("the default provider has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// Takes any certificate: stories look at it themselves.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
