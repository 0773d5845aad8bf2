//! Swaps: what one costs, against the ceiling and the usual ways, and whether
//! many of them under load ever serve a visitor anything wrong.

mod endurance;
mod recorder;
mod speed;
mod store;
mod visitors;
mod ways;

use std::fs;
use std::path::Path;

use spoacme_tests::haproxy::releases;

use crate::chart::{Chart, Group};
use crate::number;

/// How much is done.
pub(crate) struct Size {
    speed: speed::Size,
    endurance: endurance::Size,
}

impl Size {
    /// Reads the number of swaps of the endurance run, or `quick`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "quick" => Self {
                speed: speed::Size::QUICK,
                endurance: endurance::Size::QUICK,
            },
            swaps => Self {
                speed: speed::Size::FULL,
                endurance: endurance::Size::full(number(swaps)?),
            },
        })
    }
}

/// Measures, and draws a chart if a path is given.
pub(crate) fn run(size: &Size, chart: Option<&Path>) -> Result<(), String> {
    println!("{}\n{}\n", size.speed, size.endurance);
    let mut groups = Vec::new();
    let mut faults = Vec::new();
    for release in releases()? {
        let table = speed::measure(&release, &size.speed)?;
        println!("{table}");
        groups.push(Group {
            name: format!("HAProxy {}", release.series),
            bars: table.bars(),
        });
        let found = endurance::run(&release, &size.endurance)?;
        println!("{found}\n");
        if !found.is_clean() {
            faults.push(release.series);
        }
    }
    if let Some(path) = chart {
        draw(path, groups, &size.speed)?;
    }
    match faults.as_slice() {
        [] => Ok(()),
        _ => Err(format!("visitors saw faults on {}", faults.join(", "))),
    }
}

fn draw(path: &Path, groups: Vec<Group>, size: &speed::Size) -> Result<(), String> {
    let title = format!(
        "Swaps per second with {} certificates, one after another (logarithmic)",
        size.certificates
    );
    let chart = Chart { title, groups };
    fs::write(path, chart.svg()).map_err(|error| format!("{}: {error}", path.display()))
}
