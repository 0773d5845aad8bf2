//! `spoacme`, the manager: command line and daemon.

use std::process::ExitCode;

use clap::Parser;
use spoacme::cli::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::logs::start(&arguments);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(cli::execute(arguments)).into(),
        Err(error) => cli::output::fail(&format!("cannot start: {error}"), None).into(),
    }
}
