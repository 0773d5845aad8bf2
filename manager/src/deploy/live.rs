//! The directory that HAProxy loads: one `NAME.pem` for each certificate.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use tracing::warn;

use crate::config::Haproxy;
use crate::store::{Access, StoreError, make_directory, sweep};

/// The directory that HAProxy loads.
#[derive(Clone, Debug)]
pub(super) struct Live {
    directory: PathBuf,
    access: Access,
}

impl Live {
    /// The directory of `config`, as it stands.
    pub(super) fn new(config: &Haproxy) -> Self {
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
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
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

    /// The directory itself: also the name of its crt-list (management.txt
    /// §9.3, `show ssl crt-list`), which has no slash at its end.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Who may read what is in it.
    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// Whether HAProxy would find no certificate here but these files.
    pub(super) fn is_empty_but_for(&self, own: &[String]) -> bool {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return true;
        };
        let is_other = |found: &std::ffi::OsStr| {
            !found.as_encoded_bytes().starts_with(b".")
                && !own.iter().any(|own| found == own.as_str())
        };
        !entries.flatten().any(|entry| is_other(&entry.file_name()))
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

    #[test]
    fn hidden_files_are_no_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let live = Live {
            directory: directory.path().join("live"),
            access: Access::PRIVATE,
        };
        live.prepare().unwrap();
        fs::write(live.directory().join(".spoacme-1.tmp"), b"").unwrap();
        fs::write(live.directory().join(".a.pem.prev"), b"").unwrap();
        assert!(live.is_empty_but_for(&[]));
        fs::write(live.directory().join("a.pem"), b"").unwrap();
        assert!(!live.is_empty_but_for(&[]));
        assert!(live.is_empty_but_for(&["a.pem".to_owned()]));
    }
}
