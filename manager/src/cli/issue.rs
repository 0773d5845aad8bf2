//! `spoacme issue` and `spoacme renew`.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{load, output};
use crate::clock;
use crate::config::{Certificate, Config};
use crate::exit::Exit;
use crate::manager::{Done, Manager, Report, When};

/// Issues what is due of `names`, or of all certificates.
pub(super) async fn due(path: &Path, names: &[String], json: bool) -> Exit {
    execute(path, names, When::Due, json).await
}

/// Issues `names`, or all certificates, now.
pub(super) async fn now(path: &Path, names: &[String], json: bool) -> Exit {
    execute(path, names, When::Now, json).await
}

/// The daemon holds the lock only while it works.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

async fn execute(path: &Path, names: &[String], when: When, json: bool) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let chosen = match choose(&config, names) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let manager = match Manager::open(config, clock::now) {
        Ok(manager) => manager,
        Err(error) => return output::fail(&error.to_string(), error.hint().as_deref()),
    };
    let _lock = match manager.lock(LOCK_PATIENCE).await {
        Ok(lock) => lock,
        Err(error) => return output::fail(&error.to_string(), error.hint().as_deref()),
    };
    if let Err(error) = manager.prepare() {
        return output::fail(&error.to_string(), error.hint().as_deref());
    }
    let mut reports = Vec::new();
    for certificate in &chosen {
        reports.push(manager.work(certificate, when).await);
    }
    if json {
        output::print_json(&Vec::from_iter(reports.iter().map(as_json)));
    } else {
        reports.iter().for_each(print);
    }
    judge(&reports)
}

/// The certificates that `names` mean; all if there are none.
pub(super) fn choose(config: &Config, names: &[String]) -> Result<Vec<Certificate>, Exit> {
    if config.certificates.is_empty() {
        let hint = "add [[certificate]] with `names` to the configuration";
        output::fail("no certificate is configured", Some(hint));
        return Err(Exit::Nothing);
    }
    if names.is_empty() {
        return Ok(config.certificates.clone());
    }
    let find = |name: &String| {
        config.certificate(name).cloned().ok_or_else(|| {
            let known = config.certificates.iter().take(10).map(|c| c.name.as_str());
            let hint = format!("configured are: {}", Vec::from_iter(known).join(", "));
            output::fail(
                &format!("no certificate {name:?} is configured"),
                Some(&hint),
            );
            Exit::Usage
        })
    };
    names.iter().map(find).collect()
}

fn print(report: &Report) {
    let name = &report.name;
    let until = report
        .not_after
        .map(|t| format!(", valid until {t}"))
        .unwrap_or_default();
    let next = report
        .next
        .as_ref()
        .map(|s| format!(", next issue {}", s.at))
        .unwrap_or_default();
    match (&report.error, report.done) {
        (Some(error), done) => {
            let done = if done == Done::Issued {
                "issued, but not deployed: "
            } else {
                ""
            };
            output::fail(&format!("{name}: {done}{error}"), error.hint().as_deref());
        }
        (None, Done::Nothing) => output::print(&format!("{name}: nothing to do{until}{next}")),
        (None, Done::Deployed) => output::print(&format!("{name}: deployed{until}{next}")),
        (None, _) => output::print(&format!("{name}: issued and deployed{until}{next}")),
    }
}

fn as_json(report: &Report) -> serde_json::Value {
    json!({
        "name": report.name,
        "done": report.done,
        "error": report.error.as_ref().map(ToString::to_string),
        "hint": report.error.as_ref().and_then(crate::manager::WorkError::hint),
        "not_after": report.not_after,
        "next": report.next.as_ref().map(|step| json!({ "at": step.at, "reason": step.reason })),
    })
}

fn judge(reports: &[Report]) -> Exit {
    let failed = reports
        .iter()
        .filter(|report| report.error.is_some())
        .count();
    let worked = reports
        .iter()
        .filter(|report| report.done != Done::Nothing)
        .count();
    match (failed, worked) {
        (0, 0) => Exit::Nothing,
        (0, _) => Exit::Done,
        (failed, 0) if failed == reports.len() => Exit::Failed,
        _ => Exit::Partly,
    }
}
