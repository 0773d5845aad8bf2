//! `spoacme token`: the agent's table, by hand or as another client's hook.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;
use spoacme_control::{Client, Entry, Error, Owner};

use super::{output, token_test};
use crate::config::{Config, DEFAULT_AGENT_CONTROL};
use crate::exit::Exit;

#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Publish a token, so that HAProxy answers it with 200
    Put(Put),
    /// Withdraw a token that was published by `put`
    Delete(Delete),
    /// List the tokens that the agent answers
    List(Agent),
    /// Publish a token, and fetch it through every load balancer
    Test(token_test::Options),
}

#[derive(Debug, Args)]
pub(super) struct Put {
    /// A host name that the token is answered for; may be given again
    #[arg(long = "host", required = true, value_name = "NAME")]
    hosts: Vec<String>,
    /// How long, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    ttl: u32,
    /// The challenge's token
    #[arg(allow_hyphen_values = true)]
    token: String,
    /// What is answered: the token, a dot, and the account key's thumbprint
    #[arg(allow_hyphen_values = true)]
    key_authorization: String,
    #[command(flatten)]
    agent: Agent,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The challenge's token
    #[arg(allow_hyphen_values = true)]
    token: String,
    #[command(flatten)]
    agent: Agent,
}

#[derive(Debug, Args)]
pub(super) struct Agent {
    /// The agent's control socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

pub(super) async fn execute(path: &Path, verb: TokenVerb, json: bool) -> Exit {
    let client = |agent: &Agent| Client::new(control(path, agent));
    let done = match &verb {
        TokenVerb::Put(arguments) => put(&client(&arguments.agent), arguments, json).await,
        TokenVerb::Delete(arguments) => delete(&client(&arguments.agent), arguments, json).await,
        TokenVerb::List(agent) => list(&client(agent), json).await,
        TokenVerb::Test(options) => return token_test::execute(path, options, json).await,
    };
    done.unwrap_or_else(|error| output::fail(&error.to_string(), error.hint().as_deref()))
}

/// A hook of another client needs no configuration of ours.
fn control(path: &Path, agent: &Agent) -> PathBuf {
    let configured = || Config::load(path).ok().map(|config| config.agent.control);
    agent
        .control
        .clone()
        .or_else(configured)
        .unwrap_or_else(|| DEFAULT_AGENT_CONTROL.into())
}

async fn put(client: &Client, arguments: &Put, json: bool) -> Result<Exit, Error> {
    let Put {
        hosts,
        ttl,
        token,
        key_authorization,
        ..
    } = arguments;
    let entry = match Entry::new(token, key_authorization, hosts, *ttl) {
        Ok(entry) => entry,
        Err(error) => {
            output::fail(&error.to_string(), None);
            return Ok(Exit::Usage);
        }
    };
    client.put(&Owner::cli(), &[entry]).await?;
    if json {
        output::print_json(&json!({ "published": token }));
    } else {
        output::print(&format!("published for {} seconds", arguments.ttl));
    }
    Ok(Exit::Done)
}

async fn delete(client: &Client, arguments: &Delete, json: bool) -> Result<Exit, Error> {
    let deleted = client.delete(&Owner::cli(), &arguments.token).await?;
    if json {
        output::print_json(&json!({ "deleted": deleted }));
    } else {
        output::print(if deleted {
            "withdrawn"
        } else {
            "not published by `token put`"
        });
    }
    Ok(if deleted { Exit::Done } else { Exit::Nothing })
}

async fn list(client: &Client, json: bool) -> Result<Exit, Error> {
    let tokens = client.list().await?;
    if json {
        output::print_json(&tokens);
        return Ok(Exit::Done);
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["TOKEN", "HOSTS", "OWNER", "SECONDS LEFT"]);
    for token in &tokens {
        let hosts: Vec<_> = token.hosts.iter().map(ToString::to_string).collect();
        table.add_row([
            token.token.to_string(),
            hosts.join(", "),
            token.owner.to_string(),
            token.seconds_left.to_string(),
        ]);
    }
    output::print(&table.trim_fmt());
    Ok(Exit::Done)
}
