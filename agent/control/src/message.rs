//! The messages, one JSON object a line.

use serde::{Deserialize, Serialize};

use crate::{Entry, Host, Owner, Token};

/// What a client asks.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "op")]
pub enum Request {
    /// Publish tokens beside those already there.
    Put {
        /// Who publishes.
        owner: Owner,
        /// What.
        tokens: Vec<Entry>,
    },
    /// Withdraw tokens of this owner.
    Delete {
        /// Who published them.
        owner: Owner,
        /// Which.
        tokens: Vec<Token>,
    },
    /// List all tokens.
    List {},
    /// Make these the owner's whole set.
    Replace {
        /// Who publishes.
        owner: Owner,
        /// Everything that it publishes from now on.
        tokens: Vec<Entry>,
    },
    /// Counters.
    Stats {},
    /// A sign of life.
    Ping {},
}

/// What the agent answers.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Answer {
    /// Whether the request was carried out, as a whole.
    pub ok: bool,
    /// Drawn anew at each start of the agent.
    pub boot_id: String,
    /// Why it was not carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
    /// How many tokens were stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<usize>,
    /// How many tokens were withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<usize>,
    /// The tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<Listed>>,
    /// The counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Stats>,
}

impl Answer {
    /// A request carried out, with nothing more to say.
    pub fn done(boot_id: &str) -> Self {
        Self {
            ok: true,
            boot_id: boot_id.to_owned(),
            error: None,
            stored: None,
            deleted: None,
            tokens: None,
            stats: None,
        }
    }

    /// A request that is refused and has changed nothing.
    pub fn refused(boot_id: &str, code: Code, message: impl ToString) -> Self {
        let error = Some(Refusal {
            code,
            message: message.to_string(),
        });
        Self {
            ok: false,
            error,
            ..Self::done(boot_id)
        }
    }

    /// The agent's boot id.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }
}

/// Why a request was not carried out.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// Why a request was not carried out, for programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Not a request, or with an invalid field.
    Malformed,
    /// Another owner has the token, with another answer.
    Conflict,
    /// The table is full.
    Full,
    /// The caller's user may not.
    Forbidden,
}

/// A token as it is listed.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Listed {
    /// The token.
    pub token: Token,
    /// Who published it.
    pub owner: Owner,
    /// The hosts that it is answered for.
    pub hosts: Vec<Host>,
    /// Whether it is answered for every host.
    pub any_host: bool,
    /// How long it will still be answered.
    pub seconds_left: u64,
}

/// Counters since the agent's start.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Stats {
    /// The agent's version.
    pub version: String,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// Tokens in the table.
    pub tokens: u64,
    /// Look-ups answered with a key authorization.
    pub lookups_found: u64,
    /// Look-ups answered with `found=false`.
    pub lookups_not_found: u64,
    /// SPOP connections open now.
    pub connections_open: u64,
    /// SPOP connections accepted.
    pub connections_accepted: u64,
    /// SPOP connections turned away because too many were open.
    pub connections_refused: u64,
    /// Health checks answered.
    pub health_checks: u64,
    /// SPOP connections that the agent ended because of the peer's fault.
    pub protocol_errors: u64,
    /// Tasks that ended in a panic; anything but 0 is a bug.
    pub panics: u64,
}

/// The longest request line in bytes, its end included: some 4,000 tokens.
pub const REQUEST_SIZE_MAX: usize = 1 << 20;

/// The longest answer line in bytes: a list of the largest table.
pub const ANSWER_SIZE_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_documented() {
        let ping: Request = serde_json::from_str(r#"{"op":"ping"}"#).unwrap();
        assert_eq!(ping, Request::Ping {});
        for text in [
            r#"{"op":"pong"}"#,
            r#"{"op":"ping","x":1}"#,
            r#"{"op":"put"}"#,
            "[]",
            "",
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn answers_say_only_what_there_is_to_say() {
        let done = serde_json::to_string(&Answer::done("b")).unwrap();
        assert_eq!(done, r#"{"ok":true,"boot_id":"b"}"#);
        let refused = Answer::refused("b", Code::Full, "the table is full");
        let text = serde_json::to_string(&refused).unwrap();
        assert_eq!(
            text,
            r#"{"ok":false,"boot_id":"b","error":{"code":"full","message":"the table is full"}}"#
        );
    }
}
