//! Issuing: the CA's side of the manager (RFC 8555).
//!
//! instant-acme stays behind this module.

mod account;
mod directory;
mod error;
mod http;
mod order;

use std::time::Duration;

use instant_acme::Account;
use jiff::Timestamp;
use spoacme_control::Client as Agent;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::config::{self, Certificate};
use crate::preflight::SelfTest;
use crate::store::{Generation, Store};

pub use directory::caa_identities;
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
    self_test: Option<SelfTest>,
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
            self_test: None,
            clock,
        })
    }

    /// Looks at names by `self_test` before their challenges are posted.
    #[must_use]
    pub fn with_self_test(self, self_test: Option<SelfTest>) -> Self {
        Self { self_test, ..self }
    }

    /// Issues a certificate, going on with an order that is under way.
    ///
    /// # Errors
    ///
    /// Why there is none. What has been got so far is kept, and used by the
    /// next call.
    pub async fn issue(&self, certificate: &Certificate) -> Result<Generation, AcmeError> {
        let mut patience = Patience::default();
        loop {
            match self.try_issue(certificate).await {
                Err(error) if error.is_unknown_account() && patience.registers_again() => {
                    warn!("the CA does not know the account any more; registering it again");
                    account::register(&self.http, self.config, self.store).await?;
                    self.store.forget_order(&certificate.name)?;
                }
                Err(error) if error.is_bad_nonce() && patience.takes_another_nonce() => {
                    debug!(certificate = %certificate.name, "{error}; going on");
                }
                Err(error) if error.is_unreachable() && patience.tries_again() => {
                    let pause = patience.pause;
                    warn!(certificate = %certificate.name, "{error}; trying again in {pause:?}");
                    sleep(pause).await;
                }
                outcome => return outcome,
            }
        }
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

/// How often one call goes on after what may pass in a moment. What takes
/// longer is the schedule's matter.
struct Patience {
    registrations: u32,
    nonces: u32,
    tries: u32,
    pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            registrations: 1,
            // instant-acme signs each request anew three times by itself.
            nonces: 30,
            tries: 3,
            pause: Duration::from_millis(250),
        }
    }
}

impl Patience {
    fn registers_again(&mut self) -> bool {
        take_one(&mut self.registrations)
    }

    fn takes_another_nonce(&mut self) -> bool {
        take_one(&mut self.nonces)
    }

    fn tries_again(&mut self) -> bool {
        self.pause *= 2;
        take_one(&mut self.tries)
    }
}

fn take_one(left: &mut u32) -> bool {
    let is_left = *left > 0;
    *left = left.saturating_sub(1);
    is_left
}
