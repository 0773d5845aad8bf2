//! What a pass has seen, as conditions that somebody may have to hear of.

use jiff::Timestamp;

use crate::alert::{Condition, Kind};
use crate::config::{Certificate, Thresholds};
use crate::deploy::External;
use crate::leaf::Leaf;
use crate::manager::{Report, WorkError};
use crate::schedule::History;
use crate::store::StoreError;

/// What is known of one certificate after a pass.
#[derive(Debug)]
pub struct Watched<'a> {
    /// What the pass has done.
    pub report: &'a Report,
    /// Its newest certificate, if there is one.
    pub leaf: Option<&'a Leaf>,
    /// What has been tried.
    pub history: &'a History,
}

/// What is not as it should be with one certificate.
pub fn conditions(watched: &Watched<'_>, thresholds: Thresholds, now: Timestamp) -> Vec<Condition> {
    let found = [
        failing(watched, thresholds, now),
        expiring(watched, thresholds, now),
        not_served(watched),
    ];
    found.into_iter().flatten().collect()
}

fn of(watched: &Watched<'_>, kind: Kind, text: String, hint: Option<String>) -> Condition {
    Condition {
        kind,
        certificate: Some(watched.report.name.to_string()),
        text,
        hint,
    }
}

/// With nothing valid to serve, the first failure counts.
fn failing(watched: &Watched<'_>, thresholds: Thresholds, now: Timestamp) -> Option<Condition> {
    let failures = watched.history.failures;
    let is_bare = watched.leaf.is_none_or(|leaf| leaf.not_after <= now);
    let rollbacks = watched.history.rollbacks;
    let enough = match is_bare || rollbacks > 0 {
        true => 1,
        false => thresholds.failures,
    };
    if failures < enough {
        return None;
    }
    let cause = watched
        .history
        .last_error
        .as_deref()
        .unwrap_or("no cause is known");
    let times = if failures == 1 {
        "once".to_owned()
    } else {
        format!("{failures} times in a row")
    };
    let hint = watched.report.error.as_ref().and_then(WorkError::hint);
    let what = match rollbacks {
        0 => "not issued",
        _ => "issued, but taken back",
    };
    Some(of(
        watched,
        Kind::Failing,
        format!("{what}, {times}: {cause}"),
        hint,
    ))
}

fn expiring(watched: &Watched<'_>, thresholds: Thresholds, now: Timestamp) -> Option<Condition> {
    let leaf = watched.leaf?;
    let left = leaf.not_after.duration_since(now);
    let life = leaf.not_after.duration_since(leaf.not_before);
    let percent = i32::try_from(thresholds.life_left_percent).unwrap_or(i32::MAX);
    if left > life / 100 * percent {
        return None;
    }
    let text = match left.is_positive() {
        true => format!("valid only until {}", leaf.not_after),
        false => format!("expired at {}", leaf.not_after),
    };
    let cause = watched
        .history
        .last_error
        .iter()
        .map(|cause| format!("; last failure: {cause}"));
    let text = Vec::from_iter([text].into_iter().chain(cause)).concat();
    Some(of(watched, Kind::Expiring, text, None))
}

/// Whatever keeps it from being served: what passes by itself is over before
/// the grace is.
fn not_served(watched: &Watched<'_>) -> Option<Condition> {
    match &watched.report.error {
        Some(WorkError::Deploy(error)) => Some(of(
            watched,
            Kind::NotServed,
            error.to_string(),
            error.hint(),
        )),
        Some(WorkError::Store(error)) => Some(of(
            watched,
            Kind::NotServed,
            error.to_string(),
            error.hint(),
        )),
        _ => None,
    }
}

/// A certificate of others that is not served.
pub fn external(external: &External) -> Option<Condition> {
    let error = external.error.as_ref()?;
    Some(Condition {
        kind: Kind::NotServed,
        certificate: Some(external.path.display().to_string()),
        text: error.to_string(),
        hint: error.hint(),
    })
}

/// A certificate of which not even the records can be read.
pub fn unreadable(certificate: &Certificate, error: &StoreError) -> Condition {
    Condition {
        kind: Kind::NotServed,
        certificate: Some(certificate.name.to_string()),
        text: error.to_string(),
        hint: error.hint(),
    }
}

/// What is not as it should be with the programs around us: each HAProxy by
/// its name, if there are several.
pub fn neighbourhood(haproxys: Vec<(String, String)>, agent: Option<String>) -> Vec<Condition> {
    let haproxys = haproxys.into_iter().map(|(name, text)| {
        let hint = "is HAProxy running, and its `stats socket` there?";
        let condition = around(Kind::HaproxyUnreachable, text, hint);
        Condition {
            certificate: (!name.is_empty()).then_some(name),
            ..condition
        }
    });
    let agent = agent.map(|text| {
        let hint = "is spoacme-agent running? No challenge is answered without it";
        around(Kind::AgentUnreachable, text, hint)
    });
    haproxys.chain(agent).collect()
}

fn around(kind: Kind, text: String, hint: &str) -> Condition {
    Condition {
        kind,
        certificate: None,
        text,
        hint: Some(hint.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::manager::Done;
    use crate::names::{CertificateName, DnsName};
    use crate::testing::{Issue, issue};

    /// What was taken back is not served: no second time is waited for.
    #[test]
    fn a_rollback_is_told_at_once_and_a_failure_is_not() {
        let name = DnsName::try_from("a.example".to_owned()).unwrap();
        let certificate = Certificate::new(CertificateName::from(&name), vec![name]);
        let report = Report {
            name: certificate.name,
            done: Done::Nothing,
            error: None,
            not_after: None,
            next: None,
        };
        let leaf = Leaf::from_der(issue(&["a.example"]).leaf()).unwrap();
        let told = |history: &History, now: Timestamp| {
            let watched = Watched {
                report: &report,
                leaf: Some(&leaf),
                history,
            };
            conditions(&watched, Thresholds::default(), now)
        };
        let mut history = History::default();
        history.fail(Issue::NOW, "the CA is out of reach".to_owned());
        assert!(told(&history, Issue::NOW).is_empty());
        history.take_back(Issue::NOW, "HAProxy rejects it".to_owned());
        history.succeed();
        history.take_back(Issue::NOW, "HAProxy rejects it".to_owned());
        assert_eq!((history.failures, history.rollbacks), (2, 2));
        let conditions = told(&history, Issue::NOW);
        assert_eq!(conditions[0].kind, Kind::Failing);
        let text = "issued, but taken back, 2 times in a row: HAProxy rejects it";
        assert_eq!(conditions[0].text, text);
    }
}
