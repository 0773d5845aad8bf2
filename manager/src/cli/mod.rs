//! The command line.

mod alert;
mod check;
mod config_check;
mod haproxy_config;
mod issue;
pub mod logs;
pub mod output;
mod progress;
mod rollback;
mod roster;
mod run;
mod status;
mod status_table;
mod token;
mod token_test;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, DEFAULT_PATH};
use crate::exit::Exit;
use issue::{Deployment, Work};

/// Trusted certificates for HAProxy, with no reload, no webroot and no script.
#[derive(Debug, Parser)]
#[command(name = "spoacme", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// The configuration; conf.d/*.toml beside it is read too
    #[arg(long, short, global = true, value_name = "FILE", default_value = DEFAULT_PATH, env = "SPOACME_CONFIG")]
    config: PathBuf,

    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,

    /// How much to log, on stderr
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "info",
        env = "SPOACME_LOG"
    )]
    log_level: logs::LogLevel,

    /// What log lines look like
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "auto",
        env = "SPOACME_LOG_FORMAT"
    )]
    log_format: logs::LogFormat,

    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong command line, 3 partly done, 4 nothing to do, \
78 faulty configuration";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon: keep every certificate issued and served
    Run,
    /// Add certificates, one by its names or many from a CSV file
    Add(roster::Add),
    /// Remove certificates that were added
    Remove(roster::Remove),
    /// Issue and deploy the certificates that are due
    Issue(IssueOptions),
    /// Issue and deploy certificates now, due or not
    Renew(RenewOptions),
    /// Deploy what was issued, now
    Deploy(DeployOptions),
    /// Prove by handshakes what is served
    Verify(verify::Options),
    /// Take the newest certificate back, and deploy the one before
    Rollback(rollback::Options),
    /// Look at names as a CA does, before it is asked
    Check(check::Options),
    /// Show what is issued, on disk, in HAProxy, and served
    Status(status::Options),
    /// Show everything about certificates
    Show(Names),
    /// Publish, withdraw or list tokens on the agent
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// Try the way to those who are told of trouble
    #[command(subcommand)]
    Alert(alert::AlertVerb),
    /// Work with the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print what HAProxy's configuration must say, or show what it lacks
    HaproxyConfig(haproxy_config::Options),
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Report everything that is wrong with the configuration
    Check,
}

/// Certificates to work on; all if none is named.
#[derive(Debug, Args)]
struct Names {
    /// A certificate, by what it is called or by one of its names [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct IssueOptions {
    #[command(flatten)]
    names: Names,
    /// Let the CA's staging directory issue them, due or not, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    caution: Caution,
}

/// Certificates to work on; none by mistake.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SomeNames {
    /// A certificate, by what it is called or by one of its names
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Every certificate
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct RenewOptions {
    #[command(flatten)]
    names: SomeNames,
    #[command(flatten)]
    caution: Caution,
}

#[derive(Debug, Args)]
struct DeployOptions {
    #[command(flatten)]
    names: Names,
    /// Also what was refused or taken back before
    #[arg(long)]
    again: bool,
    /// Also in place of something newer that is not of spoacme
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, Args)]
struct Caution {
    /// Ask the CA without looking first whether it would succeed
    #[arg(long)]
    no_self_test: bool,
}

/// Executes a command and says how it ended.
pub async fn execute(arguments: Arguments) -> Exit {
    let Arguments {
        config: path,
        json,
        verb,
        ..
    } = arguments;
    match verb {
        Verb::Run => run::execute(&path).await,
        Verb::Add(arguments) => roster::add(&path, &arguments, json).await,
        Verb::Remove(arguments) => roster::remove(&path, &arguments, json).await,
        Verb::Issue(options) => {
            let work = match options.dry_run {
                true => Work::Rehearsal,
                false => Work::Due,
            };
            issue::execute(&path, &options.names.names, work, options.caution, json).await
        }
        Verb::Renew(options) => {
            let names = &options.names.names;
            issue::execute(&path, names, Work::Now, options.caution, json).await
        }
        Verb::Deploy(options) => {
            let DeployOptions { again, force, .. } = options;
            let work = Work::Deployment(Deployment { again, force });
            let caution = Caution {
                no_self_test: false,
            };
            issue::execute(&path, &options.names.names, work, caution, json).await
        }
        Verb::Verify(options) => verify::execute(&path, &options, json).await,
        Verb::Rollback(options) => rollback::execute(&path, &options, json).await,
        Verb::Status(options) => status::execute(&path, &options, json).await,
        Verb::Show(names) => status::show(&path, &names.names, json).await,
        Verb::Token(verb) => token::execute(&path, verb, json).await,
        Verb::Alert(verb) => alert::execute(&path, verb, json).await,
        Verb::Config(ConfigVerb::Check) => config_check::execute(&path, json),
        Verb::Check(options) => check::execute(&path, &options, json).await,
        Verb::HaproxyConfig(options) => haproxy_config::execute(&path, &options, json),
    }
}

/// Loads the configuration, or says what is wrong with it.
fn load(path: &std::path::Path) -> Result<Config, Exit> {
    Config::load_with_added(path).map_err(|error| complain(&error))
}

fn complain(error: &ConfigError) -> Exit {
    let hint = match error {
        ConfigError::Read(path, _) => Some(format!(
            "write {} (README, \"Configuration\"), or name another with --config",
            path.display()
        )),
        ConfigError::Problems(_) => None,
        ConfigError::Added(error) => {
            return output::fail(&error.to_string(), error.hint().as_deref());
        }
    };
    output::fail(&error.to_string(), hint.as_deref());
    Exit::BadConfiguration
}
