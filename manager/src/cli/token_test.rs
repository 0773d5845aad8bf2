//! `spoacme token test`: a token published here, fetched through every load
//! balancer.

use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;
use spoacme_control::Client as Agent;

use super::check::{addresses, plant, take_back};
use super::{load, output};
use crate::exit::Exit;
use crate::names::DnsName;
use crate::preflight::{Examiner, Planted, View};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A load balancer to fetch it through; may be given again
    /// [default: `connect-to` of [check], or this machine]
    #[arg(long, value_name = "IP[:PORT]")]
    through: Vec<String>,

    /// The host name that it is published and asked for
    #[arg(long, value_name = "NAME", default_value = "token-test.invalid")]
    host: String,
}

pub(super) async fn execute(path: &Path, options: &Options, json: bool) -> Exit {
    let mut config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match addresses("--through", &options.through, config.check.port) {
        Ok(through) if through.is_empty() => {}
        Ok(through) => config.check.connect_to = through,
        Err(exit) => return exit,
    }
    let host = match DnsName::try_from(options.host.clone()) {
        Ok(host) => host,
        Err(error) => {
            output::fail(&error.to_string(), None);
            return Exit::Usage;
        }
    };
    let examiner = match Examiner::new(&config.check) {
        Ok(examiner) => examiner,
        Err(fault) => return output::fail(&fault.to_string(), Some("set `dns` in [check]")),
    };
    let agent = Agent::new(&config.agent.control);
    let planted = Planted::random();
    if let Err(error) = plant(&agent, &host, &planted).await {
        return output::fail(&error.to_string(), error.hint().as_deref());
    }
    let views = examiner.ask_balancers(&host, &planted).await;
    take_back(&agent, &planted).await;
    if json {
        output::print_json(&json!({ "host": host, "token": planted.token, "through": views }));
    } else {
        output::print(&table(&views));
    }
    let right = views.iter().filter(|view| view.reading.is_right()).count();
    match right {
        all if all == views.len() => Exit::Done,
        0 => Exit::Failed,
        _ => Exit::Partly,
    }
}

fn table(views: &[View<SocketAddr>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["THROUGH", "ANSWER"]);
    for view in views {
        table.add_row([view.address.to_string(), view.reading.to_string()]);
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}
