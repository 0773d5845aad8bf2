//! The text of `spoacme status`: the worst first, 80 columns wide, and one
//! sentence of cause for each that is not well. Pure.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use jiff::{SignedDuration, Timestamp};

use super::status::Row;
use crate::deploy::{Disk, Facts, Finding, Runtime, Site};

/// The table and the sentences below it.
pub(super) fn render(rows: &[Row], now: Timestamp) -> String {
    let mut rows = Vec::from_iter(rows);
    rows.sort_by_key(|row| (rank(row, now), not_after(row)));
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "CERTIFICATE",
        "VALID",
        "ON DISK",
        "HAPROXY",
        "SERVED",
        "NEXT",
    ]);
    for row in &rows {
        table.add_row([
            shorten(row.certificate.name.as_str()),
            valid(&row.facts, now),
            of_worst(&row.facts, |site| site.disk.describe()),
            of_worst(&row.facts, |site| site.runtime.describe()),
            served(&row.facts),
            next(row, now),
        ]);
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    let causes = Vec::from_iter(rows.iter().filter_map(|row| {
        let cause = cause(row, now)?;
        Some(format!("{}: {cause}", row.certificate.name))
    }));
    let gap = (!causes.is_empty()).then(String::new);
    Vec::from_iter(lines.chain(gap).chain(causes)).join("\n")
}

/// In characters; the other columns need the rest of 80.
const NAME_WIDTH: usize = 24;

fn shorten(name: &str) -> String {
    if name.chars().count() <= NAME_WIDTH {
        return name.to_owned();
    }
    let kept: String = name.chars().take(NAME_WIDTH - 1).collect();
    kept + "…"
}

/// The worst has the lowest.
fn rank(row: &Row, now: Timestamp) -> u8 {
    let is_valid = not_after(row).is_some_and(|end| end > now);
    match (is_valid, row.facts.agree(), row.history.failures) {
        (false, ..) => 0,
        (true, false, _) => 1,
        (true, true, 1..) => 2,
        (true, true, 0) => 3,
    }
}

fn not_after(row: &Row) -> Option<Timestamp> {
    row.facts
        .issued
        .as_ref()
        .map(|issued| issued.leaf.not_after)
}

fn valid(facts: &Facts, now: Timestamp) -> String {
    let Some(issued) = &facts.issued else {
        return "none".to_owned();
    };
    match issued.leaf.not_after.duration_since(now) {
        left if left.is_negative() => "EXPIRED".to_owned(),
        left => in_words(left),
    }
}

fn of_worst<'a>(facts: &'a Facts, say: impl Fn(&'a Site) -> &'a str) -> String {
    facts.worst().map_or("-", say).to_owned()
}

fn served(facts: &Facts) -> String {
    let all = facts.wire().count();
    let good = facts
        .wire()
        .filter(|wire| wire.finding == Finding::Served)
        .count();
    match good {
        _ if all == 0 => "-".to_owned(),
        good if good == all => "yes".to_owned(),
        0 => "no".to_owned(),
        good => format!("{good} of {all}"),
    }
}

fn next(row: &Row, now: Timestamp) -> String {
    match row.next.at.duration_since(now) {
        wait if wait.is_positive() => in_words(wait),
        _ => "due".to_owned(),
    }
}

/// The first thing that is not well, in one sentence.
pub(super) fn cause(row: &Row, now: Timestamp) -> Option<String> {
    let Row { facts, history, .. } = row;
    if history.failures > 0 {
        let failures = match history.failures {
            1 => "the last attempt failed".to_owned(),
            failures => format!("{failures} attempts failed in a row"),
        };
        let error = history.last_error.as_deref().unwrap_or("no cause is known");
        return Some(format!("{failures}: {error}"));
    }
    let Some(issued) = &facts.issued else {
        return Some("none has been issued yet".to_owned());
    };
    if issued.leaf.not_after <= now {
        return Some(format!("it expired at {}", issued.leaf.not_after));
    }
    let site = facts.worst()?;
    let cause = disk_cause(site.disk)
        .or_else(|| runtime_cause(&site.runtime))
        .or_else(|| wire_cause(site))?;
    Some(match facts.sites.len() {
        0 | 1 => cause,
        _ => format!("on {}: {cause}", site.haproxy),
    })
}

fn disk_cause(disk: Disk) -> Option<String> {
    let what = match disk {
        Disk::Newest => return None,
        Disk::Missing => "its file is missing from HAProxy's directory",
        Disk::Placeholder => "its file in HAProxy's directory is a placeholder",
        Disk::Other => "its file in HAProxy's directory holds another certificate",
        Disk::Unreadable => "its file in HAProxy's directory cannot be read",
    };
    Some(what.to_owned())
}

fn runtime_cause(runtime: &Runtime) -> Option<String> {
    Some(match runtime {
        Runtime::Newest => return None,
        Runtime::Other { .. } => "HAProxy has another certificate loaded".to_owned(),
        Runtime::Unused => "HAProxy has it loaded, and uses it nowhere".to_owned(),
        Runtime::NotLoaded => "HAProxy has not loaded it".to_owned(),
        Runtime::Unreachable { why } => format!("HAProxy cannot be asked: {why}"),
    })
}

fn wire_cause(site: &Site) -> Option<String> {
    let bad = site
        .wire
        .iter()
        .find(|wire| wire.finding != Finding::Served)?;
    let finding = bad.finding.describe();
    Some(format!(
        "{} does not serve it for {}: {finding}",
        bad.address, bad.name
    ))
}

/// The largest unit that is not zero, and the next one where it matters.
pub(super) fn in_words(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86400, seconds / 3600, seconds / 60) {
        (days @ 3.., _, _) => format!("{days}d"),
        (_, hours @ 3.., _) => format!("{hours}h"),
        (_, _, minutes @ 3..) => format!("{minutes}min"),
        _ => format!("{seconds}s"),
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

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shorten("example.com"), "example.com");
        let long = shorten("a-very-long-name.of-a-customer.example.com");
        assert_eq!(long.chars().count(), NAME_WIDTH);
    }
}
