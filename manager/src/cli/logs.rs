//! Logs, on stderr or in the journal.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

use super::progress::Stderr;
use super::{Arguments, Verb};

/// How much to log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// What log lines look like.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogFormat {
    /// journald when systemd has started it, human on a terminal, else logfmt
    Auto,
    /// For the eye
    Human,
    /// `key=value` pairs
    Logfmt,
    /// One JSON object a line
    Json,
    /// Native entries of the journal, their fields in capitals
    Journald,
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Starts logging as `arguments` say.
pub fn start(arguments: &Arguments) {
    let level = level(arguments.log_level);
    // What libraries say below "info" is about themselves.
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target("spoacme", level);
    let is_daemon = matches!(arguments.verb, Verb::Run);
    let layer = layer(arguments.log_format, is_daemon).with_filter(filter);
    // Only a second start can fail, and then the first one logs.
    let _ = registry().with(layer).try_init();
}

fn layer<S>(format: LogFormat, is_daemon: bool) -> BoxedLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match format {
        LogFormat::Auto => layer(automatic(), is_daemon),
        LogFormat::Human => human(is_daemon),
        LogFormat::Logfmt => tracing_logfmt::builder()
            .with_target(false)
            .layer()
            .with_writer(|| Stderr)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_writer(|| Stderr)
            .boxed(),
        // Without a journal there is stderr.
        LogFormat::Journald => match tracing_journald::layer() {
            Ok(layer) => layer.with_field_prefix(Some("SPOACME".to_owned())).boxed(),
            Err(_) => human(is_daemon),
        },
    }
}

/// systemd sets `JOURNAL_STREAM` for what it starts (systemd.exec(5)).
fn automatic() -> LogFormat {
    let is_terminal = io::stderr().is_terminal();
    match std::env::var_os("JOURNAL_STREAM") {
        Some(_) if !is_terminal => LogFormat::Journald,
        _ if is_terminal => LogFormat::Human,
        _ => LogFormat::Logfmt,
    }
}

/// With the time for the daemon, without it for a command at a terminal.
fn human<S>(is_daemon: bool) -> BoxedLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer()
        .with_writer(|| Stderr)
        .with_ansi(has_colour())
        .with_target(false);
    if is_daemon {
        layer.boxed()
    } else {
        layer.without_time().boxed()
    }
}

/// <https://no-color.org>
fn has_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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
