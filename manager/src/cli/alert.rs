//! `spoacme alert test`.

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{load, output};
use crate::alert::{self, Event};
use crate::clock;
use crate::exit::Exit;

#[derive(Debug, Subcommand)]
pub(super) enum AlertVerb {
    /// Send a test alert now
    Test(Destinations),
}

#[derive(Debug, Args)]
pub(super) struct Destinations {
    /// A destination, by its name [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(super) async fn execute(path: &Path, verb: AlertVerb, json: bool) -> Exit {
    let AlertVerb::Test(Destinations { names }) = verb;
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if config.alerts.is_empty() {
        let hint = "add [[alert]] with `smtp`, `webhook` or `command` to the configuration";
        output::fail("no alert is configured", Some(hint));
        return Exit::Nothing;
    }
    if let Some(unknown) = names
        .iter()
        .find(|n| config.alerts.iter().all(|a| a.name != **n))
    {
        let known = Vec::from_iter(config.alerts.iter().map(|alert| alert.name.as_str()));
        let hint = format!("configured are: {}", known.join(", "));
        output::fail(&format!("no alert {unknown:?} is configured"), Some(&hint));
        return Exit::Usage;
    }
    let event = Event::test(clock::now());
    let mut results = Vec::new();
    let chosen = |name: &str| names.is_empty() || names.iter().any(|chosen| chosen == name);
    for alert in config.alerts.iter().filter(|alert| chosen(&alert.name)) {
        let outcome = alert::deliver(alert, &event).await;
        if !json {
            match &outcome {
                Ok(()) => output::print(&format!("{}: delivered", alert.name)),
                Err(cause) => drop(output::fail(&format!("{}: {cause}", alert.name), None)),
            }
        }
        results.push(json!({ "name": alert.name, "error": outcome.err() }));
    }
    if json {
        output::print_json(&results);
    }
    let failed = results
        .iter()
        .filter(|result| !result["error"].is_null())
        .count();
    match failed {
        0 => Exit::Done,
        all if all == results.len() => Exit::Failed,
        _ => Exit::Partly,
    }
}
