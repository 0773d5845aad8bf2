//! The four facts about a certificate: store, disk, HAProxy, wire.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::slot::Slot;
use super::target::{Target, store_path};
use super::wire::{self, Finding, Wanted};
use super::{DeployError, Deployer, Object};
use crate::bundle::Bundle;
use crate::config::Certificate;
use crate::leaf::Leaf;
use crate::names::DnsName;

/// What the store, the disk, each HAProxy and the wire have of a certificate.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The newest usable generation in the store.
    pub issued: Option<Issued>,
    /// What each HAProxy has of it; at least one.
    pub sites: Vec<Site>,
}

/// The newest usable generation.
#[derive(Clone, Debug, Serialize)]
pub struct Issued {
    /// Its number.
    pub generation: u64,
    /// What its leaf says.
    pub leaf: Leaf,
    /// When every address was first seen serving it.
    pub deployed: Option<Timestamp>,
}

/// What one HAProxy has of a certificate.
#[derive(Clone, Debug, Serialize)]
pub struct Site {
    /// What that HAProxy is called.
    pub haproxy: String,
    /// The file that it loads at its next start.
    pub disk: Disk,
    /// What it holds.
    pub runtime: Runtime,
    /// What it serves, by address and name.
    pub wire: Vec<Wire>,
}

/// The file that HAProxy loads at its next start.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// The newest generation.
    Newest,
    /// Another certificate.
    Other,
    /// A self-signed placeholder.
    Placeholder,
    /// None.
    Missing,
    /// No bundle.
    Unreadable,
}

/// What HAProxy holds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Runtime {
    /// The newest generation, in use.
    Newest,
    /// Another certificate under this name.
    Other {
        /// Its SHA-1, upper-case hexadecimal.
        sha1: String,
    },
    /// The newest generation, but no `bind` line uses it.
    Unused,
    /// Nothing under this name.
    NotLoaded,
    /// HAProxy did not answer.
    Unreachable {
        /// What stood in the way.
        why: String,
    },
}

/// What one address serves for one name.
#[derive(Clone, Debug, Serialize)]
pub struct Wire {
    /// The address.
    pub address: SocketAddr,
    /// The name asked for.
    pub name: DnsName,
    /// What came.
    pub finding: Finding,
}

impl Facts {
    /// Whether the newest generation is on disk, in every HAProxy, and served.
    pub fn agree(&self) -> bool {
        self.issued.is_some() && self.sites.iter().all(Site::agrees)
    }

    /// The first HAProxy with which something is amiss, or the first at all.
    pub fn worst(&self) -> Option<&Site> {
        let amiss = self.sites.iter().find(|site| !site.agrees());
        amiss.or_else(|| self.sites.first())
    }

    /// What every address serves for every name.
    pub fn wire(&self) -> impl Iterator<Item = &Wire> {
        self.sites.iter().flat_map(|site| &site.wire)
    }
}

impl Site {
    /// Whether the newest generation is on disk, in HAProxy, and served.
    pub fn agrees(&self) -> bool {
        self.disk == Disk::Newest
            && self.runtime == Runtime::Newest
            && self.wire.iter().all(|wire| wire.finding == Finding::Served)
    }
}

impl Disk {
    /// In a word, for a table.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Newest => "newest",
            Self::Placeholder => "placeholder",
            Self::Other => "other",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Runtime {
    /// In a few words, for a table.
    pub fn describe(&self) -> &str {
        match self {
            Self::Newest => "newest",
            Self::Other { .. } => "other",
            Self::Unused => "unused",
            Self::NotLoaded => "not loaded",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}

pub(super) async fn gather(
    deployer: &Deployer<'_>,
    certificate: &Certificate,
) -> Result<Facts, DeployError> {
    let lineage = deployer.store.lineage(&certificate.name);
    let generation = lineage.newest()?;
    let object = match &generation {
        Some(generation) => Some(Object::of_generation(certificate, &lineage, generation)?),
        None => None,
    };
    let mut sites = Vec::new();
    for target in &deployer.targets {
        sites.push(site(target, certificate, object.as_ref()).await?);
    }
    let issued = generation.map(|generation| Issued {
        generation: generation.number,
        deployed: generation.meta.deployed(),
        leaf: generation.meta.leaf,
    });
    Ok(Facts { issued, sites })
}

async fn site(
    target: &Target<'_>,
    certificate: &Certificate,
    object: Option<&Object>,
) -> Result<Site, DeployError> {
    let kinds = object.map_or_else(|| vec![None], Object::kinds);
    let place = target.place(certificate, &kinds)?;
    let mut parts = object.map_or_else(Vec::new, |object| object.parts.iter().collect());
    parts.reverse();
    let (mut on_disk, mut runtime) = (Disk::Newest, Runtime::Newest);
    for slot in &place.slots {
        let part = parts.pop();
        on_disk = on_disk.max(disk(slot, part.map(|part| &part.bundle))?);
        let sha1 = part.map(|part| part.leaf.sha1.as_str());
        if runtime == Runtime::Newest {
            runtime = held(target, slot, sha1).await?;
        }
    }
    Ok(Site {
        haproxy: target.name.to_owned(),
        disk: on_disk,
        runtime,
        wire: look(target, certificate, object).await,
    })
}

fn disk(slot: &Slot, newest: Option<&Bundle>) -> Result<Disk, DeployError> {
    let Some(bytes) = slot.read()? else {
        return Ok(Disk::Missing);
    };
    let Ok(found) = Bundle::from_pem(&bytes) else {
        return Ok(Disk::Unreadable);
    };
    if newest == Some(&found) {
        return Ok(Disk::Newest);
    }
    let leaf = Leaf::from_der(found.leaf());
    let is_placeholder = leaf.is_ok_and(|leaf| leaf.self_signed);
    Ok(if is_placeholder {
        Disk::Placeholder
    } else {
        Disk::Other
    })
}

async fn held(
    target: &Target<'_>,
    slot: &Slot,
    sha1: Option<&str>,
) -> Result<Runtime, DeployError> {
    let path = store_path(slot.path())?;
    Ok(match target.client.certificate(&path).await {
        Err(error) => Runtime::Unreachable {
            why: error.to_string(),
        },
        Ok(None) => Runtime::NotLoaded,
        Ok(Some(loaded)) if !sha1.is_some_and(|sha1| loaded.has_sha1(sha1)) => Runtime::Other {
            sha1: loaded.sha1.unwrap_or_default(),
        },
        Ok(Some(loaded)) if loaded.is_used() => Runtime::Newest,
        Ok(Some(_)) => Runtime::Unused,
    })
}

async fn look(
    target: &Target<'_>,
    certificate: &Certificate,
    object: Option<&Object>,
) -> Vec<Wire> {
    let nothing = [Wanted {
        kind: None,
        chain: &[],
    }];
    let wanted = object.map_or_else(|| nothing.to_vec(), Object::wanted);
    let mut wire: Vec<Wire> = Vec::new();
    for &address in target.verify {
        for name in &certificate.names {
            // An address that did not answer for one name is not asked for the
            // next: each would cost its whole time-out.
            let silent = wire
                .iter()
                .find(|w| w.address == address && w.finding.is_silent());
            let mut finding = match silent {
                Some(wire) => wire.finding.clone(),
                None => wire::look(address, name, &wanted).await,
            };
            if let (Finding::Served, Some(object)) = (&finding, object)
                && target.has_stale_default(address, object).await
            {
                finding = Finding::StaleDefault;
            }
            wire.push(Wire {
                address,
                name: name.clone(),
                finding,
            });
        }
    }
    wire
}
