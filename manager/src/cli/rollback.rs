//! `spoacme rollback`: the certificate before the newest is served again.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{issue, load, output};
use crate::clock;
use crate::exit::Exit;
use crate::manager::Manager;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A certificate, by what it is called or by one of its names
    #[arg(value_name = "NAME")]
    name: String,

    /// The generation to go back to [default: the one before the newest]
    #[arg(long, value_name = "GENERATION")]
    to: Option<u64>,
}

pub(super) async fn execute(path: &Path, options: &Options, json: bool) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let name = std::slice::from_ref(&options.name);
    let chosen = match issue::choose(&config, name) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let manager = match Manager::open(config, clock::now) {
        Ok(manager) => manager,
        Err(error) => return output::fail(&error.to_string(), error.hint().as_deref()),
    };
    let _lock = match manager.lock(issue::LOCK_PATIENCE).await {
        Ok(lock) => lock,
        Err(error) => return output::fail(&error.to_string(), error.hint().as_deref()),
    };
    for certificate in &chosen {
        match manager.roll_back(certificate, options.to).await {
            Ok(generation) if json => {
                output::print_json(&json!({ "name": certificate.name, "generation": generation }));
            }
            Ok(generation) => output::print(&format!(
                "{}: generation {generation} is served again; `spoacme deploy --again {}` undoes it",
                certificate.name, certificate.name
            )),
            Err(error) => {
                let text = format!("{}: {error}", certificate.name);
                return output::fail(&text, error.hint().as_deref());
            }
        }
    }
    Exit::Done
}
