//! Small records, one file each: orders under way, and what has been tried.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Generation, Store, StoreError, read_json, remove, write_json};
use crate::names::{CertificateName, DnsName};
use crate::schedule::History;

/// An order under way: enough to go on with it after a crash.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct OrderRecord {
    /// The generation whose key it is for.
    pub generation: u64,
    /// The CA's directory.
    pub directory: String,
    /// The names ordered.
    pub names: Vec<DnsName>,
    /// The order's URL; none while the answer to newOrder is outstanding.
    pub url: Option<String>,
    /// Whether finalize may have been sent, so that a certificate may exist.
    pub finalized: bool,
    /// When it was begun.
    pub begun: Timestamp,
}

/// What the store knows of one certificate at one moment.
#[derive(Clone, Debug)]
pub struct Known {
    /// The newest complete generation that was neither refused nor taken back.
    pub newest: Option<Generation>,
    /// Whether an operator has gone back to it.
    pub is_held: bool,
    /// What has been tried.
    pub history: History,
}

impl Store {
    /// What is known of a certificate.
    ///
    /// # Errors
    ///
    /// When any of it cannot be read.
    pub fn known(&self, name: &CertificateName) -> Result<Known, StoreError> {
        let (newest, is_held) = self.lineage(name).newest_and_hold()?;
        Ok(Known {
            newest,
            is_held,
            history: self.history(name)?,
        })
    }

    /// The order under way for a certificate.
    ///
    /// # Errors
    ///
    /// When the record cannot be read.
    pub fn order(&self, name: &CertificateName) -> Result<Option<OrderRecord>, StoreError> {
        read_json(&self.record("orders", name))
    }

    /// Keeps the record of an order under way.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_order(
        &self,
        name: &CertificateName,
        order: &OrderRecord,
    ) -> Result<(), StoreError> {
        write_json(&self.record("orders", name), order)
    }

    /// Forgets an order that is done with.
    ///
    /// # Errors
    ///
    /// When the record cannot be removed.
    pub fn forget_order(&self, name: &CertificateName) -> Result<(), StoreError> {
        remove(&self.record("orders", name))
    }

    /// What has been tried for a certificate.
    ///
    /// # Errors
    ///
    /// When the record cannot be read.
    pub fn history(&self, name: &CertificateName) -> Result<History, StoreError> {
        Ok(read_json(&self.record("ledger", name))?.unwrap_or_default())
    }

    /// Keeps what has been tried.
    ///
    /// # Errors
    ///
    /// When the record cannot be written.
    pub fn keep_history(
        &self,
        name: &CertificateName,
        history: &History,
    ) -> Result<(), StoreError> {
        write_json(&self.record("ledger", name), history)
    }

    pub(super) fn record(&self, kind: &str, name: &CertificateName) -> PathBuf {
        self.root.join(kind).join(format!("{name}.json"))
    }
}
