//! What is kept of a certificate that is no longer wanted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Store, StoreError, make_directory, sync_directory};
use crate::names::CertificateName;

impl Store {
    /// Moves everything about a certificate into the archive, and says where
    /// to; nowhere if there was nothing. What an interrupted call has moved
    /// already stays where it was moved.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn archive(
        &self,
        name: &CertificateName,
        now: Timestamp,
    ) -> Result<Option<PathBuf>, StoreError> {
        let found = self.files_of(name);
        if found.is_empty() {
            return Ok(None);
        }
        let place = self.archive_place(name, now);
        make_directory(&place, 0o700)?;
        for (path, kept_as) in found {
            let to = place.join(kept_as);
            let moved = fs::rename(&path, &to).and_then(|()| sync_parent(&path));
            moved.map_err(|source| StoreError::new("archive", &path, source))?;
        }
        let synced = sync_directory(&place).and_then(|()| sync_parent(&place));
        synced.map_err(|source| StoreError::new("sync", &place, source))?;
        Ok(Some(place))
    }

    /// Deletes everything about a certificate, its keys too. Says whether
    /// there was anything.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn purge(&self, name: &CertificateName) -> Result<bool, StoreError> {
        let found = self.files_of(name);
        for (path, _) in &found {
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(path),
                false => fs::remove_file(path),
            };
            let removed = removed.and_then(|()| sync_parent(path));
            removed.map_err(|source| StoreError::new("remove", path, source))?;
        }
        Ok(!found.is_empty())
    }

    /// What there is of a certificate, and what the archive calls it.
    fn files_of(&self, name: &CertificateName) -> Vec<(PathBuf, &'static str)> {
        let all = [
            (self.root.join("certs").join(name.as_str()), "generations"),
            (self.record("orders", name), "order.json"),
            (self.record("ledger", name), "ledger.json"),
        ];
        all.into_iter().filter(|(path, _)| path.exists()).collect()
    }

    /// Seconds tell most removals apart, and a number the rest.
    fn archive_place(&self, name: &CertificateName, now: Timestamp) -> PathBuf {
        let archive = self.root.join("archive");
        let base = format!("{name}.{}", now.as_second());
        let numbered = (2..).map(|number| format!("{base}.{number}"));
        let mut candidates = std::iter::once(base.clone()).chain(numbered);
        let free = candidates.find(|candidate| !archive.join(candidate).exists());
        archive.join(free.unwrap_or(base))
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::History;

    #[test]
    fn keeps_all_there_is_and_purges_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let name = CertificateName::try_from("a.test".to_owned()).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(store.archive(&name, now).unwrap(), None);
        let mut places = Vec::new();
        for _ in 0..2 {
            store.keep_history(&name, &History::default()).unwrap();
            fs::create_dir(directory.path().join("certs/a.test")).unwrap();
            places.push(store.archive(&name, now).unwrap().unwrap());
        }
        assert_ne!(places[0], places[1]);
        for place in places {
            assert!(place.join("generations").is_dir() && place.join("ledger.json").is_file());
        }
        store.keep_history(&name, &History::default()).unwrap();
        assert!(store.purge(&name).unwrap() && !store.purge(&name).unwrap());
    }
}
