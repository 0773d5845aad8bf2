//! Stories down, versions of HAProxy across.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report of a test run"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use spoacme_tests::haproxy::{Release, SERIES};
use spoacme_tests::pebble;

/// What came of each story on each version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    rows: Arc<Mutex<BTreeMap<&'static str, BTreeMap<String, bool>>>>,
}

impl Matrix {
    pub(crate) fn note(&self, story: &'static str, release: &Release, passed: bool) {
        if let Ok(mut rows) = self.rows.lock() {
            rows.entry(story)
                .or_default()
                .insert(release.series.clone(), passed);
        }
    }

    pub(crate) fn print(&self, releases: &[Release]) {
        let Ok(rows) = self.rows.lock() else { return };
        if rows.is_empty() {
            return;
        }
        println!(
            "\n{:50}{}",
            "HAProxy",
            SERIES.map(|series| format!("{series:>8}")).concat()
        );
        for (story, cells) in rows.iter() {
            let cells = SERIES.map(|series| match cells.get(series) {
                Some(true) => format!("{:>8}", "ok"),
                Some(false) => format!("{:>8}", "FAILED"),
                None => format!("{:>8}", "-"),
            });
            println!("{story:50}{}", cells.concat());
        }
        let exact: Vec<_> = releases
            .iter()
            .map(|release| release.exact.as_str())
            .collect();
        println!(
            "\nHAProxy {}; Pebble {}",
            exact.join(", "),
            pebble::version()
        );
        for series in SERIES
            .iter()
            .filter(|s| releases.iter().all(|r| r.series != **s))
        {
            println!("HAProxy {series} was not found: scripts/haproxy-versions says why");
        }
    }
}

/// Fails the run before it begins.
pub(crate) fn refuse(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
