//! What came of the runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::fault::Fault;

/// What came of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Whether the command still succeeded.
    pub(super) succeeded: bool,
    /// Commands that were needed afterwards until all was well.
    pub(super) recoveries: usize,
    /// What did not hold, by the invariant's number.
    pub(super) violations: Vec<(u8, String)>,
}

impl Outcome {
    pub(super) fn violate(&mut self, invariant: u8, what: impl Into<String>) {
        self.violations.push((invariant, what.into()));
    }

    /// The violations in one text; nothing if there are none.
    pub(super) fn describe(&self) -> Option<String> {
        let texts = self
            .violations
            .iter()
            .map(|(number, what)| format!("I{number}: {what}"));
        let text = Vec::from_iter(texts).join("; ");
        (!text.is_empty()).then_some(text)
    }
}

/// What came of all runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    families: BTreeMap<String, Row>,
    violations: BTreeMap<u8, usize>,
    /// The failpoints come by.
    pub points: BTreeSet<String>,
    /// Handshakes made meanwhile.
    pub handshakes: usize,
}

#[derive(Clone, Debug, Default)]
struct Row {
    runs: usize,
    succeeded: usize,
    recoveries_max: usize,
    violated: usize,
}

impl Summary {
    pub(super) fn add(&mut self, fault: &Fault, outcome: &Outcome) {
        let row = self.families.entry(fault.family()).or_default();
        row.runs += 1;
        row.succeeded += usize::from(outcome.succeeded);
        row.recoveries_max = row.recoveries_max.max(outcome.recoveries);
        row.violated += usize::from(!outcome.violations.is_empty());
        for (invariant, _) in &outcome.violations {
            *self.violations.entry(*invariant).or_default() += 1;
        }
    }

    /// Whether every invariant held in every run.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:34} {:>6} {:>14} {:>14} {:>9}",
            "fault", "runs", "done all the", "commands until", "violated"
        )?;
        writeln!(
            f,
            "{:34} {:>6} {:>14} {:>14} {:>9}",
            "", "", "same", "well, at most", ""
        )?;
        let mut all = Row::default();
        for (family, row) in &self.families {
            writeln!(
                f,
                "{family:34} {:>6} {:>14} {:>14} {:>9}",
                row.runs, row.succeeded, row.recoveries_max, row.violated
            )?;
            all.runs += row.runs;
            all.succeeded += row.succeeded;
            all.recoveries_max = all.recoveries_max.max(row.recoveries_max);
            all.violated += row.violated;
        }
        writeln!(
            f,
            "{:34} {:>6} {:>14} {:>14} {:>9}",
            "all", all.runs, all.succeeded, all.recoveries_max, all.violated
        )?;
        for (invariant, count) in &self.violations {
            writeln!(f, "I{invariant} violated {count} times")?;
        }
        write!(
            f,
            "{} failpoints; {} handshakes meanwhile",
            self.points.len(),
            self.handshakes
        )
    }
}
