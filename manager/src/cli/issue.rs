//! `spoacme issue` and `spoacme renew`.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::progress::Progress;
use super::{Caution, load, output};
use crate::clock;
use crate::config::{Certificate, Config};
use crate::exit::Exit;
use crate::manager::{Done, Manager, Report, When};

/// What is done with each certificate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// It is issued if it is due.
    Due,
    /// It is issued, due or not.
    Now,
    /// The staging CA issues it, and nothing else changes.
    Rehearsal,
    /// What was issued is deployed.
    Deployment(Deployment),
}

/// What is deployed against which odds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deployment {
    /// Also what was refused or taken back.
    pub(super) again: bool,
    /// Also in place of something newer.
    pub(super) force: bool,
}

/// The daemon holds the lock for one certificate at a time.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(300);

/// Works on `names`, or on all certificates, one after the other.
pub(super) async fn execute(
    path: &Path,
    names: &[String],
    work: Work,
    caution: Caution,
    json: bool,
) -> Exit {
    let mut config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    config.check.self_test &= !caution.no_self_test;
    let chosen = match choose(&config, names) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let manager = match Manager::open(config, clock::now) {
        Ok(manager) => manager,
        Err(error) => return output::fail(&error.to_string(), error.hint().as_deref()),
    };
    let mut reports = Vec::new();
    // What is under way when the user has enough is on disk, and gone on with.
    let stopped = tokio::select! {
        outcome = work_through(&manager, &chosen, work, json, &mut reports) => match outcome {
            Ok(()) => false,
            Err(exit) => return exit,
        },
        _ = tokio::signal::ctrl_c() => true,
    };
    if json {
        output::print_json(&Vec::from_iter(reports.iter().map(as_json)));
    }
    if stopped {
        let (done, all) = (reports.len(), chosen.len());
        let hint = "the same command goes on from here";
        output::fail(&format!("stopped after {done} of {all}"), Some(hint));
        return Exit::Partly;
    }
    if !json && reports.len() > 1 {
        output::print(&summary(&reports));
    }
    judge(&reports)
}

async fn work_through(
    manager: &Manager,
    chosen: &[Certificate],
    work: Work,
    json: bool,
    reports: &mut Vec<Report>,
) -> Result<(), Exit> {
    let progress = Progress::begin(chosen.len());
    let fail = |error: &str, hint: Option<String>| output::fail(error, hint.as_deref());
    for certificate in chosen {
        progress.name(certificate.name.as_str());
        // For each anew: nobody waits for all of them.
        let lock = manager.lock(LOCK_PATIENCE).await;
        let _lock = lock.map_err(|error| fail(&error.to_string(), error.hint()))?;
        if !matches!(work, Work::Rehearsal) {
            let prepared = manager.prepare_for(certificate);
            prepared.map_err(|error| fail(&error.to_string(), error.hint()))?;
        }
        let report = match work {
            Work::Due => manager.work(certificate, When::Due).await,
            Work::Now => manager.work(certificate, When::Now).await,
            Work::Rehearsal => manager.rehearse(certificate).await,
            Work::Deployment(Deployment { again, force }) => {
                manager.redeploy(certificate, again, force).await
            }
        };
        if !json {
            print(&report);
        }
        reports.push(report);
        progress.step();
    }
    Ok(())
}

fn summary(reports: &[Report]) -> String {
    let count = |is_one: fn(&Report) -> bool| reports.iter().filter(|r| is_one(r)).count();
    let failed = count(|report| report.error.is_some());
    let idle = count(|report| report.error.is_none() && report.done == Done::Nothing);
    let done = reports.len() - failed - idle;
    format!("{done} done, {idle} with nothing to do, {failed} failed")
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
        (None, Done::Rehearsed) => {
            output::print(&format!(
                "{name}: the staging CA issues it; nothing was changed"
            ));
        }
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
