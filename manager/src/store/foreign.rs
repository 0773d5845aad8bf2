//! What became of certificates that others make, and a copy of each that was
//! good last.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Access, Store, StoreError, read_json, remove, write, write_json};
use crate::bundle::sha256_hex;

/// What became of the content of a file.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct ForeignRecord {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of what it held.
    pub content: String,
    /// What became of that.
    pub state: ForeignState,
}

/// What became of the content of a file.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum ForeignState {
    /// Seen in handshakes at every address.
    Deployed {
        /// When that was proven first.
        at: Timestamp,
    },
    /// Refused, or taken back. It is not offered again.
    Rejected {
        /// Why.
        why: String,
    },
}

impl Store {
    /// What became of a file's content; none if nothing did yet.
    ///
    /// # Errors
    ///
    /// When the record cannot be read.
    pub fn foreign_record(&self, path: &Path) -> Result<Option<ForeignRecord>, StoreError> {
        read_json(&self.foreign(path, "json"))
    }

    /// What became of every file's content, in the order of their paths.
    ///
    /// # Errors
    ///
    /// When a record cannot be read.
    pub fn foreign_records(&self) -> Result<Vec<ForeignRecord>, StoreError> {
        let directory = self.root.join("external");
        let entries = std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten();
        let mut records = Vec::new();
        for path in entries.map(|entry| entry.path()) {
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                records.extend(read_json::<ForeignRecord>(&path)?);
            }
        }
        records.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(records)
    }

    /// Keeps what became of a file's content.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_foreign_record(&self, record: &ForeignRecord) -> Result<(), StoreError> {
        write_json(&self.foreign(&record.path, "json"), record)
    }

    /// Where the copy of a file's last good content stands.
    pub fn foreign_copy(&self, path: &Path) -> PathBuf {
        self.foreign(path, "pem")
    }

    /// Keeps a copy of a file's content.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_foreign_copy(&self, path: &Path, pem: &[u8]) -> Result<(), StoreError> {
        write(&self.foreign_copy(path), pem, Access::PRIVATE)
    }

    /// Forgets every file but these.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn keep_only_foreign(&self, files: &[PathBuf]) -> Result<(), StoreError> {
        let kept = files
            .iter()
            .flat_map(|file| [self.foreign(file, "json"), self.foreign(file, "pem")]);
        let kept = BTreeSet::from_iter(kept);
        let directory = self.root.join("external");
        let entries = std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten();
        for path in entries.map(|entry| entry.path()) {
            if !kept.contains(&path) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn foreign(&self, path: &Path, extension: &str) -> PathBuf {
        let name = sha256_hex(path.as_os_str().as_encoded_bytes());
        self.root
            .join("external")
            .join(format!("{name}.{extension}"))
    }
}
