//! Deploying: making disk, HAProxy and the wire agree with the store.
//!
//! There is one way to deploy, [`Deployer::reconcile`]. It compares and does
//! the least that makes them equal, for each HAProxy by itself: the files
//! first, so that a reload at any moment goes forward; then HAProxy; and only
//! handshakes end it. What is refused, or not served though what was there
//! before was, is taken back.
//!
//! ```text
//! Object ──▶ Rollout ──▶ Target::deploy ──▶ Slot, CrtList   the files
//! (store)    everywhere    one HAProxy  ──▶ runtime::swap   the process
//!            or nowhere                 ──▶ wire            the proof
//! ```

mod crt_list;
mod error;
mod external;
mod facts;
mod live;
mod object;
mod rollout;
mod slot;
mod survey;
mod target;
mod wire;
mod withdraw;

use std::time::Instant;

use jiff::Timestamp;
use spoacme_haproxy::runtime::Info;
use tracing::{info, warn};

use crate::config::{Certificate, Haproxy};
use crate::key;
use crate::store::{Generation, Lineage, State, Store};
use rollout::Rollout;
use target::Target;

pub use error::DeployError;
pub use external::{External, Externals};
pub use facts::{Disk, Facts, Issued, Runtime, Site, Wire};
pub use object::{KeyKind, Object, Part};
pub use survey::Survey;
pub use wire::Finding;
pub(crate) use wire::unverified_tls;
pub use withdraw::Withdrawal;

/// Deploys to every HAProxy of a configuration.
#[derive(Debug)]
pub struct Deployer<'a> {
    store: &'a Store,
    targets: Vec<Target<'a>>,
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
    /// Deploys from `store` to the HAProxys of `configs`.
    pub fn new(store: &'a Store, configs: &'a [Haproxy]) -> Self {
        let targets = configs.iter().map(Target::new).collect();
        Self { store, targets }
    }

    /// Replaces what is in place even if it is newer.
    #[must_use]
    pub fn forcing(mut self) -> Self {
        self.targets
            .iter_mut()
            .for_each(|target| target.is_forced = true);
        self
    }

    /// Makes what each HAProxy needs to start: its directory, and in it at
    /// least one certificate, a self-signed placeholder if need be.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn prepare(&self, certificates: &[Certificate], now: Timestamp) -> Result<(), DeployError> {
        for target in &self.targets {
            target.live.prepare()?;
            for certificate in certificates {
                // One that is damaged does not keep the others from their work.
                if let Err(error) = self.adopt_stored(target, certificate, now) {
                    warn!(certificate = %certificate.name, %error, "not prepared");
                }
            }
            let in_directory = certificates.iter().find(|c| c.file.is_none());
            if let (false, Some(first)) = (target.has_something_to_load()?, in_directory) {
                put_placeholder(target, first, now, false)?;
            }
        }
        Ok(())
    }

    /// Makes disk, every HAProxy and the wire agree with the newest generation.
    ///
    /// # Errors
    ///
    /// What stood in the way first. What was served before is then still
    /// served, and the other HAProxys have what they can have.
    pub async fn reconcile(
        &self,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<Outcome, DeployError> {
        let lineage = self.store.lineage(&certificate.name);
        let Some(mut generation) = lineage.newest()? else {
            return Ok(Outcome::NothingYet);
        };
        let object = Object::of_generation(certificate, &lineage, &generation)?;
        let fallback = match lineage.before(generation.number)? {
            Some(older) => Some(Object::of_generation(certificate, &lineage, &older)?),
            None => None,
        };
        let started = Instant::now();
        let is_proven = matches!(generation.meta.state, State::Deployed { .. });
        let mut rollout = self.rollout(&object, is_proven, now).or(fallback.as_ref());
        let mut refused = None;
        for target in &self.targets {
            match generation.meta.refused_by.get(target.name) {
                None => rollout.to(target, target.place(certificate, &object.kinds())?),
                Some(why) => {
                    let error = DeployError::RefusedBefore(why.clone());
                    refused = refused.or_else(|| Some(self.on(target, error)));
                }
            }
        }
        let changed = match rollout.run().await {
            Ok(changed) => changed,
            Err(error) => {
                self.keep_failure(&mut generation, is_proven, &error)?;
                return Err(error);
            }
        };
        if let Some(error) = refused {
            return Err(error);
        }
        if is_proven && !changed {
            return Ok(Outcome::InPlace);
        }
        self.settle(certificate, &lineage, &mut generation, now)?;
        info!(
            certificate = %certificate.name,
            generation = generation.number,
            millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "deployed: every address serves it"
        );
        Ok(Outcome::Deployed)
    }

    /// What is final is not tried again: nowhere, or, of what is served
    /// elsewhere, not on that HAProxy.
    fn keep_failure(
        &self,
        generation: &mut Generation,
        is_proven: bool,
        error: &DeployError,
    ) -> Result<(), DeployError> {
        let why = error.cause().to_string();
        if is_proven && error.is_refusal() {
            let only = self.targets.first().map(|target| target.name);
            let haproxy = error.haproxy().or(only).unwrap_or_default();
            generation.keep_refusal(haproxy, why)?;
        } else if !is_proven && error.is_final() {
            generation.set_state(State::Rejected { why })?;
        }
        Ok(())
    }

    /// Waits until a HAProxy can ask the agent.
    ///
    /// # Errors
    ///
    /// When none answers, or those that do hold the agent to be down.
    pub async fn wait_for_agent(&self) -> Result<(), DeployError> {
        let mut failed = None;
        for target in &self.targets {
            match target.wait_for_agent().await {
                Ok(()) => return Ok(()),
                Err(error) => failed = failed.or_else(|| Some(self.on(target, error))),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Asks each HAProxy what process it is.
    pub async fn processes(&self) -> Vec<(String, Result<Info, DeployError>)> {
        let mut processes = Vec::new();
        for target in &self.targets {
            let info = target.client.show_info().await.map_err(DeployError::from);
            processes.push((target.name.to_owned(), info));
        }
        processes
    }

    /// Asks each HAProxy for a sign of life.
    ///
    /// # Errors
    ///
    /// When one gives none.
    pub async fn ping(&self) -> Result<(), DeployError> {
        for target in &self.targets {
            let info = target.client.show_info().await;
            info.map_err(|error| self.on(target, error.into()))?;
        }
        Ok(())
    }

    /// Looks whether what was deployed is still served, at every address for
    /// every name, and loads it again where its chain is another. Needs the
    /// lock.
    ///
    /// # Errors
    ///
    /// That it is not, or that the store cannot be read.
    pub async fn look_again(
        &self,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<(), DeployError> {
        let lineage = self.store.lineage(&certificate.name);
        let Some(generation) = lineage.newest()? else {
            return Ok(());
        };
        if !matches!(generation.meta.state, State::Deployed { .. }) {
            return Ok(());
        }
        let object = Object::of_generation(certificate, &lineage, &generation)?;
        for target in &self.targets {
            let Err(error) = target.look(&object).await else {
                continue;
            };
            if !error.is_other_chain() {
                return Err(self.on(target, error));
            }
            // The fingerprint that HAProxy tells is that of the leaf alone: a
            // pass finds nothing to do.
            let mut rollout = self.rollout(&object, false, now);
            rollout.to(target, target.place(certificate, &object.kinds())?);
            rollout.run().await?;
        }
        Ok(())
    }

    /// Whether the first HAProxy has the backend that the shipped configuration
    /// asks the agent by; none if it does not answer.
    pub async fn has_agent_backend(&self) -> Option<bool> {
        self.targets.first()?.has_agent_backend().await
    }

    /// What the store, the disk, each HAProxy and the wire have of a
    /// certificate.
    ///
    /// # Errors
    ///
    /// When the store or a directory cannot be read.
    pub async fn facts(&self, certificate: &Certificate) -> Result<Facts, DeployError> {
        facts::gather(self, certificate).await
    }

    /// Puts a stored certificate where it has no file, before HAProxy looks. A
    /// single file that a `bind` line names must be there in any case.
    fn adopt_stored(
        &self,
        target: &Target<'_>,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<(), DeployError> {
        let lineage = self.store.lineage(&certificate.name);
        let newest = lineage.newest()?;
        let Some(generation) = newest else {
            return match &certificate.file {
                Some(file) if !file.exists() => put_placeholder(target, certificate, now, false),
                _ => Ok(()),
            };
        };
        if generation.meta.refused_by.contains_key(target.name) {
            return Ok(());
        }
        let object = Object::of_generation(certificate, &lineage, &generation)?;
        let place = target.place(certificate, &object.kinds())?;
        for (part, slot) in object.parts.iter().zip(&place.slots) {
            if slot.read()?.is_none() {
                slot.publish(part.bundle.to_pem().as_bytes())?;
            }
            target.list(&place, slot)?;
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
        let under_way = self
            .store
            .order(&certificate.name)?
            .map(|order| order.generation);
        Ok(lineage.prune(under_way)?)
    }

    /// The way to deploy `object`; it is said where something happened, if there
    /// are several places.
    fn rollout<'b>(&'b self, object: &'b Object, is_proven: bool, now: Timestamp) -> Rollout<'b> {
        Rollout::new(object, is_proven, now, self.targets.len() > 1)
    }

    /// Says where it happened, if it can have happened in several places.
    fn on(&self, target: &Target<'_>, error: DeployError) -> DeployError {
        match self.targets.len() {
            0 | 1 => error,
            _ => DeployError::On {
                haproxy: target.name.to_owned(),
                cause: Box::new(error),
            },
        }
    }
}

/// A self-signed certificate, so that HAProxy starts. What stands there already
/// is replaced only if the placeholder is wanted anyway.
fn put_placeholder(
    target: &Target<'_>,
    certificate: &Certificate,
    now: Timestamp,
    is_wanted_anyway: bool,
) -> Result<(), DeployError> {
    let pem = key::placeholder(&certificate.names, now)?.to_pem();
    let place = target.place(certificate, &[None])?;
    for slot in &place.slots {
        if is_wanted_anyway || slot.read()?.is_none() {
            slot.publish(pem.as_bytes())?;
            slot.settle()?;
        }
        target.list(&place, slot)?;
        info!(certificate = %certificate.name, file = %slot.path().display(), "placeholder made");
    }
    Ok(())
}
