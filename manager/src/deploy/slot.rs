//! One file that HAProxy loads.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::failpoint;
use crate::store::{Access, StoreError, sync_directory, write};

/// One file that HAProxy loads.
///
/// Beside one that has not yet proven itself stands `.FILE.prev`, the file it
/// replaced. HAProxy passes over names that begin with a dot.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    path: PathBuf,
    previous: PathBuf,
    access: Access,
}

impl Slot {
    pub(super) fn new(path: PathBuf, access: Access) -> Self {
        let name = path.file_name().unwrap_or_default();
        let hidden = format!(".{}.prev", name.to_string_lossy());
        let previous = path.with_file_name(hidden);
        Self {
            path,
            previous,
            access,
        }
    }

    /// A file of somebody else's, and our copy of what it last held that was
    /// good.
    pub(super) fn foreign(path: PathBuf, copy: PathBuf) -> Self {
        Self {
            path,
            previous: copy,
            access: Access::PRIVATE,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds; none when there is none.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        read(&self.path)
    }

    /// What it held before, if it has not yet proven itself.
    pub(super) fn read_previous(&self) -> Result<Option<Vec<u8>>, StoreError> {
        read(&self.previous)
    }

    /// Whether it has yet to prove itself.
    pub(super) fn is_open(&self) -> bool {
        self.previous.exists()
    }

    /// Puts `pem` in place, keeping the file it replaces until
    /// [`Self::settle`] or [`Self::restore`]. What is in place has to be kept
    /// for either when it has not proven itself.
    ///
    /// # Errors
    ///
    /// When it cannot be written; the old file is then still in place.
    pub(super) fn publish(&self, pem: &[u8]) -> Result<(), StoreError> {
        let previous = &self.previous;
        if self.path.exists() && !previous.exists() {
            fs::hard_link(&self.path, previous).map_err(|e| fail("link", previous, e))?;
            failpoint::step("previous-linked")?;
        }
        write(&self.path, pem, self.access)
    }

    /// Puts the replaced file back, or removes a file that replaced none.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub(super) fn restore(&self) -> Result<(), StoreError> {
        failpoint::step("restore-begun")?;
        let renamed = match fs::rename(&self.previous, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => gone(&self.path),
            result => result,
        };
        renamed.map_err(|e| fail("restore", &self.path, e))?;
        failpoint::step("restore-renamed")?;
        self.sync()?;
        failpoint::step("restore-synced")
    }

    /// Forgets the replaced file: the new one has proven itself.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        let previous = &self.previous;
        failpoint::step("previous-removed")?;
        gone(previous).map_err(|e| fail("remove", previous, e))
    }

    /// Removes the file, and the one that it replaced. Says whether there was
    /// one.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub(super) fn remove(&self) -> Result<bool, StoreError> {
        self.settle()?;
        match fs::remove_file(&self.path) {
            Ok(()) => self.sync().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(fail("remove", &self.path, source)),
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        let directory = self.path.parent().unwrap_or(&self.path);
        sync_directory(directory).map_err(|e| fail("sync", directory, e))
    }
}

/// A file may be anybody's: neither a pipe nor an endless one must hold us up.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let opened = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(fail("read", path, source)),
    };
    read_bounded(file)
        .map(Some)
        .map_err(|source| fail("read", path, source))
}

fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > SIZE_MAX {
        true => Err(io::Error::other(format!(
            "it is larger than {SIZE_MAX} bytes"
        ))),
        false => Ok(bytes),
    }
}

/// In bytes: many times the largest bundle that HAProxy takes at run time.
const SIZE_MAX: u64 = 1 << 20;

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn fail(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    StoreError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(directory: &Path) -> Slot {
        Slot::new(directory.join("a.pem"), Access::PRIVATE)
    }

    #[test]
    fn restores_what_was_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let slot = slot(directory.path());
        slot.publish(b"old").unwrap();
        assert!(!slot.is_open());
        slot.publish(b"new").unwrap();
        slot.publish(b"newer").unwrap();
        assert!(slot.is_open());
        assert_eq!(slot.read().unwrap().unwrap(), b"newer");
        assert_eq!(slot.read_previous().unwrap().unwrap(), b"old");
        slot.restore().unwrap();
        assert_eq!(slot.read().unwrap().unwrap(), b"old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn restoring_what_replaced_nothing_removes_it() {
        let directory = tempfile::tempdir().unwrap();
        let slot = slot(directory.path());
        slot.publish(b"new").unwrap();
        slot.restore().unwrap();
        assert_eq!(slot.read().unwrap(), None);
        assert!(!slot.remove().unwrap());
    }

    #[test]
    fn neither_pipes_nor_endless_files_hold_it_up() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe.pem");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [Path::new("/dev/zero"), &pipe, directory.path()] {
            let slot = Slot::new(path.to_owned(), Access::PRIVATE);
            assert!(slot.read().is_err(), "{}", path.display());
        }
        let large = directory.path().join("large.pem");
        File::create(&large).unwrap().set_len(SIZE_MAX + 1).unwrap();
        assert!(Slot::new(large, Access::PRIVATE).read().is_err());
    }

    #[test]
    fn what_is_settled_cannot_be_restored() {
        let directory = tempfile::tempdir().unwrap();
        let slot = slot(directory.path());
        slot.publish(b"old").unwrap();
        slot.publish(b"new").unwrap();
        slot.settle().unwrap();
        assert_eq!(slot.read_previous().unwrap(), None);
        assert!(slot.remove().unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
