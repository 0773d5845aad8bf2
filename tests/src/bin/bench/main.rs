//! The measurements that `scripts/bench` runs, each on every HAProxy found.
#![expect(clippy::print_stdout, reason = "it prints tables")]

mod chart;
mod neighbours;
mod reconcile;
mod swap;
mod times;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Vec::from_iter(std::env::args().skip(1));
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["neighbours", requests] => number(requests).and_then(neighbours::run),
        ["reconcile", certificates] => number(certificates).and_then(reconcile::run),
        ["swap", size] => swap::Size::parse(size).and_then(|size| swap::run(&size, None)),
        ["swap", size, "--chart", path] => {
            swap::Size::parse(size).and_then(|size| swap::run(&size, Some(path.as_ref())))
        }
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: bench neighbours REQUESTS\n\
                     \x20      bench reconcile CERTIFICATES\n\
                     \x20      bench swap SWAPS|quick [--chart SVG]";

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}
