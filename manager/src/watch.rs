//! Changes of files that call for a pass at once: the configuration, the
//! list of what was added, and the directory that HAProxy loads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::sleep;
use tracing::warn;

use crate::config::drop_in_directory;

/// Watches until dropped. It is only a hint: whatever it misses, the next
/// pass finds.
#[derive(Debug)]
pub struct Watch {
    changes: Receiver<()>,
    // Stops watching when dropped.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches the configuration at `path`, its `conf.d`, and `others`.
    pub fn new(path: &Path, others: &[PathBuf]) -> Self {
        let (sender, changes) = channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| matters(&event)) {
                // Full means that a pass is due already.
                let _ = sender.try_send(());
            }
        });
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                warn!(%error, "files are not watched; changes wait for the next pass");
                return Self {
                    changes,
                    _watcher: None,
                };
            }
        };
        let drop_in = drop_in_directory(path);
        let configuration = path.parent().unwrap_or(path);
        let others = others.iter().map(PathBuf::as_path);
        for directory in [configuration, &drop_in].into_iter().chain(others) {
            // Directories, not files: a rename gives a file another inode.
            if directory.is_dir()
                && let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive)
            {
                warn!(directory = %directory.display(), %error, "not watched");
            }
        }
        Self {
            changes,
            _watcher: Some(watcher),
        }
    }

    /// Waits for the next change, and for the writer to be done.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        sleep(SETTLE).await;
        let _ = self.changes.try_recv();
    }
}

const SETTLE: Duration = Duration::from_millis(200);

/// Reading a file is an event too; reacting to it would never end. Hidden
/// files are temporary ones.
fn matters(event: &Event) -> bool {
    let hidden = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    !matches!(event.kind, EventKind::Access(_)) && !event.paths.iter().all(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, CreateKind};

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    #[test]
    fn reading_and_temporary_files_do_not_matter() {
        let created = EventKind::Create(CreateKind::File);
        assert!(matters(&event(created, "/live/a.pem")));
        assert!(!matters(&event(
            EventKind::Access(AccessKind::Any),
            "/live/a.pem"
        )));
        assert!(!matters(&event(created, "/live/.a.pem.tmp")));
    }

    #[tokio::test]
    async fn a_new_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spoacme.toml");
        std::fs::create_dir(directory.path().join("conf.d")).unwrap();
        let mut watch = Watch::new(&path, &[directory.path().to_owned()]);
        std::fs::write(directory.path().join("conf.d/new.toml"), "").unwrap();
        tokio::time::timeout(Duration::from_secs(10), watch.changed())
            .await
            .unwrap();
    }
}
