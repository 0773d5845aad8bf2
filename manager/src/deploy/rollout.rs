//! One object on every HAProxy that is to have it: all serve it in the end, or
//! what they served before.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tracing::{info, warn};

use super::error::DeployError;
use super::object::Object;
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

    /// Deploys everywhere. Says whether anything was to be done.
    ///
    /// # Errors
    ///
    /// The first that stood in the way. If it is final, the object was taken
    /// back everywhere; else the other HAProxys have it.
    pub(super) async fn run(&self) -> Result<bool, DeployError> {
        // Everywhere before anything changes: HAProxys may share files.
        let mut befores = Vec::new();
        for stage in &self.stages {
            befores.push(self.look_before(stage).await);
        }
        let mut is_changed = false;
        let mut failed = None;
        for (stage, before) in self.stages.iter().zip(befores) {
            match self.run_stage(stage, before).await {
                Ok(changed) => is_changed |= changed,
                Err(error) if error.is_final() => return Err(self.on(stage, error)),
                Err(error) => failed = failed.or_else(|| Some(self.on(stage, error))),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => self.settle().map(|()| is_changed),
        }
    }

    async fn look_before(&self, stage: &Stage<'_>) -> Result<Before, DeployError> {
        let Stage { target, place } = stage;
        target
            .look_before(self.object, place, self.is_proven, self.now)
            .await
    }

    async fn run_stage(
        &self,
        stage: &Stage<'_>,
        before: Result<Before, DeployError>,
    ) -> Result<bool, DeployError> {
        let Stage { target, place } = stage;
        let before = before?;
        let is_final = |error: &DeployError| match error {
            DeployError::NotServed { .. } => before.was_served,
            error => error.is_refusal(),
        };
        let deployed = target.deploy(self.object, place, self.is_proven).await;
        match deployed {
            Err(error) if is_final(&error) => Err(self.roll_back(error).await),
            other => other,
        }
    }

    fn settle(&self) -> Result<(), DeployError> {
        let places = self.stages.iter().map(|stage| &stage.place);
        for slot in places
            .filter(|place| place.is_ours)
            .flat_map(|place| &place.slots)
        {
            slot.settle()?;
        }
        Ok(())
    }

    /// Puts back the files and what every HAProxy had of them, and says so.
    async fn roll_back(&self, error: DeployError) -> DeployError {
        warn!(certificate = self.object.name, "taking it back: {error}");
        let cause = Box::new(error);
        match self.restore().await {
            Ok(()) => {
                let certificate = &self.object.name;
                info!(certificate, "what was there before is in place again");
                DeployError::RolledBack { cause }
            }
            Err(failed) => DeployError::NotRolledBack {
                cause,
                failed: Box::new(failed),
            },
        }
    }

    async fn restore(&self) -> Result<(), DeployError> {
        let mut previous = Vec::new();
        for stage in &self.stages {
            previous.push(self.previous(&stage.place)?);
        }
        let mut restored = BTreeSet::new();
        for (stage, previous) in self.stages.iter().zip(&previous) {
            for (slot, previous) in stage.place.slots.iter().zip(previous) {
                if stage.place.is_ours && restored.insert(slot.path()) {
                    stage.target.restore_file(slot, previous.as_ref())?;
                }
            }
        }
        // One that does not answer does not keep the others from theirs.
        let mut failed = None;
        for (stage, previous) in self.stages.iter().zip(&previous) {
            if let Err(error) = restore_process(stage, previous).await {
                failed = failed.or_else(|| Some(self.on(stage, error)));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What each file held before.
    fn previous(&self, place: &Place) -> Result<Vec<Option<Bundle>>, DeployError> {
        let mut bundles = Vec::new();
        for (index, slot) in place.slots.iter().enumerate() {
            let found = slot.read_previous()?.map(|pem| Bundle::from_pem(&pem));
            let found = found.transpose().map_err(DeployError::unspeakable)?;
            let fallback = self.fallback.and_then(|object| object.parts.get(index));
            bundles.push(match (found, fallback) {
                (None, Some(part)) if place.is_ours => Some(part.bundle.copy()),
                (found, _) => found,
            });
        }
        Ok(bundles)
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

async fn restore_process(
    stage: &Stage<'_>,
    previous: &[Option<Bundle>],
) -> Result<(), DeployError> {
    let Stage { target, place } = stage;
    for (slot, previous) in place.slots.iter().zip(previous) {
        let path = store_path(slot.path())?;
        match previous {
            Some(bundle) => target.load_again(&path, place, bundle).await?,
            None if place.is_ours => target.unload(&path).await?,
            // What others have put there is theirs to take away.
            None => {}
        }
    }
    Ok(())
}
