//! The control socket: where tokens are published.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group, Uid};
use spoacme_control::{Answer, Code, REQUEST_SIZE_MAX, Request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::server::Service;
use crate::table::TableError;

/// Who may publish.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    own: Uid,
    group: Option<Gid>,
}

impl Admission {
    /// Root, the agent's own user, and whoever has `group` as primary group.
    ///
    /// # Errors
    ///
    /// When there is no such group.
    pub fn new(group: Option<&str>) -> io::Result<Self> {
        let gid = |name| match Group::from_name(name)? {
            Some(group) => Ok(group.gid),
            None => Err(io::Error::other(format!(
                "control-group {name:?} does not exist"
            ))),
        };
        Ok(Self {
            own: Uid::effective(),
            group: group.map(gid).transpose()?,
        })
    }

    fn admits(&self, peer: &UCred) -> bool {
        peer.uid() == 0
            || peer.uid() == self.own.as_raw()
            || self.group.is_some_and(|group| group.as_raw() == peer.gid())
    }
}

/// Serves clients until `stop`.
pub async fn run(
    listener: UnixListener,
    admission: Admission,
    service: Arc<Service>,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // One more than can be served waits in the kernel's queue.
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                    return;
                };
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = serve(stream, admission, &service).await {
                        debug!(%error, "a client has gone");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a client; trying on");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

const CLIENTS_MAX: usize = 32;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// For a request to arrive, and for its answer to be taken.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

async fn serve(stream: UnixStream, admission: Admission, service: &Service) -> io::Result<()> {
    let is_admitted = admission.admits(&stream.peer_cred()?);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(REQUEST_SIZE_MAX).unwrap_or(u64::MAX);
        let mut limited = (&mut reader).take(limit);
        timeout(CLIENT_TIMEOUT, limited.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n");
        let answer = if is_admitted {
            answer(&line, is_whole, service)
        } else {
            Answer::refused(
                &service.boot_id,
                Code::Forbidden,
                "your user may not publish tokens",
            )
        };
        let mut bytes = serde_json::to_vec(&answer)?;
        bytes.push(b'\n');
        timeout(CLIENT_TIMEOUT, writer.write_all(&bytes)).await??;
        if !is_whole || !is_admitted {
            return Ok(());
        }
    }
}

fn answer(line: &[u8], is_whole: bool, service: &Service) -> Answer {
    let malformed = |why: String| Answer::refused(&service.boot_id, Code::Malformed, why);
    if !is_whole {
        return malformed(format!(
            "a request is one line of at most {REQUEST_SIZE_MAX} bytes"
        ));
    }
    match serde_json::from_slice(line) {
        Ok(request) => carry_out(request, service, Instant::now()),
        // serde names the field and the place, and quotes no value of ours.
        Err(error) => malformed(error.to_string()),
    }
}

fn carry_out(request: Request, service: &Service, now: Instant) -> Answer {
    let (table, done) = (&service.table, Answer::done(&service.boot_id));
    let stored = |outcome: Result<usize, TableError>| match outcome {
        Ok(count) => Answer {
            stored: Some(count),
            ..Answer::done(&service.boot_id)
        },
        Err(error @ TableError::Conflict { .. }) => {
            Answer::refused(&service.boot_id, Code::Conflict, error)
        }
        Err(error @ TableError::Full) => Answer::refused(&service.boot_id, Code::Full, error),
    };
    match request {
        Request::Put { owner, tokens } => stored(table.put(&owner, tokens, now)),
        Request::Replace { owner, tokens } => stored(table.replace(&owner, tokens, now)),
        Request::Delete { owner, tokens } => Answer {
            deleted: Some(table.delete(&owner, &tokens, now)),
            ..done
        },
        Request::List {} => Answer {
            tokens: Some(table.list(now)),
            ..done
        },
        Request::Stats {} => Answer {
            stats: Some(service.counters.report(table.list(now).len(), now)),
            ..done
        },
        Request::Ping {} => done,
    }
}
