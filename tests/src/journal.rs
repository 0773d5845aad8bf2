//! What HAProxy logs: the socket `/dev/log` of its chroot.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The log of one HAProxy.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    ended: AtomicBool,
}

/// A request that HAProxy has answered, from its `option httplog`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// When it came, by HAProxy's clock.
    pub date: String,
    /// Who has asked: an address.
    pub client: String,
    /// The frontend.
    pub frontend: String,
    /// The backend.
    pub backend: String,
    /// The server that answered, or `<NOSRV>` for HAProxy itself.
    pub server: String,
    /// Milliseconds: for the head, in queues, to connect, for the answer, in all.
    pub timers: String,
    /// The status.
    pub status: u16,
    /// How the session ended, such as `SC--`.
    pub termination: String,
    /// The method, path and version.
    pub line: String,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            frontend,
            backend,
            server,
            ..
        } = self;
        let (timers, status, termination) = (&self.timers, self.status, &self.termination);
        let line = &self.line;
        write!(
            f,
            "{} {client} {frontend} {backend}/{server} {timers} {status} {termination} {line}",
            self.date
        )
    }
}

impl Journal {
    /// Begins to listen in `chroot`.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn open(chroot: &Path) -> Result<Self, String> {
        let path = chroot.join("dev/log");
        let open = || -> io::Result<_> {
            fs::create_dir_all(chroot.join("dev"))?;
            let socket = UnixDatagram::bind(&path)?;
            // For HAProxy's user.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
            socket.set_read_timeout(Some(TICK))?;
            Ok(socket)
        };
        let socket = open().map_err(|error| format!("{}: {error}", path.display()))?;
        let shared = Arc::new(Shared::default());
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(&socket, &shared)
        });
        Ok(Self { shared })
    }

    /// What was asked below the challenge path, in the order of the ends.
    pub fn challenges(&self) -> Vec<Request> {
        let requests = self.shared.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was asked so far.
    pub fn clear(&self) {
        let requests = self.shared.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

const TICK: Duration = Duration::from_millis(50);

/// More than any story asks; a run that goes mad stops here.
const REQUESTS_MAX: usize = 100_000;

fn listen(socket: &UnixDatagram, shared: &Shared) {
    let mut buffer = [0; 4096];
    while !shared.ended.load(Ordering::SeqCst) {
        let Ok(length) = socket.recv(&mut buffer) else {
            continue;
        };
        let line = String::from_utf8_lossy(&buffer[..length]);
        let requests = shared.requests.lock();
        let mut requests = requests.unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = parse(&line)
            && request.line.contains("/.well-known/acme-challenge/")
            && requests.len() < REQUESTS_MAX
        {
            requests.push(request);
        }
    }
}

/// configuration.txt 8.2.3: `… haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:…]
/// http-in static/srv1 10/0/30/69/109 200 2750 - - ---- … "GET / HTTP/1.1"`.
fn parse(line: &str) -> Option<Request> {
    let (_, rest) = line.split_once("]: ")?;
    let mut words = rest.split_whitespace();
    let (client, _port) = words.next()?.rsplit_once(':')?;
    let date = words.next()?.to_owned();
    let frontend = words.next()?.trim_end_matches('~').to_owned();
    let (backend, server) = words.next()?.split_once('/')?;
    let timers = words.next()?.to_owned();
    let status = words.next()?.parse().ok()?;
    // Bytes and two captured cookies come first.
    let termination = words.nth(3)?.to_owned();
    Some(Request {
        date,
        client: client.to_owned(),
        frontend,
        backend: backend.to_owned(),
        server: server.to_owned(),
        timers,
        status,
        termination,
        line: rest.split('"').nth(1)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_of_httplog() {
        let line = "<134>Nov 21 06:52:18 haproxy[14389]: 2001:db8::ca:33317 [21/Nov/2026:06:52:18.501] http \
                    acme-challenge/neighbours 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 \
                    \"GET /.well-known/acme-challenge/x HTTP/1.1\"\n";
        let request = parse(line).expect("a request");
        assert_eq!(request.client, "2001:db8::ca");
        assert_eq!(request.backend, "acme-challenge");
        assert_eq!(request.server, "neighbours");
        assert_eq!(request.timers, "10/0/30/69/109");
        assert_eq!(request.status, 200);
        assert_eq!(request.termination, "----");
        assert_eq!(request.line, "GET /.well-known/acme-challenge/x HTTP/1.1");
    }

    #[test]
    fn passes_over_what_is_no_request() {
        assert_eq!(
            parse("<133>Nov 21 06:52:18 haproxy[1]: Proxy http stopped."),
            None
        );
        assert_eq!(parse(""), None);
    }
}
