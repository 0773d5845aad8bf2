//! One writer at a time: the daemon or a command.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::StoreError;

/// Held while the store or HAProxy is changed. Released when dropped, and by
/// the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, waiting at most `patience` for another process.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or the other process keeps the lock.
    pub(super) async fn take(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        let fail = |source| StoreError::new("lock", path, source);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(fail)?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(fail(source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(StoreError::Locked(path.to_owned(), holder(path)));
                }
                Err(TryLockError::WouldBlock) => sleep(POLL).await,
            }
        }
        // For whoever waits in vain; the lock itself is the kernel's.
        let _ = fs::write(path, format!("{}\n", std::process::id()));
        Ok(Self { _file: file })
    }
}

const POLL: Duration = Duration::from_millis(100);

fn holder(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
