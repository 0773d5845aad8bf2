//! Issue after issue, while faults come and go.
#![expect(clippy::print_stdout, reason = "the table of a test run")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use spoacme_tests::fleet::{Fleet, Node, SIZE};
use spoacme_tests::haproxy::Release;
use spoacme_tests::pebble::Options;
use spoacme_tests::process::Signal;
use spoacme_tests::wait::ensure;

use super::{NAME, fleet};

/// What befalls one load balancer that is not the one that issues.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fault {
    Nothing,
    AgentKilled,
    HaproxyReloaded,
    HaproxyStopsForAMoment,
    KeepalivedKilled,
    CablePulled,
}

const FAULTS: [Fault; 6] = [
    Fault::Nothing,
    Fault::AgentKilled,
    Fault::HaproxyReloaded,
    Fault::HaproxyStopsForAMoment,
    Fault::KeepalivedKilled,
    Fault::CablePulled,
];

/// For each fleet; there is one for each version of HAProxy.
const ISSUES: u64 = 25;

/// Anything will do; the same gives the same storm.
const SEED: u64 = 0x5eed;

/// How long each issue took, by fault; those that failed have none.
static TABLE: Mutex<BTreeMap<Fault, Vec<Option<Duration>>>> = Mutex::new(BTreeMap::new());

pub(crate) fn tell(release: &Release) -> Result<(), String> {
    let mut fleet = fleet(release, &Options::default())?;
    let mut random = Random(SEED);
    let mut failed = Vec::new();
    for number in 0..ISSUES {
        let issuer = random.below(SIZE);
        let struck = (issuer + 1 + random.below(SIZE - 1)) % SIZE;
        let fault = FAULTS[random.below(FAULTS.len())];
        fleet.forget();
        let (took, said) = issue_during(&mut fleet, issuer, struck, fault)?;
        let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .entry(fault)
            .or_default()
            .push(said.is_none().then_some(took));
        drop(table);
        failed.extend(said.map(|said| {
            format!(
                "{number}: {fault:?} of {struck}, {issuer} issues: {said}\n{}",
                fleet.tell()
            )
        }));
        mend(&mut fleet, struck)?;
    }
    ensure(failed.is_empty(), failed.join("\n"))
}

/// Issues while the fault strikes; returns how long it took, and what was
/// said if it failed.
fn issue_during(
    fleet: &mut Fleet,
    issuer: usize,
    struck: usize,
    fault: Fault,
) -> Result<(Duration, Option<String>), String> {
    let begun = Instant::now();
    strike(&mut fleet.nodes[struck], fault)?;
    let nodes = &fleet.nodes;
    let ended = thread::scope(|scope| {
        let during = scope.spawn(|| go_on(&nodes[struck], fault));
        let ended = nodes[issuer].call(&["renew", NAME])?;
        during
            .join()
            .unwrap_or_else(|_| Err("panicked".to_owned()))?;
        Ok::<_, String>(ended)
    })?;
    let said = (ended.code() != Some(0)).then(|| format!("{}{}", ended.stdout, ended.stderr));
    Ok((begun.elapsed(), said))
}

/// What happens before the issue begins.
fn strike(node: &mut Node, fault: Fault) -> Result<(), String> {
    match fault {
        Fault::AgentKilled => node.agent = None,
        Fault::KeepalivedKilled => node.kill_keepalived(),
        Fault::CablePulled => node.machine.plug(false)?,
        _ => {}
    }
    Ok(())
}

/// What happens while it goes on.
fn go_on(node: &Node, fault: Fault) -> Result<(), String> {
    let haproxy = node.haproxy.as_ref().ok_or("no HAProxy")?;
    match fault {
        Fault::HaproxyReloaded => haproxy.reload(),
        Fault::HaproxyStopsForAMoment => {
            haproxy.signal_worker(Signal::STOP)?;
            thread::sleep(MOMENT);
            haproxy.signal_worker(Signal::CONT)
        }
        _ => Ok(()),
    }
}

/// As long as a fault lasts that nobody is told of.
const MOMENT: Duration = Duration::from_millis(400);

/// Everything is well again before the next fault.
fn mend(fleet: &mut Fleet, struck: usize) -> Result<(), String> {
    let node = &mut fleet.nodes[struck];
    node.machine.plug(true)?;
    if node.agent.is_none() {
        node.start_agent()?;
    }
    if !node.has_keepalived() {
        node.start_keepalived()?;
    }
    fleet.wait()
}

/// SplitMix64 (Steele, Lea, Flood 2014): a seed is enough to tell a storm again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).unwrap_or_default() % limit
    }
}

/// Prints what the storms did.
pub(crate) fn print_table() {
    let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    if table.is_empty() {
        return;
    }
    println!(
        "\n{:28}{:>8}{:>8}{:>10}{:>10}",
        "fault of a neighbour", "issues", "failed", "p50 ms", "p99 ms"
    );
    for (fault, outcomes) in table.iter() {
        let mut times = Vec::from_iter(outcomes.iter().flatten().map(Duration::as_millis));
        times.sort_unstable();
        let at = |percent: usize| {
            times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        };
        let [p50, p99] = [at(50), at(99)].map(|time| time.copied().unwrap_or_default());
        let failed = outcomes.len() - times.len();
        println!(
            "{:28}{:>8}{failed:>8}{p50:>10}{p99:>10}",
            format!("{fault:?}"),
            outcomes.len()
        );
    }
}
