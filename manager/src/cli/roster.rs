//! `spoacme add` and `spoacme remove`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{complain, output};
use crate::clock;
use crate::config::{Certificate, Config};
use crate::deploy::Withdrawal;
use crate::exit::Exit;
use crate::manager::Manager;
use crate::roster::{self, Addition, Roster};
use crate::store::{Lock, StoreError};

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The DNS names of one certificate
    #[arg(
        value_name = "NAME",
        required_unless_present = "csv",
        conflicts_with = "csv"
    )]
    names: Vec<String>,

    /// A CSV file, one certificate a line, its names separated by spaces or semicolons
    #[arg(
        long,
        value_name = "FILE",
        long_help = "A CSV file, one certificate a line, its names separated by spaces or semicolons. \
                     A header may name the columns: `names`, and `name`, what the certificate is called"
    )]
    csv: Option<PathBuf>,

    /// What the certificate is called [default: its first name]
    #[arg(long, value_name = "CERTIFICATE", conflicts_with = "csv")]
    name: Option<String>,

    /// Change the names of certificates that were added before
    #[arg(long)]
    replace: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// A certificate that was added, by what it is called or by one of its names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Delete its keys and history instead of archiving them
    #[arg(long)]
    purge: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// The daemon holds the lock for one certificate at a time.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// The configuration, the store under its lock, and who is wanted.
struct Desk {
    manager: Manager,
    roster: Roster,
    _lock: Lock,
}

impl Desk {
    async fn open(path: &Path) -> Result<Self, Exit> {
        let config = Config::load(path).map_err(|error| complain(&error))?;
        let manager = Manager::open(config, clock::now).map_err(|error| fail(&error))?;
        let lock = manager
            .lock(LOCK_PATIENCE)
            .await
            .map_err(|error| fail(&error))?;
        let added = manager.store().desired().map_err(|error| fail(&error))?;
        let roster = Roster::new(manager.config().certificates.clone(), added);
        Ok(Self {
            manager,
            roster,
            _lock: lock,
        })
    }

    fn keep(&self) -> Result<(), Exit> {
        let kept = self.manager.store().keep_desired(self.roster.added());
        kept.map_err(|error| fail(&error))
    }
}

fn fail(error: &StoreError) -> Exit {
    output::fail(&error.to_string(), error.hint().as_deref())
}

pub(super) async fn add(path: &Path, arguments: &Add, json: bool) -> Exit {
    let rows = match rows(arguments) {
        Ok(rows) => rows,
        Err(exit) => return exit,
    };
    let mut desk = match Desk::open(path).await {
        Ok(desk) => desk,
        Err(exit) => return exit,
    };
    let mut tally = Tally::default();
    for row in rows {
        tally.enter(&mut desk.roster, row, arguments.replace);
    }
    if tally.changes() > 0
        && !arguments.dry_run
        && let Err(exit) = desk.keep()
    {
        return exit;
    }
    let has_daemon = desk.manager.store().has_daemon().await;
    if json {
        output::print_json(&tally.as_json(arguments.dry_run));
    } else {
        tally.print(arguments, has_daemon);
    }
    tally.judge()
}

/// One certificate to add, or what is wrong with it; and its line, if it
/// comes from a file.
struct Row {
    line: Option<u64>,
    certificate: Result<Certificate, String>,
}

fn rows(arguments: &Add) -> Result<Vec<Row>, Exit> {
    let Some(file) = &arguments.csv else {
        let certificate = roster::certificate(&arguments.names, arguments.name.clone());
        return Ok(vec![Row {
            line: None,
            certificate: certificate.map_err(|error| error.to_string()),
        }]);
    };
    let rows = roster::read(file).map_err(|error| {
        output::fail(&error.to_string(), None);
        Exit::Usage
    })?;
    let row = |row: roster::Row| match row {
        Ok((line, certificate)) => Row {
            line: Some(line),
            certificate: Ok(certificate),
        },
        Err(error) => Row {
            line: Some(error.line),
            certificate: Err(error.why),
        },
    };
    Ok(rows.into_iter().map(row).collect())
}

/// What came of each row.
#[derive(Default)]
struct Tally {
    added: Vec<Certificate>,
    changed: Vec<Certificate>,
    already: usize,
    refused: Vec<(Option<u64>, String)>,
}

impl Tally {
    fn enter(&mut self, roster: &mut Roster, row: Row, replace: bool) {
        let outcome = row.certificate.and_then(|certificate| {
            let addition = roster.add(certificate.clone(), replace);
            addition
                .map(|a| (a, certificate))
                .map_err(|e| e.to_string())
        });
        match outcome {
            Ok((Addition::New, certificate)) => self.added.push(certificate),
            Ok((Addition::Changed, certificate)) => self.changed.push(certificate),
            Ok((Addition::Already, _)) => self.already += 1,
            Err(why) => self.refused.push((row.line, why)),
        }
    }

    fn changes(&self) -> usize {
        self.added.len() + self.changed.len()
    }

    fn as_json(&self, dry_run: bool) -> serde_json::Value {
        let refused = |(line, why): &(Option<u64>, String)| json!({ "line": line, "why": why });
        json!({
            "dry_run": dry_run,
            "added": self.added,
            "changed": self.changed,
            "already": self.already,
            "refused": Vec::from_iter(self.refused.iter().map(refused)),
        })
    }

    fn print(&self, arguments: &Add, has_daemon: bool) {
        for (line, why) in &self.refused {
            let file = arguments.csv.as_deref().unwrap_or_else(|| Path::new(""));
            let place = line.map(|line| format!("{}:{line}: ", file.display()));
            output::fail(&format!("{}{why}", place.unwrap_or_default()), None);
        }
        for certificate in self.added.iter().chain(&self.changed).take(NAMED_MAX) {
            let names = certificate.names_text().join(" ");
            output::print(&format!("{}: {names}", certificate.name));
        }
        if let Some(more @ 1..) = self.changes().checked_sub(NAMED_MAX) {
            output::print(&format!("and {more} more"));
        }
        let would = if arguments.dry_run { "would be " } else { "" };
        output::print(&format!(
            "{} {would}added, {} {would}changed, {} there already, {} refused",
            self.added.len(),
            self.changed.len(),
            self.already,
            self.refused.len()
        ));
        if self.changes() > 0 && !arguments.dry_run {
            output::print(match has_daemon {
                true => "the daemon issues what is new",
                false => "no daemon is running: `spoacme issue` issues what is new",
            });
        }
    }

    fn judge(&self) -> Exit {
        match (self.changes() + self.already, self.refused.len()) {
            (_, 0) if self.changes() == 0 => Exit::Nothing,
            (_, 0) => Exit::Done,
            (0, _) => Exit::Failed,
            _ => Exit::Partly,
        }
    }
}

/// More would not be read.
const NAMED_MAX: usize = 10;

pub(super) async fn remove(path: &Path, arguments: &Remove, json: bool) -> Exit {
    let mut desk = match Desk::open(path).await {
        Ok(desk) => desk,
        Err(exit) => return exit,
    };
    let (mut chosen, mut refused) = (Vec::new(), Vec::new());
    for name in &arguments.names {
        match desk.roster.remove(name) {
            Ok(certificate) => chosen.push(certificate),
            Err(refusal) => refused.push(refusal.to_string()),
        }
    }
    let mut removed = Vec::new();
    for certificate in chosen {
        if arguments.dry_run {
            removed.push((certificate, None));
            continue;
        }
        match desk.manager.withdraw(&certificate, arguments.purge).await {
            Ok(withdrawal) => removed.push((certificate, Some(withdrawal))),
            Err(error) => {
                // It stays on the list, so that removing it again does the rest.
                refused.push(format!("{}: {error}", certificate.name));
                let _ = desk.roster.add(certificate, true);
            }
        }
    }
    if !arguments.dry_run
        && !removed.is_empty()
        && let Err(exit) = desk.keep()
    {
        return exit;
    }
    if json {
        print_removed_json(&removed, &refused, arguments);
    } else {
        print_removed(&removed, &refused, arguments);
    }
    match (removed.len(), refused.len()) {
        (_, 0) => Exit::Done,
        (0, _) => Exit::Failed,
        _ => Exit::Partly,
    }
}

type Removed = (Certificate, Option<Withdrawal>);

fn print_removed_json(removed: &[Removed], refused: &[String], arguments: &Remove) {
    let removed = removed
        .iter()
        .map(|(c, withdrawal)| json!({ "name": c.name, "haproxy": withdrawal }));
    output::print_json(&json!({
        "dry_run": arguments.dry_run,
        "purged": arguments.purge,
        "removed": Vec::from_iter(removed),
        "refused": refused,
    }));
}

fn print_removed(removed: &[Removed], refused: &[String], arguments: &Remove) {
    for why in refused {
        output::fail(why, None);
    }
    for (certificate, withdrawal) in removed {
        let kept = match (arguments.dry_run, arguments.purge) {
            (true, false) => "would be removed and archived",
            (true, true) => "would be removed, its keys deleted",
            (false, false) => "removed and archived",
            (false, true) => "removed, its keys deleted",
        };
        let haproxy = match withdrawal {
            None | Some(Withdrawal::Gone) => "",
            Some(Withdrawal::UntilReload) => {
                "; HAProxy could not be told, and may serve it until it is reloaded"
            }
            Some(Withdrawal::Placeholder) => {
                "; it was the last, and a self-signed placeholder stands in its place, because \
                 HAProxy does not start without any"
            }
        };
        output::print(&format!("{}: {kept}{haproxy}", certificate.name));
    }
}
