//! What a CA finds in DNS: addresses, and whether it may issue (RFC 8659).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::names::DnsName;

/// The DNS servers asked.
#[derive(Debug)]
pub struct Dns {
    resolver: TokioResolver,
    servers: Vec<SocketAddr>,
}

/// The addresses of a name.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Addresses {
    /// In the order in which they were answered, IPv6 first, as a CA takes
    /// them. At most 16.
    pub all: Vec<IpAddr>,
    /// The CNAMEs on the way.
    pub aliases: Vec<String>,
}

/// More of one name are not probed.
pub(super) const ADDRESSES_MAX: usize = 16;

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum DnsFault {
    /// The name does not exist.
    #[error("the name does not exist in DNS (NXDOMAIN)")]
    NoName,
    /// It has no addresses.
    #[error("the name has neither an A nor an AAAA record")]
    NoAddress,
    /// The answer is there, but its signatures are not in order.
    #[error("DNSSEC validation fails: the resolver answers only with checking disabled")]
    Dnssec,
    /// The servers fail.
    #[error("DNS fails: {0}")]
    Failure(String),
    /// The servers do not answer.
    #[error("DNS does not answer in time")]
    TimedOut,
}

/// Whether CAA records let a CA issue.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caa {
    /// They do, or there are none.
    Allows,
    /// They do not.
    Forbids {
        /// The name that has them.
        at: String,
        /// Who may issue.
        issuers: Vec<String>,
    },
    /// They cannot be found out, for which a CA does not issue either.
    Unknown(DnsFault),
}

impl Addresses {
    /// Whether the same addresses are in both.
    pub fn is_same_set(&self, other: &Self) -> bool {
        let within = |a: &Self, b: &Self| a.all.iter().all(|ip| b.all.contains(ip));
        within(self, other) && within(other, self)
    }
}

impl Dns {
    /// Asks `servers`, or those of the system if there are none.
    ///
    /// # Errors
    ///
    /// When the system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr], limit: Duration) -> Result<Self, DnsFault> {
        let fail = |error: NetError| DnsFault::Failure(error.to_string());
        let config = if servers.is_empty() {
            hickory_resolver::system_conf::read_system_conf()
                .map_err(fail)?
                .0
        } else {
            let servers = servers.iter().map(|&server| name_server(server)).collect();
            ResolverConfig::from_parts(None, Vec::new(), servers)
        };
        let servers = Vec::from_iter(config.name_servers().iter().map(udp_address));
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = limit;
        options.attempts = 1;
        options.cache_size = 0;
        // A CA does not look into our hosts file.
        options.use_hosts_file = ResolveHosts::Never;
        Ok(Self {
            resolver: builder.build().map_err(fail)?,
            servers,
        })
    }

    /// The addresses of `name`, as a CA sees them: one family is enough.
    ///
    /// # Errors
    ///
    /// Why there are none.
    pub async fn addresses(&self, name: &str) -> Result<Addresses, DnsFault> {
        let (v6, v4) = tokio::join!(
            self.records(name, RecordType::AAAA),
            self.records(name, RecordType::A)
        );
        let mut addresses = Addresses::default();
        for data in v6.iter().flatten().chain(v4.iter().flatten()) {
            match data {
                RData::A(v4) => addresses.all.push(IpAddr::V4(v4.0)),
                RData::AAAA(v6) => addresses.all.push(IpAddr::V6(v6.0)),
                RData::CNAME(alias) => addresses.aliases.push(alias.0.to_string()),
                _ => {}
            }
        }
        addresses.aliases.dedup();
        addresses.aliases.truncate(ADDRESSES_MAX);
        addresses.all.truncate(ADDRESSES_MAX);
        match (v6, v4) {
            _ if !addresses.all.is_empty() => Ok(addresses),
            (Err(fault), _) | (_, Err(fault)) => Err(fault),
            _ => Err(DnsFault::NoAddress),
        }
    }

    /// Whether a CA that calls itself one of `identities` may issue for
    /// `name`: the first records up the tree decide (RFC 8659 §3).
    pub async fn caa(&self, name: &DnsName, identities: &[String]) -> Caa {
        let labels = Vec::from_iter(name.as_str().split('.'));
        for start in 0..labels.len() {
            let at = labels[start..].join(".");
            let records = match self.records(&at, RecordType::CAA).await {
                Ok(records) => records,
                Err(DnsFault::NoName) => continue,
                Err(fault) => return Caa::Unknown(fault),
            };
            let properties = Vec::from_iter(records.iter().filter_map(Property::of));
            if !properties.is_empty() {
                return decide(at, &properties, identities);
            }
        }
        Caa::Allows
    }

    /// What the zone's own servers answer; none if they cannot be asked.
    pub async fn authoritative(&self, name: &str, limit: Duration) -> Option<Addresses> {
        let labels = Vec::from_iter(name.split('.'));
        for start in 0..labels.len() {
            let zone = labels[start..].join(".");
            let Ok(records) = self.records(&zone, RecordType::NS).await else {
                continue;
            };
            let names = records.iter().filter_map(|data| match data {
                RData::NS(server) => Some(server.0.to_string()),
                _ => None,
            });
            for server in names.take(AUTHORITIES_MAX) {
                let Ok(found) = self.addresses(&server).await else {
                    continue;
                };
                let servers = found.all.iter().map(|&ip| SocketAddr::new(ip, DNS_PORT));
                let asked = Self::new(&Vec::from_iter(servers), limit).ok()?;
                if let Ok(addresses) = asked.addresses(name).await {
                    return Some(addresses);
                }
            }
            return None;
        }
        None
    }

    /// The records of one type, CNAMEs on the way included.
    async fn records(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, DnsFault> {
        // The dot at its end keeps search domains out.
        let name = format!("{}.", name.trim_end_matches('.'));
        // Boxed, like the other large futures here: they are held many times over.
        match Box::pin(self.resolver.lookup(name.as_str(), kind)).await {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .map(|record| record.data.clone())
                .collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NoError => Ok(Vec::new()),
                ResponseCode::NXDomain => Err(DnsFault::NoName),
                ResponseCode::ServFail => Err(self.why_failed(&name, kind).await),
                code => Err(DnsFault::Failure(code.to_string())),
            },
            Err(NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail))) => {
                Err(self.why_failed(&name, kind).await)
            }
            Err(NetError::Timeout) => Err(DnsFault::TimedOut),
            Err(error) => Err(DnsFault::Failure(error.to_string())),
        }
    }

    /// A validating resolver hides bogus answers behind SERVFAIL, unless it is
    /// told not to check (RFC 4035 §3.2.2).
    async fn why_failed(&self, name: &str, kind: RecordType) -> DnsFault {
        for &server in self.servers.iter().take(AUTHORITIES_MAX) {
            if let Ok(Ok(true)) = timeout(CD_TIMEOUT, answers_unchecked(server, name, kind)).await {
                return DnsFault::Dnssec;
            }
        }
        DnsFault::Failure("the server failed (SERVFAIL)".to_owned())
    }
}

/// More servers of one zone are not tried.
const AUTHORITIES_MAX: usize = 3;
const CD_TIMEOUT: Duration = Duration::from_secs(2);
const DNS_PORT: u16 = 53;

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connection = |protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = server.port();
        connection
    };
    let connections = vec![
        connection(ProtocolConfig::Udp),
        connection(ProtocolConfig::Tcp),
    ];
    NameServerConfig::new(server.ip(), true, connections)
}

fn udp_address(server: &NameServerConfig) -> SocketAddr {
    let port = server
        .connections
        .first()
        .map_or(DNS_PORT, |connection| connection.port);
    SocketAddr::new(server.ip, port)
}

/// Whether the server answers when told not to check signatures.
async fn answers_unchecked(server: SocketAddr, name: &str, kind: RecordType) -> io::Result<bool> {
    let name = Name::from_ascii(name).map_err(io::Error::other)?;
    let mut query = Message::new(rand_id(), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.metadata.checking_disabled = true;
    query.add_query(Query::query(name, kind));
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket
        .send(&query.to_vec().map_err(io::Error::other)?)
        .await?;
    let mut buffer = vec![0; UDP_SIZE_MAX];
    let length = socket.recv(&mut buffer).await?;
    let answer = Message::from_vec(&buffer[..length]).map_err(io::Error::other)?;
    let is_ours = answer.metadata.id == query.metadata.id;
    Ok(is_ours && answer.metadata.response_code == ResponseCode::NoError)
}

/// In bytes: what one UDP answer may have.
const UDP_SIZE_MAX: usize = 4096;

/// Hard to guess is enough here: the answer decides between two sentences.
fn rand_id() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness there is 0, which serves too.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

/// One CAA property that concerns whether to issue.
struct Property {
    tag: String,
    value: String,
    is_critical: bool,
}

impl Property {
    fn of(data: &RData) -> Option<Self> {
        let RData::CAA(caa) = data else { return None };
        Some(Self {
            tag: caa.tag.to_ascii_lowercase(),
            value: String::from_utf8_lossy(&caa.value).into_owned(),
            is_critical: caa.issuer_critical,
        })
    }

    /// Who may issue, without the parameters (RFC 8659 §4.2); empty for
    /// nobody.
    fn issuer(&self) -> String {
        let issuer = self.value.split(';').next().unwrap_or_default();
        issuer.trim().to_ascii_lowercase()
    }
}

fn decide(at: String, properties: &[Property], identities: &[String]) -> Caa {
    let known = [
        "issue",
        "issuewild",
        "iodef",
        "issuemail",
        "issuevmc",
        "contactemail",
        "contactphone",
    ];
    let unknown = properties
        .iter()
        .find(|p| p.is_critical && !known.contains(&p.tag.as_str()));
    let issuers = Vec::from_iter(
        properties
            .iter()
            .filter(|p| p.tag == "issue")
            .map(Property::issuer),
    );
    let lets_nobody = !issuers.is_empty() && issuers.iter().all(String::is_empty);
    // What a CA that does not say its name is called, is not known.
    let is_allowed = issuers.is_empty()
        || (identities.is_empty() && !lets_nobody)
        || identities
            .iter()
            .any(|i| issuers.contains(&i.to_ascii_lowercase()));
    if unknown.is_none() && is_allowed {
        return Caa::Allows;
    }
    Caa::Forbids { at, issuers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(tag: &str, value: &str, is_critical: bool) -> Property {
        Property {
            tag: tag.to_owned(),
            value: value.to_owned(),
            is_critical,
        }
    }

    #[test]
    fn caa_is_read_as_rfc_8659_says() {
        let ours = ["letsencrypt.org".to_owned()];
        let decide = |properties: &[Property]| decide("a.test".to_owned(), properties, &ours);
        for allowed in [
            vec![property("iodef", "mailto:a@a.test", false)],
            vec![property(
                "issue",
                "LetsEncrypt.org; validationmethods=http-01",
                false,
            )],
            vec![
                property("issue", "other.test", false),
                property("issue", "letsencrypt.org", false),
            ],
            vec![property("unheard", "of", false)],
        ] {
            assert_eq!(decide(&allowed), Caa::Allows);
        }
        for forbidden in [
            vec![property("issue", ";", false)],
            vec![property("issue", "other.test", false)],
            vec![property("unheard", "of", true)],
        ] {
            assert!(matches!(decide(&forbidden), Caa::Forbids { .. }));
        }
    }
}
