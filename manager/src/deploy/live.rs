//! The directory that HAProxy loads: one `NAME.pem` for each certificate.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use tracing::warn;

use crate::config::Haproxy;
use crate::names::CertificateName;
use crate::store::{Access, StoreError, make_directory, sweep, sync_directory, write};

/// The directory that HAProxy loads.
///
/// Beside a `NAME.pem` that has not yet proven itself stands `.NAME.pem.prev`,
/// the file it replaced. HAProxy passes over names that begin with a dot.
#[derive(Clone, Debug)]
pub struct Live {
    directory: PathBuf,
    access: Access,
}

impl Live {
    /// The directory of `config`, as it stands.
    pub fn new(config: &Haproxy) -> Self {
        let group = match Group::from_name(&config.group) {
            Ok(group) => group.map(|group| group.gid.as_raw()),
            Err(error) => {
                warn!(group = config.group, %error, "cannot look up the group");
                None
            }
        };
        let access = match group {
            Some(_) => Access { mode: 0o640, group },
            None => Access::PRIVATE,
        };
        Self {
            directory: config.certificates.clone(),
            access,
        }
    }

    /// Makes the directory if it is missing, and removes what a crash left of
    /// a write. Needs the store's lock.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn prepare(&self) -> Result<(), StoreError> {
        if !self.directory.is_dir() {
            let mode = if self.access.group.is_some() {
                0o750
            } else {
                0o700
            };
            make_directory(&self.directory, mode)?;
            self.give_to_group();
        }
        sweep(&self.directory);
        Ok(())
    }

    /// Whether HAProxy would find no certificate here, and refuse to start.
    pub fn is_empty(&self) -> bool {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return true;
        };
        !entries
            .flatten()
            .any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
    }

    /// The directory itself: also the name of its crt-list (management.txt
    /// §9.3, `show ssl crt-list`), which has no slash at its end.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of a certificate, which is also what HAProxy calls it.
    pub fn path(&self, name: &CertificateName) -> PathBuf {
        self.directory.join(name.file_name())
    }

    /// What the file holds; none when there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(&self, name: &CertificateName) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io {
                action: "read",
                path,
                source,
            }),
        }
    }

    /// Puts `pem` in place, keeping the file it replaces until [`Self::settle`]
    /// or [`Self::restore`].
    ///
    /// # Errors
    ///
    /// When it cannot be written; the old file is then still in place.
    pub fn publish(&self, name: &CertificateName, pem: &[u8]) -> Result<(), StoreError> {
        let (path, previous) = (self.path(name), self.previous(name));
        if path.exists() && !previous.exists() {
            let linked = fs::hard_link(&path, &previous);
            linked.map_err(|source| StoreError::Io {
                action: "link",
                path: previous,
                source,
            })?;
        }
        write(&path, pem, self.access)
    }

    /// Puts the replaced file back, or removes a file that replaced none.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn restore(&self, name: &CertificateName) -> Result<(), StoreError> {
        let (path, previous) = (self.path(name), self.previous(name));
        let result = match fs::rename(&previous, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_file(&path),
            result => result,
        };
        result
            .and_then(|()| sync_directory(&self.directory))
            .map_err(|source| StoreError::Io {
                action: "restore",
                path,
                source,
            })
    }

    /// Forgets the replaced file: the new one has proven itself.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn settle(&self, name: &CertificateName) -> Result<(), StoreError> {
        let path = self.previous(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::Io {
                action: "remove",
                path,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Whether HAProxy would find no certificate here but this one.
    pub fn is_last(&self, name: &CertificateName) -> bool {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return true;
        };
        let own = name.file_name();
        let is_other = |found: &std::ffi::OsStr| {
            !found.as_encoded_bytes().starts_with(b".") && found != own.as_str()
        };
        !entries.flatten().any(|entry| is_other(&entry.file_name()))
    }

    /// Removes a certificate's file, and the one that it replaced. Says
    /// whether there was one.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn remove(&self, name: &CertificateName) -> Result<bool, StoreError> {
        self.settle(name)?;
        let path = self.path(name);
        let removed = fs::remove_file(&path).and_then(|()| sync_directory(&self.directory));
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoreError::Io {
                action: "remove",
                path,
                source,
            }),
        }
    }

    fn previous(&self, name: &CertificateName) -> PathBuf {
        self.directory.join(format!(".{}.prev", name.file_name()))
    }

    fn give_to_group(&self) {
        let given = std::os::unix::fs::chown(&self.directory, None, self.access.group);
        if let Err(error) = given {
            warn!(directory = %self.directory.display(), %error, "cannot give it to HAProxy's group");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(directory: &Path) -> Live {
        Live {
            directory: directory.join("live"),
            access: Access::PRIVATE,
        }
    }

    fn name() -> CertificateName {
        CertificateName::try_from("example.com".to_owned()).unwrap()
    }

    #[test]
    fn restores_what_was_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let live = live(directory.path());
        live.prepare().unwrap();
        assert!(live.is_empty());
        live.publish(&name(), b"old").unwrap();
        live.settle(&name()).unwrap();
        live.publish(&name(), b"new").unwrap();
        live.publish(&name(), b"newer").unwrap();
        assert_eq!(live.read(&name()).unwrap().unwrap(), b"newer");
        live.restore(&name()).unwrap();
        assert_eq!(live.read(&name()).unwrap().unwrap(), b"old");
        assert_eq!(fs::read_dir(live.directory()).unwrap().count(), 1);
    }

    #[test]
    fn restoring_what_replaced_nothing_removes_it() {
        let directory = tempfile::tempdir().unwrap();
        let live = live(directory.path());
        live.prepare().unwrap();
        live.publish(&name(), b"new").unwrap();
        live.restore(&name()).unwrap();
        assert!(live.is_empty());
    }

    #[test]
    fn hidden_files_are_no_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let live = live(directory.path());
        live.prepare().unwrap();
        fs::write(live.directory().join(".spoacme-1.tmp"), b"").unwrap();
        fs::write(live.directory().join(".a.pem.prev"), b"").unwrap();
        assert!(live.is_empty());
    }
}
