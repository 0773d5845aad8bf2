//! Taking a certificate out of every HAProxy: the opposite of deploying.

use jiff::Timestamp;
use tracing::info;

use super::target::{Target, store_path};
use super::{DeployError, Deployer, put_placeholder};
use crate::config::Certificate;

/// What became of a certificate that is no longer wanted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withdrawal {
    /// Neither the directory nor HAProxy has it any longer.
    Gone,
    /// The file is gone; a running HAProxy could not be asked or keeps it, and
    /// forgets it when it is reloaded.
    UntilReload,
    /// It was the last, or a `bind` line names its file: a self-signed
    /// placeholder stands in its place, because HAProxy does not start without.
    Placeholder,
}

impl Deployer<'_> {
    /// Takes a certificate out of the directory and out of HAProxy: the file
    /// first, so that a reload at any moment goes forward. Says the worst of
    /// what became of it.
    ///
    /// # Errors
    ///
    /// When a directory cannot be written.
    pub async fn withdraw(
        &self,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<Withdrawal, DeployError> {
        let mut worst = Withdrawal::Gone;
        for target in &self.targets {
            worst = worst.max(withdraw_from(target, certificate, now).await?);
        }
        Ok(worst)
    }
}

async fn withdraw_from(
    target: &Target<'_>,
    certificate: &Certificate,
    now: Timestamp,
) -> Result<Withdrawal, DeployError> {
    let slots = target.place(certificate, &[None])?.slots;
    let is_there = slots.iter().any(|slot| slot.path().exists());
    let file_names = slots.iter().filter_map(|slot| slot.path().file_name());
    let own = Vec::from_iter(file_names.map(|name| name.to_string_lossy().into_owned()));
    let is_last = certificate.file.is_some()
        || target.live.is_empty_but_for(&own)
        || target.lists_only(&slots)?;
    if is_there && is_last {
        put_placeholder(target, certificate, now, true)?;
        return Ok(Withdrawal::Placeholder);
    }
    let mut withdrawal = Withdrawal::Gone;
    for slot in slots {
        target.unlist(&slot)?;
        slot.remove()?;
        if let Err(error) = target.unload(&store_path(slot.path())?).await {
            info!(certificate = %certificate.name, %error, "HAProxy keeps it until it is reloaded");
            withdrawal = Withdrawal::UntilReload;
        }
    }
    Ok(withdrawal)
}
