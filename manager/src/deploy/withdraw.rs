//! Taking a certificate out of HAProxy: the opposite of deploying.

use jiff::Timestamp;
use tracing::info;

use super::{DeployError, Deployer};
use crate::config::Certificate;
use crate::key;

/// What became of a certificate that is no longer wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withdrawal {
    /// Neither the directory nor HAProxy has it any longer.
    Gone,
    /// The file is gone; a running HAProxy could not be asked or keeps it, and
    /// forgets it when it is reloaded.
    UntilReload,
    /// It was the last: a self-signed placeholder stands in its place, because
    /// HAProxy does not start with an empty directory.
    Placeholder,
}

impl Deployer<'_> {
    /// Takes a certificate out of the directory and out of HAProxy: the file
    /// first, so that a reload at any moment goes forward.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written.
    pub async fn withdraw(
        &self,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<Withdrawal, DeployError> {
        let name = &certificate.name;
        if self.live.read(name)?.is_some() && self.live.is_last(name) {
            let bundle = key::placeholder(&certificate.names, now)?;
            self.live.publish(name, bundle.to_pem().as_bytes())?;
            self.live.settle(name)?;
            return Ok(Withdrawal::Placeholder);
        }
        self.live.remove(name)?;
        match self.unload(certificate).await {
            Ok(()) => Ok(Withdrawal::Gone),
            Err(error) => {
                info!(certificate = %name, %error, "HAProxy keeps it until it is reloaded");
                Ok(Withdrawal::UntilReload)
            }
        }
    }

    async fn unload(&self, certificate: &Certificate) -> Result<(), DeployError> {
        let (list, path) = (self.crt_list()?, self.store_path(certificate)?);
        if self.client.certificate(&path).await?.is_none() {
            return Ok(());
        }
        self.client.remove_from_crt_list(&list, &path).await?;
        match self.client.delete_certificate(&path).await {
            Ok(_) => Ok(()),
            // A lost reply may have had its effect.
            Err(error) => match self.client.certificate(&path).await {
                Ok(None) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }
}
