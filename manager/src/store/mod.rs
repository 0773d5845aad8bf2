//! What the manager keeps on disk, below its state directory:
//!
//! ```text
//! lock                                  one writer at a time
//! daemon.lock                           one daemon at all
//! accounts/<ca>/{key.pem,account.json}  who we are to a CA
//! alerts/{sent,outbox}.json             what was told, and what is on its way
//! archive/<name>.<time>/                what was removed
//! certs/<name>/<generation>/            key.pem, chain.pem, meta.json
//! external/<sha256 of path>.{json,pem}  certificates that others make
//! desired/certificates.json             the certificates that were added
//! orders/<name>.json                    an order under way
//! ledger/<name>.json                    what has been tried
//! ```

mod accounts;
mod alerts;
mod archive;
mod atomic;
mod desired;
mod foreign;
mod generations;
mod lock;
mod records;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failpoint;
use crate::names::CertificateName;

pub use accounts::{AccountRecord, StoredAccount};
pub use atomic::{Access, make_directory, sweep, sync_directory, write};
pub use foreign::{ForeignRecord, ForeignState};
pub use generations::{Generation, Lineage, Meta, State};
pub use lock::Lock;
pub use records::{Known, OrderRecord};

/// The manager's state directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store, making the directories that are missing.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or written to.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        make_directory(root, 0o700)?;
        for part in [
            "accounts", "alerts", "certs", "desired", "external", "ledger", "orders",
        ] {
            make_directory(&root.join(part), 0o700)?;
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The store as it stands, for reading. What is missing reads as empty.
    pub fn existing(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Takes the lock that every change needs.
    ///
    /// # Errors
    ///
    /// When another process keeps it for longer than `patience`.
    pub async fn lock(&self, patience: Duration) -> Result<Lock, StoreError> {
        let lock = Lock::take(&self.root.join("lock"), patience).await?;
        failpoint::step("lock-taken")?;
        Ok(lock)
    }

    /// Removes what a crash may have left of writes. Needs the lock.
    pub fn tidy(&self, certificate: &CertificateName) {
        for part in ["desired", "external", "ledger", "orders"] {
            sweep(&self.root.join(part));
        }
        self.lineage(certificate).tidy();
    }

    /// Becomes the one daemon of this store.
    ///
    /// # Errors
    ///
    /// When there is one already.
    pub async fn claim(&self) -> Result<Lock, StoreError> {
        Lock::take(&self.root.join("daemon.lock"), Duration::ZERO).await
    }

    /// Whether a daemon is at work on this store.
    pub async fn has_daemon(&self) -> bool {
        matches!(self.claim().await, Err(StoreError::Locked(..)))
    }

    /// The generations of one certificate.
    pub fn lineage(&self, name: &CertificateName) -> Lineage {
        Lineage::new(self.root.join("certs").join(name.as_str()))
    }
}

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of ours does not hold what it should.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        what: String,
    },
    /// Another process holds the lock.
    #[error("{} is held by process {}", .0.display(), .1)]
    Locked(PathBuf, String),
}

impl StoreError {
    fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    fn damaged(path: &Path, what: impl ToString) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.to_string(),
        }
    }

    /// The way out, where there is a plain one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, path, .. } => io_hint(source, path),
            Self::Damaged { path, .. } => Some(format!(
                "move {} away; it will be made anew",
                path.display()
            )),
            Self::Locked(..) => Some("wait for it to finish, or stop it".to_owned()),
        }
    }
}

fn io_hint(error: &io::Error, path: &Path) -> Option<String> {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "run as the user that owns it, or correct its owner",
        io::ErrorKind::ReadOnlyFilesystem => "remount the file system read-write",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its file system",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file stands where a directory should be; move it away, or name another path"
        }
        _ => return None,
    };
    Some(format!("{hint} ({})", path.display()))
}

/// Reads a file of ours; none when it does not exist.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::new("read", path, source)),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| StoreError::damaged(path, error))
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|error| StoreError::damaged(path, error))?;
    text.push(b'\n');
    write(path, &text, Access::PRIVATE)
}

/// Removes a file and syncs its directory. Nothing to remove is fine.
fn remove(path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::new("remove", path, source);
    match std::fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_directory).map_err(fail),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(fail(source)),
    }
}
