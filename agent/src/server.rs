//! The SPOP server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::config::Limits;
use crate::connection;
use crate::listener::{Listener, Stream};
use crate::stats::Counters;
use crate::table::Table;

/// What every connection shares.
#[derive(Debug)]
pub struct Service {
    /// The tokens.
    pub table: Table,
    /// The counters.
    pub counters: Counters,
    /// What is taken from a peer.
    pub limits: Limits,
    /// Drawn at the start; it tells clients of a restart.
    pub boot_id: String,
}

/// Accepts connections until `stop`, then lets those that are open finish.
pub async fn run(listeners: Vec<Listener>, service: Arc<Service>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(service.limits.connections_max));
    let tasks = TaskTracker::new();
    let accepting = listeners.into_iter().map(|listener| {
        let acceptor = Acceptor {
            listener,
            service: Arc::clone(&service),
            permits: Arc::clone(&permits),
            tasks: tasks.clone(),
        };
        tasks.spawn(acceptor.run(stop.clone()))
    });
    let _accepting: Vec<_> = accepting.collect();
    tasks.close();
    tasks.wait().await;
}

struct Acceptor {
    listener: Listener,
    service: Arc<Service>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Acceptor {
    async fn run(self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) => {
                    pause = FIRST_PAUSE;
                    self.admit(stream, &stop);
                }
                Err(error) => pause = back_off(&error, pause).await,
            }
        }
    }

    /// Serves the connection, or closes it when there are too many.
    fn admit(&self, stream: Stream, stop: &CancellationToken) {
        let counters = &self.service.counters;
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            counters.connections_refused.increment();
            return;
        };
        counters.connections_accepted.increment();
        let guard = Open::new(Arc::clone(&self.service));
        let stop = stop.clone();
        self.tasks.spawn(async move {
            let _permit = permit;
            match stream {
                Stream::Tcp(stream) => serve(stream, &guard, &stop).await,
                Stream::Unix(stream) => serve(stream, &guard, &stop).await,
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, open: &Open, stop: &CancellationToken) {
    connection::serve(stream, &open.0, stop).await;
}

/// Counts a connection while it is open. A panic ends that connection alone,
/// and is counted.
struct Open(Arc<Service>);

impl Open {
    fn new(service: Arc<Service>) -> Self {
        service.counters.connections_open.increment();
        Self(service)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.connections_open.decrement();
        if std::thread::panicking() {
            self.0.counters.panics.increment();
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Out of file descriptors, most likely: waiting lets others end.
async fn back_off(error: &io::Error, pause: Duration) -> Duration {
    if pause == FIRST_PAUSE {
        warn!(%error, "cannot accept a connection; trying on");
    }
    sleep(pause).await;
    (pause * 2).min(PAUSE_MAX)
}
