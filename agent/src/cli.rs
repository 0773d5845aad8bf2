//! The command line.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing::Level;
use tracing_subscriber::fmt;

use crate::config::Config;
use crate::run;

/// Answer HAProxy's look-ups for ACME challenge paths, over SPOP.
#[derive(Debug, Parser)]
#[command(name = "spoacme-agent", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// The configuration; without one, the defaults hold
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where HAProxy connects: HOST:PORT, unix:PATH or abns:NAME; may be given again
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,

    /// Where clients publish tokens: a Unix socket
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// How much to log, on stderr: error, warn, info, debug or trace
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "SPOACME_LOG"
    )]
    pub log_level: Level,
}

const EXIT_CODES: &str =
    "Exit codes: 0 stopped, 1 failed, 2 wrong command line, 78 faulty configuration";

/// Runs the agent until it is told to stop.
pub fn main(arguments: Arguments) -> ExitCode {
    start_logs(arguments.log_level);
    let config = match Config::load(arguments) {
        Ok(config) => config,
        Err(error) => return fail(78, &error.to_string(), None),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(run::RunError::Runtime)
        .and_then(|runtime| runtime.block_on(run::run(&config)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string(), error.hint()),
    }
}

/// A look-up costs less than waking a thread for it.
const WORKER_THREADS: usize = 2;

fn start_logs(level: Level) {
    let builder = fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_max_level(level)
        .with_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().init();
    } else {
        builder.init();
    }
}

fn fail(code: u8, message: &str, hint: Option<&str>) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for line in message.lines() {
        let _ = writeln!(stderr, "spoacme-agent: {line}");
    }
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
    ExitCode::from(code)
}
