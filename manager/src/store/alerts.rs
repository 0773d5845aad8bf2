//! What was told to whom. Only the daemon writes it.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Store, StoreError, read_json, write_json};
use crate::alert::Sent;

impl Store {
    /// What has been told.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is damaged.
    pub fn sent_alerts(&self) -> Result<Sent, StoreError> {
        self.alert_record(Path::new("sent.json"))
    }

    /// Keeps what has been told.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_sent_alerts(&self, sent: &Sent) -> Result<(), StoreError> {
        self.keep_alert_record(Path::new("sent.json"), sent)
    }

    pub(crate) fn alert_record<T: DeserializeOwned + Default>(
        &self,
        name: &Path,
    ) -> Result<T, StoreError> {
        Ok(read_json(&self.root.join("alerts").join(name))?.unwrap_or_default())
    }

    pub(crate) fn keep_alert_record<T: Serialize>(
        &self,
        name: &Path,
        record: &T,
    ) -> Result<(), StoreError> {
        write_json(&self.root.join("alerts").join(name), record)
    }
}
