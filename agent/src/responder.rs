//! From a message of HAProxy to a look-up, and to variables (the contract of
//! `spoe-acme.conf`).

use std::time::Instant;

use spoacme_haproxy::spop::{Ack, Action, Message, Responder, Scope, Value};

use crate::stats::Counters;
use crate::table::Table;

/// Answers the message `acme-challenge` with the variables `found` and, for a
/// token that is known for that host, `key_authorization`.
#[derive(Debug)]
pub(crate) struct Lookup<'a> {
    pub(crate) table: &'a Table,
    pub(crate) counters: &'a Counters,
    pub(crate) now: Instant,
}

impl Responder for Lookup<'_> {
    fn respond(&mut self, message: &Message<'_>, ack: &mut Ack<'_>) {
        if message.name() != MESSAGE {
            return;
        }
        if self.look_up(message, ack).is_some() {
            self.counters.lookups_found.increment();
        } else {
            self.counters.lookups_not_found.increment();
        }
    }

    fn fallback(&self) -> Action<'_> {
        Action::SetVar {
            scope: Scope::Transaction,
            name: FOUND.as_bytes(),
            value: Value::Bool(false),
        }
    }
}

impl Lookup<'_> {
    /// Nothing if the token is unknown: the fallback answers then.
    fn look_up(&self, message: &Message<'_>, ack: &mut Ack<'_>) -> Option<()> {
        let bytes = |name| message.argument(name).as_ref().and_then(Value::as_bytes);
        let token = bytes("path")?.strip_prefix(PATH_PREFIX)?;
        self.table
            .look_up(token, bytes("host")?, self.now, |answer| {
                let answer = Value::String(answer.as_str().as_bytes());
                // The key first: `found` without it would be a lie.
                ack.set_var(Scope::Transaction, KEY_AUTHORIZATION, answer)
                    .ok()?;
                ack.set_var(Scope::Transaction, FOUND, Value::Bool(true))
                    .ok()
            })?
    }
}

const MESSAGE: &[u8] = b"acme-challenge";
const FOUND: &str = "found";
const KEY_AUTHORIZATION: &str = "key_authorization";

/// RFC 8555 §8.3. HAProxy's `path` has no query and is not decoded, and
/// neither is anything here.
const PATH_PREFIX: &[u8] = b"/.well-known/acme-challenge/";
