//! A mail server, and a receiver of webhooks.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::haproxy::repository;
use crate::ports;
use crate::process::Process;
use crate::stage::Stage;
use crate::wait;

/// Debian's aiosmtpd; every mail ends as a file.
#[derive(Debug)]
pub struct MailServer {
    /// Where it listens on the loopback.
    pub port: u16,
    /// The root that vouches for it.
    pub root: PathBuf,
    directory: PathBuf,
    _process: Process,
}

/// Who may send mails.
pub const USER: &str = "spoacme";
/// What they prove it by.
pub const PASSWORD: &str = "correct horse battery staple";

impl MailServer {
    /// Starts one in `mode`: `plain`, `starttls` or `tls`.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(stage: &Stage, mode: &str) -> Result<Self, String> {
        let port = ports::free()?;
        let directory = stage.path(&format!("mails-{mode}"));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let made = made.map_err(|error| error.to_string())?;
        let pem = made.cert.pem() + &made.signing_key.serialize_pem();
        let both = stage.write(&format!("mail-{mode}.pem"), &pem)?;
        let root = stage.write(&format!("mail-{mode}-root.pem"), &made.cert.pem())?;
        // Debian's own: aiosmtpd is one of its packages.
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(repository().join("tests/mail/server.py"))
            .args([port.to_string(), mode.to_owned()])
            .args([&directory, &both])
            .args([USER, PASSWORD]);
        let mut process = Process::start(&format!("mail-{mode}"), stage.root(), &mut command)?;
        wait::until("the mail server", || {
            process.expect_running()?;
            TcpStream::connect(("127.0.0.1", port))
                .map(drop)
                .map_err(|e| e.to_string())
        })?;
        Ok(Self {
            port,
            root,
            directory,
            _process: process,
        })
    }

    /// The mails it has kept.
    pub fn mails(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let read = |entry: fs::DirEntry| fs::read_to_string(entry.path()).ok();
        entries.filter_map(read).collect()
    }
}

/// Something that takes webhooks.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens on the loopback.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    status: AtomicU16,
    ended: AtomicBool,
    taken: Mutex<Vec<Value>>,
}

impl Receiver {
    /// Starts one that answers 200.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub fn start() -> Result<Self, String> {
        let port = ports::free()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        listener
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared {
            status: AtomicU16::new(200),
            ended: AtomicBool::new(false),
            taken: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || receive(&listener, &of_thread));
        Ok(Self { port, shared })
    }

    /// Sets the status of its answers.
    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// What it has taken with 200.
    pub fn taken(&self) -> Vec<Value> {
        self.shared.taken().clone()
    }

    /// How many events of a kind it has taken.
    pub fn count(&self, event: &str) -> usize {
        self.taken()
            .iter()
            .filter(|taken| taken["event"] == event)
            .count()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<Value>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receive(listener: &TcpListener, shared: &Shared) {
    while !shared.ended.load(Ordering::SeqCst) {
        match listener.accept() {
            // A sender that breaks off has sent nothing.
            Ok((stream, _)) => drop(take(stream, shared)),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn take(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    let body = loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk)?;
        text.push_str(&String::from_utf8_lossy(&chunk[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap_or("0");
        let length: usize = length.lines().next().unwrap_or("0").parse().unwrap_or(0);
        if body.len() >= length || count == 0 {
            break body.to_owned();
        }
    };
    let status = shared.status.load(Ordering::SeqCst);
    if status == 200 {
        shared
            .taken()
            .push(serde_json::from_str(&body).unwrap_or(Value::Null));
    }
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}
