//! What haproxy.cfg must say: the shipped files with the values of one
//! machine, and what a file that exists already lacks. Pure; nothing here
//! reads or writes files.
//!
//! The files in `haproxy/etc/` are the templates, so what is printed is what
//! the end-to-end tests run.

mod audit;
mod file;
mod neighbours;
mod template;

pub use audit::{Lack, Wanted, audit};
pub use file::{File, Line, Section};
pub use neighbours::{NEIGHBOURS_MAX, Neighbour, NeighbourError};

/// The shipped haproxy.cfg, for one load balancer.
pub const HAPROXY_CFG: &str = include_str!("../../etc/haproxy.cfg");

/// The shipped SPOE configuration; it needs no values.
pub const SPOE_CONF: &str = include_str!("../../etc/spoe-acme.conf");

/// The path prefix of the http-01 challenge (RFC 8555 §8.3).
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// The values of one machine, as HAProxy's words take them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// `chroot` of the global section.
    pub chroot: String,
    /// `stats socket`: the Runtime API.
    pub stats_socket: String,
    /// `bind` of the frontend for plain HTTP.
    pub http_bind: String,
    /// `bind` of the frontend for TLS.
    pub https_bind: String,
    /// The directory of certificates, with its slash.
    pub certificates: String,
    /// The file of the SPOE configuration.
    pub spoe_conf: String,
    /// The agent's address, as seen from inside the chroot.
    pub agent: String,
    /// The application behind the frontends.
    pub app: String,
    /// The other load balancers, in the order in which they are asked.
    pub neighbours: Vec<Neighbour>,
}

impl Default for Settings {
    /// The values of the shipped files, with no neighbours.
    fn default() -> Self {
        let value = |name| template::default_of(HAPROXY_CFG, name).unwrap_or_default();
        Self {
            chroot: value("SPOACME_CHROOT"),
            stats_socket: value("SPOACME_STATS_SOCKET"),
            http_bind: value("SPOACME_HTTP_BIND"),
            https_bind: value("SPOACME_HTTPS_BIND"),
            certificates: value("SPOACME_CERTIFICATES"),
            spoe_conf: value("SPOACME_SPOE_CONF"),
            agent: value("SPOACME_AGENT"),
            app: value("SPOACME_APP"),
            neighbours: Vec::new(),
        }
    }
}

impl Settings {
    /// A whole haproxy.cfg that can be started as it is.
    pub fn complete(&self) -> String {
        let text = neighbours::insert(HAPROXY_CFG, &self.neighbours);
        // What stands before `global` speaks of the template.
        let start = text.find("global\n").unwrap_or_default();
        let (bind, server) = self.neighbour_sockets();
        template::expand(&text[start..], |name| match name {
            "SPOACME_NEIGHBOUR_BIND" => Some(&bind),
            "SPOACME_NEIGHBOUR_SERVER" => Some(&server),
            _ => self.value(name),
        })
    }

    /// The parts of haproxy.cfg that belong to spoacme, to be pasted.
    pub fn parts(&self) -> Vec<Part> {
        template::parts(&self.complete())
    }

    /// Where HAProxy listens for itself, seen from outside the chroot and from
    /// inside it.
    fn neighbour_sockets(&self) -> (String, String) {
        let chroot = self.chroot.trim_end_matches('/');
        (
            format!("unix@{chroot}/acme-neighbour"),
            "unix@/acme-neighbour".to_owned(),
        )
    }

    fn value(&self, name: &str) -> Option<&str> {
        Some(match name {
            "SPOACME_CHROOT" => &self.chroot,
            "SPOACME_STATS_SOCKET" => &self.stats_socket,
            "SPOACME_HTTP_BIND" => &self.http_bind,
            "SPOACME_HTTPS_BIND" => &self.https_bind,
            "SPOACME_CERTIFICATES" => &self.certificates,
            "SPOACME_SPOE_CONF" => &self.spoe_conf,
            "SPOACME_AGENT" => &self.agent,
            "SPOACME_APP" => &self.app,
            _ => return None,
        })
    }
}

/// A piece of haproxy.cfg.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// The section that it goes into, such as `frontend http`; none if it
    /// brings its own sections.
    pub section: Option<String>,
    /// Its lines.
    pub text: String,
}

/// How HAProxy names the agent that listens at `listen`, in the agent's words
/// (`HOST:PORT`, `unix:PATH`, `abns:NAME`): a Unix socket's path is looked up
/// inside the chroot.
///
/// # Errors
///
/// When the socket is out of HAProxy's reach.
pub fn agent_server(listen: &str, chroot: Option<&str>) -> Result<String, AgentError> {
    if let Some(name) = listen.strip_prefix("abns:") {
        return Ok(format!("abns@{name}"));
    }
    let Some(path) = listen.strip_prefix("unix:") else {
        return Ok(listen.to_owned());
    };
    let Some(chroot) = chroot else {
        return Ok(format!("unix@{path}"));
    };
    let inside = path.strip_prefix(chroot.trim_end_matches('/'));
    match inside.filter(|inside| inside.starts_with('/')) {
        Some(inside) => Ok(format!("unix@{inside}")),
        None => Err(AgentError {
            path: path.to_owned(),
            chroot: chroot.to_owned(),
        }),
    }
}

/// HAProxy cannot reach the agent's socket.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "HAProxy runs in the chroot {chroot} and cannot reach the agent's socket {path}: let the agent listen below {chroot}, or on TCP or an abstract socket"
)]
pub struct AgentError {
    path: String,
    chroot: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_agent_inside_the_chroot() {
        let chroot = Some("/var/lib/haproxy");
        for (listen, chroot, server) in [
            ("127.0.0.1:7010", chroot, "127.0.0.1:7010"),
            ("abns:spoacme", chroot, "abns@spoacme"),
            (
                "unix:/var/lib/haproxy/spoacme/spop.sock",
                chroot,
                "unix@/spoacme/spop.sock",
            ),
            ("unix:/run/spop.sock", None, "unix@/run/spop.sock"),
        ] {
            assert_eq!(agent_server(listen, chroot).as_deref(), Ok(server));
        }
        for outside in ["unix:/run/spop.sock", "unix:/var/lib/haproxy2/spop.sock"] {
            assert!(agent_server(outside, chroot).is_err(), "{outside}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_shipped_file() {
        let complete = Settings::default().complete();
        assert!(!complete.contains("${"), "{complete}");
        assert!(complete.contains("\n    bind :443 ssl crt /var/lib/spoacme/live/ alpn"));
    }
}
