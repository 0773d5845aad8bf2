//! The end-to-end stories, each on every HAProxy found.
//!
//! `cargo test -p spoacme-tests -- --list` names them; a word after `--`
//! chooses, such as `renewal` or `haproxy-2.6`.

mod alerts;
mod authority;
mod bad_days;
mod check;
mod configuration;
mod deploy;
mod drift;
mod external;
mod fleet;
mod issue;
mod lookup;
mod many;
mod matrix;
mod neighbours;
mod outage;
mod restart;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use spoacme_tests::haproxy::{Release, releases};

use matrix::Matrix;

/// A story: what it tells, and how.
type Story = (&'static str, fn(&Release) -> Result<(), String>);

const STORIES: [&[Story]; 15] = [
    configuration::STORIES,
    lookup::STORIES,
    many::STORIES,
    check::STORIES,
    alerts::STORIES,
    fleet::STORIES,
    neighbours::STORIES,
    outage::STORIES,
    issue::STORIES,
    authority::STORIES,
    deploy::STORIES,
    drift::STORIES,
    external::STORIES,
    restart::STORIES,
    bad_days::STORIES,
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let releases = match releases() {
        Ok(releases) => releases,
        Err(error) => return matrix::refuse(&error),
    };
    let matrix = Matrix::default();
    let mut trials = Vec::new();
    for &(name, story) in STORIES.iter().copied().flatten() {
        for release in &releases {
            trials.push(trial(name, story, release.clone(), matrix.clone()));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    check::print_confusion();
    fleet::print_table();
    matrix.print(&releases);
    conclusion.exit_code()
}

fn trial(
    name: &'static str,
    story: fn(&Release) -> Result<(), String>,
    release: Release,
    matrix: Matrix,
) -> Trial {
    let title = format!("{name}::haproxy-{}", release.series);
    Trial::test(title, move || {
        let outcome = story(&release);
        matrix.note(name, &release, outcome.is_ok());
        outcome.map_err(Failed::from)
    })
}
