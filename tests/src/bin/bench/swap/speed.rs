//! What a swap costs in each way, all in turn.

use std::fmt;
use std::time::{Duration, Instant};

use spoacme_tests::haproxy::Release;
use spoacme_tests::stage::Stage;
use spoacme_tests::tls;
use spoacme_tests::wait::ensure;

use super::recorder::record;
use super::store::{Bundle, Hot, fill};
use super::ways::{Target, Way};
use crate::chart::Bar;
use crate::times::Times;

/// How much is done.
pub(super) struct Size {
    /// How many HAProxy holds.
    pub(super) certificates: usize,
    steps: usize,
}

impl Size {
    pub(super) const FULL: Self = Self {
        certificates: 10_000,
        steps: 25 * Way::Reload.every(),
    };
    pub(super) const QUICK: Self = Self {
        certificates: 1000,
        steps: 2 * Way::Reload.every(),
    };
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Speed: {} certificates, {} steps, each way in turn.",
            self.certificates, self.steps
        )
    }
}

impl Way {
    /// Of how many steps one is this way's: those that take long come less
    /// often. No factor in common with the number of orders, so that what
    /// comes next, and finds everything cold, is each of the others in turn.
    const fn every(self) -> usize {
        match self {
            Self::Ours | Self::Replay | Self::Bare => 1,
            Self::AcmeSh => 5,
            Self::Reload => 101,
        }
    }
}

/// The orders of the ways within a step, in turn: nobody always follows the
/// same other one.
const ORDERS: [[usize; 5]; 6] = [
    [0, 1, 2, 3, 4],
    [2, 1, 0, 3, 4],
    [1, 2, 0, 3, 4],
    [0, 2, 1, 3, 4],
    [2, 0, 1, 3, 4],
    [1, 0, 2, 3, 4],
];

/// Measures all ways.
pub(super) fn measure(release: &Release, size: &Size) -> Result<Table, String> {
    let stage = Stage::new(release)?;
    let hot = fill(&stage, size.certificates)?;
    let haproxy = stage.haproxy()?;
    let target = Target::new(&haproxy, stage.path("admin.sock"))?;
    let mut names = Vec::new();
    for hot in hot {
        names.push(Name::new(hot, &stage, &target)?);
    }
    let mut rows = Way::ALL.map(Row::new);
    for step in 0..size.steps {
        for index in ORDERS[step % ORDERS.len()] {
            rows[index].step(step, &mut names, &target, stage.https)?;
        }
    }
    Ok(Table {
        release: release.exact.clone(),
        rows,
    })
}

/// A hot name and the two bundles that it alternates between.
struct Name {
    hot: Hot,
    bundles: [Recorded; 2],
}

struct Recorded {
    bundle: Bundle,
    /// What `swap` sends for it.
    commands: Vec<Vec<u8>>,
}

impl Name {
    fn new(hot: Hot, stage: &Stage, target: &Target<'_>) -> Result<Self, String> {
        let recorded = |generation| {
            let bundle = hot.bundle(generation)?;
            let proxy = stage.path("recorder.sock");
            let swap = || target.swap_at(&proxy, &hot, &bundle);
            let commands = record(&proxy, &target.socket, swap)?;
            Ok::<_, String>(Recorded { bundle, commands })
        };
        let bundles = [recorded(1)?, recorded(2)?];
        Ok(Self { hot, bundles })
    }

    /// Swaps to the other bundle, and says how long it took.
    fn swap(&mut self, way: Way, target: &Target<'_>, port: u16) -> Result<Duration, String> {
        self.bundles.swap(0, 1);
        let Recorded { bundle, commands } = &self.bundles[0];
        self.hot.write(bundle)?;
        let worker = target.haproxy.worker()?;
        let begun = Instant::now();
        match way {
            Way::Ours => target.swap(&self.hot, bundle)?,
            Way::Replay => target.send_all(commands)?,
            Way::Bare => target.send_all(commands.iter().filter(|command| changes(command)))?,
            Way::AcmeSh => target.acme_sh(&self.hot)?,
            Way::Reload => target.reload(worker)?,
        }
        let time = begun.elapsed();
        if way == Way::Reload {
            Target::wait_for_end(worker)?;
        }
        self.expect(bundle, port).map(|()| time)
    }

    /// Whoever swapped, visitors must see it.
    fn expect(&self, bundle: &Bundle, port: u16) -> Result<(), String> {
        let leaf = tls::leaf(port, &self.hot.name)?;
        ensure(
            *leaf == *bundle.der,
            format!("{} is not served", self.hot.name),
        )
    }
}

fn changes(command: &[u8]) -> bool {
    command.starts_with(b"set ") || command.starts_with(b"commit ")
}

/// One way, and how long it took each time.
struct Row {
    way: Way,
    times: Times,
}

impl Row {
    fn new(way: Way) -> Self {
        Self {
            way,
            times: Times::default(),
        }
    }

    /// Swaps the next name, if it is this way's turn.
    fn step(
        &mut self,
        step: usize,
        names: &mut [Name],
        target: &Target<'_>,
        port: u16,
    ) -> Result<(), String> {
        if step.is_multiple_of(self.way.every()) {
            let index = self.times.len() % names.len();
            self.times.push(names[index].swap(self.way, target, port)?);
        }
        Ok(())
    }
}

/// All ways on one HAProxy.
pub(super) struct Table {
    release: String,
    rows: [Row; 5],
}

impl Table {
    /// The swaps per second.
    pub(super) fn bars(&self) -> Vec<Bar> {
        let bar = |row: &Row| Bar {
            name: row.way.name(),
            value: row.times.per_second(),
            is_ours: row.way == Way::Ours,
        };
        self.rows.iter().map(bar).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, ..] = &self.rows;
        writeln!(
            f,
            "{:34}{:>7}{:>9}{:>9}{:>12}{:>12}{:>12}",
            format!("HAProxy {}", self.release),
            "swaps",
            "p50 ms",
            "p99 ms",
            "per second",
            "ours / this",
            "by p50"
        )?;
        for Row { way, times } in &self.rows {
            let [p50, p99] = [50, 99].map(|percent| times.percentile(percent).as_secs_f64());
            writeln!(
                f,
                "{:34}{:>7}{:>9.2}{:>9.2}{:>12.1}{:>12.2}{:>12.2}",
                way.name(),
                times.len(),
                p50 * 1000.0,
                p99 * 1000.0,
                times.per_second(),
                ours.times.per_second() / times.per_second(),
                p50 / ours.times.percentile(50).as_secs_f64()
            )?;
        }
        Ok(())
    }
}
