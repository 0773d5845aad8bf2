//! `spoacme status` and `spoacme show`: what is issued, on disk, in HAProxy, and served.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use spoacme_control::Client as Agent;
use spoacme_haproxy::runtime::Client as HaproxyClient;
use tokio::time::sleep;

use super::{issue, load, output, status_table};
use crate::alert::outbox::{Outbox, Pending};
use crate::clock;
use crate::config::{Certificate, Config};
use crate::deploy::{Deployer, Facts, Wire};
use crate::exit::Exit;
use crate::manager::next_step;
use crate::schedule::{History, Step};
use crate::store::{ForeignRecord, ForeignState, Store, StoreError};

/// Everything about one certificate.
pub(super) struct Row {
    pub(super) certificate: Certificate,
    pub(super) facts: Facts,
    pub(super) next: Step,
    pub(super) history: History,
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A certificate, by what it is called or by one of its names [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Show it again and again, every two seconds unless told otherwise
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", require_equals = true,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

pub(super) async fn execute(path: &Path, options: &Options, json: bool) -> Exit {
    let Some(seconds) = options.watch else {
        return once(path, &options.names, json, "").await;
    };
    // On a terminal each picture takes the place of the one before.
    let clear = match io::stdout().is_terminal() && !json {
        true => "\x1b[H\x1b[2J",
        false => "",
    };
    loop {
        let exit = once(path, &options.names, json, clear).await;
        if matches!(exit, Exit::Usage | Exit::BadConfiguration) {
            return exit;
        }
        tokio::select! {
            () = sleep(Duration::from_secs(seconds)) => {}
            _ = tokio::signal::ctrl_c() => return exit,
        }
    }
}

async fn once(path: &Path, names: &[String], json: bool, clear: &str) -> Exit {
    let picture = match Picture::take(path, names).await {
        Ok(picture) => picture,
        Err(exit) => return exit,
    };
    if json {
        output::print_json(&picture.as_json());
    } else {
        output::print(&format!("{clear}{}", picture.as_text(clock::now())));
    }
    judge(&picture.rows)
}

/// `spoacme show`: everything about some certificates.
pub(super) async fn show(path: &Path, names: &[String], json: bool) -> Exit {
    let picture = match Picture::take(path, names).await {
        Ok(picture) => picture,
        Err(exit) => return exit,
    };
    if json {
        output::print_json(&Vec::from_iter(picture.rows.iter().map(as_json)));
    } else {
        let now = clock::now();
        let texts = picture.rows.iter().map(|row| details(row, now));
        output::print(&Vec::from_iter(texts).join("\n\n"));
    }
    judge(&picture.rows)
}

/// Everything at one moment.
struct Picture {
    haproxys: Vec<Process>,
    agent: String,
    rows: Vec<Row>,
    externals: Vec<ForeignRecord>,
    outbox: Outbox,
}

impl Picture {
    async fn take(path: &Path, names: &[String]) -> Result<Self, Exit> {
        let config = load(path)?;
        let chosen = issue::choose(&config, names)?;
        let now = clock::now();
        let mut rows = Vec::new();
        for certificate in chosen {
            rows.push(gather(&config, certificate, now).await?);
        }
        let store = Store::existing(&config.state_directory);
        let fail = |error: StoreError| output::fail(&error.to_string(), error.hint().as_deref());
        Ok(Self {
            haproxys: processes(&config).await,
            agent: describe_agent(&config).await,
            rows,
            externals: match config.externals.is_empty() {
                true => Vec::new(),
                false => store.foreign_records().map_err(fail)?,
            },
            outbox: store.outbox().map_err(fail)?,
        })
    }

    fn as_json(&self) -> serde_json::Value {
        json!({
            "haproxy": self.haproxys,
            "agent": self.agent,
            "certificates": Vec::from_iter(self.rows.iter().map(as_json)),
            "external": self.externals,
            "alerts": self.outbox.pending,
        })
    }

    fn as_text(&self, now: Timestamp) -> String {
        let haproxys = self
            .haproxys
            .iter()
            .map(|h| format!("HAProxy  {}\n", h.describe()));
        let head = format!(
            "{}agent    {}",
            Vec::from_iter(haproxys).concat(),
            self.agent
        );
        let table = status_table::render(&self.rows, now);
        let alerts = self.outbox.pending.iter().filter_map(undelivered);
        let alerts = alerts.map(|line| format!("\n{line}"));
        let externals = self
            .externals
            .iter()
            .map(|record| format!("\n{}", foreign(record)));
        let below = Vec::from_iter(externals.chain(alerts));
        format!("{head}\n\n{table}{}", below.concat())
    }
}

/// One HAProxy: which it is, and what it can do.
#[derive(Debug, Serialize)]
struct Process {
    name: String,
    socket: String,
    /// Nothing of one that does not answer.
    #[serde(flatten)]
    running: Option<Running>,
    error: Option<String>,
    // Several are told apart by their names.
    #[serde(skip)]
    is_one_of_several: bool,
}

#[derive(Debug, Serialize)]
struct Running {
    version: String,
    pid: u32,
    stopping: bool,
    /// In bytes: what is larger waits for a reload.
    bundle_size_max: usize,
    /// Whether whoever may use the socket can read private keys by it.
    dumps_keys: bool,
}

impl Process {
    fn describe(&self) -> String {
        let name = match self.is_one_of_several {
            true => format!("{}: ", self.name),
            false => String::new(),
        };
        match (&self.running, &self.error) {
            (Some(running), _) => format!(
                "{name}{}, pid {}, bundles up to {} kB without a reload",
                running.version,
                running.pid,
                running.bundle_size_max >> 10
            ),
            (None, error) => {
                let why = error.as_deref().unwrap_or_default();
                format!("{name}not reachable: {why}")
            }
        }
    }
}

fn foreign(record: &ForeignRecord) -> String {
    let path = record.path.display();
    match &record.state {
        ForeignState::Deployed { at } => format!("{path}: served since {at}"),
        ForeignState::Rejected { why } => format!("{path}: {why}"),
    }
}

fn undelivered(pending: &Pending) -> Option<String> {
    let error = pending.last_error.as_ref()?;
    let next = match pending.next {
        Some(at) => format!("tried again at {at}"),
        None => "given up".to_owned(),
    };
    let event = pending.event.event.as_str();
    Some(format!(
        "alert {event} to {}: not delivered: {error}; {next}",
        pending.to
    ))
}

fn details(row: &Row, now: Timestamp) -> String {
    let Row {
        certificate,
        facts,
        next,
        history,
    } = row;
    let mut lines = vec![
        ("certificate", certificate.name.to_string()),
        ("names", certificate.names_text().join(" ")),
    ];
    if let Some(issued) = &facts.issued {
        let left = status_table::in_words(issued.leaf.not_after.duration_since(now));
        lines.extend([
            ("generation", issued.generation.to_string()),
            ("issuer", issued.leaf.issuer.clone()),
            ("serial", issued.leaf.serial.clone()),
            ("sha-256", issued.leaf.sha256.clone()),
            (
                "valid",
                format!(
                    "{} to {}, {left} left",
                    issued.leaf.not_before, issued.leaf.not_after
                ),
            ),
        ]);
        lines.extend(issued.deployed.map(|at| ("deployed", at.to_string())));
    }
    for site in &facts.sites {
        if facts.sites.len() > 1 {
            lines.push(("haproxy", site.haproxy.clone()));
        }
        lines.push(("on disk", site.disk.describe().to_owned()));
        lines.push(("in HAProxy", site.runtime.describe().to_owned()));
        for wire in &site.wire {
            let Wire { address, name, .. } = wire;
            let what = wire.finding.describe();
            lines.push(("served", format!("{address} for {name}: {what}")));
        }
    }
    lines.push((
        "next issue",
        format!("{} ({})", next.at, next.reason.as_str()),
    ));
    if history.failures > 0 {
        lines.push(("failures", history.failures.to_string()));
    }
    lines.extend(status_table::cause(row, now).map(|cause| ("cause", cause)));
    let lines = lines.iter().map(|(key, value)| format!("{key:12} {value}"));
    Vec::from_iter(lines).join("\n")
}

async fn gather(config: &Config, certificate: Certificate, now: Timestamp) -> Result<Row, Exit> {
    let store = Store::existing(&config.state_directory);
    let fail = |error: StoreError| output::fail(&error.to_string(), error.hint().as_deref());
    let facts = Deployer::new(&store, &config.haproxys)
        .facts(&certificate)
        .await;
    let facts = facts.map_err(|error| output::fail(&error.to_string(), error.hint().as_deref()))?;
    let known = store.known(&certificate.name).map_err(fail)?;
    Ok(Row {
        next: next_step(&store, &certificate, &known, now).map_err(fail)?,
        history: known.history,
        certificate,
        facts,
    })
}

async fn processes(config: &Config) -> Vec<Process> {
    let mut processes = Vec::new();
    for haproxy in &config.haproxys {
        let client =
            HaproxyClient::new(haproxy.socket.clone()).with_buffer_size(haproxy.buffer_size);
        let info = client.show_info().await;
        let error = info.as_ref().err().map(ToString::to_string);
        let running = info.ok().map(|info| Running {
            bundle_size_max: client.command_size_max(&info.version),
            dumps_keys: info.version.dumps_keys(),
            version: info.version.to_string(),
            pid: info.pid,
            stopping: info.stopping,
        });
        processes.push(Process {
            name: haproxy.name.clone(),
            socket: haproxy.socket.to_string(),
            running,
            error,
            is_one_of_several: config.haproxys.len() > 1,
        });
    }
    processes
}

async fn describe_agent(config: &Config) -> String {
    match Agent::new(&config.agent.control).stats().await {
        Ok(stats) => format!("{}, {} tokens", stats.version, stats.tokens),
        Err(error) => format!("not reachable: {error}"),
    }
}

fn as_json(row: &Row) -> serde_json::Value {
    json!({
        "name": row.certificate.name,
        "names": row.certificate.names,
        "agree": row.facts.agree(),
        "facts": row.facts,
        "next": { "at": row.next.at, "reason": row.next.reason },
        "history": row.history,
    })
}

fn judge(rows: &[Row]) -> Exit {
    let good = rows.iter().filter(|row| row.facts.agree()).count();
    match good {
        good if good == rows.len() => Exit::Done,
        0 => Exit::Failed,
        _ => Exit::Partly,
    }
}
