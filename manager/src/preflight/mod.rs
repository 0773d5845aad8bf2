//! Preflight: what a CA would find, before it is asked.
//!
//! [`Examiner::examine`] does per name what a CA does: DNS, then a request to
//! every address, by the CA's rules; and the same straight to each load
//! balancer, since some routers do not lead back inside. What was seen is read
//! answer by answer (`reading`), then as a whole (`classify`), both pure.

mod classify;
mod dns;
mod fetch;
mod reading;
mod redirect;
mod reserved;
mod self_test;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;
use spoacme_haproxy::configuration::CHALLENGE_PATH;
use tokio::task::JoinSet;

use crate::config::Check;
use crate::names::DnsName;

pub use classify::{Class, Finding, Severity, Sights, View, classify};
pub use dns::{Addresses, Caa, Dns, DnsFault};
pub use fetch::Manners;
pub use reading::Reading;
pub use self_test::{Blocked, SelfTest};

/// Looks at names as a CA does.
#[derive(Clone, Debug)]
pub struct Examiner {
    dns: Arc<Dns>,
    manners: Manners,
    balancers: Vec<SocketAddr>,
    ours: Vec<IpAddr>,
}

/// A token that is published, and what it is to be answered with.
#[derive(Clone, Debug)]
pub struct Planted {
    /// The token (RFC 8555 §8.3).
    pub token: String,
    /// The key authorization (RFC 8555 §8.1).
    pub key_authorization: String,
}

/// What is known beforehand, besides what is seen.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Why the agent did not take the token, if it did not.
    pub agent: Option<String>,
    /// Whether HAProxy has the backend of the shipped configuration; none if
    /// it could not be asked.
    pub has_backend: Option<bool>,
    /// What the CA calls itself in CAA records; empty if it does not say.
    pub caa_identities: Vec<String>,
    /// Whether the zone's own servers are asked too.
    pub asks_authorities: bool,
}

/// What was seen of a name, and what it means.
#[derive(Clone, Debug, Serialize)]
pub struct Examination {
    /// The name.
    pub name: String,
    /// What is the matter.
    #[serde(flatten)]
    pub finding: Finding,
    /// What DNS says; none if it says nothing.
    pub dns: Option<Addresses>,
    /// What the zone's own servers say, where they differ.
    pub authoritative: Option<Addresses>,
    /// What each of the name's addresses answers.
    pub public: Vec<View<IpAddr>>,
    /// What each load balancer answers when it is asked straight.
    pub balancers: Vec<View<SocketAddr>>,
}

impl Examiner {
    /// Looks as `config` says.
    ///
    /// # Errors
    ///
    /// When the system's DNS servers cannot be found out.
    pub fn new(config: &Check) -> Result<Self, DnsFault> {
        let ours = own_addresses().into_iter();
        let balancers = config.connect_to.iter().map(SocketAddr::ip);
        Ok(Self {
            dns: Arc::new(Dns::new(&config.dns, config.timeout)?),
            manners: Manners {
                ports: [config.port, config.tls_port],
                limit: config.timeout,
                allow_reserved: config.allow_reserved,
            },
            balancers: config.connect_to.clone(),
            ours: ours.chain(balancers).collect(),
        })
    }

    /// Looks at `name`, for which `planted` is published.
    pub async fn examine(
        &self,
        name: &DnsName,
        planted: &Planted,
        context: &Context,
    ) -> Examination {
        let (dns, caa, authoritative) = tokio::join!(
            self.dns.addresses(name.as_str()),
            self.dns.caa(name, &context.caa_identities),
            self.authoritative(name, context),
        );
        let addresses = dns
            .as_ref()
            .map(|found| found.all.clone())
            .unwrap_or_default();
        let public = addresses
            .into_iter()
            .map(|ip| (ip, self.public_address(ip)));
        let balancers = self
            .balancers
            .iter()
            .map(|&address| (address, Some(address)));
        let (public, balancers) = match &context.agent {
            // Nothing is published that could be asked for.
            Some(_) => (Vec::new(), Vec::new()),
            None => tokio::join!(
                self.look(name, planted, public.collect()),
                self.look(name, planted, balancers.collect()),
            ),
        };
        let sights = Sights {
            dns,
            authoritative,
            caa,
            public,
            balancers,
            agent: context.agent.clone(),
            has_backend: context.has_backend,
            ours: self.ours.clone(),
        };
        let finding = classify(&sights);
        let dns = sights.dns.ok();
        let differs = |found: &Addresses| dns.as_ref().is_none_or(|dns| !dns.is_same_set(found));
        Examination {
            name: name.to_string(),
            finding,
            authoritative: sights.authoritative.filter(differs),
            dns,
            public: sights.public,
            balancers: sights.balancers,
        }
    }

    /// What each load balancer answers, in their order.
    pub async fn ask_balancers(&self, name: &DnsName, planted: &Planted) -> Vec<View<SocketAddr>> {
        let addresses = self
            .balancers
            .iter()
            .map(|&address| (address, Some(address)));
        self.look(name, planted, addresses.collect()).await
    }

    async fn authoritative(&self, name: &DnsName, context: &Context) -> Option<Addresses> {
        if !context.asks_authorities {
            return None;
        }
        self.dns
            .authoritative(name.as_str(), self.manners.limit)
            .await
    }

    /// Where a public address is asked, if it may be.
    fn public_address(&self, ip: IpAddr) -> Option<SocketAddr> {
        let may = self.manners.allow_reserved || !reserved::is_reserved(ip);
        may.then(|| SocketAddr::new(ip, self.manners.ports[0]))
    }

    /// Asks all addresses at once.
    async fn look<A: Copy + Send + 'static>(
        &self,
        name: &DnsName,
        planted: &Planted,
        addresses: Vec<(A, Option<SocketAddr>)>,
    ) -> Vec<View<A>> {
        let mut asked = JoinSet::new();
        for (index, (address, at)) in addresses.into_iter().enumerate() {
            let (examiner, name, planted) = (self.clone(), name.clone(), planted.clone());
            asked.spawn(async move { (index, examiner.ask(&name, &planted, address, at).await) });
        }
        let mut views = asked.join_all().await;
        views.sort_by_key(|(index, _)| *index);
        views.into_iter().map(|(_, view)| view).collect()
    }

    async fn ask<A>(
        &self,
        name: &DnsName,
        planted: &Planted,
        address: A,
        at: Option<SocketAddr>,
    ) -> View<A> {
        let Some(at) = at else {
            return View {
                address,
                redirects: Vec::new(),
                reading: Reading::NotProbed,
            };
        };
        let path = format!("{CHALLENGE_PATH}{}", planted.token);
        let fetched = fetch::fetch(name.as_str(), &path, at, &self.dns, &self.manners).await;
        let was_redirected = !fetched.redirects.is_empty();
        View {
            address,
            reading: Reading::of(&fetched.outcome, &planted.key_authorization, was_redirected),
            redirects: fetched.redirects,
        }
    }
}

impl Planted {
    /// A token and key authorization of the right form that nobody can guess.
    pub fn random() -> Self {
        let token = random_text(TOKEN_LENGTH);
        let key_authorization = format!("{token}.{}", random_text(THUMBPRINT_LENGTH));
        Self {
            token,
            key_authorization,
        }
    }
}

/// In characters of four bits each: 128 bits (RFC 8555 §8.3).
const TOKEN_LENGTH: usize = 32;

/// In characters, as long as a real one.
const THUMBPRINT_LENGTH: usize = 43;

fn random_text(length: usize) -> String {
    let mut bytes = vec![0; length];
    // Without randomness the token could be guessed, which a probe survives.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    let digit = |byte: &u8| char::from_digit(u32::from(byte & 15), 16).unwrap_or('0');
    bytes.iter().map(digit).collect()
}

/// The addresses of this machine's interfaces.
fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let ip = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    interfaces.filter_map(ip).collect()
}
