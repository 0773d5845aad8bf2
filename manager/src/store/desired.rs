//! The certificates that commands have added, beside those of the
//! configuration's files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, read_json, write_json};
use crate::config::Certificate;

/// One file for all of them: thousands are added with one write.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Desired {
    certificates: Vec<Certificate>,
}

impl Store {
    /// The certificates that were added.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is damaged.
    pub fn desired(&self) -> Result<Vec<Certificate>, StoreError> {
        let path = self.desired_file();
        let desired: Desired = read_json(&path)?.unwrap_or_default();
        match desired.certificates.iter().find(|c| c.names.is_empty()) {
            Some(empty) => Err(StoreError::damaged(
                &path,
                format!("{} has no names", empty.name),
            )),
            None => Ok(desired.certificates),
        }
    }

    /// Replaces the certificates that were added.
    ///
    /// # Errors
    ///
    /// When they cannot be written; those before are then still there.
    pub fn keep_desired(&self, certificates: Vec<Certificate>) -> Result<(), StoreError> {
        write_json(&self.desired_file(), &Desired { certificates })
    }

    /// The directory to watch for changes.
    pub fn desired_directory(&self) -> PathBuf {
        self.root.join("desired")
    }

    fn desired_file(&self) -> PathBuf {
        self.desired_directory().join("certificates.json")
    }
}
