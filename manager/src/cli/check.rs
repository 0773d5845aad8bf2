//! `spoacme check`: what a CA would find, before it is asked.

use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use spoacme_control::{Client as Agent, Entry, Owner};

use super::progress::Progress;
use super::{load, output};
use crate::acme;
use crate::config::{Config, socket_address};
use crate::deploy::Deployer;
use crate::exit::Exit;
use crate::names::DnsName;
use crate::preflight::{Context, Examination, Examiner, Planted, Severity};
use crate::store::Store;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A certificate, by what it is called or by one of its names, or any other DNS name
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,

    /// Every name of every certificate
    #[arg(long, conflicts_with = "names")]
    all: bool,

    /// A load balancer to ask straight, besides the name's own addresses; may be given again
    /// [default: `connect-to` of [check], or this machine]
    #[arg(long, value_name = "IP[:PORT]")]
    connect_to: Vec<String>,
}

pub(super) async fn execute(path: &Path, options: &Options, json: bool) -> Exit {
    let mut config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let names = match names(&config, options) {
        Ok(names) => names,
        Err(exit) => return exit,
    };
    match addresses("--connect-to", &options.connect_to, config.check.port) {
        Ok(balancers) if balancers.is_empty() => {}
        Ok(balancers) => config.check.connect_to = balancers,
        Err(exit) => return exit,
    }
    let examiner = match Examiner::new(&config.check) {
        Ok(examiner) => examiner,
        Err(fault) => return output::fail(&fault.to_string(), Some("set `dns` in [check]")),
    };
    let context = context(&config).await;
    let agent = Agent::new(&config.agent.control);
    let progress = Progress::begin(names.len());
    let mut examinations = Vec::new();
    for name in names {
        progress.name(name.as_str());
        let examination = examine(&agent, &examiner, &name, &context).await;
        if !json {
            output::print(&as_text(&examination));
        }
        examinations.push(examination);
        progress.step();
    }
    drop(progress);
    if json {
        output::print_json(&examinations);
    }
    judge(&examinations)
}

fn names(config: &Config, options: &Options) -> Result<Vec<DnsName>, Exit> {
    if options.all {
        let all = config.certificates.iter().flat_map(|c| c.names.clone());
        return Ok(all.collect());
    }
    let mut names = Vec::new();
    for text in &options.names {
        if let Some(certificate) = config.certificates.iter().find(|c| c.name.as_str() == text) {
            names.extend(certificate.names.clone());
            continue;
        }
        names.push(DnsName::try_from(text.clone()).map_err(|error| {
            output::fail(&error.to_string(), None);
            Exit::Usage
        })?);
    }
    Ok(names)
}

/// The addresses of an option.
pub(super) fn addresses(
    option: &str,
    texts: &[String],
    port: u16,
) -> Result<Vec<SocketAddr>, Exit> {
    let parse = |text: &String| {
        socket_address(text, port).ok_or_else(|| {
            output::fail(&format!("{option} {text:?} is not IP or IP:PORT"), None);
            Exit::Usage
        })
    };
    texts.iter().map(parse).collect()
}

/// What is known besides: of HAProxy, and of the CA.
async fn context(config: &Config) -> Context {
    let store = Store::existing(&config.state_directory);
    let deployer = Deployer::new(&store, &config.haproxys);
    let identities = acme::caa_identities(&config.account).await;
    Context {
        agent: None,
        has_backend: deployer.has_agent_backend().await,
        caa_identities: identities.unwrap_or_else(|error| {
            tracing::warn!(%error, "whether CAA records name the CA is not checked");
            Vec::new()
        }),
        asks_authorities: true,
    }
}

async fn examine(
    agent: &Agent,
    examiner: &Examiner,
    name: &DnsName,
    context: &Context,
) -> Examination {
    let planted = Planted::random();
    let published = plant(agent, name, &planted).await;
    let context = Context {
        agent: published.err().map(|error| error.to_string()),
        ..context.clone()
    };
    let examination = examiner.examine(name, &planted, &context).await;
    take_back(agent, &planted).await;
    examination
}

/// Publishes a token for a while.
///
/// # Errors
///
/// When the agent does not take it.
pub(super) async fn plant(
    agent: &Agent,
    name: &DnsName,
    planted: &Planted,
) -> Result<(), spoacme_control::Error> {
    let hosts = [name.to_string()];
    let entry = Entry::new(
        &planted.token,
        &planted.key_authorization,
        &hosts,
        PROBE_LIFE_SECONDS,
    );
    let entry = entry.map_err(|error| spoacme_control::Error::Request(error.to_string()))?;
    agent.put(&Owner::cli(), &[entry]).await.map(drop)
}

/// Takes it back. What cannot be taken back expires by itself.
pub(super) async fn take_back(agent: &Agent, planted: &Planted) {
    let _ = agent.delete(&Owner::cli(), &planted.token).await;
}

/// Longer than any examination takes.
const PROBE_LIFE_SECONDS: u32 = 300;

fn as_text(examination: &Examination) -> String {
    let Examination { name, finding, .. } = examination;
    let verdict = match finding.severity {
        Severity::Good => "a CA would succeed",
        Severity::Note => "a CA would succeed, but",
        Severity::Uncertain => "whether a CA would succeed cannot be told from here",
        Severity::Certain => "a CA would fail",
    };
    let class = serde_json::to_value(finding.class).unwrap_or_default();
    let mut lines = vec![format!(
        "{name}: {}: {verdict}",
        class.as_str().unwrap_or_default()
    )];
    for alias in examination.dns.iter().flat_map(|dns| &dns.aliases) {
        lines.push(format!("  is an alias of {alias}"));
    }
    for view in &examination.public {
        lines.push(format!("  {:24} {}", view.address, view.reading));
        lines.extend(
            view.redirects
                .iter()
                .map(|url| format!("  {:24} by way of {}", "", quote(url))),
        );
    }
    for view in &examination.balancers {
        lines.push(format!(
            "  {:24} {}",
            format!("straight {}", view.address),
            view.reading
        ));
    }
    if let Some(other) = &examination.authoritative {
        let addresses = Vec::from_iter(other.all.iter().map(ToString::to_string)).join(", ");
        lines.push(format!(
            "  the zone's own servers say {addresses}: resolvers will follow"
        ));
    }
    lines.push(format!("  cause: {}", finding.cause));
    lines.extend(finding.hint.iter().map(|hint| format!("  hint: {hint}")));
    lines.join("\n")
}

/// A peer's URL, fit for a terminal.
fn quote(url: &str) -> String {
    url.chars()
        .take(URL_SHOWN)
        .flat_map(char::escape_default)
        .collect()
}

/// In characters.
const URL_SHOWN: usize = 100;

fn judge(examinations: &[Examination]) -> Exit {
    let is_bad = |e: &&Examination| e.finding.severity > Severity::Note;
    match examinations.iter().filter(is_bad).count() {
        0 => Exit::Done,
        bad if bad == examinations.len() => Exit::Failed,
        _ => Exit::Partly,
    }
}
