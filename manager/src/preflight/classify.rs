//! From what was seen to what it means. Pure.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::dns::{Addresses, Caa, DnsFault};
use super::reading::Reading;

/// Everything that was seen of one name.
#[derive(Clone, Debug)]
pub struct Sights {
    /// What DNS says.
    pub dns: Result<Addresses, DnsFault>,
    /// What the zone's own servers say, if they were asked and answered.
    pub authoritative: Option<Addresses>,
    /// Whether the CA may issue.
    pub caa: Caa,
    /// What each of the name's addresses answers, in the order of DNS.
    pub public: Vec<View<IpAddr>>,
    /// What each load balancer answers when it is asked straight.
    pub balancers: Vec<View<SocketAddr>>,
    /// Why the agent did not take the token, if it did not.
    pub agent: Option<String>,
    /// Whether HAProxy has the backend of the shipped configuration; none if
    /// it could not be asked.
    pub has_backend: Option<bool>,
    /// The addresses of this machine and of the load balancers.
    pub ours: Vec<IpAddr>,
}

/// What one address answers.
#[derive(Clone, Debug, Serialize)]
pub struct View<A> {
    /// The address.
    pub address: A,
    /// Where redirects led.
    pub redirects: Vec<String>,
    /// What the answer means.
    pub reading: Reading,
}

/// What is the matter with a name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Nothing.
    Fine,
    /// It works, but not from here by the public address.
    Hairpin,
    /// It works over IPv4, not over IPv6, which a CA tries first.
    Ipv6Broken,
    /// The name's addresses are not public, so they were not probed.
    NotPublic,
    /// The name does not exist, or has no addresses.
    NoAddress,
    /// DNSSEC validation fails.
    Dnssec,
    /// DNS fails.
    DnsFailure,
    /// CAA records do not let the CA issue.
    CaaForbids,
    /// The addresses are not those of these load balancers.
    DnsElsewhere,
    /// Nobody listens on port 80.
    PortClosed,
    /// Packets are dropped, or the answer does not come in time.
    NoAnswer,
    /// The connection is closed without an answer, as when one side speaks the
    /// PROXY protocol and the other does not.
    ProxyProtocol,
    /// Another ACME client answers.
    ForeignClient,
    /// A provider or CDN answers.
    Intercepted,
    /// Redirects lead in a circle, or where a CA does not follow.
    Redirects,
    /// The challenge is redirected to https, and not answered there.
    HttpsRedirect,
    /// The application or a default virtual host answers.
    OtherAnswer,
    /// HAProxy does not send challenges to the agent.
    NoFilter,
    /// A load balancer does not know the token.
    UnknownToken,
    /// The agent does not answer.
    AgentDown,
}

/// How sure it is that a CA would fail.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It would not.
    Good,
    /// It would not, but there is something to know.
    Note,
    /// It may: this cannot be told from here.
    Uncertain,
    /// It would.
    Certain,
}

/// What is the matter, and the way out.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What is the matter.
    pub class: Class,
    /// How sure it is that a CA would fail.
    pub severity: Severity,
    /// One sentence of cause.
    pub cause: String,
    /// One sentence of way out.
    pub hint: Option<String>,
}

impl Finding {
    fn new(class: Class, severity: Severity, cause: impl Into<String>) -> Self {
        Self {
            class,
            severity,
            cause: cause.into(),
            hint: hint(class).map(str::to_owned),
        }
    }
}

use Severity::{Certain, Good, Note, Uncertain};

/// What `sights` mean. The first of these that holds: there is nothing to ask;
/// the CA may not issue; an address answers wrongly; addresses do not answer.
pub fn classify(sights: &Sights) -> Finding {
    let finding = before_asking(sights).unwrap_or_else(|| by_answers(sights));
    match (&sights.caa, finding.severity) {
        (Caa::Unknown(fault), Good | Note) => Finding::new(
            Class::DnsFailure,
            Uncertain,
            format!("whether CAA records let the CA issue cannot be found out: {fault}"),
        ),
        _ => finding,
    }
}

fn before_asking(sights: &Sights) -> Option<Finding> {
    if let Some(why) = &sights.agent {
        return Some(Finding::new(
            Class::AgentDown,
            Certain,
            format!("the agent does not take tokens: {why}"),
        ));
    }
    if let Err(fault) = &sights.dns {
        let (class, severity) = match fault {
            DnsFault::NoName | DnsFault::NoAddress => (Class::NoAddress, Certain),
            DnsFault::Dnssec => (Class::Dnssec, Certain),
            DnsFault::Failure(_) | DnsFault::TimedOut => (Class::DnsFailure, Uncertain),
        };
        return Some(Finding::new(class, severity, fault.to_string()));
    }
    if let Caa::Forbids { at, issuers } = &sights.caa {
        let issuers = match issuers
            .iter()
            .filter(|i| !i.is_empty())
            .cloned()
            .collect::<Vec<_>>()
        {
            none if none.is_empty() => "nobody".to_owned(),
            some => some.join(", "),
        };
        let cause = format!("the CAA records of {at} let {issuers} issue, not this CA");
        return Some(Finding::new(Class::CaaForbids, Certain, cause));
    }
    None
}

fn by_answers(sights: &Sights) -> Finding {
    let answered_wrongly = |view: &&View<IpAddr>| view.reading.is_wrong_answer();
    let (right, silent): (Vec<_>, Vec<_>) = sights
        .public
        .iter()
        .filter(|view| !view.reading.is_wrong_answer())
        .partition(|view| view.reading.is_right());
    let v4_is_right = right.iter().any(|view| view.address.is_ipv4());
    if let Some(view) = sights.public.iter().find(answered_wrongly) {
        let finding = wrong_answer(view, sights);
        if view.address.is_ipv6() && v4_is_right {
            let cause = format!("over IPv4 it works, but over IPv6 {}", finding.cause);
            return Finding::new(Class::Ipv6Broken, Certain, cause);
        }
        return finding;
    }
    match (right.is_empty(), silent.first()) {
        (false, None) => balancers_that_differ(sights),
        (false, Some(view)) if view.address.is_ipv6() && v4_is_right => Finding::new(
            Class::Ipv6Broken,
            Note,
            format!(
                "over IPv6 {} {}; Let's Encrypt then tries IPv4, not every CA does",
                view.address, view.reading
            ),
        ),
        (false, Some(view)) => {
            let cause = format!("of several addresses, {} {}", view.address, view.reading);
            Finding::new(class_of_silence(&view.reading), Uncertain, cause)
        }
        (true, silent) => nobody_answered(sights, silent.copied()),
    }
}

/// None of the public addresses gave any answer.
fn nobody_answered(sights: &Sights, silent: Option<&View<IpAddr>>) -> Finding {
    let address = silent
        .map(|view| view.address.to_string())
        .unwrap_or_default();
    let balancers = &sights.balancers;
    let why = silent
        .map(|view| view.reading.to_string())
        .unwrap_or_default();
    if silent.is_some_and(|view| view.reading == Reading::NotProbed) {
        return Finding::new(Class::NotPublic, Uncertain, format!("{address} {why}"));
    }
    // An address of this machine needs no router to lead back inside.
    let is_ours = silent.is_some_and(|view| sights.ours.contains(&view.address));
    if let Some(good) = balancers.iter().find(|view| view.reading.is_right())
        && !is_ours
    {
        let cause = format!(
            "{} answers rightly, but from here {address} {why}: common behind NAT",
            good.address
        );
        return Finding::new(Class::Hairpin, Note, cause);
    }
    if let Some(wrong) = balancers.iter().find(|view| view.reading.is_wrong_answer()) {
        return wrong_answer(wrong, sights);
    }
    let class = silent.map_or(Class::NoAnswer, |view| class_of_silence(&view.reading));
    // That nobody listens is known for sure where the load balancers say so too.
    let says_closed = |view: &View<SocketAddr>| view.reading == Reading::Refused;
    let is_closed_here = is_ours || (!balancers.is_empty() && balancers.iter().all(says_closed));
    let severity = match class {
        Class::PortClosed if is_closed_here => Certain,
        _ => Uncertain,
    };
    Finding::new(class, severity, format!("{address} {why}"))
}

fn class_of_silence(reading: &Reading) -> Class {
    match reading {
        Reading::Refused => Class::PortClosed,
        _ => Class::NoAnswer,
    }
}

/// All public addresses are right; perhaps a load balancer is not.
fn balancers_that_differ(sights: &Sights) -> Finding {
    match sights
        .balancers
        .iter()
        .find(|view| !view.reading.is_right())
    {
        None => Finding::new(Class::Fine, Good, "every address answers as a CA wants it"),
        Some(view) if view.reading.is_wrong_answer() => {
            let finding = wrong_answer(view, sights);
            Finding {
                severity: Note,
                ..finding
            }
        }
        Some(view) => Finding::new(
            Class::Fine,
            Note,
            format!(
                "every public address answers rightly, but the load balancer {} {}",
                view.address, view.reading
            ),
        ),
    }
}

fn wrong_answer<A: std::fmt::Display + Ip>(view: &View<A>, sights: &Sights) -> Finding {
    let cause = format!("{} {}", view.address, view.reading);
    let class = match &view.reading {
        Reading::UnknownToken => Class::UnknownToken,
        Reading::AgentFailed => Class::AgentDown,
        Reading::ForeignThumbprint { .. } => Class::ForeignClient,
        Reading::Provider { .. } => Class::Intercepted,
        Reading::RedirectNotFollowed { .. } => Class::Redirects,
        Reading::Closed | Reading::BadRequest => Class::ProxyProtocol,
        Reading::Other { .. } | Reading::NotHttp | Reading::BeyondRedirect { .. } => {
            other_answer(view, sights)
        }
        _ => Class::NoAnswer,
    };
    Finding::new(class, Certain, cause)
}

/// Something that does not know of challenges answered.
fn other_answer<A: Ip>(view: &View<A>, sights: &Sights) -> Class {
    let mut balancers = sights.balancers.iter();
    let is_right_inside = balancers.any(|balancer| balancer.reading.is_right());
    let is_ours = sights.ours.contains(&view.address.ip());
    if is_right_inside && !is_ours {
        Class::DnsElsewhere
    } else if sights.has_backend == Some(false) {
        Class::NoFilter
    } else if view.redirects.iter().any(|url| url.starts_with("https:")) {
        Class::HttpsRedirect
    } else {
        Class::OtherAnswer
    }
}

trait Ip {
    fn ip(&self) -> IpAddr;
}

impl Ip for IpAddr {
    fn ip(&self) -> IpAddr {
        *self
    }
}

impl Ip for SocketAddr {
    fn ip(&self) -> IpAddr {
        self.ip()
    }
}

/// The way out of each.
fn hint(class: Class) -> Option<&'static str> {
    Some(match class {
        Class::Fine => return None,
        Class::Hairpin => {
            "nothing to do if the world can reach port 80: this router does not lead back inside"
        }
        Class::Ipv6Broken => {
            "let the AAAA address lead to these load balancers, or remove the AAAA record"
        }
        Class::NotPublic => {
            "let DNS give the public addresses here too, or set `allow-reserved = true` in [check] to probe them"
        }
        Class::NoAddress => "add an A or AAAA record, or mend the spelling of the name",
        Class::Dnssec => "mend the zone's signatures or its DS record: CAs must refuse such a zone",
        Class::DnsFailure => "look at the zone's name servers, and at `dns` in [check]",
        Class::CaaForbids => "add a CAA record that names the CA, or use another CA",
        Class::DnsElsewhere => {
            "let the name's records point to these load balancers; if what answers stands in front of them, let it pass the challenge path on"
        }
        Class::PortClosed => {
            "let HAProxy bind port 80 of this address, and open it in the firewall"
        }
        Class::NoAnswer => "open port 80 in every firewall on the way: a CA asks from anywhere",
        Class::ProxyProtocol => {
            "let either both sides speak the PROXY protocol or none: `accept-proxy` on the bind line belongs to `send-proxy` in front"
        }
        Class::ForeignClient => {
            "stop that ACME client for this name, or let its proxy pass the challenge path on to HAProxy"
        }
        Class::Intercepted => {
            "let the provider pass /.well-known/acme-challenge/ on to HAProxy, uncached and without a redirect"
        }
        Class::Redirects => "except /.well-known/acme-challenge/ from the redirect",
        Class::HttpsRedirect => {
            "except /.well-known/acme-challenge/ from the redirect to https, or answer it there too"
        }
        Class::OtherAnswer | Class::NoFilter => {
            "`spoacme haproxy-config --diff` shows what haproxy.cfg lacks or has in the way"
        }
        Class::UnknownToken => {
            "let the load balancers ask each other: `spoacme haproxy-config --neighbour IP`"
        }
        Class::AgentDown => "start spoacme-agent, and see that HAProxy may use its socket",
    })
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
