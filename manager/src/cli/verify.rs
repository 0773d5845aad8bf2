//! `spoacme verify`: what is served, proven by handshakes.

use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{issue, load, output};
use crate::config::{Certificate, Config};
use crate::deploy::{DeployError, Deployer, Facts, Finding};
use crate::exit::Exit;
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A certificate, by what it is called or by one of its names [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Ask there instead of at the addresses in `verify`; an address may be
    /// that of another machine
    #[arg(long, value_name = "IP:PORT")]
    address: Vec<SocketAddr>,
}

pub(super) async fn execute(path: &Path, options: &Options, json: bool) -> Exit {
    let mut config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let chosen = match issue::choose(&config, &options.names) {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    if !options.address.is_empty() {
        // Somewhere else is no other HAProxy of ours: one is enough.
        config.haproxys.truncate(1);
        for haproxy in &mut config.haproxys {
            haproxy.verify.clone_from(&options.address);
        }
    }
    let mut reports = Vec::new();
    for certificate in &chosen {
        match look(&config, certificate).await {
            Ok(facts) => reports.push((certificate, facts)),
            Err(error) => return output::fail(&error.to_string(), error.hint().as_deref()),
        }
    }
    if json {
        let reports = reports
            .iter()
            .map(|(certificate, facts)| as_json(certificate, facts));
        output::print_json(&Vec::from_iter(reports));
    } else {
        let texts = reports
            .iter()
            .map(|(certificate, facts)| as_text(certificate, facts));
        output::print(&Vec::from_iter(texts).join("\n"));
    }
    judge(&reports)
}

async fn look(config: &Config, certificate: &Certificate) -> Result<Facts, DeployError> {
    let store = Store::existing(&config.state_directory);
    let deployer = Deployer::new(&store, &config.haproxys);
    deployer.facts(certificate).await
}

fn as_text(certificate: &Certificate, facts: &Facts) -> String {
    if facts.issued.is_none() {
        return format!("{}: nothing was issued yet", certificate.name);
    }
    if facts.wire().count() == 0 {
        return format!("{}: `verify` names no address to ask", certificate.name);
    }
    let looks = facts.wire().map(|wire| {
        let (address, name, what) = (wire.address, &wire.name, wire.finding.describe());
        format!("{address} {name}: {what}")
    });
    Vec::from_iter(looks).join("\n")
}

fn as_json(certificate: &Certificate, facts: &Facts) -> serde_json::Value {
    json!({
        "name": certificate.name,
        "served": is_served(facts),
        "issued": facts.issued,
        "wire": Vec::from_iter(facts.wire()),
    })
}

/// Nothing is proven where nobody was asked.
fn is_served(facts: &Facts) -> bool {
    facts.issued.is_some()
        && facts.wire().count() > 0
        && facts.wire().all(|wire| wire.finding == Finding::Served)
}

fn judge(reports: &[(&Certificate, Facts)]) -> Exit {
    let good = reports.iter().filter(|(_, facts)| is_served(facts)).count();
    match good {
        good if good == reports.len() => Exit::Done,
        0 => Exit::Failed,
        _ => Exit::Partly,
    }
}
