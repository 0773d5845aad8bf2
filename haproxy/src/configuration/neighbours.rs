//! Neighbours on a miss: a load balancer that does not know a token asks the
//! others, so that a CA may reach any of them. Plain HTTP, nothing shared.
//!
//! HAProxy's `retry-on` alone does not visit every server: a retry avoids only
//! the server that it comes from, and requests in parallel move the round
//! robin for each other. So the neighbours stand in a chain. A link tries its
//! neighbour, then the next link, each once; the last link says what is true
//! when nobody knows. The order is fixed (`balance first`) and every neighbour
//! is asked exactly once, whatever the others do.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// More than that is no longer a matter of asking around.
pub const NEIGHBOURS_MAX: usize = 16;

/// Where another load balancer answers plain HTTP, in HAProxy's words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Neighbour(String);

impl Neighbour {
    /// The address as a `server` line has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Neighbour {
    type Err = NeighbourError;

    /// `IP` or `IP:PORT`; port 80 unless given. A name is refused: HAProxy does
    /// not start when one cannot be resolved.
    fn from_str(text: &str) -> Result<Self, NeighbourError> {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let address = match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
            (Ok(address), _) => address,
            (Err(_), Ok(ip)) => SocketAddr::new(ip, HTTP_PORT),
            (Err(_), Err(_)) => return Err(NeighbourError(text.to_owned())),
        };
        Ok(Self(address.to_string()))
    }
}

const HTTP_PORT: u16 = 80;

/// This is no address of a neighbour.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not IP or IP:PORT, such as 192.0.2.2 or [2001:db8::2]:80")]
pub struct NeighbourError(String);

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `haproxy_cfg` with the chain of `neighbours`, if there are any.
pub(super) fn insert(haproxy_cfg: &str, neighbours: &[Neighbour]) -> String {
    if neighbours.is_empty() {
        return haproxy_cfg.to_owned();
    }
    let Some(start) = haproxy_cfg.find(ANSWERS_BEGIN) else {
        return haproxy_cfg.to_owned();
    };
    let rules_end = haproxy_cfg[start..]
        .find("\n\n")
        .map_or(haproxy_cfg.len(), |length| start + length + 1);
    let (before, after) = (&haproxy_cfg[..start], &haproxy_cfg[rules_end..]);
    [before, RULES, &chain(neighbours), after].concat()
}

/// The first of the rules that answer a miss when nobody else is asked.
const ANSWERS_BEGIN: &str = "    http-request return status 503";

/// What takes their place.
const RULES: &str = r#"    # Not known here. A neighbour that asks hears so; for everybody else the
    # neighbours are asked, also when it is the agent that failed.
    acl acme-neighbour-asks req.hdr(Acme-Neighbour) -m found
    acl acme-agent-failed var(txn.acme.error) -m found
    acl acme-agent-answered var(txn.acme.found) -m found
    http-request return status 503 content-type text/plain string "the ACME challenge agent does not answer\n" if acme-neighbour-asks acme-agent-failed or acme-neighbour-asks !acme-agent-answered
    http-request return status 404 content-type text/plain string "unknown token\n" if acme-neighbour-asks
    http-request set-header Acme-Neighbour asks if acme-agent-answered !acme-agent-failed
    http-request set-header Acme-Neighbour agent-failed if acme-agent-failed or !acme-agent-answered
    timeout connect 1s
    timeout server 30s
    server neighbours "${SPOACME_NEIGHBOUR_SERVER-unix@/acme-neighbour}"-1
"#;

fn chain(neighbours: &[Neighbour]) -> String {
    let mut text = CHAIN_COMMENT.to_owned();
    for (number, neighbour) in (1..).zip(neighbours) {
        let next = match number {
            last if last == neighbours.len() => "none".to_owned(),
            _ => (number + 1).to_string(),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{}",
            Link {
                number,
                next: &next,
                neighbour
            }
        );
    }
    text.push_str(NONE);
    text
}

const CHAIN_COMMENT: &str = "
# The neighbours, one after the other: each link asks its own, then the next
# link. Connections are not kept: one that a neighbour closes just when it is
# used again would count as its answer. The sockets are bound before HAProxy
# goes into its chroot /var/lib/haproxy, and found from inside it.
";

struct Link<'a> {
    number: usize,
    next: &'a str,
    neighbour: &'a Neighbour,
}

impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            next,
            neighbour,
        } = self;
        write!(
            f,
            r#"listen acme-neighbour-{number}
    mode http
    bind {BIND}-{number} mode 666
    timeout client 30s
    timeout connect 1s
    timeout server 30s
    option http-server-close
    http-reuse never
    balance first
    option redispatch 1
    retries 1
    retry-on 404 502 503 504 conn-failure empty-response
    server neighbour {SERVER}-{number}-alone
    server next {SERVER}-{next}

listen acme-neighbour-{number}-alone
    mode http
    bind {BIND}-{number}-alone mode 666
    timeout client 30s
    # What a neighbour that is gone, or that hangs, costs at most.
    timeout connect 250ms
    timeout server 500ms
    option http-server-close
    http-reuse never
    retries 0
    # It is up while its agent answers: by 404, since nobody has this token.
    option httpchk
    http-check send meth GET uri {CHALLENGE_PATH}are-you-there-are-you-there hdr Host localhost hdr Acme-Neighbour checks
    http-check expect status 404
    server neighbour {neighbour} check inter 2s fall 2 rise 1

"#,
            CHALLENGE_PATH = super::CHALLENGE_PATH,
        )
    }
}

/// Sockets are bound before HAProxy goes into its chroot, and found from inside
/// it. No abstract ones, whose names any local process could take first.
const BIND: &str = r#""${SPOACME_NEIGHBOUR_BIND-unix@/var/lib/haproxy/acme-neighbour}""#;
const SERVER: &str = r#""${SPOACME_NEIGHBOUR_SERVER-unix@/acme-neighbour}""#;

const NONE: &str = r#"frontend acme-neighbour-none
    mode http
    bind "${SPOACME_NEIGHBOUR_BIND-unix@/var/lib/haproxy/acme-neighbour}"-none mode 666
    timeout client 30s
    http-request return status 503 content-type text/plain string "the ACME challenge agent does not answer\n" if { req.hdr(Acme-Neighbour) agent-failed }
    http-request return status 404 content-type text/plain string "unknown token\n"
"#;

#[cfg(test)]
mod tests {
    use super::super::HAPROXY_CFG;
    use super::*;

    /// The shipped file is what is printed for two neighbours.
    #[test]
    fn the_shipped_file_is_up_to_date() {
        let neighbours = [1, 2].map(|number| {
            let example = number + 1;
            Neighbour(format!(
                "\"${{SPOACME_NEIGHBOUR_{number}-192.0.2.{example}:80}}\""
            ))
        });
        let wanted = insert(HAPROXY_CFG, &neighbours);
        if std::env::var_os("SPOACME_BLESS").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/haproxy-neighbours.cfg");
            std::fs::write(path, &wanted).unwrap();
        }
        let shipped = include_str!("../../etc/haproxy-neighbours.cfg");
        assert_eq!(
            shipped, wanted,
            "write it anew: SPOACME_BLESS=1 cargo test -p spoacme-haproxy"
        );
    }

    #[test]
    fn every_neighbour_has_a_link_and_the_last_leads_to_the_end() {
        let neighbours = Vec::from_iter((1..=3).map(|n| format!("192.0.2.{n}").parse().unwrap()));
        let text = insert(HAPROXY_CFG, &neighbours);
        for neighbour in &neighbours {
            let line = format!("    server neighbour {neighbour} check");
            assert_eq!(text.matches(&line).count(), 1, "{line}");
        }
        assert_eq!(text.matches("}\"-none").count(), 2);
    }

    #[test]
    fn takes_addresses_only() {
        for (text, wanted) in [
            ("192.0.2.2", "192.0.2.2:80"),
            ("192.0.2.2:8080", "192.0.2.2:8080"),
            ("2001:db8::2", "[2001:db8::2]:80"),
            ("[2001:db8::2]", "[2001:db8::2]:80"),
            ("[2001:db8::2]:81", "[2001:db8::2]:81"),
        ] {
            assert_eq!(text.parse::<Neighbour>().unwrap().as_str(), wanted);
        }
        for text in [
            "",
            "lb2.example.com",
            "192.0.2.2:80 check",
            "192.0.2.2:http",
        ] {
            assert!(text.parse::<Neighbour>().is_err(), "{text}");
        }
    }
}
