//! What can go wrong between us and a CA.

use std::path::PathBuf;

use instant_acme::{Error, Problem};

use super::http::{HttpError, RequestError};
use crate::bundle::BundleError;
use crate::key::KeyError;
use crate::policy::Refusal;
use crate::preflight::Blocked;
use crate::store::StoreError;

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The CA cannot be reached, or answers no ACME.
    #[error("cannot reach the CA at {0}")]
    Unreachable(String),
    /// The CA refused with a problem document (RFC 8555 §6.7).
    #[error("the CA refused: {}", describe(.0))]
    Refused(Box<Problem>),
    /// A name could not be validated.
    #[error("the CA could not validate {name}: {}", .problem.as_deref().map_or_else(String::new, describe))]
    Invalid {
        /// The name.
        name: String,
        /// The CA's finding, if it gave one.
        problem: Option<Box<Problem>>,
    },
    /// The CA offers no http-01 challenge for a name.
    #[error("the CA offers no http-01 challenge for {0}")]
    NoHttp01(String),
    /// A challenge's token is not one that can be served.
    #[error("the CA's challenge for {name} is unusable: {what}")]
    BadChallenge {
        /// The name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The self-test found that the CA would fail.
    #[error(transparent)]
    SelfTest(#[from] Blocked),
    /// The order did not become ready, or valid, in time.
    #[error("the CA did not finish the order in time")]
    TimedOut,
    /// An answer that RFC 8555 does not allow for.
    #[error("the CA's answer makes no sense: {0}")]
    Nonsense(String),
    /// The token could not be published.
    #[error("cannot publish the token: {0}")]
    Agent(#[from] spoacme_control::Error),
    /// The CA does not offer the profile that is asked for.
    #[error("the CA has no profile {wanted:?}; it has: {offered}")]
    NoProfile {
        /// The profile asked for.
        wanted: String,
        /// Those of the CA's directory.
        offered: String,
    },
    /// The key of the external account cannot be used.
    #[error("eab-key-file {}: {what}", path.display())]
    ExternalAccount {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        what: String,
    },
    /// The issued certificate is not what was asked for.
    #[error("what the CA issued is refused: {0}")]
    Refusal(#[from] Refusal),
    /// The issued chain cannot be read.
    #[error("what the CA issued cannot be read: {0}")]
    Bundle(#[from] BundleError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client could not be set up.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl AcmeError {
    /// Whether going on with the order beats giving it up.
    pub(super) fn is_transient(&self) -> bool {
        self.is_unreachable() || self.is_bad_nonce()
    }

    /// Whether the CA gave no answer.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Whether the CA wants another nonce (RFC 8555 §6.5).
    pub(super) fn is_bad_nonce(&self) -> bool {
        matches!(self, Self::Refused(problem) if is_type(problem, "badNonce"))
    }

    /// Whether the CA says that it does not know the account: it lost it, or
    /// was set up anew.
    pub(super) fn is_unknown_account(&self) -> bool {
        matches!(self, Self::Refused(problem) if is_type(problem, "accountDoesNotExist"))
    }

    /// Whether the order cannot be gone on with.
    pub(super) fn ends_order(&self) -> bool {
        match self {
            Self::Refused(_) => !self.is_transient() && !self.is_unknown_account(),
            Self::Invalid { .. }
            | Self::NoHttp01(_)
            | Self::BadChallenge { .. }
            | Self::Nonsense(_)
            | Self::Refusal(_)
            | Self::Bundle(_) => true,
            _ => false,
        }
    }

    /// Whether it was the self-test that failed, and not the CA.
    pub fn is_self_test(&self) -> bool {
        matches!(self, Self::SelfTest(_))
    }

    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable(_) => Some(
                "check `directory` and `directory-root` in [account], and that this machine may \
                 reach that address on port 443"
                    .to_owned(),
            ),
            Self::Invalid { name, .. } => Some(format!(
                "http://{name}/.well-known/acme-challenge/ must reach this HAProxy on port 80 \
                 from the Internet, by every address of {name}"
            )),
            Self::NoProfile { .. } => Some(
                "`profile` of the [[certificate]] or of [account] must be one of these, or none"
                    .to_owned(),
            ),
            Self::Refused(problem) if is_type(problem, "externalAccountRequired") => Some(
                "get a key identifier and a MAC key from the CA: `eab-key-id` and `eab-key-file` \
                 in [account]"
                    .to_owned(),
            ),
            Self::SelfTest(blocked) => blocked.finding.hint.clone(),
            Self::Agent(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

impl From<Error> for AcmeError {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => Self::Refused(Box::new(problem)),
            Error::Timeout(_) => Self::TimedOut,
            Error::Other(inner) if inner.is::<RequestError>() => {
                Self::Unreachable(inner.to_string())
            }
            other => Self::Nonsense(other.to_string()),
        }
    }
}

fn is_type(problem: &Problem, name: &str) -> bool {
    problem
        .r#type
        .as_deref()
        .and_then(|t| t.strip_prefix(ERROR_PREFIX))
        == Some(name)
}

/// RFC 8555 §6.7.
const ERROR_PREFIX: &str = "urn:ietf:params:acme:error:";

/// A problem document in one line. The CA's words are escaped and shortened:
/// they are somebody else's.
fn describe(problem: &Problem) -> String {
    let mut text = problem
        .detail
        .as_deref()
        .map_or_else(|| "no detail".to_owned(), quiet);
    if let Some(kind) = problem.r#type.as_deref() {
        text.push_str(&format!(
            " ({})",
            quiet(kind.strip_prefix(ERROR_PREFIX).unwrap_or(kind))
        ));
    }
    for sub in problem.subproblems.iter().take(SUBPROBLEMS_SHOWN) {
        text.push_str(&format!("; {}", quiet(&sub.to_string())));
    }
    text
}

const SUBPROBLEMS_SHOWN: usize = 5;
const TEXT_LENGTH_MAX: usize = 500;

fn quiet(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(TEXT_LENGTH_MAX).map(plain).collect()
}
