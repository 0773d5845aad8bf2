//! A neighbour that answers challenges as it is told, to be asked by HAProxy.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::ports;
use crate::wait::until;

/// How a neighbour behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Play {
    /// It knows every token of [`KNOWN`] and no other.
    Knows,
    /// It answers 404.
    DoesNotKnow,
    /// It answers 503: its agent has failed.
    AgentFailed,
    /// It accepts, and never answers.
    Hangs,
    /// It accepts, and closes at once.
    Closes,
    /// Nobody listens.
    IsGone,
}

/// The path that a neighbour knows.
pub const KNOWN: &str = "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA-abcdefghijklmnopqrst";

/// A neighbour.
#[derive(Debug)]
pub struct Neighbour {
    /// Where it listens on the loopback.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    play: Mutex<Play>,
    asked: AtomicUsize,
    ended: AtomicBool,
}

impl Neighbour {
    /// Starts one that does not know any token.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub fn start() -> Result<Self, String> {
        let port = ports::free()?;
        let shared = Arc::new(Shared {
            play: Mutex::new(Play::DoesNotKnow),
            asked: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(port, &shared)
        });
        let neighbour = Self { port, shared };
        neighbour.play(Play::DoesNotKnow)?;
        Ok(neighbour)
    }

    /// Changes how it behaves; it does so on return.
    ///
    /// # Errors
    ///
    /// When its port does not open or close.
    pub fn play(&self, play: Play) -> Result<(), String> {
        *self
            .shared
            .play
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = play;
        let is_gone = || TcpStream::connect(("127.0.0.1", self.port)).is_err();
        until("the neighbour's port", || {
            match is_gone() == (play == Play::IsGone) {
                true => Ok(()),
                false => Err("not yet"),
            }
        })
    }

    /// How many requests it has had, health checks apart.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn play(&self) -> Play {
        *self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens while there is somebody at home.
fn listen(port: u16, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::SeqCst) {
        let listener = match shared.play() {
            Play::IsGone => None,
            _ => TcpListener::bind(("127.0.0.1", port)).ok(),
        };
        if let Some(listener) = listener {
            accept(&listener, shared);
        }
        thread::sleep(PAUSE);
    }
}

const PAUSE: Duration = Duration::from_millis(1);

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    while shared.play() != Play::IsGone && !shared.ended.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || answer(stream, &shared));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) {
    let play = shared.play();
    if play == Play::Closes {
        return;
    }
    let Ok(head) = read_head(&mut stream) else {
        return;
    };
    if !head.contains("acme-neighbour: checks") {
        shared.asked.fetch_add(1, Ordering::SeqCst);
    }
    if play == Play::Hangs {
        // Until HAProxy gives up.
        let _ = stream.read(&mut [0]);
        return;
    }
    let knows = play == Play::Knows && head.contains(&format!("get {} ", KNOWN.to_lowercase()));
    let (status, body) = match (play, knows) {
        (Play::AgentFailed, _) => ("503 Service Unavailable", "failed"),
        (_, true) => ("200 OK", "known"),
        _ => ("404 Not Found", "unknown"),
    };
    let length = body.len();
    // A failed write is HAProxy's business, which has gone.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut head, mut byte) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut byte)?;
        if count == 0 || head.len() > 16 * 1024 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&byte[..count]);
    }
    Ok(String::from_utf8_lossy(&head).to_lowercase())
}
