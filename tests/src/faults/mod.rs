//! Faults at every step of issuing, deploying and recovering, and what must
//! hold after each.
//!
//! ```text
//! Ground ── HAProxy, agent, CA, visitor: they go on from run to run
//!   run: Fault ──▶ one command ──▶ recovery, as the daemon would ──▶ invariants
//! ```

mod fault;
mod ground;
mod invariants;
mod outcome;
mod random;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::haproxy::{Release, releases};

use ground::Ground;
pub use outcome::Summary;
use random::Random;

/// Makes `runs` runs, spread over every HAProxy found, whose faults are drawn
/// by `seed`; `print` is told of each violation, and how far it has come.
///
/// # Errors
///
/// When the ground cannot be laid, which is no finding about faults.
pub fn run(runs: usize, seed: u64, print: impl Fn(&str) + Sync) -> Result<Summary, String> {
    let summary = Mutex::new(Summary::default());
    let failed = Mutex::new(None);
    let releases = releases()?;
    let next = AtomicUsize::new(0);
    let workers = Vec::from_iter(
        releases
            .iter()
            .flat_map(|release| (0..GROUNDS).map(move |number| (release, number))),
    );
    thread::scope(|scope| {
        for (index, (release, number)) in workers.iter().enumerate() {
            let (summary, failed, next, print) = (&summary, &failed, &next, &print);
            // Shares that add up.
            let share = (runs + workers.len() - 1 - index) / workers.len();
            scope.spawn(move || {
                let random = Random::new(seed, &format!("{} {number}", release.series));
                let worked = work(release, share, random, summary, next, print);
                if let (Err(error), Ok(mut failed)) = (worked, failed.lock()) {
                    *failed = Some(format!("HAProxy {}: {error}", release.series));
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().map_err(|error| error.to_string())? {
        return Err(error);
    }
    summary.into_inner().map_err(|error| error.to_string())
}

/// Runs between two words of progress.
const PROGRESS: usize = 250;

/// Grounds for each HAProxy: a run waits more than it works.
const GROUNDS: usize = 2;

fn work(
    release: &Release,
    runs: usize,
    mut random: Random,
    summary: &Mutex<Summary>,
    next: &AtomicUsize,
    print: &(impl Fn(&str) + Sync),
) -> Result<(), String> {
    let mut ground = Ground::lay(release)?;
    let menu = fault::Menu::read(&ground)?;
    // What was served meanwhile belongs to no run.
    drop(ground.change_visitor());
    for _ in 0..runs {
        let number = next.fetch_add(1, Ordering::Relaxed) + 1;
        let fault = menu.draw(&mut random);
        let outcome = ground.run(&fault)?;
        if let Some(violations) = outcome.describe() {
            print(&format!(
                "run {number}, HAProxy {}: {fault}: {violations}",
                release.series
            ));
            // What is broken stays broken: go on from fresh ground.
            ground = Ground::lay(release)?;
        }
        if number.is_multiple_of(PROGRESS) {
            print(&format!("{number} runs begun"));
        }
        let mut summary = summary.lock().map_err(|error| error.to_string())?;
        summary.add(&fault, &outcome);
    }
    let mut summary = summary.lock().map_err(|error| error.to_string())?;
    summary.points.extend(menu.points());
    summary.handshakes += ground.handshakes();
    Ok(())
}
