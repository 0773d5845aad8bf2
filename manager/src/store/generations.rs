//! The generations of a certificate: `certs/<name>/<generation>/`.
//!
//! Generations only rise. One is complete when its `meta.json` is there, which
//! is written last.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use serde::{Deserialize, Serialize};

use super::{
    Access, StoreError, make_directory, read, read_json, sweep, sync_directory, write, write_json,
};
use crate::bundle::{self, Bundle};
use crate::failpoint;
use crate::leaf::Leaf;

/// All generations of one certificate.
#[derive(Clone, Debug)]
pub struct Lineage {
    directory: PathBuf,
}

/// A complete generation.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// What is known of it.
    pub meta: Meta,
    directory: PathBuf,
}

/// What is known of a generation: `meta.json`.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Meta {
    /// What its leaf says.
    pub leaf: Leaf,
    /// When the CA's answer arrived.
    pub issued: Timestamp,
    /// The CA's directory.
    pub directory: String,
    /// What has become of it.
    pub state: State,
    /// SHA-256 of the file that HAProxy loads, lower-case hexadecimal, so that
    /// it can be compared without reading the key. Older records lack it.
    #[serde(default)]
    pub pem_sha256: Option<String>,
    /// The HAProxys that refused it though it is served elsewhere, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused_by: BTreeMap<String, String>,
}

impl Meta {
    /// When every address was first seen serving it.
    pub fn deployed(&self) -> Option<Timestamp> {
        match self.state {
            State::Deployed { at } => Some(at),
            _ => None,
        }
    }
}

/// What has become of a generation.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum State {
    /// In the store; not yet proven to be served.
    Issued,
    /// Seen in handshakes at every address.
    Deployed {
        /// When that was proven first.
        at: Timestamp,
    },
    /// HAProxy refused it. It is not offered again.
    Rejected {
        /// What HAProxy said.
        why: String,
    },
    /// An operator took it back.
    Withdrawn {
        /// When.
        at: Timestamp,
    },
}

impl State {
    /// Whether it may be served.
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::Issued | Self::Deployed { .. })
    }
}

impl Lineage {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Begins the next generation: its key is on disk before any CA hears of it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn begin(&self, key: &PrivateKeyDer<'_>) -> Result<u64, StoreError> {
        let number = self.numbers()?.last().map_or(1, |last| last + 1);
        let directory = self.directory_of(number);
        make_directory(&directory, 0o700)?;
        write(
            &directory.join(KEY),
            bundle::key_to_pem(key).as_bytes(),
            Access::PRIVATE,
        )?;
        sync_directory(&self.directory)
            .map_err(|source| StoreError::new("sync", &self.directory, source))?;
        Ok(number)
    }

    /// The key of a generation; none if there is no such generation.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn key(&self, number: u64) -> Result<Option<PrivateKeyDer<'static>>, StoreError> {
        let path = self.directory_of(number).join(KEY);
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        bundle::key_from_pem(&text)
            .map(Some)
            .map_err(|error| StoreError::damaged(&path, error))
    }

    /// Completes a generation with the chain that the CA issued.
    ///
    /// # Errors
    ///
    /// When it cannot be written; it is then still incomplete.
    pub fn complete(
        &self,
        number: u64,
        bundle: &Bundle,
        meta: Meta,
    ) -> Result<Generation, StoreError> {
        let directory = self.directory_of(number);
        let chain = bundle::chain_to_pem(bundle.chain());
        write(&directory.join(CHAIN), chain.as_bytes(), Access::PRIVATE)?;
        let pem_sha256 = Some(bundle::sha256_hex(bundle.to_pem().as_bytes()));
        let meta = Meta { pem_sha256, ..meta };
        write_json(&directory.join(META), &meta)?;
        Ok(Generation {
            number,
            meta,
            directory,
        })
    }

    /// The newest complete generation that was neither refused nor taken back.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn newest(&self) -> Result<Option<Generation>, StoreError> {
        Ok(self.newest_and_hold()?.0)
    }

    /// [`Self::newest`], and whether an operator has gone back to it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn newest_and_hold(&self) -> Result<(Option<Generation>, bool), StoreError> {
        let mut is_held = false;
        for number in self.numbers()?.into_iter().rev() {
            match self.generation(number)? {
                Some(generation) if generation.meta.state.is_usable() => {
                    return Ok((Some(generation), is_held));
                }
                Some(newer) => is_held |= matches!(newer.meta.state, State::Withdrawn { .. }),
                None => {}
            }
        }
        Ok((None, false))
    }

    /// The newest usable generation below `number`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn before(&self, number: u64) -> Result<Option<Generation>, StoreError> {
        let mut older = self.complete_generations()?;
        older.retain(|g| g.number < number && g.meta.state.is_usable());
        Ok(older.pop())
    }

    /// Removes what a crash may have left of writes.
    pub(super) fn tidy(&self) {
        sweep(&self.directory);
        for number in self.numbers().unwrap_or_default() {
            sweep(&self.directory_of(number));
        }
    }

    /// Removes what is no longer needed: all but the newest two generations,
    /// the newest usable one, and `keep`, whose order is under way.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or a directory cannot be removed.
    pub fn prune(&self, keep: Option<u64>) -> Result<(), StoreError> {
        let numbers = self.numbers()?;
        let complete = self.complete_generations()?;
        let newest = complete
            .iter()
            .rev()
            .take(GENERATIONS_KEPT)
            .map(|g| g.number);
        let usable = self.newest()?.map(|g| g.number);
        // The highest number stays in any case, so that none is used twice.
        let kept: Vec<u64> = newest
            .chain(usable)
            .chain(keep)
            .chain(numbers.last().copied())
            .collect();
        for number in numbers.into_iter().filter(|n| !kept.contains(n)) {
            let path = self.directory_of(number);
            failpoint::reach("pruned")
                .and_then(|()| fs::remove_dir_all(&path))
                .map_err(|e| StoreError::new("remove", &path, e))?;
        }
        Ok(())
    }

    /// Every complete generation, rising.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn complete_generations(&self) -> Result<Vec<Generation>, StoreError> {
        let numbers = self.numbers()?.into_iter();
        let found = numbers.map(|number| self.generation(number));
        found.filter_map(Result::transpose).collect()
    }

    fn generation(&self, number: u64) -> Result<Option<Generation>, StoreError> {
        let directory = self.directory_of(number);
        let meta = read_json(&directory.join(META))?;
        Ok(meta.map(|meta| Generation {
            number,
            meta,
            directory,
        }))
    }

    /// The numbers of all generations, complete or not, rising.
    fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StoreError::new("read", &self.directory, source)),
        };
        let mut numbers: Vec<u64> = entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn directory_of(&self, number: u64) -> PathBuf {
        self.directory.join(number.to_string())
    }
}

impl Generation {
    /// Its key and chain.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn bundle(&self) -> Result<Bundle, StoreError> {
        let key_path = self.directory.join(KEY);
        let key = self.part(&key_path, bundle::key_from_pem)?;
        let chain = self.part(&self.directory.join(CHAIN), bundle::chain_from_pem)?;
        Bundle::new(key, chain).map_err(|error| StoreError::damaged(&key_path, error))
    }

    /// Keeps what has become of it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn set_state(&mut self, state: State) -> Result<(), StoreError> {
        self.meta.state = state;
        if self.meta.state == State::Issued {
            self.meta.refused_by.clear();
        }
        write_json(&self.directory.join(META), &self.meta)
    }

    /// Keeps that a HAProxy refused it though it is served elsewhere.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_refusal(&mut self, haproxy: &str, why: String) -> Result<(), StoreError> {
        self.meta.refused_by.insert(haproxy.to_owned(), why);
        write_json(&self.directory.join(META), &self.meta)
    }

    fn part<T>(
        &self,
        path: &Path,
        parse: impl FnOnce(&[u8]) -> Result<T, bundle::BundleError>,
    ) -> Result<T, StoreError> {
        let text = read(path)?.ok_or_else(|| StoreError::damaged(path, "it is missing"))?;
        parse(&text).map_err(|error| StoreError::damaged(path, error))
    }
}

const KEY: &str = "key.pem";
const CHAIN: &str = "chain.pem";
const META: &str = "meta.json";

/// The one that serves and the one before it.
const GENERATIONS_KEPT: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Issue, issue};

    fn meta(bundle: &Bundle) -> Meta {
        Meta {
            leaf: Leaf::from_der(bundle.leaf()).unwrap(),
            issued: Issue::NOW,
            directory: "https://ca.example/".to_owned(),
            state: State::Issued,
            pem_sha256: None,
            refused_by: BTreeMap::new(),
        }
    }

    fn add(lineage: &Lineage) -> Generation {
        let bundle = issue(&["example.com"]);
        let number = lineage.begin(bundle.key()).unwrap();
        lineage.complete(number, &bundle, meta(&bundle)).unwrap()
    }

    #[test]
    fn a_generation_counts_only_once_complete() {
        let directory = tempfile::tempdir().unwrap();
        let lineage = Lineage::new(directory.path().join("example.com"));
        assert!(lineage.newest().unwrap().is_none());
        let bundle = issue(&["example.com"]);
        let number = lineage.begin(bundle.key()).unwrap();
        assert!(lineage.newest().unwrap().is_none());
        assert_eq!(lineage.key(number).unwrap().as_ref(), Some(bundle.key()));
        lineage.complete(number, &bundle, meta(&bundle)).unwrap();
        assert_eq!(lineage.newest().unwrap().unwrap().bundle().unwrap(), bundle);
    }

    #[test]
    fn a_refused_generation_gives_way_to_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let lineage = Lineage::new(directory.path().to_owned());
        let (first, mut second) = (add(&lineage), add(&lineage));
        assert_eq!(lineage.newest().unwrap().unwrap().number, second.number);
        second
            .set_state(State::Rejected {
                why: "ee key too small".to_owned(),
            })
            .unwrap();
        assert_eq!(lineage.newest().unwrap().unwrap().number, first.number);
    }

    #[test]
    fn numbers_rise_whatever_is_pruned() {
        let directory = tempfile::tempdir().unwrap();
        let lineage = Lineage::new(directory.path().to_owned());
        for expected in 1..=5 {
            assert_eq!(add(&lineage).number, expected);
            lineage.prune(None).unwrap();
        }
        assert_eq!(lineage.numbers().unwrap(), [4, 5]);
        let under_way = lineage.begin(issue(&["example.com"]).key()).unwrap();
        add(&lineage);
        lineage.prune(Some(under_way)).unwrap();
        assert_eq!(lineage.numbers().unwrap(), [5, 6, 7]);
    }

    #[test]
    fn a_damaged_file_is_named_and_its_content_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let lineage = Lineage::new(directory.path().to_owned());
        let generation = add(&lineage);
        let path = directory.path().join("1/key.pem");
        fs::write(&path, "SECRET").unwrap();
        let error = generation.bundle().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{} is damaged: ", path.display())),
            "{error}"
        );
        assert!(!error.contains("SECRET"));
    }
}
