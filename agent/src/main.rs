//! `spoacme-agent`.

use std::process::ExitCode;

use clap::Parser;
use spoacme_agent::cli::{self, Arguments};

fn main() -> ExitCode {
    cli::main(Arguments::parse())
}
