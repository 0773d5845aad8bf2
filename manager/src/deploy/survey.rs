//! What every HAProxy holds, asked for at once: thousands of certificates in
//! some tens of milliseconds.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use spoacme_haproxy::runtime::{Details, Error, StorePath};

use super::target::{Target, is_loaded, store_path};
use super::{DeployError, Deployer};
use crate::bundle::sha256_hex;
use crate::config::Certificate;
use crate::store::{Generation, State, StoreError};

/// What every HAProxy holds at one moment.
#[derive(Debug)]
pub struct Survey<'a> {
    deployer: Deployer<'a>,
    /// In the order of the targets.
    sites: Vec<Site>,
}

/// What one HAProxy holds.
#[derive(Debug)]
enum Site {
    /// This.
    Holds(Holdings),
    /// It does not run: it cannot be told whether it has what it should.
    Away,
    /// It runs, and did not say.
    Unclear,
}

#[derive(Debug)]
struct Holdings {
    loaded: HashMap<StorePath, Details>,
    /// The files that its crt-list names, if it has one.
    listed: Option<HashSet<PathBuf>>,
}

impl<'a> Deployer<'a> {
    /// Asks every HAProxy what it holds of `certificates`.
    pub async fn survey(self, certificates: &[Certificate]) -> Survey<'a> {
        let mut sites = Vec::new();
        for target in &self.targets {
            sites.push(match holdings(target, certificates).await {
                Ok(holdings) => Site::Holds(holdings),
                Err(DeployError::Runtime(Error::Connect { .. })) => Site::Away,
                Err(_) => Site::Unclear,
            });
        }
        Survey {
            deployer: self,
            sites,
        }
    }
}

impl Survey<'_> {
    /// Whether `generation` of `certificate` is on disk, in every HAProxy that
    /// answered, and has been seen on the wire.
    ///
    /// # Errors
    ///
    /// When a directory cannot be read.
    pub fn is_settled(
        &self,
        certificate: &Certificate,
        generation: &Generation,
    ) -> Result<bool, DeployError> {
        let meta = &generation.meta;
        let (State::Deployed { .. }, Some(wanted)) = (&meta.state, &meta.pem_sha256) else {
            return Ok(false);
        };
        for (target, site) in self.deployer.targets.iter().zip(&self.sites) {
            let place = target.place(certificate, &[None])?;
            for slot in &place.slots {
                let found = slot.read()?.map(|pem| sha256_hex(&pem));
                if found.as_ref() != Some(wanted) || slot.is_open() {
                    return Ok(false);
                }
                let holdings = match site {
                    Site::Holds(holdings) => holdings,
                    Site::Away => continue,
                    Site::Unclear => return Ok(false),
                };
                let loaded = holdings.loaded.get(&store_path(slot.path())?);
                let is_listed = match (&holdings.listed, &place.list) {
                    (Some(listed), Some(_)) => listed.contains(slot.path()),
                    _ => true,
                };
                if !is_listed || !loaded.is_some_and(|loaded| is_loaded(loaded, &meta.leaf)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

async fn holdings(
    target: &Target<'_>,
    certificates: &[Certificate],
) -> Result<Holdings, DeployError> {
    let mut names = Vec::with_capacity(certificates.len());
    for certificate in certificates {
        for slot in target.place(certificate, &[None])?.slots {
            names.push(store_path(slot.path())?);
        }
    }
    let found = target.client.certificates_named(&names).await?;
    let loaded = names.into_iter().zip(found);
    Ok(Holdings {
        loaded: loaded
            .filter_map(|(name, details)| Some((name, details?)))
            .collect(),
        listed: listed(target)?,
    })
}

fn listed(target: &Target<'_>) -> Result<Option<HashSet<PathBuf>>, StoreError> {
    let Some(list) = &target.crt_list else {
        return Ok(None);
    };
    let text = fs::read_to_string(list.path()).unwrap_or_default();
    let first = |line: &str| line.split_whitespace().next().map(PathBuf::from);
    Ok(Some(text.lines().filter_map(first).collect()))
}
