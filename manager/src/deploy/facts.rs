//! The four facts about a certificate: store, disk, HAProxy, wire.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::wire::{self, Finding};
use super::{DeployError, Deployer};
use crate::bundle::Bundle;
use crate::config::Certificate;
use crate::leaf::Leaf;
use crate::names::DnsName;
use crate::store::Generation;

/// What the store, the disk, HAProxy and the wire have of a certificate.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The newest usable generation in the store.
    pub issued: Option<Issued>,
    /// The file that HAProxy loads at its next start.
    pub disk: Disk,
    /// What HAProxy holds.
    pub runtime: Runtime,
    /// What is served, by address and name.
    pub wire: Vec<Wire>,
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

/// The file that HAProxy loads at its next start.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// None.
    Missing,
    /// The newest generation.
    Newest,
    /// A self-signed placeholder.
    Placeholder,
    /// Another certificate.
    Other,
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
    /// Whether the newest generation is on disk, in HAProxy, and served.
    pub fn agree(&self) -> bool {
        self.issued.is_some()
            && self.disk == Disk::Newest
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
    let generation = deployer.store.lineage(&certificate.name).newest()?;
    let bundle = generation.as_ref().map(Generation::bundle).transpose()?;
    let issued = generation.map(|generation| Issued {
        generation: generation.number,
        deployed: generation.meta.deployed(),
        leaf: generation.meta.leaf,
    });
    let sha1 = issued.as_ref().map(|issued| issued.leaf.sha1.as_str());
    Ok(Facts {
        disk: disk(deployer, certificate, bundle.as_ref())?,
        runtime: runtime(deployer, certificate, sha1).await?,
        wire: look(deployer, certificate, bundle.as_ref()).await,
        issued,
    })
}

fn disk(
    deployer: &Deployer<'_>,
    certificate: &Certificate,
    newest: Option<&Bundle>,
) -> Result<Disk, DeployError> {
    let Some(bytes) = deployer.live.read(&certificate.name)? else {
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

async fn runtime(
    deployer: &Deployer<'_>,
    certificate: &Certificate,
    sha1: Option<&str>,
) -> Result<Runtime, DeployError> {
    let path = deployer.store_path(certificate)?;
    Ok(match deployer.client.certificate(&path).await {
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
    deployer: &Deployer<'_>,
    certificate: &Certificate,
    newest: Option<&Bundle>,
) -> Vec<Wire> {
    let wanted = newest.map(Bundle::chain).unwrap_or_default();
    let mut wire: Vec<Wire> = Vec::new();
    for &address in deployer.verify {
        for name in &certificate.names {
            // An address that did not answer for one name is not asked for the
            // next: each would cost its whole time-out.
            let silent = wire
                .iter()
                .find(|w| w.address == address && w.finding.is_unreachable());
            let finding = match silent {
                Some(wire) => wire.finding.clone(),
                None => wire::look(address, name, wanted).await,
            };
            wire.push(Wire {
                address,
                name: name.clone(),
                finding,
            });
        }
    }
    wire
}
