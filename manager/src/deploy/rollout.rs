//! One object on every HAProxy that is to have it: all serve it in the end, or
//! what they served before.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tracing::{info, warn};

use super::error::DeployError;
use super::object::Object;
use super::slot::Slot;
use super::target::{Before, Place, Target, store_path};
use crate::bundle::Bundle;

/// One object on every HAProxy that is to have it.
#[derive(Debug)]
pub(super) struct Rollout<'a> {
    object: &'a Object,
    /// What is put back where nothing is known of what was replaced.
    fallback: Option<&'a Object>,
    /// Whether the object has been seen on the wire everywhere.
    is_proven: bool,
    now: Timestamp,
    stages: Vec<Stage<'a>>,
    /// Whether it is said where something happened.
    names_haproxys: bool,
}

/// One HAProxy, and where the object stands there.
#[derive(Debug)]
struct Stage<'a> {
    target: &'a Target<'a>,
    place: Place,
}

/// What is put back of one file.
enum Restoration {
    /// What it held before.
    Previous(Bundle),
    /// Nothing: there was no such file.
    Removal,
    /// It was not changed.
    None,
}

impl<'a> Rollout<'a> {
    pub(super) fn new(
        object: &'a Object,
        is_proven: bool,
        now: Timestamp,
        names_haproxys: bool,
    ) -> Self {
        Self {
            object,
            fallback: None,
            is_proven,
            now,
            stages: Vec::new(),
            names_haproxys,
        }
    }

    /// Puts `fallback` back where nothing is known of what was replaced.
    pub(super) fn or(mut self, fallback: Option<&'a Object>) -> Self {
        self.fallback = fallback;
        self
    }

    /// To this HAProxy too.
    pub(super) fn to(&mut self, target: &'a Target<'a>, place: Place) {
        self.stages.push(Stage { target, place });
    }

    /// Deploys everywhere: files and processes first, then the proof, because
    /// HAProxys may share a directory, or an address. Says whether anything was
    /// to be done.
    ///
    /// # Errors
    ///
    /// The first that stood in the way. If it is final, the object was taken
    /// back everywhere; else the other HAProxys have it.
    pub(super) async fn run(&self) -> Result<bool, DeployError> {
        let mut befores = Vec::new();
        for Stage { target, place } in &self.stages {
            let (object, is_proven) = (self.object, self.is_proven);
            befores.push(target.look_before(object, place, is_proven, self.now).await);
        }
        let mut failed = None;
        let mut loaded = Vec::new();
        for (stage, before) in self.stages.iter().zip(befores) {
            match self.load(stage, before).await {
                Ok((before, is_changed)) => loaded.push((stage, before, is_changed)),
                Err(error) if error.is_refusal() => {
                    return Err(self.on(stage, self.take_back(stage, error).await));
                }
                Err(error) if error.is_final() => return Err(self.on(stage, error)),
                Err(error) => failed = failed.or_else(|| Some(self.on(stage, error))),
            }
        }
        let mut is_changed = false;
        for (stage, before, changed) in loaded {
            if self.is_proven && !changed && !stage.place.is_open() {
                continue;
            }
            is_changed = true;
            match self.prove(stage, changed).await {
                Ok(()) => {}
                Err(error) if !self.is_proven && before.is_worth_more_than(&error) => {
                    return Err(self.on(stage, self.take_back(stage, error).await));
                }
                Err(error) => failed = failed.or_else(|| Some(self.on(stage, error))),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => self.settle().map(|()| is_changed),
        }
    }

    async fn load(
        &self,
        stage: &Stage<'_>,
        before: Result<Before, DeployError>,
    ) -> Result<(Before, bool), DeployError> {
        let before = before?;
        let Stage { target, place } = stage;
        let is_changed = target.load(self.object, place, self.is_proven).await?;
        Ok((before, is_changed))
    }

    /// Handshakes; and if they show something else, one more look at what the
    /// process has: a reload meanwhile may have brought back what was there.
    async fn prove(&self, stage: &Stage<'_>, mut is_changed: bool) -> Result<(), DeployError> {
        let Stage { target, place } = stage;
        let mut is_new_chain = true;
        loop {
            let Err(error) = target.prove(self.object, is_changed).await else {
                return Ok(());
            };
            // The fingerprint that HAProxy tells is that of the leaf alone.
            let again = error.is_other_chain() && std::mem::take(&mut is_new_chain);
            is_changed = target.swap(self.object, place, again).await?;
            if !is_changed {
                return Err(error);
            }
        }
    }

    fn settle(&self) -> Result<(), DeployError> {
        let places = self.stages.iter().map(|stage| &stage.place);
        let ours = places.filter(|place| place.is_ours);
        for slot in ours.flat_map(|place| &place.slots) {
            slot.settle()?;
        }
        Ok(())
    }

    /// Puts back the files and what every HAProxy had of them, and says so.
    /// What was proven elsewhere stays there: then it is taken back where it
    /// failed alone.
    async fn take_back(&self, at: &Stage<'_>, error: DeployError) -> DeployError {
        let certificate = &self.object.name;
        warn!(
            certificate,
            haproxy = at.target.name,
            "taking it back: {error}"
        );
        let stages = match self.is_proven {
            true => vec![at],
            false => Vec::from_iter(&self.stages),
        };
        let cause = Box::new(error);
        match self.restore(&stages).await {
            Ok(()) if self.is_proven => *cause,
            Ok(()) => {
                info!(certificate, "what was there before is in place again");
                DeployError::RolledBack { cause }
            }
            Err(failed) => DeployError::NotRolledBack {
                cause,
                failed: Box::new(failed),
            },
        }
    }

    async fn restore(&self, stages: &[&Stage<'_>]) -> Result<(), DeployError> {
        let mut plans = Vec::new();
        for stage in stages {
            plans.push(self.plan(stage).await?);
        }
        let mut restored = BTreeSet::new();
        for (stage, plan) in stages.iter().zip(&plans) {
            for (slot, restoration) in stage.place.slots.iter().zip(plan) {
                if stage.place.is_ours && restored.insert(slot.path()) {
                    restore_file(stage, slot, restoration)?;
                }
            }
        }
        // One that does not answer does not keep the others from theirs.
        let mut failed = None;
        for (stage, plan) in stages.iter().zip(&plans) {
            if let Err(error) = restore_process(stage, plan).await {
                failed = failed.or_else(|| Some(self.on(stage, error)));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn plan(&self, stage: &Stage<'_>) -> Result<Vec<Restoration>, DeployError> {
        let mut plans = Vec::new();
        for (index, slot) in stage.place.slots.iter().enumerate() {
            let path = store_path(slot.path())?;
            // What cannot be told counts as loaded: nothing is removed by mistake.
            let loaded = stage.target.client.certificate(&path).await;
            let is_loaded = !matches!(loaded, Ok(None));
            plans.push(self.plan_for(stage, index, slot, is_loaded)?);
        }
        Ok(plans)
    }

    fn plan_for(
        &self,
        stage: &Stage<'_>,
        index: usize,
        slot: &Slot,
        is_loaded: bool,
    ) -> Result<Restoration, DeployError> {
        let found = slot.read_previous()?.map(|pem| Bundle::from_pem(&pem));
        if let Some(bundle) = found.transpose().map_err(DeployError::unspeakable)? {
            return Ok(Restoration::Previous(bundle));
        }
        let wanted = self.object.parts[index].bundle.to_pem();
        let is_new = slot.read()?.as_deref() == Some(wanted.as_bytes());
        if !stage.place.is_ours || !is_new {
            return Ok(Restoration::None);
        }
        if self.is_proven {
            // It is good elsewhere, and here, if HAProxy has the file at all.
            return Ok(match is_loaded {
                true => Restoration::None,
                false => Restoration::Removal,
            });
        }
        let older = self.fallback.and_then(|object| object.parts.get(index));
        Ok(match older {
            Some(part) => Restoration::Previous(part.bundle.copy()),
            None => Restoration::Removal,
        })
    }

    fn on(&self, stage: &Stage<'_>, error: DeployError) -> DeployError {
        match self.names_haproxys {
            false => error,
            true => DeployError::On {
                haproxy: stage.target.name.to_owned(),
                cause: Box::new(error),
            },
        }
    }
}

fn restore_file(
    stage: &Stage<'_>,
    slot: &Slot,
    restoration: &Restoration,
) -> Result<(), DeployError> {
    match restoration {
        Restoration::Previous(_) if slot.is_open() => Ok(slot.restore()?),
        Restoration::Previous(bundle) => {
            slot.publish(bundle.to_pem().as_bytes())?;
            Ok(slot.settle()?)
        }
        Restoration::Removal => {
            stage.target.unlist(slot)?;
            Ok(slot.restore()?)
        }
        Restoration::None => Ok(()),
    }
}

async fn restore_process(stage: &Stage<'_>, plan: &[Restoration]) -> Result<(), DeployError> {
    let Stage { target, place } = stage;
    for (slot, restoration) in place.slots.iter().zip(plan) {
        let path = store_path(slot.path())?;
        match restoration {
            Restoration::Previous(bundle) => target.load_again(&path, place, bundle).await?,
            Restoration::Removal => target.unload(&path).await?,
            Restoration::None => {}
        }
    }
    Ok(())
}
