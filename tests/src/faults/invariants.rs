//! What must hold: during every run, and after it.
//!
//! | | |
//! |----|-----------------------------------------------------------------|
//! | I1 | the file that HAProxy would load is complete and loadable       |
//! | I2 | what is served never goes back, but for a rollback that is said |
//! | I3 | no key is lost whose certificate was issued, nor thrown away    |
//! | I4 | two orders at most                                              |
//! | I5 | all is well within a minute, without a human                    |
//! | I6 | no temporary file, open transaction, token or lock is left      |
//! | I7 | modes and owners are right                                      |
//! | I8 | no secret is in any output                                      |
//! | I9 | no handshake failed                                             |

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fault::{Fault, Happening, Kind, Verb};
use super::ground::{Ground, NAME, Printed};
use super::outcome::Outcome;
use crate::haproxy::Haproxy;
use crate::manager;
use crate::tls::Seen;

/// How long the recovery may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What there was before a run.
#[derive(Debug)]
pub(super) struct Since {
    issued: usize,
}

impl Since {
    pub(super) fn now(ground: &Ground) -> Self {
        Self {
            issued: ground.pebble.issued(),
        }
    }
}

/// Right after the fault, before anything is mended.
pub(super) fn in_between(ground: &Ground, outcome: &mut Outcome) {
    if let Err(error) = Haproxy::check(&ground.stage) {
        outcome.violate(1, format!("HAProxy would not load its files: {error}"));
    }
}

pub(super) fn of_visitor(seen: &Seen, fault: &Fault, printed: &Printed, outcome: &mut Outcome) {
    // A restart is an outage by itself.
    if matches!(fault.kind, Kind::Haproxy(_, Happening::Restart)) {
        return;
    }
    // Every other leaf was served in one stretch, or something went back.
    let went_back = seen.changes >= seen.leaves.len().max(1);
    let is_said = fault.verb == Verb::Rollback || printed.0.contains("taking it back");
    if went_back && !is_said {
        outcome.violate(
            2,
            format!(
                "{} changes between {} leaves",
                seen.changes,
                seen.leaves.len()
            ),
        );
    }
    if let Some(failure) = seen.failures.first() {
        let (failed, all) = (seen.failures.len(), seen.handshakes);
        outcome.violate(
            9,
            format!("{failed} handshakes failed of {all}, the first by: {failure}"),
        );
    }
}

/// Once all is well again.
pub(super) fn afterwards(
    ground: &Ground,
    since: &Since,
    printed: &Printed,
    outcome: &mut Outcome,
) -> Result<(), String> {
    keys(ground, since, outcome)?;
    let orders = printed.0.matches("order created").count();
    if ground.pebble.issued() - since.issued > 2 || orders > 2 {
        outcome.violate(4, format!("{orders} orders"));
    }
    served(ground, outcome)?;
    leftovers(ground, outcome)?;
    modes(ground, outcome)?;
    secrets(ground, printed, outcome)
}

/// What the CA issued last is in the store, and nothing that is good was
/// thrown away: no fault here is a refusal.
fn keys(ground: &Ground, since: &Since, outcome: &mut Outcome) -> Result<(), String> {
    let stored = files(&ground.path("state/certs"))?;
    let metas = stored.iter().filter(|path| path.ends_with("meta.json"));
    let texts = metas.map(|path| fs::read_to_string(path).unwrap_or_default());
    let metas = texts.filter_map(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let metas = Vec::from_iter(metas);
    for meta in &metas {
        if meta["state"]["is"] == "rejected" {
            outcome.violate(3, format!("rejected: {}", meta["state"]["why"]));
        }
    }
    if ground.pebble.issued() == since.issued {
        return Ok(());
    }
    let serial = ground.pebble.last_serial().unwrap_or_default();
    let is_kept = metas
        .iter()
        .filter_map(|meta| meta["leaf"]["serial"].as_str().map(str::to_owned))
        .any(|kept| kept.trim_start_matches('0') == serial);
    if !is_kept {
        outcome.violate(
            3,
            format!("the certificate {serial} was issued, and is not in the store"),
        );
    }
    Ok(())
}

fn served(ground: &Ground, outcome: &mut Outcome) -> Result<(), String> {
    let ended = manager::command(&ground.stage, &["status", "--json"])?;
    if !ended.status.success() {
        outcome.violate(5, format!("status: {}", ended.stdout));
    }
    Ok(())
}

fn leftovers(ground: &Ground, outcome: &mut Outcome) -> Result<(), String> {
    let all = [files(&ground.path("state"))?, files(&ground.path("live"))?].concat();
    for path in all {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_order = path.starts_with(ground.path("state/orders"));
        if name.ends_with(".tmp") || name.ends_with(".prev") || is_order {
            outcome.violate(6, format!("{} is left", path.display()));
        }
    }
    let certificates = ground.haproxy()?.runtime("show ssl cert")?;
    if certificates.contains("\n*") {
        outcome.violate(6, "a transaction is left open");
    }
    let tokens = manager::token(&ground.stage, &["list", "--json"])?;
    if tokens.stdout.trim() != "[]" {
        outcome.violate(6, format!("tokens are left: {}", tokens.stdout));
    }
    Ok(())
}

fn modes(ground: &Ground, outcome: &mut Outcome) -> Result<(), String> {
    for path in files(&ground.path("state"))? {
        let metadata = fs::metadata(&path).map_err(|error| error.to_string())?;
        if metadata.permissions().mode() & 0o077 != 0 || metadata.uid() != 0 {
            outcome.violate(7, format!("{} is open to others", path.display()));
        }
    }
    let file = ground.path(&format!("live/{NAME}.pem"));
    let mode = fs::metadata(&file)
        .map_err(|error| error.to_string())?
        .permissions()
        .mode();
    if mode & 0o137 != 0 {
        outcome.violate(7, format!("{} has mode {mode:o}", file.display()));
    }
    Ok(())
}

fn secrets(ground: &Ground, printed: &Printed, outcome: &mut Outcome) -> Result<(), String> {
    for path in files(&ground.path("state"))? {
        if !path.ends_with("key.pem") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let secret = text.lines().filter(|line| !line.starts_with('-'));
        if secret
            .into_iter()
            .any(|line| line.len() > 8 && printed.0.contains(line))
        {
            outcome.violate(8, format!("the key in {} was printed", path.display()));
        }
    }
    Ok(())
}

/// All files below a directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).map_err(|error| error.to_string())?;
        for path in entries.flatten().map(|entry| entry.path()) {
            match path.is_dir() {
                true => directories.push(path),
                false => files.push(path),
            }
        }
    }
    Ok(files)
}
