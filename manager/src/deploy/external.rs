//! Certificates that others make: bundles that are hot-swapped when their
//! files change.
//!
//! The files are not ours to write. What we keep of each is what became of its
//! content, and a copy of the last one that was good, so that HAProxy can be
//! given that again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use spoacme_haproxy::runtime::Error;
use tracing::{info, warn};

use super::object::{KeyKind, Object, Part};
use super::slot::Slot;
use super::target::{Place, Target, store_path};
use super::{DeployError, Deployer};
use crate::bundle::{Bundle, sha256_hex};
use crate::config::{self, Certificate};
use crate::names::DnsName;
use crate::store::{ForeignRecord, ForeignState};

/// The certificates of others, as they stand.
#[derive(Debug)]
pub struct Externals<'a> {
    deployer: &'a Deployer<'a>,
    configs: &'a [config::External],
    /// Files that are ours, whoever else names their directory.
    own: Vec<PathBuf>,
}

/// One certificate of others, and what became of it.
#[derive(Debug, Serialize)]
pub struct External {
    /// Its file, without the kind of key.
    pub path: PathBuf,
    /// Until when it is valid, if it can be read.
    pub not_after: Option<Timestamp>,
    /// Whether it was swapped just now.
    pub swapped: bool,
    /// Why it is not served.
    #[serde(skip)]
    pub error: Option<DeployError>,
}

/// The files of one object: one, or one of each kind of key.
struct Group {
    path: PathBuf,
    files: Vec<(Option<KeyKind>, PathBuf)>,
}

impl<'a> Externals<'a> {
    /// Those of `configs`, less what `certificates` are ours.
    ///
    /// # Errors
    ///
    /// When a name cannot be put into HAProxy's words.
    pub fn new(
        deployer: &'a Deployer<'a>,
        configs: &'a [config::External],
        certificates: &[Certificate],
    ) -> Result<Self, DeployError> {
        let mut own = Vec::new();
        if !configs.is_empty() {
            for target in &deployer.targets {
                for certificate in certificates {
                    let place = target.place(certificate, &[None])?;
                    own.extend(place.slots.iter().map(|slot| slot.path().to_owned()));
                }
            }
        }
        own.sort_unstable();
        Ok(Self {
            deployer,
            configs,
            own,
        })
    }

    /// Makes every HAProxy that loads them serve what their files hold.
    pub async fn reconcile(&self, now: Timestamp) -> Vec<External> {
        let mut externals = Vec::new();
        for config in self.configs {
            for group in self.groups(&config.path) {
                externals.push(self.reconcile_group(config, group, now).await);
            }
        }
        if let Err(error) = self.forget_the_gone() {
            warn!(%error, "what is known of removed files is kept");
        }
        externals
    }

    /// What is no longer there or no longer watched is forgotten, with the copy
    /// of its key.
    fn forget_the_gone(&self) -> Result<(), DeployError> {
        let store = self.deployer.store;
        let mut files = Vec::new();
        for group in self
            .configs
            .iter()
            .flat_map(|config| self.groups(&config.path))
        {
            files.push(group.path);
            files.extend(group.files.into_iter().map(|(_, file)| file));
        }
        Ok(store.keep_only_foreign(&files)?)
    }

    async fn reconcile_group(
        &self,
        config: &config::External,
        group: Group,
        now: Timestamp,
    ) -> External {
        let mut external = External {
            path: group.path.clone(),
            not_after: None,
            swapped: false,
            error: None,
        };
        match self.try_group(config, &group, &mut external, now).await {
            Ok(swapped) => external.swapped = swapped,
            Err(error) => external.error = Some(error),
        }
        external
    }

    async fn try_group(
        &self,
        config: &config::External,
        group: &Group,
        external: &mut External,
        now: Timestamp,
    ) -> Result<bool, DeployError> {
        let (object, content) = read(group)?;
        external.not_after = object.parts.iter().map(|part| part.leaf.not_after).min();
        let store = self.deployer.store;
        let record = store.foreign_record(&group.path)?;
        let record = record.filter(|record| record.content == content);
        if let Some(ForeignState::Rejected { why }) = record.as_ref().map(|r| &r.state) {
            return Err(DeployError::Unspeakable(why.clone()));
        }
        let is_proven = record.is_some();
        let keep = |state| {
            store.keep_foreign_record(&ForeignRecord {
                path: group.path.clone(),
                content: content.clone(),
                state,
            })
        };
        let deployed = self.deploy(config, group, &object, is_proven, now).await;
        match &deployed {
            Ok(_) if !is_proven => {
                for (part, (_, file)) in object.parts.iter().zip(&group.files) {
                    store.keep_foreign_copy(file, part.bundle.to_pem().as_bytes())?;
                }
                keep(ForeignState::Deployed { at: now })?;
            }
            Err(error) if error.is_final() => {
                let why = error.to_string();
                keep(ForeignState::Rejected { why })?;
            }
            _ => {}
        }
        deployed
    }

    async fn deploy(
        &self,
        config: &config::External,
        group: &Group,
        object: &Object,
        is_proven: bool,
        now: Timestamp,
    ) -> Result<bool, DeployError> {
        let is_meant = |target: &&Target<'_>| {
            config.haproxys.is_empty() || config.haproxys.iter().any(|name| name == target.name)
        };
        let mut rollout = self.deployer.rollout(object, is_proven, now);
        for target in self.deployer.targets.iter().filter(is_meant) {
            rollout.to(target, self.place(target, group).await?);
        }
        let swapped = rollout.run().await?;
        if swapped {
            info!(file = %group.path.display(), "the new content is served");
        }
        Ok(swapped)
    }

    /// A new file can be added at run time where its directory is a crt-list.
    async fn place(&self, target: &Target<'_>, group: &Group) -> Result<Place, DeployError> {
        let directory = group.path.parent().unwrap_or(&group.path);
        let lists = match target.client.crt_lists().await {
            Ok(lists) => lists,
            // Some versions say so when there is none.
            Err(Error::UnexpectedReply { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let is_list = lists.iter().any(|list| Path::new(list) == directory);
        let slot =
            |file: &PathBuf| Slot::foreign(file.clone(), self.deployer.store.foreign_copy(file));
        Ok(Place {
            slots: group.files.iter().map(|(_, file)| slot(file)).collect(),
            list: match is_list {
                true => Some(store_path(directory)?),
                false => None,
            },
            is_ours: false,
        })
    }

    /// The bundles at `path`, in the order of their names.
    fn groups(&self, path: &Path) -> Vec<Group> {
        let mut groups: BTreeMap<PathBuf, Vec<(Option<KeyKind>, PathBuf)>> = BTreeMap::new();
        for file in files(path) {
            if self.own.binary_search(&file).is_ok() {
                continue;
            }
            let kind = KeyKind::of_file(&file);
            let stem = match kind {
                Some(_) => file.with_extension(""),
                None => file.clone(),
            };
            groups.entry(stem).or_default().push((kind, file));
        }
        let group = |(path, files)| Group { path, files };
        groups.into_iter().map(group).collect()
    }
}

/// The files that HAProxy would load: one, those of each kind of key beside it,
/// or those of a directory that are not hidden and no side files.
fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        let kinds = [None].into_iter().chain(KeyKind::ALL.map(Some));
        let of_kind = |kind: Option<KeyKind>| {
            let suffix = kind.map_or("", KeyKind::suffix);
            PathBuf::from(format!("{}{suffix}", path.display()))
        };
        let files = Vec::from_iter(kinds.map(of_kind).filter(|file| file.is_file()));
        // One that is missing is worth a complaint.
        return match files.is_empty() {
            true => vec![path.to_owned()],
            false => files,
        };
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let is_bundle = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().as_encoded_bytes();
        let extension = file.extension().and_then(|extension| extension.to_str());
        let is_side_file = extension.is_some_and(|e| SIDE_FILES.contains(&e));
        !name.starts_with(b".") && !is_side_file && file.is_file()
    };
    let mut files = Vec::from_iter(entries.map(|entry| entry.path()).filter(is_bundle));
    files.sort_unstable();
    files.truncate(FILES_MAX);
    files
}

/// What belongs to a bundle, and is none (configuration.txt,
/// `ssl-load-extra-files`).
const SIDE_FILES: [&str; 4] = ["key", "ocsp", "sctl", "issuer"];

/// As many as HAProxy serves well.
const FILES_MAX: usize = 50_000;

/// What the files hold, and its fingerprint.
fn read(group: &Group) -> Result<(Object, String), DeployError> {
    let (mut parts, mut names, mut content) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, file) in &group.files {
        let pem = Slot::foreign(file.clone(), PathBuf::new()).read()?;
        let unspeakable = |why: &dyn std::fmt::Display| {
            DeployError::Unspeakable(format!("{}: {why}", file.display()))
        };
        let pem = pem.ok_or_else(|| unspeakable(&"it is missing"))?;
        let bundle = Bundle::from_pem(&pem).map_err(|error| unspeakable(&error))?;
        let part = Part::new(*kind, bundle).map_err(|error| unspeakable(&error))?;
        names.extend(part.leaf.names.iter().filter_map(|name| asked(name)));
        content.push(sha256_hex(&pem));
        parts.push(part);
    }
    names.sort_unstable();
    names.dedup();
    names.truncate(NAMES_MAX);
    let object = Object {
        name: group.path.display().to_string(),
        names,
        parts,
        older: Vec::new(),
        withdrawn: Vec::new(),
    };
    Ok((object, content.join(" ")))
}

/// More are not asked for in handshakes.
const NAMES_MAX: usize = 100;

/// What to ask for: a wildcard is asked for by some name that it matches.
fn asked(name: &str) -> Option<DnsName> {
    let name = match name.strip_prefix("*.") {
        Some(rest) => format!("spoacme-look.{rest}"),
        None => name.to_owned(),
    };
    DnsName::try_from(name).ok()
}
