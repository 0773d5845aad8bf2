//! `spoacme config check`.

use std::path::Path;

use serde_json::json;

use super::{complain, output};
use crate::config::{Config, ConfigError};
use crate::exit::Exit;

pub(super) fn execute(path: &Path, json: bool) -> Exit {
    let loaded = Config::load(path);
    if json {
        output::print_json(&as_json(&loaded));
    }
    match loaded {
        Ok(_) if json => Exit::Done,
        Ok(config) => {
            let count = config.certificates.len();
            output::print(&format!("{}: valid, {count} certificates", path.display()));
            Exit::Done
        }
        Err(_) if json => Exit::BadConfiguration,
        Err(error) => complain(&error),
    }
}

fn as_json(loaded: &Result<Config, ConfigError>) -> serde_json::Value {
    match loaded {
        Ok(config) => json!({ "valid": true, "certificates": config.certificates.len() }),
        Err(ConfigError::Problems(problems)) => {
            let problem = |p: &crate::config::Problem| json!({ "file": p.file, "line": p.line, "message": p.message });
            json!({ "valid": false, "problems": Vec::from_iter(problems.iter().map(problem)) })
        }
        Err(error) => json!({ "valid": false, "problems": [{ "message": error.to_string() }] }),
    }
}
