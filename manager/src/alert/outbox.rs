//! Events on their way: delivered in the background, tried again, kept on
//! disk until they are through or given up.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::deliver;
use super::event::{Event, Kind};
use crate::config::Alert;
use crate::store::{Store, StoreError};

/// An event that a destination has not got yet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pending {
    /// The destination, by its name.
    pub to: String,
    /// What it is to be told.
    pub event: Event,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; none once it is given up.
    pub next: Option<Timestamp>,
    /// What the last attempt failed of.
    pub last_error: Option<String>,
}

/// What is on its way, and what did not get through.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outbox {
    /// In the order in which it was put in.
    pub pending: Vec<Pending>,
}

/// Delivers in the background until dropped.
#[derive(Debug)]
pub struct Courier {
    events: Sender<Event>,
    task: JoinHandle<()>,
}

impl Courier {
    /// Begins with what is on disk, for the destinations of `alerts`.
    pub fn start(alerts: Vec<Alert>, store: Store, clock: fn() -> Timestamp) -> Self {
        let (events, received) = channel(QUEUE_MAX);
        let round = Round {
            alerts,
            store,
            clock,
        };
        let task = tokio::spawn(round.run(received));
        Self { events, task }
    }

    /// Puts an event in, without waiting.
    pub fn send(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            error!("too many alerts at once; one is lost");
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Between the daemon and the courier.
const QUEUE_MAX: usize = 1024;

/// On disk, for all destinations.
const OUTBOX_MAX: usize = 1000;

struct Round {
    alerts: Vec<Alert>,
    store: Store,
    clock: fn() -> Timestamp,
}

impl Round {
    async fn run(self, mut events: Receiver<Event>) {
        let mut outbox = self.store.outbox().unwrap_or_else(|error| {
            warn!(%error, "alerts that were not through yet are lost");
            Outbox::default()
        });
        // Whoever is no longer configured gets nothing any more.
        outbox
            .pending
            .retain(|pending| self.destination(&pending.to).is_some());
        loop {
            let wait = outbox.until_next((self.clock)());
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.put(&mut outbox, &event),
                    None => return,
                },
                () = sleep(wait) => {}
            }
            self.deliver_due(&mut outbox).await;
        }
    }

    fn destination(&self, name: &str) -> Option<&Alert> {
        self.alerts.iter().find(|alert| alert.name == name)
    }

    fn put(&self, outbox: &mut Outbox, event: &Event) {
        let wants =
            |alert: &&Alert| event.event == Kind::Test || alert.events.contains(&event.event);
        for alert in self.alerts.iter().filter(wants) {
            if outbox.pending.len() >= OUTBOX_MAX {
                error!("{OUTBOX_MAX} alerts are not through; the oldest is dropped");
                outbox.pending.remove(0);
            }
            outbox.pending.push(Pending {
                to: alert.name.clone(),
                event: event.clone(),
                attempts: 0,
                next: Some((self.clock)()),
                last_error: None,
            });
        }
        self.keep(outbox);
    }

    async fn deliver_due(&self, outbox: &mut Outbox) {
        for index in 0..outbox.pending.len() {
            let now = (self.clock)();
            let pending = &outbox.pending[index];
            if pending.next.is_none_or(|next| next > now) {
                continue;
            }
            let Some(alert) = self.destination(&pending.to) else {
                continue;
            };
            let outcome = deliver(alert, &pending.event).await;
            outbox.pending[index].note(outcome, (self.clock)());
            self.keep(outbox);
        }
        outbox.tidy((self.clock)());
        self.keep(outbox);
    }

    fn keep(&self, outbox: &Outbox) {
        if let Err(error) = self.store.keep_outbox(outbox) {
            warn!(%error, "alerts on their way are not kept");
        }
    }
}

impl Pending {
    fn note(&mut self, outcome: Result<(), String>, now: Timestamp) {
        self.attempts = self.attempts.saturating_add(1);
        let event = self.event.event.as_str();
        match outcome {
            Ok(()) => {
                info!(to = self.to, event, "alert delivered");
                self.next = None;
                self.last_error = None;
            }
            Err(cause) => {
                let old = now.duration_since(self.event.at);
                self.next = (old < GIVE_UP).then(|| now + back_off(self.attempts));
                let next = self
                    .next
                    .map_or_else(|| "given up".to_owned(), |at| at.to_string());
                warn!(to = self.to, event, next, "alert not delivered: {cause}");
                self.last_error = Some(cause);
            }
        }
    }

    /// Whether it got through.
    fn is_through(&self) -> bool {
        self.attempts > 0 && self.last_error.is_none()
    }
}

impl Outbox {
    /// Until something is to be tried.
    fn until_next(&self, now: Timestamp) -> Duration {
        let next = self.pending.iter().filter_map(|pending| pending.next).min();
        let wait =
            next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        wait.unwrap_or(WAIT_MAX).clamp(WAIT_MIN, WAIT_MAX)
    }

    /// Forgets what got through, and after a week what did not.
    fn tidy(&mut self, now: Timestamp) {
        let is_forgotten = |pending: &Pending| {
            pending.is_through() || now.duration_since(pending.event.at) > FORGET
        };
        self.pending.retain(|pending| !is_forgotten(pending));
    }
}

const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// What nobody could be told for so long is in the log and in the status.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(24);
const FORGET: SignedDuration = SignedDuration::from_hours(7 * 24);

/// 5 seconds, then four times as long each time, an hour at most.
fn back_off(attempts: u32) -> SignedDuration {
    let seconds = 5_i64.saturating_mul(4_i64.saturating_pow(attempts.saturating_sub(1)));
    SignedDuration::from_secs(seconds.min(3600))
}

impl Store {
    /// The alerts on their way.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is damaged.
    pub fn outbox(&self) -> Result<Outbox, StoreError> {
        self.alert_record(Path::new("outbox.json"))
    }

    fn keep_outbox(&self, outbox: &Outbox) -> Result<(), StoreError> {
        self.keep_alert_record(Path::new("outbox.json"), outbox)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::UNIX_EPOCH;

    fn pending() -> Pending {
        Pending {
            to: "ops".to_owned(),
            event: Event::test(T0),
            attempts: 0,
            next: Some(T0),
            last_error: None,
        }
    }

    #[test]
    fn tries_for_a_day_and_remembers_for_a_week() {
        let mut outbox = Outbox {
            pending: vec![pending()],
        };
        let (mut now, mut attempts) = (T0, 0);
        while let Some(next) = outbox.pending[0].next {
            now = now.max(next);
            outbox.pending[0].note(Err("refused".to_owned()), now);
            attempts += 1;
        }
        assert!((20..40).contains(&attempts), "{attempts}");
        outbox.tidy(now);
        assert_eq!(outbox.pending[0].last_error.as_deref(), Some("refused"));
        outbox.tidy(T0 + FORGET * 2);
        assert_eq!(outbox.pending, []);
    }

    #[test]
    fn what_got_through_is_forgotten() {
        let mut outbox = Outbox {
            pending: vec![pending(), pending()],
        };
        outbox.pending[0].note(Err("refused".to_owned()), T0);
        outbox.pending[1].note(Ok(()), T0);
        outbox.tidy(T0);
        assert_eq!(outbox.pending.len(), 1);
        assert_eq!(outbox.until_next(T0), Duration::from_secs(5));
        outbox.pending[0].note(Ok(()), T0);
        outbox.tidy(T0);
        assert_eq!(outbox, Outbox::default());
    }
}
