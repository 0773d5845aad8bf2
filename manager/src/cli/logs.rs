//! Logs, on stderr.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Arguments, LogLevel, Verb};

/// Starts logging as `arguments` say: with the time for the daemon, which
/// journald would only repeat; without it for a command at a terminal.
pub fn start(arguments: &Arguments) {
    let builder = fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level(arguments.log_level))
        .with_target(false);
    let with_time =
        matches!(arguments.verb, Verb::Run) && std::env::var_os("JOURNAL_STREAM").is_none();
    let started = if with_time {
        builder.finish().try_init()
    } else {
        builder.without_time().finish().try_init()
    };
    // Only a second start can fail, and then the first one logs.
    let _ = started;
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
