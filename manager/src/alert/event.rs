//! What somebody is told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A certificate could not be issued, again and again.
    Failing,
    /// A certificate ends soon, or has ended.
    Expiring,
    /// A certificate is issued and not served.
    NotServed,
    /// HAProxy's Runtime API does not answer.
    HaproxyUnreachable,
    /// The agent does not answer.
    AgentUnreachable,
    /// What was told before is over.
    Recovered,
    /// Somebody tries the way.
    Test,
}

impl Kind {
    /// All that can be chosen by `events`.
    pub const ALL: [Self; 6] = [
        Self::Failing,
        Self::Expiring,
        Self::NotServed,
        Self::HaproxyUnreachable,
        Self::AgentUnreachable,
        Self::Recovered,
    ];

    /// Its name in configurations and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Expiring => "expiring",
            Self::NotServed => "not-served",
            Self::HaproxyUnreachable => "haproxy-unreachable",
            Self::AgentUnreachable => "agent-unreachable",
            Self::Recovered => "recovered",
            Self::Test => "test",
        }
    }
}

/// One thing to tell.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Event {
    /// What happened.
    pub event: Kind,
    /// To which certificate, if to one.
    pub certificate: Option<String>,
    /// One sentence of it, with the cause.
    pub text: String,
    /// The way out, where there is a plain one.
    pub hint: Option<String>,
    /// When.
    pub at: Timestamp,
    /// On which machine.
    pub host: String,
}

impl Event {
    /// A trial of the way.
    pub fn test(at: Timestamp) -> Self {
        Self {
            event: Kind::Test,
            certificate: None,
            text: "this is a test; alerts arrive".to_owned(),
            hint: None,
            at,
            host: host(),
        }
    }

    /// In one line, for a subject.
    pub fn subject(&self) -> String {
        let about = match &self.certificate {
            Some(certificate) => format!("{certificate}: {}", self.event.as_str()),
            None => self.event.as_str().to_owned(),
        };
        format!("[spoacme {}] {about}", self.host)
    }

    /// In a few lines, for people.
    pub fn message(&self) -> String {
        let hint = self.hint.iter().map(|hint| format!("\n{hint}"));
        let certificate = self.certificate.iter().map(|name| format!("{name}: "));
        Vec::from_iter(certificate.chain([self.text.clone()]).chain(hint)).concat()
    }
}

/// This machine's name.
pub(super) fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
