//! Issue after issue, while faults come and go.
#![expect(clippy::print_stdout, reason = "the table of a test run")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use spoacme_tests::fleet::{Fleet, Node, SIZE};
use spoacme_tests::haproxy::Release;
use spoacme_tests::manager::Ended;
use spoacme_tests::pebble::Options;
use spoacme_tests::process::Signal;
use spoacme_tests::wait::{ensure, until};

use super::{NAME, fleet};

/// What befalls one load balancer that is not the one that issues.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fault {
    Nothing,
    AgentKilled,
    AgentStops,
    HaproxyReloadsAgainAndAgain,
    HaproxyStopsForAMoment,
    KeepalivedKilled,
    CablePulled,
    ManagerRestarted,
}

const FAULTS: [Fault; 8] = [
    Fault::Nothing,
    Fault::AgentKilled,
    Fault::AgentStops,
    Fault::HaproxyReloadsAgainAndAgain,
    Fault::HaproxyStopsForAMoment,
    Fault::KeepalivedKilled,
    Fault::CablePulled,
    Fault::ManagerRestarted,
];

/// For each fleet, of which there is one for each version of HAProxy, unless
/// the environment variable `SPOACME_STORM` says otherwise.
const ISSUES: u64 = 25;

/// The same gives the same faults; the variable `SPOACME_SEED` gives those of
/// an earlier run again.
const SEED: u64 = 0x5eed;

/// What came of an issue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Issued(Duration),
    /// The CA was waiting for an answer through a cable when it was pulled.
    BeyondHelp,
    Failed,
}

/// What came of the issues, by fault.
static TABLE: Mutex<BTreeMap<Fault, Vec<Outcome>>> = Mutex::new(BTreeMap::new());

pub(crate) fn tell(release: &Release) -> Result<(), String> {
    let mut fleet = fleet(release, &Options::default())?;
    for node in &mut fleet.nodes {
        node.restart_daemon()?;
    }
    until("a certificate of each", || {
        ensure(fleet.pebble.issued() == SIZE, fleet.pebble.log())
    })?;
    // Each fleet has faults of its own.
    let own = release.series.bytes().map(u64::from).sum::<u64>();
    let seed = from_environment("SPOACME_SEED", SEED + own)?;
    let mut random = Random(seed);
    let mut failed = Vec::new();
    for number in 0..from_environment("SPOACME_STORM", ISSUES)? {
        let issuer = random.below(SIZE);
        let struck = (issuer + 1 + random.below(SIZE - 1)) % SIZE;
        let fault = FAULTS[random.below(FAULTS.len())];
        fleet.forget();
        let (ended, took) = issue_during(&mut fleet, issuer, struck, fault, &mut random)?;
        let outcome = judge(&fleet, struck, fault, &ended, took);
        let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        table.entry(fault).or_default().push(outcome);
        drop(table);
        let told = format!(
            "{number} of seed {seed}: {fault:?} of {struck}, {issuer} issues: {}{}",
            ended.stdout, ended.stderr
        );
        match outcome {
            Outcome::Issued(_) => {}
            Outcome::BeyondHelp => println!("beyond help: {told}"),
            Outcome::Failed => failed.push(format!("{told}\n{}", fleet.tell())),
        }
        mend(&mut fleet, struck)?;
    }
    ensure(failed.is_empty(), failed.join("\n"))
}

fn from_environment(name: &str, otherwise: u64) -> Result<u64, String> {
    match std::env::var(name) {
        Ok(value) => value.parse().map_err(|error| format!("{name}: {error}")),
        Err(_) => Ok(otherwise),
    }
}

/// Issues; at some moment of that, the fault strikes. Returns what was said,
/// and how long the issue took.
fn issue_during(
    fleet: &mut Fleet,
    issuer: usize,
    struck: usize,
    fault: Fault,
    random: &mut Random,
) -> Result<(Ended, Duration), String> {
    let nodes = fleet.nodes.get_disjoint_mut([issuer, struck]);
    let [issuer, struck] = nodes.map_err(|error| error.to_string())?;
    let [moment, length] = [MOMENT_MAX, STOP_MAX].map(|limit| random.up_to(limit));
    thread::scope(|scope| {
        let issue = scope.spawn(|| {
            let begun = Instant::now();
            let ended = issuer.call(&["renew", NAME])?;
            Ok::<_, String>((ended, begun.elapsed()))
        });
        // The moment is part of the seed, and of no consequence to the outcome.
        thread::sleep(moment);
        strike(struck, fault, length, &issue)?;
        issue.join().unwrap_or_else(|_| Err("panicked".to_owned()))
    })
}

/// An issue without a fault takes about as long.
const MOMENT_MAX: Duration = Duration::from_millis(600);

/// How long a HAProxy stops: three times what its neighbours wait for it.
const STOP_MAX: Duration = Duration::from_millis(1500);

fn strike<T>(
    node: &mut Node,
    fault: Fault,
    length: Duration,
    issue: &ScopedJoinHandle<'_, T>,
) -> Result<(), String> {
    match fault {
        Fault::Nothing => {}
        Fault::AgentKilled => node.agent = None,
        Fault::AgentStops => signal_agent(node, Signal::STOP)?,
        Fault::KeepalivedKilled => node.kill_keepalived(),
        Fault::CablePulled => node.machine.plug(false)?,
        Fault::ManagerRestarted => node.restart_daemon()?,
        Fault::HaproxyReloadsAgainAndAgain => {
            let haproxy = node.haproxy.as_ref().ok_or("no HAProxy")?;
            while !issue.is_finished() {
                haproxy.reload()?;
            }
        }
        Fault::HaproxyStopsForAMoment => {
            let haproxy = node.haproxy.as_ref().ok_or("no HAProxy")?;
            haproxy.signal_worker(Signal::STOP)?;
            thread::sleep(length);
            haproxy.signal_worker(Signal::CONT)?;
        }
    }
    Ok(())
}

fn signal_agent(node: &Node, signal: Signal) -> Result<(), String> {
    let agent = node.agent.as_ref().ok_or("no agent")?;
    agent.signal(signal)
}

fn judge(fleet: &Fleet, struck: usize, fault: Fault, ended: &Ended, took: Duration) -> Outcome {
    if ended.code() == Some(0) {
        return Outcome::Issued(took);
    }
    // Its answer could not come back, and no neighbour knew of the question;
    // what the others were asked, they have answered.
    let asked = fleet.validations();
    let is_good = |number: usize| asked[number].iter().all(|request| request.status == 200);
    let others_are_good = (0..SIZE).filter(|n| *n != struck).all(is_good);
    match fault {
        Fault::CablePulled if !asked[struck].is_empty() && others_are_good => Outcome::BeyondHelp,
        _ => Outcome::Failed,
    }
}

/// Everything is well again before the next fault.
fn mend(fleet: &mut Fleet, struck: usize) -> Result<(), String> {
    let node = &mut fleet.nodes[struck];
    node.machine.plug(true)?;
    if node.agent.is_none() {
        node.start_agent()?;
    }
    signal_agent(node, Signal::CONT)?;
    if !node.has_keepalived() {
        node.start_keepalived()?;
    }
    fleet.wait()
}

/// SplitMix64 (Steele, Lea, Flood 2014): a seed is enough to tell a storm again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or_default() % limit
    }

    fn up_to(&mut self, limit: Duration) -> Duration {
        let share = u32::try_from(self.next() >> 48).unwrap_or_default();
        limit * share / (1 << 16)
    }
}

/// Prints what the storms did.
pub(crate) fn print_table() {
    let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    if table.is_empty() {
        return;
    }
    println!(
        "\n{:32}{:>8}{:>8}{:>13}{:>10}{:>10}",
        "fault of a neighbour", "issues", "failed", "beyond help", "p50 ms", "p99 ms"
    );
    for (fault, outcomes) in table.iter() {
        let count = |wanted| outcomes.iter().filter(|&&o| o == wanted).count();
        let (failed, beyond) = (count(Outcome::Failed), count(Outcome::BeyondHelp));
        let mut times = Vec::from_iter(outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Issued(took) => Some(took.as_millis()),
            Outcome::BeyondHelp | Outcome::Failed => None,
        }));
        times.sort_unstable();
        let at = |percent: usize| {
            times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        };
        let [p50, p99] = [at(50), at(99)].map(|time| time.copied().unwrap_or_default());
        println!(
            "{:32}{:>8}{failed:>8}{beyond:>13}{p50:>10}{p99:>10}",
            format!("{fault:?}"),
            outcomes.len()
        );
    }
}
