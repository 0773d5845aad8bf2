//! Issuing: the CA's side of the manager (RFC 8555).
//!
//! instant-acme stays behind this module.

mod account;
mod error;
mod http;
mod order;

use std::time::Duration;

use instant_acme::Account;
use jiff::Timestamp;
use spoacme_control::Client as Agent;
use tokio::time::sleep;
use tracing::warn;

use crate::config::{self, Certificate};
use crate::store::{Generation, Store};

pub use error::AcmeError;
use http::Http;
pub use http::HttpError;

/// A CA, and our account there.
#[derive(Debug)]
pub struct Authority<'a> {
    http: Http,
    config: &'a config::Account,
    store: &'a Store,
    agent: &'a Agent,
    clock: fn() -> Timestamp,
}

impl<'a> Authority<'a> {
    /// Sets up the way to the CA. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the roots of the configuration cannot be used.
    pub fn new(
        config: &'a config::Account,
        store: &'a Store,
        agent: &'a Agent,
        clock: fn() -> Timestamp,
    ) -> Result<Self, AcmeError> {
        let http = Http::new(config.directory_root.as_deref())?;
        Ok(Self {
            http,
            config,
            store,
            agent,
            clock,
        })
    }

    /// Issues a certificate, going on with an order that is under way.
    ///
    /// # Errors
    ///
    /// Why there is none. What has been got so far is kept, and used by the
    /// next call.
    pub async fn issue(&self, certificate: &Certificate) -> Result<Generation, AcmeError> {
        let mut registered_again = false;
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES_MAX {
            match self.try_issue(certificate).await {
                Err(error) if error.is_unknown_account() && !registered_again => {
                    warn!("the CA does not know the account any more; registering it again");
                    account::register(&self.http, self.config, self.store).await?;
                    self.store.forget_order(&certificate.name)?;
                    registered_again = true;
                }
                Err(error) if error.is_transient() => {
                    warn!(certificate = %certificate.name, "{error}; trying again in {pause:?}");
                    sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        self.try_issue(certificate).await
    }

    async fn try_issue(&self, certificate: &Certificate) -> Result<Generation, AcmeError> {
        let account = self.account().await?;
        let outcome = order::issue(self, &account, certificate).await;
        if outcome.as_ref().is_err_and(AcmeError::ends_order) {
            self.store.forget_order(&certificate.name)?;
        }
        outcome
    }

    async fn account(&self) -> Result<Account, AcmeError> {
        account::open(&self.http, self.config, self.store).await
    }
}

/// How often one call tries when the CA is out of reach for a moment. What
/// takes longer is the schedule's matter.
const TRIES_MAX: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
