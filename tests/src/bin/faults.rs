//! `faults RUNS [SEED]`: things go wrong at random steps, and the invariants
//! are checked after each (`scripts/faults`).
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use spoacme_tests::faults;

fn main() -> ExitCode {
    let arguments = Vec::from_iter(std::env::args().skip(1));
    let numbers = Vec::from_iter(arguments.iter().map(|text| text.parse::<u64>().ok()));
    let (runs, seed) = match numbers[..] {
        [Some(runs)] => (runs, seed_of_today()),
        [Some(runs), Some(seed)] => (runs, seed),
        _ => {
            println!("usage: faults RUNS [SEED]");
            return ExitCode::from(2);
        }
    };
    println!("{runs} runs, seed {seed}");
    let begun = Instant::now();
    let runs = usize::try_from(runs).unwrap_or(usize::MAX);
    let outcome = faults::run(runs, seed, |violation| println!("{violation}"));
    match outcome {
        Ok(summary) => {
            println!("\n{summary}; {} s, seed {seed}", begun.elapsed().as_secs());
            match summary.is_clean() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Another one each time, and printed.
#[expect(
    clippy::disallowed_methods,
    reason = "any number does, and none is taken for a time"
)]
fn seed_of_today() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |now| now.as_secs())
}
