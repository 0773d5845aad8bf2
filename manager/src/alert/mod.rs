//! Alerts: somebody hears of trouble before a browser does.
//!
//! A pass of the daemon ends in conditions; [`decide`] (pure) says which are
//! worth an event, given what was sent before; the [`outbox`] delivers events
//! in the background, and keeps on disk what could not be delivered yet.

mod command;
mod decide;
mod event;
pub mod outbox;
mod smtp;
mod webhook;

use std::time::Duration;

use tokio::time::timeout;

use crate::config::{Alert, Channel};

pub use decide::{Condition, Patience, Sent, decide};
pub use event::{Event, Kind};

/// Delivers `event` to one destination.
///
/// # Errors
///
/// Why it was not, in one sentence without a secret.
pub async fn deliver(alert: &Alert, event: &Event) -> Result<(), String> {
    let delivered = async {
        match &alert.channel {
            Channel::Smtp(smtp) => smtp::send(smtp, event).await,
            Channel::Webhook(webhook) => webhook::send(webhook, event).await,
            Channel::Command(command) => command::run(command, event).await,
        }
    };
    let late = |_| Err(format!("not done within {} seconds", LIMIT.as_secs()));
    timeout(LIMIT, delivered).await.unwrap_or_else(late)
}

/// For one delivery; also how long a command may run.
const LIMIT: Duration = Duration::from_secs(30);
