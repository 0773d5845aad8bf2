//! A crt-list file: which certificates a `bind ... ssl crt-list` loads
//! (configuration.txt §5.1, `crt-list`).

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::store::{Access, StoreError, write};

/// A crt-list file: `FILE [OPTIONS] [FILTERS]` on each line. Lines of others,
/// comments and options stay as they are.
#[derive(Clone, Debug)]
pub(super) struct CrtList {
    path: PathBuf,
    access: Access,
}

impl CrtList {
    /// The list at `path`; `access` is that of a new one.
    pub(super) fn new(path: PathBuf, access: Access) -> Self {
        Self { path, access }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it names nothing but these files.
    pub(super) fn names_only(&self, files: &[&Path]) -> Result<bool, StoreError> {
        let text = self.read()?;
        let is_comment = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        let is_own = |line: &str| files.iter().any(|file| names(line, file));
        Ok(text.lines().all(|line| is_comment(line) || is_own(line)))
    }

    /// Adds a line for `file` unless there is one: HAProxy would serve it
    /// twice. Says whether it was added.
    pub(super) fn add(&self, file: &Path) -> Result<bool, StoreError> {
        let mut text = self.read()?;
        if text.lines().any(|line| names(line, file)) {
            return Ok(false);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{}\n", file.display()));
        self.write(&text).map(|()| true)
    }

    /// Removes every line of `file`.
    pub(super) fn remove(&self, file: &Path) -> Result<(), StoreError> {
        let text = self.read()?;
        let kept = text.lines().filter(|line| !names(line, file));
        let kept = kept.map(|line| format!("{line}\n")).collect::<String>();
        match kept.len() < text.len() {
            true => self.write(&kept),
            false => Ok(()),
        }
    }

    fn read(&self) -> Result<String, StoreError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(StoreError::Io {
                action: "read",
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// An existing list keeps its mode and group.
    fn write(&self, text: &str) -> Result<(), StoreError> {
        let access = fs::metadata(&self.path).map_or(self.access, |metadata| Access {
            mode: metadata.permissions().mode() & 0o7777,
            group: Some(metadata.gid()),
        });
        write(&self.path, text.as_bytes(), access)
    }
}

fn names(line: &str, file: &Path) -> bool {
    let first = line.split_whitespace().next();
    first.is_some_and(|first| Path::new(first) == file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_once_and_leaves_others_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        let list = CrtList::new(path.clone(), Access::PRIVATE);
        let (a, b) = (Path::new("/live/a.pem"), Path::new("/live/b.pem"));
        assert!(list.names_only(&[]).unwrap());
        assert!(list.add(a).unwrap());
        assert!(!list.names_only(&[]).unwrap() && list.names_only(&[a]).unwrap());
        let others =
            "# mine\n/other.pem [alpn h2] *.example.com\n/live/a.pem [ssl-min-ver TLSv1.3]";
        fs::write(&path, others).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(!list.add(a).unwrap());
        assert!(list.add(b).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{others}\n/live/b.pem\n"));
        list.remove(a).unwrap();
        list.remove(a).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "# mine\n/other.pem [alpn h2] *.example.com\n/live/b.pem\n"
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}
