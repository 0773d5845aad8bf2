//! HTTP as ACME wants it: the gaps of instant-acme's own client closed.
//!
//! One connection pool over reqwest, with a time-out, a limit on answers, no
//! redirects, our User-Agent, and errors that name the URL.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use super::error::AcmeError;

/// The client that all ACME requests go through.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
}

impl Http {
    /// A client that trusts the system's roots, or only those of the PEM file
    /// `root`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or TLS cannot be set up.
    pub(super) fn new(root: Option<&Path>) -> Result<Self, HttpError> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // A connection from an address that has moved away is dead without
            // a word: on load balancers, that happens.
            .http2_keep_alive_interval(ALIVE_INTERVAL)
            .http2_keep_alive_timeout(ALIVE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .https_only(true);
        if let Some(path) = root {
            builder = builder.tls_certs_only(roots(path)?);
        }
        Ok(Self {
            client: builder.build().map_err(HttpError::Setup)?,
        })
    }
}

impl Http {
    /// Fetches a document, of the size of an ACME answer at most.
    ///
    /// # Errors
    ///
    /// When there is no answer of status 200.
    pub(super) async fn get(&self, url: &str) -> Result<Bytes, AcmeError> {
        let fail = |source: Fault| {
            let url = url.to_owned();
            AcmeError::Unreachable(RequestError { url, source }.to_string())
        };
        let request = self.client.get(url).header(USER_AGENT, OUR_USER_AGENT);
        let answer = request.send().await.map_err(|e| fail(e.into()))?;
        match answer.status() {
            http::StatusCode::OK => limited_body(answer).await.map_err(fail),
            status => Err(fail(Fault::NotAcme(status))),
        }
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.client.clone();
        Box::pin(async move {
            let url = request.uri().to_string();
            match exchange(&client, request).await {
                Ok(response) => Ok(response),
                Err(source) => Err(Error::Other(Box::new(RequestError { url, source }))),
            }
        })
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The file of roots cannot be used.
    #[error("cannot use the roots of {}: {what}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Setup(reqwest::Error),
}

/// A request to the CA that got no usable answer. Trying again may help.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {source}")]
pub(super) struct RequestError {
    url: String,
    source: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{}", innermost(.0))]
    Transport(#[from] reqwest::Error),
    #[error("the answer is larger than {ANSWER_SIZE_MAX} bytes")]
    TooLarge,
    #[error("status {0} without a problem document")]
    NotAcme(http::StatusCode),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// In bytes. The largest answer is a certificate chain, of some 10 kB.
const ANSWER_SIZE_MAX: usize = 256 << 10;

/// RFC 8555 §6.1 demands one.
const OUR_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("spoacme/", env!("CARGO_PKG_VERSION")));

fn roots(path: &Path) -> Result<Vec<reqwest::Certificate>, HttpError> {
    let fail = |what: String| HttpError::Roots {
        path: path.to_owned(),
        what,
    };
    let pem = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| fail(innermost(&e)))?;
    if roots.is_empty() {
        Err(fail("it holds no certificate".to_owned()))
    } else {
        Ok(roots)
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Fault> {
    let (mut parts, body) = request.into_parts();
    parts.headers.insert(USER_AGENT, OUR_USER_AGENT);
    // Infallible: the body is in memory.
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let request = reqwest::Request::try_from(Request::from_parts(parts, body))?;
    let mut answer = client.execute(request).await?;
    let mut response = Response::new(());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    require_problem(&response)?;
    let body = limited_body(answer).await?;
    Ok(BytesResponse::from(response.map(|()| Full::new(body))))
}

/// A proxy's error page is no problem document (RFC 8555 §6.7), and
/// instant-acme would report its first character as broken JSON.
fn require_problem(response: &Response<()>) -> Result<(), Fault> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(());
    }
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_json = kind.is_some_and(|kind| kind.contains("json"));
    if is_json {
        Ok(())
    } else {
        Err(Fault::NotAcme(status))
    }
}

async fn limited_body(mut answer: reqwest::Response) -> Result<Bytes, Fault> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > ANSWER_SIZE_MAX {
            return Err(Fault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What the lowest layer says: the part of the story that helps.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
