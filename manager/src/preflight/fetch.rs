//! One challenge request, as a CA makes it (Boulder, `va/http.go`): to an
//! address chosen beforehand, one request a connection, redirects by its rules.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::dns::{Dns, DnsFault};
use super::redirect::{self, RedirectFault, Target};
use super::reserved::is_reserved;
use crate::deploy::unverified_tls;

/// How requests are made.
#[derive(Clone, Debug)]
pub struct Manners {
    /// The ports of http and https.
    pub ports: [u16; 2],
    /// For one connection to come about and for its answer, each.
    pub limit: Duration,
    /// Whether names may lead to addresses that are not public.
    pub allow_reserved: bool,
}

/// What came of a request, redirects followed.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// Each redirect that was followed: where it led.
    pub redirects: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// With an answer.
    Answer(Answer),
    /// With a redirect that a CA does not follow.
    Redirect(RedirectFault),
    /// Nobody listens there.
    Refused,
    /// No connection came about in time: something drops the packets.
    NoConnection,
    /// The system knows no way there.
    NoRoute(String),
    /// The connection was closed before there was an answer.
    Closed,
    /// There was a connection, but no answer in time.
    Silent,
    /// What came back is not HTTP.
    Garbled,
    /// A redirect led to https, and TLS failed there.
    Tls(String),
    /// A redirect led to an address that is not public.
    Reserved(IpAddr),
    /// A redirect led to a name that DNS does not have.
    Dns(String, DnsFault),
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body, cut one byte after what a CA reads.
    pub body: Vec<u8>,
}

/// In bytes: Boulder refuses a body of 128 or more.
pub(super) const BODY_MAX: usize = 127;

/// All redirects of one request together.
const OVERALL_FACTOR: u32 = 3;

/// What the request says it is.
const AGENT: &str = concat!("spoacme/", env!("CARGO_PKG_VERSION"), " (preflight check)");

/// Fetches `path` for `host` from `address`, and from where redirects lead. One
/// that leads to the same host stays at the same IP address.
pub(super) async fn fetch(
    host: &str,
    path: &str,
    address: SocketAddr,
    dns: &Dns,
    manners: &Manners,
) -> Fetched {
    let mut journey = Journey {
        targets: vec![Target {
            is_https: false,
            host: host.to_owned(),
            path: path.to_owned(),
        }],
        address,
        dns,
        manners,
        deadline: Instant::now() + manners.limit * OVERALL_FACTOR,
    };
    let outcome = journey.run().await.unwrap_or_else(|outcome| outcome);
    let redirects = journey.targets.iter().skip(1).map(url).collect();
    Fetched { redirects, outcome }
}

fn url(target: &Target) -> String {
    let scheme = if target.is_https { "https" } else { "http" };
    let host = match target.host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => target.host.clone(),
    };
    format!("{scheme}://{host}{}", target.path)
}

struct Journey<'a> {
    targets: Vec<Target>,
    address: SocketAddr,
    dns: &'a Dns,
    manners: &'a Manners,
    deadline: Instant,
}

impl Journey<'_> {
    async fn run(&mut self) -> Result<Outcome, Outcome> {
        // `follow` ends it after `REDIRECTS_MAX`.
        loop {
            let Some(target) = self.targets.last().cloned() else {
                return Ok(Outcome::Closed);
            };
            let answer = timeout_at(
                self.deadline,
                get(&target, self.address, self.manners.limit),
            )
            .await
            .unwrap_or(Err(Outcome::Silent))?;
            if !redirect::is_followed(answer.status) {
                return Ok(Outcome::Answer(answer));
            }
            let location = answer
                .headers
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            let next = redirect::follow(&self.targets, location, self.manners.ports)
                .map_err(Outcome::Redirect)?;
            self.address = self.address_of(&target, &next).await?;
            self.targets.push(next);
        }
    }

    async fn address_of(&self, from: &Target, next: &Target) -> Result<SocketAddr, Outcome> {
        let port = self.manners.ports[usize::from(next.is_https)];
        if next.host == from.host {
            let is_same_port = next.is_https == from.is_https;
            let port = if is_same_port {
                self.address.port()
            } else {
                port
            };
            return Ok(SocketAddr::new(self.address.ip(), port));
        }
        let ip = match next.host.parse() {
            Ok(ip) => ip,
            Err(_) => self.resolve(&next.host).await?,
        };
        if is_reserved(ip) && !self.manners.allow_reserved {
            return Err(Outcome::Reserved(ip));
        }
        Ok(SocketAddr::new(ip, port))
    }

    async fn resolve(&self, host: &str) -> Result<IpAddr, Outcome> {
        let fail = |fault| Outcome::Dns(host.to_owned(), fault);
        let addresses = self.dns.addresses(host).await.map_err(fail)?;
        addresses
            .all
            .first()
            .copied()
            .ok_or_else(|| fail(DnsFault::NoAddress))
    }
}

async fn get(target: &Target, address: SocketAddr, limit: Duration) -> Result<Answer, Outcome> {
    let stream = match timeout(limit, TcpStream::connect(address)).await {
        Err(_) => return Err(Outcome::NoConnection),
        Ok(Err(error)) => return Err(unconnected(&error)),
        Ok(Ok(stream)) => stream,
    };
    let exchange = async {
        if !target.is_https {
            return exchange(target, stream).await;
        }
        let name = ServerName::try_from(target.host.clone());
        let name = name.map_err(|error| Outcome::Tls(error.to_string()))?;
        // A CA does not verify certificates here (RFC 8555 §8.3).
        let config = unverified_tls().map_err(|error| Outcome::Tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await;
        exchange(
            target,
            stream.map_err(|error| Outcome::Tls(error.to_string()))?,
        )
        .await
    };
    timeout(limit, exchange)
        .await
        .unwrap_or(Err(Outcome::Silent))
}

fn unconnected(error: &std::io::Error) -> Outcome {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Outcome::Refused,
        std::io::ErrorKind::TimedOut => Outcome::NoConnection,
        std::io::ErrorKind::ConnectionReset => Outcome::Closed,
        _ => Outcome::NoRoute(error.to_string()),
    }
}

async fn exchange<S>(target: &Target, stream: S) -> Result<Answer, Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(target.path.as_str())
        .header(HOST, host_field(&target.host))
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Outcome::Redirect(RedirectFault::NoLocation))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_SIZE_MAX);
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        let (parts, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        while body.len() <= BODY_MAX
            && let Some(Ok(frame)) = incoming.frame().await
        {
            body.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
        }
        body.truncate(BODY_MAX + 1);
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The peer has closed; what it said before may still be there.
        _ = &mut connection => answer.await,
    }
}

/// In bytes, for the head of an answer. hyper asks for no less than 8 kB.
const HEAD_SIZE_MAX: usize = 32 << 10;

fn host_field(host: &str) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    }
}

fn broken(error: &hyper::Error) -> Outcome {
    if error.is_parse() {
        Outcome::Garbled
    } else {
        Outcome::Closed
    }
}
