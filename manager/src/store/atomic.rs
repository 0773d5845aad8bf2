//! Files that are whole or absent, whatever happens.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::StoreError;
use crate::failpoint;

/// Who may read a file or directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// The group it is given to, if another than the process's.
    pub group: Option<u32>,
}

impl Access {
    /// A file for the manager alone.
    pub const PRIVATE: Self = Self {
        mode: 0o600,
        group: None,
    };
}

/// Writes `bytes` to `path`: a temporary file in the same directory, synced,
/// renamed over, and the directory synced.
///
/// # Errors
///
/// Whatever the system says. The old file is then still in place.
pub fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), StoreError> {
    try_write(path, bytes, access).map_err(|source| StoreError::new("write", path, source))
}

/// Makes `directory` and its parents, each with `mode`, where they are missing.
///
/// # Errors
///
/// Whatever the system says.
pub fn make_directory(directory: &Path, mode: u32) -> Result<(), StoreError> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(directory);
    made.map_err(|source| StoreError::new("make the directory", directory, source))
}

/// Syncs a directory, so that what was renamed in it stays renamed.
///
/// # Errors
///
/// Whatever the system says.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes what a crash may have left of [`write()`] in `directory`. Nobody else
/// may be writing there.
pub fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes()) {
            // The next sweep comes to it if this one cannot.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A leading dot hides the file from HAProxy, which loads every other one of
/// a `crt` directory.
const PREFIX: &str = ".spoacme-";
const SUFFIX: &str = ".tmp";

fn try_write(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new()
        .prefix(PREFIX)
        .suffix(SUFFIX)
        .permissions(fs::Permissions::from_mode(access.mode & 0o700))
        .tempfile_in(directory)
        // Its own words hold the temporary name, which is another each time.
        .map_err(|error| io::Error::from(error.kind()))?;
    reach(path, "made")?;
    file.write_all(bytes)?;
    reach(path, "written")?;
    if access.group.is_some() {
        std::os::unix::fs::fchown(file.as_file(), None, access.group)?;
    }
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(access.mode))?;
    file.as_file().sync_all()?;
    reach(path, "synced")?;
    file.persist(path).map_err(|error| error.error)?;
    reach(path, "renamed")?;
    sync_directory(directory)?;
    reach(path, "directory-synced")
}

/// A failpoint called after the kind of file: `key.pem` of a generation, or
/// the directory of what bears a name.
fn reach(path: &Path, step: &str) -> io::Result<()> {
    let of = |path: Option<&OsStr>| path.and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let file = of(path.file_name());
    let kind = match file.as_str() {
        "key.pem" | "chain.pem" | "meta.json" | "account.json" => file,
        _ => of(path.parent().and_then(Path::file_name)),
    };
    failpoint::reach(&format!("{kind}-{step}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_with_the_access_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pem");
        write(
            &path,
            b"old",
            Access {
                mode: 0o644,
                group: None,
            },
        )
        .unwrap();
        write(&path, b"new", Access::PRIVATE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_the_file() {
        let error = write(Path::new("/proc/nonexistent/a"), b"", Access::PRIVATE).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write /proc/nonexistent/a: "),
            "{error}"
        );
    }

    #[test]
    fn sweeps_only_its_own() {
        let directory = tempfile::tempdir().unwrap();
        for name in [".spoacme-x.tmp", ".other.tmp", "a.pem"] {
            fs::write(directory.path().join(name), b"").unwrap();
        }
        sweep(directory.path());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
