//! Which conditions are worth telling. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::{Event, Kind, host};

/// Something that is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// What.
    pub kind: Kind,
    /// Of which certificate, if of one.
    pub certificate: Option<String>,
    /// One sentence, with the cause.
    pub text: String,
    /// The way out, where there is a plain one.
    pub hint: Option<String>,
}

/// What has been told, by kind and certificate. It survives restarts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sent {
    told: BTreeMap<String, Told>,
    /// When a condition that is not told yet was first seen.
    seen: BTreeMap<String, Timestamp>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Told {
    kind: Kind,
    certificate: Option<String>,
    at: Timestamp,
}

/// How patient one is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// What lasts shorter is not told: a reload, a restart.
    pub grace: SignedDuration,
    /// What lasts longer is told again.
    pub repeat: SignedDuration,
}

/// The events that `conditions` are worth, and what has been told then.
pub fn decide(
    conditions: &[Condition],
    mut sent: Sent,
    patience: Patience,
    now: Timestamp,
) -> (Vec<Event>, Sent) {
    let mut events = Vec::new();
    let current: BTreeMap<_, _> = conditions.iter().map(|c| (key(c), c)).collect();
    let over = Vec::from_iter(
        sent.told
            .keys()
            .filter(|k| !current.contains_key(*k))
            .cloned(),
    );
    for told in over.iter().filter_map(|key| sent.told.remove(key)) {
        events.push(recovered(&told, now));
    }
    sent.seen.retain(|key, _| current.contains_key(key));
    for told in sent.told.values_mut() {
        // A clock that went backwards must not silence anything.
        told.at = told.at.min(now);
    }
    for (key, condition) in current {
        let seen = sent.seen.entry(key.clone()).or_insert(now);
        *seen = (*seen).min(now);
        let lasts = now.duration_since(*seen);
        let is_due = match sent.told.get(&key) {
            Some(told) => now.duration_since(told.at) >= patience.repeat,
            None => lasts >= grace(condition.kind, patience),
        };
        if is_due {
            events.push(event(condition, now));
            let told = Told {
                kind: condition.kind,
                certificate: condition.certificate.clone(),
                at: now,
            };
            sent.told.insert(key, told);
        }
    }
    (events, sent)
}

/// What counts failures or days is not a passing thing.
fn grace(kind: Kind, patience: Patience) -> SignedDuration {
    match kind {
        Kind::NotServed | Kind::HaproxyUnreachable | Kind::AgentUnreachable => patience.grace,
        Kind::Failing | Kind::Expiring | Kind::Recovered | Kind::Test => SignedDuration::ZERO,
    }
}

fn key(condition: &Condition) -> String {
    let certificate = condition.certificate.as_deref().unwrap_or_default();
    format!("{} {certificate}", condition.kind.as_str())
}

fn event(condition: &Condition, at: Timestamp) -> Event {
    Event {
        event: condition.kind,
        certificate: condition.certificate.clone(),
        text: condition.text.clone(),
        hint: condition.hint.clone(),
        at,
        host: host(),
    }
}

fn recovered(told: &Told, at: Timestamp) -> Event {
    Event {
        event: Kind::Recovered,
        certificate: told.certificate.clone(),
        text: format!("no longer {}", told.kind.as_str()),
        hint: None,
        at,
        host: host(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::UNIX_EPOCH;
    const PATIENCE: Patience = Patience {
        grace: SignedDuration::from_secs(60),
        repeat: SignedDuration::from_hours(24),
    };

    fn of(kind: Kind, certificate: &str) -> Condition {
        Condition {
            kind,
            certificate: Some(certificate.to_owned()),
            text: "because".to_owned(),
            hint: None,
        }
    }

    /// The kinds told in each step, time and conditions given.
    fn play(steps: &[(i64, Vec<Condition>)]) -> Vec<Vec<Kind>> {
        let mut sent = Sent::default();
        let mut told = Vec::new();
        for (seconds, conditions) in steps {
            let now = T0 + SignedDuration::from_secs(*seconds);
            // A restart between all steps: what matters is on disk.
            sent = serde_json::from_str(&serde_json::to_string(&sent).unwrap()).unwrap();
            let (events, after) = decide(conditions, sent, PATIENCE, now);
            told.push(events.iter().map(|event| event.event).collect());
            sent = after;
        }
        told
    }

    use Kind::{Failing, Recovered};

    #[test]
    fn tells_once_a_day_and_when_it_is_over() {
        let failing = || vec![of(Failing, "a")];
        let told = play(&[
            (0, failing()),
            (60, failing()),
            (86_399, failing()),
            (86_400, failing()),
            (90_000, vec![]),
            (90_060, vec![]),
        ]);
        assert_eq!(
            told,
            [
                vec![Failing],
                vec![],
                vec![],
                vec![Failing],
                vec![Recovered],
                vec![]
            ]
        );
    }

    #[test]
    fn what_passes_is_not_told() {
        let down = || vec![of(Kind::HaproxyUnreachable, "")];
        let told = play(&[
            (0, down()),
            (5, vec![]),
            (10, down()),
            (69, down()),
            (70, down()),
        ]);
        let last = vec![Kind::HaproxyUnreachable];
        assert_eq!(told, [vec![], vec![], vec![], vec![], last]);
    }

    #[test]
    fn certificates_and_kinds_are_told_apart() {
        let both = vec![of(Failing, "a"), of(Failing, "b"), of(Kind::Expiring, "a")];
        let told = play(&[(0, both), (60, vec![of(Failing, "b")])]);
        assert_eq!(told[0].len(), 3);
        assert_eq!(told[1], [Recovered, Recovered]);
    }

    #[test]
    fn a_clock_that_went_backwards_silences_nothing() {
        let down = || vec![of(Kind::AgentUnreachable, "")];
        let told = play(&[
            (1_000_000, down()),
            (0, down()),
            (60, down()),
            (86_460, down()),
        ]);
        let one = vec![Kind::AgentUnreachable];
        assert_eq!(told, [vec![], vec![], one.clone(), one]);
    }
}
