//! Deploying: making disk, HAProxy and the wire agree with the store.
//!
//! There is one way to deploy, [`Deployer::reconcile`]. It compares and does
//! the least that makes them equal: the file first, so that a reload at any
//! moment goes forward; then HAProxy; and only handshakes end it.

mod facts;
mod live;
mod wire;
mod withdraw;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use spoacme_haproxy::runtime::{Client, Payload, StorePath, swap};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::bundle::Bundle;
use crate::config::{Certificate, Haproxy};
use crate::key::{self, KeyError};
use crate::names::DnsName;
use crate::store::{Generation, Lineage, State, Store, StoreError};

pub use facts::{Disk, Facts, Issued, Runtime, Wire};
pub use live::Live;
pub use wire::Finding;
pub(crate) use wire::unverified_tls;
pub use withdraw::Withdrawal;

/// Deploys to one HAProxy.
#[derive(Debug)]
pub struct Deployer<'a> {
    store: &'a Store,
    client: Client,
    live: Live,
    verify: &'a [SocketAddr],
}

/// What a reconciliation did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Nothing: everything agreed already.
    InPlace,
    /// The newest generation is served now.
    Deployed,
    /// There is no certificate yet; HAProxy has a placeholder, or does
    /// without.
    NothingYet,
}

impl<'a> Deployer<'a> {
    /// Deploys from `store` to the HAProxy of `config`.
    pub fn new(store: &'a Store, config: &'a Haproxy) -> Self {
        let client = Client::new(config.socket.clone());
        Self {
            store,
            client,
            live: Live::new(config),
            verify: &config.verify,
        }
    }

    /// Makes what HAProxy needs to start: its directory, and in it at least
    /// one certificate, a self-signed placeholder if need be.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn prepare(&self, certificates: &[Certificate], now: Timestamp) -> Result<(), DeployError> {
        self.live.prepare()?;
        for certificate in certificates {
            self.adopt_stored(certificate)?;
        }
        if let (true, Some(first)) = (self.live.is_empty(), certificates.first()) {
            let bundle = key::placeholder(&first.names, now)?;
            self.live.publish(&first.name, bundle.to_pem().as_bytes())?;
            let file = self.live.path(&first.name);
            info!(certificate = %first.name, file = %file.display(), "placeholder made");
        }
        Ok(())
    }

    /// Makes disk, HAProxy and the wire agree with the newest generation.
    ///
    /// # Errors
    ///
    /// What stood in the way. What was served before is then still served.
    pub async fn reconcile(
        &self,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<Outcome, DeployError> {
        let lineage = self.store.lineage(&certificate.name);
        let Some(mut generation) = lineage.newest()? else {
            return Ok(Outcome::NothingYet);
        };
        let bundle = generation.bundle()?;
        let started = Instant::now();
        let published = self.publish(certificate, &bundle)?;
        let swapped = match self.swap(certificate, &generation, &bundle).await {
            Ok(swapped) => swapped,
            Err(error) => return Err(self.roll_back(certificate, &mut generation, error)?),
        };
        let is_new =
            published || swapped || !matches!(generation.meta.state, State::Deployed { .. });
        if !is_new {
            return Ok(Outcome::InPlace);
        }
        self.prove(certificate, &bundle).await?;
        self.settle(certificate, &lineage, &mut generation, now)?;
        info!(
            certificate = %certificate.name,
            generation = generation.number,
            millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "deployed: every address serves it"
        );
        Ok(Outcome::Deployed)
    }

    /// Waits until HAProxy can ask the agent, which it finds out by health
    /// checks. A configuration that calls that backend otherwise than the
    /// shipped one is taken at its word.
    ///
    /// # Errors
    ///
    /// When HAProxy does not answer, or holds the agent to be down.
    pub async fn wait_for_agent(&self) -> Result<(), DeployError> {
        let backend = path_of(Path::new(AGENT_BACKEND))?;
        let deadline = tokio::time::Instant::now() + AGENT_PATIENCE;
        while self.client.servers_up(&backend).await? == Some(0) {
            if tokio::time::Instant::now() >= deadline {
                return Err(DeployError::AgentDown);
            }
            sleep(AGENT_PAUSE).await;
        }
        Ok(())
    }

    /// Asks HAProxy for a sign of life.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn ping(&self) -> Result<(), DeployError> {
        Ok(self.client.show_info().await.map(drop)?)
    }

    /// Looks whether what was deployed is still served, at every address for
    /// the first name.
    ///
    /// # Errors
    ///
    /// That it is not, or that the store cannot be read.
    pub async fn look_again(&self, certificate: &Certificate) -> Result<(), DeployError> {
        let Some(generation) = self.store.lineage(&certificate.name).newest()? else {
            return Ok(());
        };
        let (State::Deployed { .. }, Some(name)) =
            (&generation.meta.state, certificate.names.first())
        else {
            return Ok(());
        };
        let bundle = generation.bundle()?;
        for &address in self.verify {
            let finding = wire::look(address, name, bundle.chain()).await;
            if finding != Finding::Served {
                let name = name.clone();
                return Err(DeployError::NotServed {
                    address,
                    name,
                    finding,
                });
            }
        }
        Ok(())
    }

    /// Whether HAProxy has the backend that the shipped configuration asks the
    /// agent by; none if it does not answer.
    pub async fn has_agent_backend(&self) -> Option<bool> {
        let backend = path_of(Path::new(AGENT_BACKEND)).ok()?;
        let servers = self.client.servers_up(&backend).await.ok()?;
        Some(servers.is_some())
    }

    /// What the store, the disk, HAProxy and the wire have of a certificate.
    ///
    /// # Errors
    ///
    /// When the store or the directory cannot be read.
    pub async fn facts(&self, certificate: &Certificate) -> Result<Facts, DeployError> {
        facts::gather(self, certificate).await
    }

    /// Puts a stored certificate into the directory if it has no file there,
    /// before HAProxy looks.
    fn adopt_stored(&self, certificate: &Certificate) -> Result<(), DeployError> {
        if self.live.read(&certificate.name)?.is_some() {
            return Ok(());
        }
        if let Some(generation) = self.store.lineage(&certificate.name).newest()? {
            self.publish(certificate, &generation.bundle()?)?;
        }
        Ok(())
    }

    /// Writes the file if it is not the one wanted. Says whether it was written.
    fn publish(&self, certificate: &Certificate, bundle: &Bundle) -> Result<bool, DeployError> {
        let pem = bundle.to_pem();
        if self.live.read(&certificate.name)?.as_deref() == Some(pem.as_bytes()) {
            return Ok(false);
        }
        self.live.publish(&certificate.name, pem.as_bytes())?;
        info!(
            certificate = %certificate.name,
            file = %self.live.path(&certificate.name).display(),
            "file in place"
        );
        Ok(true)
    }

    /// Swaps it into the running HAProxy if another is loaded. Says whether it
    /// was swapped.
    async fn swap(
        &self,
        certificate: &Certificate,
        generation: &Generation,
        bundle: &Bundle,
    ) -> Result<bool, DeployError> {
        let path = self.store_path(certificate)?;
        let loaded = self.client.certificate(&path).await?;
        if loaded.is_some_and(|l| l.is_used() && l.has_sha1(&generation.meta.leaf.sha1)) {
            return Ok(false);
        }
        let payload = Payload::from_pem(&bundle.to_pem()).map_err(DeployError::payload)?;
        let list = self.crt_list()?;
        let sha1 = &generation.meta.leaf.sha1;
        let swapped = swap(&self.client, &path, &list, &payload, sha1).await?;
        info!(certificate = %certificate.name, pid = swapped.pid, "swapped into HAProxy, no reload");
        Ok(true)
    }

    /// Puts the previous file back if HAProxy refused the new one for good,
    /// and gives the error back.
    fn roll_back(
        &self,
        certificate: &Certificate,
        generation: &mut Generation,
        error: DeployError,
    ) -> Result<DeployError, DeployError> {
        if let DeployError::Runtime(cause) = &error
            && cause.is_refusal()
        {
            self.live.restore(&certificate.name)?;
            generation.set_state(State::Rejected {
                why: cause.to_string(),
            })?;
            warn!(
                certificate = %certificate.name,
                generation = generation.number,
                "refused by HAProxy; the previous file is back in place"
            );
        }
        Ok(error)
    }

    /// Handshakes at every address, for every name.
    async fn prove(&self, certificate: &Certificate, bundle: &Bundle) -> Result<(), DeployError> {
        for &address in self.verify {
            for name in &certificate.names {
                let finding = wire::wait_for(address, name, bundle.chain()).await;
                if finding != Finding::Served {
                    return Err(DeployError::NotServed {
                        address,
                        name: name.clone(),
                        finding,
                    });
                }
            }
        }
        Ok(())
    }

    fn settle(
        &self,
        certificate: &Certificate,
        lineage: &Lineage,
        generation: &mut Generation,
        now: Timestamp,
    ) -> Result<(), DeployError> {
        if !matches!(generation.meta.state, State::Deployed { .. }) {
            generation.set_state(State::Deployed { at: now })?;
        }
        self.live.settle(&certificate.name)?;
        let under_way = self
            .store
            .order(&certificate.name)?
            .map(|order| order.generation);
        Ok(lineage.prune(under_way)?)
    }

    fn store_path(&self, certificate: &Certificate) -> Result<StorePath, DeployError> {
        path_of(&self.live.path(&certificate.name))
    }

    fn crt_list(&self) -> Result<StorePath, DeployError> {
        path_of(self.live.directory())
    }
}

/// What the shipped haproxy.cfg calls the agent.
const AGENT_BACKEND: &str = "acme-agent";

/// Some health checks of the shipped haproxy.cfg.
const AGENT_PATIENCE: Duration = Duration::from_secs(5);
const AGENT_PAUSE: Duration = Duration::from_millis(100);

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
    /// The store or the directory failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No placeholder could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl DeployError {
    fn payload(error: impl std::fmt::Display) -> Self {
        Self::Unspeakable(error.to_string())
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
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

fn path_of(path: &Path) -> Result<StorePath, DeployError> {
    let text = path.to_str().unwrap_or_default().to_owned();
    StorePath::try_from(text).map_err(|error| DeployError::Unspeakable(error.to_string()))
}
