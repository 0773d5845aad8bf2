//! One HAProxy to deploy to: its files, its Runtime API, its addresses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use spoacme_haproxy::runtime::{Client, Details, Payload, StorePath, swap};
use tokio::time::sleep;
use tracing::info;

use super::crt_list::CrtList;
use super::error::DeployError;
use super::live::Live;
use super::object::{KeyKind, Object, Part, suffix};
use super::slot::Slot;
use super::wire::{self, Finding, Wanted};
use crate::bundle::Bundle;
use crate::config::{Certificate, Haproxy};
use crate::failpoint;
use crate::leaf::Leaf;
use crate::names::DnsName;
use crate::policy;
use crate::store::StoreError;

/// One HAProxy to deploy to.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) client: Client,
    pub(super) live: Live,
    pub(super) crt_list: Option<CrtList>,
    pub(super) verify: &'a [SocketAddr],
    /// Whether something newer is replaced all the same.
    pub(super) is_forced: bool,
}

/// Where the parts of an object stand in one HAProxy.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The files, in the order of the parts.
    pub(super) slots: Vec<Slot>,
    /// What a new file is added to at run time: the crt-list, or the directory
    /// that serves as one. A single file cannot be added.
    pub(super) list: Option<StorePath>,
    /// Whether the files are ours to write.
    pub(super) is_ours: bool,
}

/// What was served before something was changed.
#[derive(Debug, Default)]
pub(super) struct Before {
    served: BTreeSet<(SocketAddr, DnsName)>,
}

impl Before {
    /// Whether what was served before is no longer, and something else is. An
    /// address that is silent may speak again: that is no reason to go back.
    pub(super) fn is_worth_more_than(&self, error: &DeployError) -> bool {
        let DeployError::NotServed {
            address,
            name,
            finding,
        } = error
        else {
            return false;
        };
        let is_worse = matches!(
            finding,
            Finding::Other { .. } | Finding::OtherChain | Finding::Mixed
        );
        is_worse && self.served.contains(&(*address, name.clone()))
    }
}

impl Place {
    /// Whether a file has yet to prove itself.
    pub(super) fn is_open(&self) -> bool {
        self.is_ours && self.slots.iter().any(Slot::is_open)
    }
}

impl<'a> Target<'a> {
    pub(super) fn new(config: &'a Haproxy) -> Self {
        let client = Client::new(config.socket.clone()).with_buffer_size(config.buffer_size);
        let live = Live::new(config);
        let list = |path: &PathBuf| CrtList::new(path.clone(), live.access());
        Self {
            name: &config.name,
            client,
            crt_list: config.crt_list.as_ref().map(list),
            live,
            verify: &config.verify,
            is_forced: false,
        }
    }

    /// Whether HAProxy would find a certificate when it starts.
    pub(super) fn has_something_to_load(&self) -> Result<bool, StoreError> {
        let is_listed = match &self.crt_list {
            Some(list) => !list.names_only(&[])?,
            None => true,
        };
        Ok(is_listed && !self.live.is_empty_but_for(&[]))
    }

    /// Whether its crt-list names nothing but these.
    pub(super) fn lists_only(&self, slots: &[Slot]) -> Result<bool, StoreError> {
        let own = Vec::from_iter(slots.iter().map(Slot::path));
        match &self.crt_list {
            Some(list) => list.names_only(&own),
            None => Ok(false),
        }
    }

    /// Where a certificate of ours stands here.
    pub(super) fn place(
        &self,
        certificate: &Certificate,
        kinds: &[Option<KeyKind>],
    ) -> Result<Place, DeployError> {
        let own = || self.live.directory().join(certificate.name.file_name());
        let file = certificate.file.clone().unwrap_or_else(own);
        let path = |kind| PathBuf::from(format!("{}{}", file.display(), suffix(kind)));
        let slots = kinds
            .iter()
            .map(|&kind| Slot::new(path(kind), self.live.access()));
        let list = match (&certificate.file, &self.crt_list) {
            (Some(_), _) => None,
            (None, Some(list)) => Some(store_path(list.path())?),
            (None, None) => Some(store_path(self.live.directory())?),
        };
        Ok(Place {
            slots: slots.collect(),
            list,
            is_ours: true,
        })
    }

    /// Does the least that makes this HAProxy have `object`: the files first, so
    /// that a reload at any moment goes forward; then the process. Says whether
    /// anything was to be done.
    ///
    /// # Errors
    ///
    /// What stood in the way. Nothing is taken back.
    pub(super) async fn load(
        &self,
        object: &Object,
        place: &Place,
        is_proven: bool,
    ) -> Result<bool, DeployError> {
        let published = self.publish(object, place)?;
        // What has only another chain has the same fingerprint.
        let is_new = published || place.is_open() || (!place.is_ours && !is_proven);
        let swapped = self.swap(object, place, is_new).await?;
        Ok(published || swapped)
    }

    /// What the wire has before anything changes; nothing if nothing need.
    ///
    /// # Errors
    ///
    /// When the object must not be put in place.
    pub(super) async fn look_before(
        &self,
        object: &Object,
        place: &Place,
        is_proven: bool,
        now: Timestamp,
    ) -> Result<Before, DeployError> {
        let nothing = Ok(Before::default());
        let is_unchanged = match place.is_ours {
            true => is_in_place(object, place)?,
            false => is_proven,
        };
        if is_unchanged {
            return nothing;
        }
        for part in &object.parts {
            policy::check_fit(&part.bundle, now)?;
        }
        let mut previous = Vec::new();
        for slot in &place.slots {
            let found = match place.is_ours {
                true => slot.read()?,
                false => slot.read_previous()?,
            };
            let bundle = found.and_then(|pem| Bundle::from_pem(&pem).ok());
            previous.extend(bundle);
        }
        self.refuse_older(object, &previous)?;
        if previous.len() < object.parts.len() {
            return nothing;
        }
        let wanted = object
            .parts
            .iter()
            .zip(&previous)
            .map(|(part, bundle)| Wanted {
                kind: part.kind,
                chain: bundle.chain(),
            });
        self.look_for(object, &Vec::from_iter(wanted)).await
    }

    /// Where what is replaced is served.
    async fn look_for(
        &self,
        object: &Object,
        wanted: &[Wanted<'_>],
    ) -> Result<Before, DeployError> {
        let mut before = Before::default();
        for &address in self.verify {
            for names in object.names.chunks(NAMES_AT_ONCE) {
                let looks = names.iter().map(|name| wire::look(address, name, wanted));
                for (name, finding) in names.iter().zip(join_all(looks).await) {
                    match finding {
                        Finding::Served => drop(before.served.insert((address, name.clone()))),
                        Finding::Other { leaf: Some(leaf) } => {
                            self.refuse_older_than(object, &leaf)?;
                        }
                        // Nor will it answer for the others.
                        finding if finding.is_silent() => return Ok(before),
                        _ => {}
                    }
                }
            }
        }
        Ok(before)
    }

    fn refuse_older(&self, object: &Object, found: &[Bundle]) -> Result<(), DeployError> {
        let leaves = found
            .iter()
            .filter_map(|bundle| Leaf::from_der(bundle.leaf()).ok());
        leaves
            .into_iter()
            .try_for_each(|leaf| self.refuse_older_than(object, &leaf))
    }

    /// What somebody else has put there is not replaced by something older.
    fn refuse_older_than(&self, object: &Object, found: &Leaf) -> Result<(), DeployError> {
        let newest = object.parts.iter().map(|part| part.leaf.not_before).max();
        let is_ours = object.older.contains(&found.sha256)
            || object.withdrawn.contains(&found.sha256)
            || object
                .parts
                .iter()
                .any(|part| part.leaf.sha256 == found.sha256);
        let is_for_it = found
            .names
            .iter()
            .any(|name| object.names.iter().any(|own| own.as_str() == name));
        let is_newer = newest >= Some(found.not_before);
        if self.is_forced || is_ours || found.self_signed || !is_for_it || is_newer {
            return Ok(());
        }
        Err(DeployError::Older {
            name: object.name.clone(),
            not_before: found.not_before,
        })
    }

    /// Writes the files that are not the ones wanted, and what names them. Says
    /// whether anything was written.
    fn publish(&self, object: &Object, place: &Place) -> Result<bool, DeployError> {
        if !place.is_ours {
            return Ok(false);
        }
        let mut written = false;
        for (part, slot) in object.parts.iter().zip(&place.slots) {
            let pem = part.bundle.to_pem();
            if slot.read()?.as_deref() != Some(pem.as_bytes()) {
                slot.publish(pem.as_bytes())?;
                failpoint::step("published")?;
                info!(certificate = object.name, file = %slot.path().display(), "file in place");
                written = true;
            }
            written |= self.list(place, slot)?;
        }
        Ok(written)
    }

    /// A file must be there before the crt-list names it.
    pub(super) fn list(&self, place: &Place, slot: &Slot) -> Result<bool, DeployError> {
        match &self.crt_list {
            Some(list) if place.list.is_some() => Ok(list.add(slot.path())?),
            _ => Ok(false),
        }
    }

    /// Swaps in what is not loaded, or, `again`, in any case. Says whether
    /// anything was swapped.
    pub(super) async fn swap(
        &self,
        object: &Object,
        place: &Place,
        again: bool,
    ) -> Result<bool, DeployError> {
        let mut swapped = false;
        for (part, slot) in object.parts.iter().zip(&place.slots) {
            swapped |= self.swap_part(object, place, (part, slot), again).await?;
        }
        Ok(swapped)
    }

    async fn swap_part(
        &self,
        object: &Object,
        place: &Place,
        (part, slot): (&Part, &Slot),
        again: bool,
    ) -> Result<bool, DeployError> {
        let path = store_path(slot.path())?;
        let loaded = self.client.certificate(&path).await?;
        if !again && loaded.is_some_and(|loaded| is_loaded(&loaded, &part.leaf)) {
            return Ok(false);
        }
        failpoint::step("swap-begun")?;
        let swapped = self.put(&path, place, &part.bundle, &part.leaf).await?;
        failpoint::step("swapped")?;
        info!(
            certificate = object.name,
            haproxy = self.name,
            pid = swapped,
            "swapped into HAProxy, no reload"
        );
        Ok(true)
    }

    /// Loads a bundle; gives the process that has it.
    async fn put(
        &self,
        path: &StorePath,
        place: &Place,
        bundle: &Bundle,
        leaf: &Leaf,
    ) -> Result<u32, DeployError> {
        let payload = Payload::from_pem(&bundle.to_pem()).map_err(DeployError::unspeakable)?;
        let swapped = swap(&self.client, path, &place.list, &payload, &leaf.sha1).await?;
        Ok(swapped.pid)
    }

    /// Handshakes at every address, for every name, and for none. Of what was
    /// not changed just now, nothing is waited for.
    pub(super) async fn prove(&self, object: &Object, is_changed: bool) -> Result<(), DeployError> {
        let patience = match is_changed {
            true => wire::PATIENCE,
            false => Duration::ZERO,
        };
        let wanted = object.wanted();
        for &address in self.verify {
            for names in object.names.chunks(NAMES_AT_ONCE) {
                // Whether processes share the port does not depend on the name.
                let is_first = |name| object.names.first() == Some(name);
                let look = |name| wire::wait_for(address, name, &wanted, is_first(name), patience);
                let findings = join_all(names.iter().map(look)).await;
                for (name, finding) in names.iter().zip(findings) {
                    self.expect_served(address, name, finding)?;
                }
                failpoint::step("looked")?;
            }
            self.expect_no_stale_default(address, object).await?;
        }
        Ok(())
    }

    /// One look at every address for every name.
    pub(super) async fn look(&self, object: &Object) -> Result<(), DeployError> {
        let wanted = object.wanted();
        for &address in self.verify {
            for name in &object.names {
                let finding = wire::look(address, name, &wanted).await;
                self.expect_served(address, name, finding)?;
            }
            self.expect_no_stale_default(address, object).await?;
        }
        Ok(())
    }

    fn expect_served(
        &self,
        address: SocketAddr,
        name: &DnsName,
        finding: Finding,
    ) -> Result<(), DeployError> {
        match finding {
            Finding::Served => Ok(()),
            finding => Err(DeployError::NotServed {
                address,
                name: name.clone(),
                finding,
            }),
        }
    }

    async fn expect_no_stale_default(
        &self,
        address: SocketAddr,
        object: &Object,
    ) -> Result<(), DeployError> {
        match object.names.first() {
            Some(name) if self.has_stale_default(address, object).await => {
                self.expect_served(address, name, Finding::StaleDefault)
            }
            _ => Ok(()),
        }
    }

    /// Whether what was replaced lives on as the certificate of those who send
    /// no name.
    pub(super) async fn has_stale_default(&self, address: SocketAddr, object: &Object) -> bool {
        if object.older.is_empty() {
            return false;
        }
        let leaf = wire::default_leaf(address).await;
        leaf.is_some_and(|leaf| object.older.contains(&leaf.sha256))
    }

    /// Makes HAProxy hold what it held before.
    pub(super) async fn load_again(
        &self,
        path: &StorePath,
        place: &Place,
        bundle: &Bundle,
    ) -> Result<(), DeployError> {
        let leaf = Leaf::from_der(bundle.leaf()).map_err(DeployError::unspeakable)?;
        let loaded = self.client.certificate(path).await?;
        if !loaded.is_some_and(|loaded| is_loaded(&loaded, &leaf)) {
            self.put(path, place, bundle, &leaf).await?;
        }
        Ok(())
    }

    /// Takes a certificate out of HAProxy, if it is there.
    pub(super) async fn unload(&self, path: &StorePath) -> Result<(), DeployError> {
        if self.client.certificate(path).await?.is_none() {
            return Ok(());
        }
        let list = match &self.crt_list {
            Some(list) => store_path(list.path())?,
            None => store_path(self.live.directory())?,
        };
        self.client.remove_from_crt_list(&list, path).await?;
        match self.client.delete_certificate(path).await {
            Ok(_) => Ok(()),
            // A lost reply may have had its effect.
            Err(error) => match self.client.certificate(path).await {
                Ok(None) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }

    pub(super) fn unlist(&self, slot: &Slot) -> Result<(), DeployError> {
        match &self.crt_list {
            Some(list) => Ok(list.remove(slot.path())?),
            None => Ok(()),
        }
    }

    /// Waits until HAProxy can ask the agent, which it finds out by health
    /// checks. A configuration that calls that backend otherwise than the
    /// shipped one is taken at its word.
    pub(super) async fn wait_for_agent(&self) -> Result<(), DeployError> {
        let backend = store_path(Path::new(AGENT_BACKEND))?;
        let deadline = tokio::time::Instant::now() + AGENT_PATIENCE;
        while self.client.servers_up(&backend).await? == Some(0) {
            if tokio::time::Instant::now() >= deadline {
                return Err(DeployError::AgentDown);
            }
            sleep(AGENT_PAUSE).await;
        }
        Ok(())
    }

    /// Whether HAProxy has the backend that the shipped configuration asks the
    /// agent by; none if it does not answer.
    pub(super) async fn has_agent_backend(&self) -> Option<bool> {
        let backend = store_path(Path::new(AGENT_BACKEND)).ok()?;
        let servers = self.client.servers_up(&backend).await.ok()?;
        Some(servers.is_some())
    }
}

/// Handshakes at one address at a time, for so many names.
const NAMES_AT_ONCE: usize = 8;

/// What the shipped haproxy.cfg calls the agent.
pub(super) const AGENT_BACKEND: &str = "acme-agent";

/// Some health checks of the shipped haproxy.cfg.
const AGENT_PATIENCE: Duration = Duration::from_secs(5);
const AGENT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the files are the ones wanted.
pub(super) fn is_in_place(object: &Object, place: &Place) -> Result<bool, StoreError> {
    for (part, slot) in object.parts.iter().zip(&place.slots) {
        if slot.read()?.as_deref() != Some(part.bundle.to_pem().as_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn is_loaded(loaded: &Details, leaf: &Leaf) -> bool {
    loaded.is_used() && loaded.has_sha1(&leaf.sha1)
}

/// How HAProxy calls a file.
pub(super) fn store_path(path: &Path) -> Result<StorePath, DeployError> {
    let text = path.to_str().unwrap_or_default().to_owned();
    StorePath::try_from(text).map_err(DeployError::unspeakable)
}
