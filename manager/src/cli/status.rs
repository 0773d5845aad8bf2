//! `spoacme status`: what is issued, on disk, in HAProxy, and served.

use std::path::Path;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use spoacme_control::Client as Agent;
use spoacme_haproxy::runtime::Client as HaproxyClient;

use super::{issue, load, output};
use crate::clock;
use crate::config::{Certificate, Config};
use crate::deploy::{Deployer, Facts, Finding};
use crate::exit::Exit;
use crate::manager::next_step;
use crate::schedule::{History, Step};
use crate::store::{Store, StoreError};

/// Everything about one certificate.
struct Row {
    certificate: Certificate,
    facts: Facts,
    next: Step,
    history: History,
}

pub(super) async fn execute(path: &Path, names: &[String], json: bool) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let chosen = match issue::choose(&config, names) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let now = clock::now();
    let mut rows = Vec::new();
    for certificate in chosen {
        match gather(&config, certificate, now).await {
            Ok(row) => rows.push(row),
            Err(exit) => return exit,
        }
    }
    let haproxy = describe_haproxy(&config).await;
    let agent = describe_agent(&config).await;
    if json {
        let rows: Vec<_> = rows.iter().map(as_json).collect();
        output::print_json(&json!({ "haproxy": haproxy, "agent": agent, "certificates": rows }));
    } else {
        output::print(&format!(
            "HAProxy  {haproxy}\nagent    {agent}\n\n{}",
            table(&rows, now)
        ));
    }
    judge(&rows)
}

async fn gather(config: &Config, certificate: Certificate, now: Timestamp) -> Result<Row, Exit> {
    let store = Store::existing(&config.state_directory);
    let fail = |error: StoreError| output::fail(&error.to_string(), error.hint().as_deref());
    let facts = Deployer::new(&store, &config.haproxy)
        .facts(&certificate)
        .await;
    let facts = facts.map_err(|error| output::fail(&error.to_string(), error.hint().as_deref()))?;
    let next = next_step(&store, &certificate, now).map_err(fail)?;
    let history = store.history(&certificate.name).map_err(fail)?;
    Ok(Row {
        certificate,
        facts,
        next,
        history,
    })
}

async fn describe_haproxy(config: &Config) -> String {
    match HaproxyClient::new(config.haproxy.socket.clone())
        .show_info()
        .await
    {
        Ok(info) => format!("{}, pid {}", info.version, info.pid),
        Err(error) => format!("not reachable: {error}"),
    }
}

async fn describe_agent(config: &Config) -> String {
    match Agent::new(&config.agent.control).stats().await {
        Ok(stats) => format!("{}, {} tokens", stats.version, stats.tokens),
        Err(error) => format!("not reachable: {error}"),
    }
}

fn table(rows: &[Row], now: Timestamp) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "CERTIFICATE",
        "ISSUED",
        "ON DISK",
        "IN HAPROXY",
        "SERVED",
        "NEXT ISSUE",
    ]);
    for row in rows {
        table.add_row([
            row.certificate.name.to_string(),
            issued(&row.facts, now),
            row.facts.disk.describe().to_owned(),
            row.facts.runtime.describe().to_owned(),
            served(&row.facts),
            next(row, now),
        ]);
    }
    let notes = rows.iter().filter_map(note);
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.chain(notes).collect::<Vec<_>>().join("\n")
}

fn issued(facts: &Facts, now: Timestamp) -> String {
    let Some(issued) = &facts.issued else {
        return "no".to_owned();
    };
    let left = issued.leaf.not_after.duration_since(now);
    if left.is_negative() {
        return format!("#{}, EXPIRED", issued.generation);
    }
    format!("#{}, {} left", issued.generation, in_words(left))
}

/// One word if all addresses agree, else how many serve it.
fn served(facts: &Facts) -> String {
    let good = facts
        .wire
        .iter()
        .filter(|wire| wire.finding == Finding::Served)
        .count();
    match facts
        .wire
        .iter()
        .find(|wire| wire.finding != Finding::Served)
    {
        None if facts.wire.is_empty() => "not checked".to_owned(),
        None => "newest".to_owned(),
        Some(wire) if good == 0 => wire.finding.describe(),
        Some(wire) => {
            format!(
                "{good} of {}, {}: {}",
                facts.wire.len(),
                wire.address,
                wire.finding.describe()
            )
        }
    }
}

fn next(row: &Row, now: Timestamp) -> String {
    let wait = row.next.at.duration_since(now);
    if wait.is_positive() {
        format!("in {}", in_words(wait))
    } else {
        "due".to_owned()
    }
}

/// What failed last, below the table.
fn note(row: &Row) -> Option<String> {
    let error = row.history.last_error.as_ref()?;
    let name = &row.certificate.name;
    Some(format!(
        "\n{name}: {} failed attempts; the last: {error}",
        row.history.failures
    ))
}

/// The largest unit that is not zero, and the next one where it matters.
fn in_words(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86400, seconds / 3600, seconds / 60) {
        (days @ 3.., _, _) => format!("{days}d"),
        (_, hours @ 3.., _) => format!("{hours}h"),
        (_, _, minutes @ 3..) => format!("{minutes}min"),
        _ => format!("{seconds}s"),
    }
}

fn as_json(row: &Row) -> serde_json::Value {
    json!({
        "name": row.certificate.name,
        "names": row.certificate.names,
        "agree": row.facts.agree(),
        "facts": row.facts,
        "next": { "at": row.next.at, "reason": row.next.reason },
        "history": row.history,
    })
}

fn judge(rows: &[Row]) -> Exit {
    let good = rows.iter().filter(|row| row.facts.agree()).count();
    match good {
        good if good == rows.len() => Exit::Done,
        0 => Exit::Failed,
        _ => Exit::Partly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_the_unit_that_matters() {
        for (seconds, words) in [
            (59, "59s"),
            (179, "179s"),
            (180, "3min"),
            (10_800, "3h"),
            (86_400 * 2, "48h"),
            (86_400 * 60, "60d"),
        ] {
            assert_eq!(in_words(SignedDuration::from_secs(seconds)), words);
        }
    }
}
