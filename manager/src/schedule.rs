//! When a certificate is issued next, and why. Pure: everything is an argument.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What is known of a certificate's past attempts. It survives restarts.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct History {
    /// Failures since the last success.
    pub failures: u32,
    /// When the last failed attempt ended.
    pub last_failure: Option<Timestamp>,
    /// What it failed of, in one sentence.
    pub last_error: Option<String>,
    /// Whether it was our own look that failed, which costs the CA nothing.
    #[serde(default)]
    pub by_self_test: bool,
    /// How often in a row what was issued had to be taken back.
    #[serde(default)]
    pub rollbacks: u32,
}

impl History {
    /// One more failure.
    pub fn fail(&mut self, now: Timestamp, error: String) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(now);
        self.last_error = Some(error);
        self.by_self_test = false;
    }

    /// What was issued had to be taken back. Success at the CA does not end
    /// the row, or it would be asked again and again.
    pub fn take_back(&mut self, now: Timestamp, error: String) {
        self.rollbacks = self.rollbacks.saturating_add(1);
        self.failures = self.failures.max(self.rollbacks - 1);
        self.fail(now, error);
    }

    /// The CA has issued.
    pub fn succeed(&mut self) {
        *self = Self {
            rollbacks: self.rollbacks,
            ..Self::default()
        };
    }
}

/// The newest usable generation of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Current {
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Whether it bears exactly the configured names.
    pub names_match: bool,
    /// Whether an operator has gone back to it, so that it is replaced only when
    /// its end is near.
    pub is_held: bool,
}

/// The next issue of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// When it is due; in the past when it is overdue.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// Why a certificate is issued.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// There is none yet.
    First,
    /// The configured names are no longer those of the certificate.
    NamesChanged,
    /// An order is under way, left by a crash.
    UnderWay,
    /// Two thirds of its life are over, or half of a life below ten days.
    Renewal,
    /// An attempt failed, and the back-off decides.
    Retry,
}

impl Reason {
    /// In a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "there is none yet",
            Self::NamesChanged => "its names have changed",
            Self::UnderWay => "an order is under way",
            Self::Renewal => "renewal",
            Self::Retry => "another attempt",
        }
    }
}

impl Step {
    /// Whether it is time.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.at <= now
    }
}

/// The next issue of a certificate whose newest generation is `current`, with
/// an order under way or not: what is issued already must not be lost.
pub fn next(
    current: Option<Current>,
    history: &History,
    is_under_way: bool,
    now: Timestamp,
) -> Step {
    let wanted = match current {
        None => Step {
            at: now,
            reason: Reason::First,
        },
        Some(current) if !current.names_match => Step {
            at: now,
            reason: Reason::NamesChanged,
        },
        Some(_) if is_under_way => Step {
            at: now,
            reason: Reason::UnderWay,
        },
        Some(current) => Step {
            at: renewal(current),
            reason: Reason::Renewal,
        },
    };
    match retry(current, history, now) {
        Some(at) if at > wanted.at && at > now => Step {
            at,
            reason: Reason::Retry,
        },
        _ => wanted,
    }
}

/// A life at least this long is renewed at two thirds, a shorter one at half
/// (Let's Encrypt's integration guide).
const LONG_LIFE: SignedDuration = SignedDuration::from_hours(24 * 10);

/// The back-off after the first, second and third failure, and after any
/// further one (Let's Encrypt's integration guide).
const BACK_OFF: [SignedDuration; 4] = [
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(10),
    SignedDuration::from_mins(100),
    SignedDuration::from_hours(24),
];

fn renewal(current: Current) -> Timestamp {
    let life = current.not_after.duration_since(current.not_before);
    let left = match current.is_held {
        true => life / 10,
        false if life < LONG_LIFE => life / 2,
        false => life / 3,
    };
    current.not_after - left
}

/// When the back-off ends. Never later than its length from now, whatever a
/// clock that went backwards has recorded, nor than half of what is left of a
/// certificate's life.
fn retry(current: Option<Current>, history: &History, now: Timestamp) -> Option<Timestamp> {
    // A failure in the future is of a clock that has been set back since: to wait
    // for it would never end.
    let last = history.last_failure.filter(|last| *last <= now)?;
    let step = usize::try_from(history.failures.checked_sub(1)?).unwrap_or(usize::MAX);
    let steps_max = match history.by_self_test {
        true => 1,
        false => BACK_OFF.len() - 1,
    };
    let back_off = BACK_OFF[step.min(steps_max)];
    let left = current
        .map(|c| c.not_after.duration_since(last))
        .filter(SignedDuration::is_positive);
    let wait = left.map_or(back_off, |left| back_off.min((left / 2).max(BACK_OFF[0])));
    Some(last + wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Issue;

    const NOW: Timestamp = Issue::NOW;
    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn current(age: SignedDuration, life: SignedDuration) -> Option<Current> {
        let not_before = NOW - age;
        Some(Current {
            not_before,
            not_after: not_before + life,
            names_match: true,
            is_held: false,
        })
    }

    fn failed(failures: u32, ago: SignedDuration) -> History {
        History {
            failures,
            last_failure: Some(NOW - ago),
            ..History::default()
        }
    }

    #[test]
    fn what_was_gone_back_to_is_kept_while_it_lasts() {
        let held = |age| {
            let current = current(age, DAY * 90)?;
            Some(Current {
                is_held: true,
                ..current
            })
        };
        assert!(!next(held(DAY * 70), &History::default(), false, NOW).is_due(NOW));
        assert!(next(held(DAY * 82), &History::default(), false, NOW).is_due(NOW));
    }

    #[test]
    fn an_order_under_way_is_gone_on_with_but_not_in_a_hurry() {
        let fresh = current(DAY, DAY * 90);
        let step = next(fresh, &History::default(), true, NOW);
        assert_eq!((step.at, step.reason), (NOW, Reason::UnderWay));
        let step = next(fresh, &failed(1, SignedDuration::ZERO), true, NOW);
        assert_eq!(step.reason, Reason::Retry);
    }

    #[test]
    fn a_missing_certificate_is_due_at_once() {
        let step = next(None, &History::default(), false, NOW);
        assert_eq!(
            step,
            Step {
                at: NOW,
                reason: Reason::First
            }
        );
        assert!(step.is_due(NOW));
    }

    #[test]
    fn changed_names_are_due_at_once() {
        let current = current(DAY, DAY * 90).map(|c| Current {
            names_match: false,
            ..c
        });
        assert_eq!(
            next(current, &History::default(), false, NOW).reason,
            Reason::NamesChanged
        );
    }

    #[test]
    fn renews_as_a_fraction_of_the_lifetime() {
        let minute = SignedDuration::from_mins(1);
        for (life, after) in [
            (minute, minute / 2),
            (DAY * 6, DAY * 3),
            (DAY * 45, DAY * 30),
            (DAY * 90, DAY * 60),
            (DAY * 399, DAY * 266),
        ] {
            let step = next(
                current(SignedDuration::ZERO, life),
                &History::default(),
                false,
                NOW,
            );
            assert_eq!(
                step,
                Step {
                    at: NOW + after,
                    reason: Reason::Renewal
                },
                "{life}"
            );
        }
    }

    #[test]
    fn backs_off_further_with_each_failure() {
        for (failures, minutes) in [(1, 1), (2, 10), (3, 100), (4, 1440), (1000, 1440)] {
            let step = next(None, &failed(failures, SignedDuration::ZERO), false, NOW);
            let at = NOW + SignedDuration::from_mins(minutes);
            assert_eq!(
                step,
                Step {
                    at,
                    reason: Reason::Retry
                },
                "{failures}"
            );
        }
    }

    #[test]
    fn looks_again_soon_after_a_failed_look() {
        for (failures, minutes) in [(1, 1), (2, 10), (9, 10)] {
            let history = History {
                by_self_test: true,
                ..failed(failures, SignedDuration::ZERO)
            };
            let at = NOW + SignedDuration::from_mins(minutes);
            assert_eq!(next(None, &history, false, NOW).at, at, "{failures}");
        }
    }

    #[test]
    fn a_back_off_that_is_over_does_not_count() {
        let step = next(None, &failed(1, SignedDuration::from_mins(1)), false, NOW);
        assert!(step.is_due(NOW));
    }

    #[test]
    fn tries_again_while_there_is_life_left() {
        let hour = SignedDuration::from_hours(1);
        let dying = current(DAY * 6 - hour * 2, DAY * 6);
        let step = next(dying, &failed(9, SignedDuration::ZERO), false, NOW);
        assert_eq!(step.at, NOW + hour);
    }

    #[test]
    fn a_clock_that_went_backwards_does_not_freeze_it() {
        let future = failed(1, -(DAY * 300));
        assert!(next(None, &future, false, NOW).is_due(NOW));
    }

    #[test]
    fn a_permanent_failure_makes_few_attempts() {
        let (mut now, mut history, mut attempts) = (NOW, History::default(), 0);
        while now < NOW + DAY * 30 {
            let step = next(None, &history, false, now);
            now = now.max(step.at);
            attempts += 1;
            history = History {
                failures: history.failures + 1,
                last_failure: Some(now),
                ..History::default()
            };
        }
        assert!(attempts <= 40, "{attempts}");
    }
}
