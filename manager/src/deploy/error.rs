//! Why a certificate is not deployed.

use std::net::SocketAddr;

use jiff::Timestamp;

use super::target::AGENT_BACKEND;
use super::wire::Finding;
use crate::key::KeyError;
use crate::names::DnsName;
use crate::policy::Refusal;
use crate::store::StoreError;

/// Why a certificate is not deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// HAProxy did not take it.
    #[error("HAProxy: {0}")]
    Runtime(#[from] spoacme_haproxy::runtime::Error),
    /// HAProxy's health checks find no agent.
    #[error("HAProxy holds the agent to be down (backend {AGENT_BACKEND})")]
    AgentDown,
    /// It cannot be put into HAProxy's words.
    #[error("{0}")]
    Unspeakable(String),
    /// It must not be published.
    #[error("not published: {0}")]
    Unfit(#[from] Refusal),
    /// What is served for these names, by somebody else's doing, is newer.
    #[error("what is in place for {name} is newer: valid from {not_before}")]
    Older {
        /// The certificate.
        name: String,
        /// From when the one in place is valid.
        not_before: Timestamp,
    },
    /// It was refused there before; the same is not tried again.
    #[error("refused before, and not tried again: {0}")]
    RefusedBefore(String),
    /// HAProxy has it, but it is not what clients get.
    #[error("{address} does not serve it for {name}: {}", finding.describe())]
    NotServed {
        /// The address asked.
        address: SocketAddr,
        /// The name asked for.
        name: DnsName,
        /// What it serves.
        finding: Finding,
    },
    /// It was taken back: what was served before is served again.
    #[error("rolled back to what was served before: {cause}")]
    RolledBack {
        /// Why.
        cause: Box<Self>,
    },
    /// It could not be taken back whole.
    #[error("{cause}; and it could not be rolled back: {failed}")]
    NotRolledBack {
        /// Why it was to be taken back.
        cause: Box<Self>,
        /// What stood in the way.
        failed: Box<Self>,
    },
    /// On one of several HAProxys.
    #[error("on {haproxy}: {cause}")]
    On {
        /// What that HAProxy is called.
        haproxy: String,
        /// What happened there.
        cause: Box<Self>,
    },
    /// The store or the directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No placeholder could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl DeployError {
    pub(super) fn unspeakable(error: impl std::fmt::Display) -> Self {
        Self::Unspeakable(error.to_string())
    }

    /// What happened, on whichever HAProxy.
    pub fn cause(&self) -> &Self {
        match self {
            Self::On { cause, .. } => cause.cause(),
            other => other,
        }
    }

    /// The HAProxy where it happened, if that is said.
    pub fn haproxy(&self) -> Option<&str> {
        match self {
            Self::On { haproxy, .. } => Some(haproxy),
            _ => None,
        }
    }

    /// Whether the right leaf is served, with another chain.
    pub(super) fn is_other_chain(&self) -> bool {
        let is_it = |finding: &Finding| *finding == Finding::OtherChain;
        matches!(self, Self::NotServed { finding, .. } if is_it(finding))
    }

    /// Whether HAProxy has refused this very certificate.
    pub fn is_refusal(&self) -> bool {
        matches!(self.cause(), Self::Runtime(error) if error.is_refusal())
    }

    /// Whether the same bytes are no use: they are unfit, or were tried and
    /// taken back.
    pub fn is_final(&self) -> bool {
        match self.cause() {
            Self::RolledBack { .. } => true,
            Self::NotRolledBack { cause, .. } => cause.is_refusal(),
            Self::Unfit(refusal) => !refusal.may_pass(),
            _ => false,
        }
    }

    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Runtime(error) => error.hint(),
            Self::NotServed { address, .. } => Some(format!(
                "does `bind {address} ssl crt` name the directory in `certificates`, and is \
                 `verify` right?"
            )),
            Self::AgentDown => Some(
                "is `--listen` of spoacme-agent what `server agent` names, seen from inside \
                 HAProxy's chroot, and may HAProxy's group use it?"
                    .to_owned(),
            ),
            Self::Older { name, .. } => Some(format!(
                "who else writes there? `spoacme deploy --force {name}` replaces it"
            )),
            Self::RolledBack { cause } | Self::NotRolledBack { cause, .. } => Some(
                cause
                    .hint()
                    .unwrap_or_else(|| "`spoacme deploy --again` tries the same once more".into()),
            ),
            Self::RefusedBefore(_) => {
                Some("`spoacme deploy --again` tries the same once more".to_owned())
            }
            Self::Unfit(refusal) if refusal.may_pass() => None,
            Self::Unfit(_) => Some("`spoacme renew` issues another".to_owned()),
            Self::On { cause, .. } => cause.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}
