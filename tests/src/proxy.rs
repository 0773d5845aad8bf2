//! A proxy on a Runtime API's socket that lets things go wrong.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::process::{Signal, send};

/// What goes wrong with one command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// HAProxy sees only so many bytes of it, and there is no reply.
    CutRequest(usize),
    /// HAProxy carries it out, and only so many bytes of the reply arrive.
    CutReply(usize),
    /// HAProxy carries it out after a while.
    Slow(Duration),
    /// HAProxy does not see it, and this is the reply.
    Answer(Vec<u8>),
    /// This process is killed before HAProxy sees it.
    KillBefore(u32),
    /// This process is killed after HAProxy has carried it out.
    KillAfter(u32),
}

/// Decides, by the line of a command, what goes wrong with it.
pub type Plan = Box<dyn FnMut(&str) -> Fault + Send>;

/// Listens until it is dropped.
pub struct Proxy {
    path: PathBuf,
    plan: Arc<Mutex<Plan>>,
    seen: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens at `path` for what is to go to the socket `upstream`.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn start(path: &Path, upstream: &Path) -> Result<Self, String> {
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        let listener = UnixListener::bind(path).map_err(fail)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(fail)?;
        let plan: Plan = Box::new(|_| Fault::None);
        let mut proxy = Self {
            path: path.to_owned(),
            plan: Arc::new(Mutex::new(plan)),
            seen: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (plan, seen) = (Arc::clone(&proxy.plan), Arc::clone(&proxy.seen));
        let (stop, upstream) = (Arc::clone(&proxy.stop), upstream.to_owned());
        let thread = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // What becomes of a broken connection is the manager's matter.
                let _ = serve(client, &upstream, &plan, &seen);
            }
        });
        proxy.thread = Some(thread);
        Ok(proxy)
    }

    /// From now on `plan` decides what goes wrong.
    pub fn let_fail(&self, plan: impl FnMut(&str) -> Fault + Send + 'static) {
        if let Ok(mut place) = self.plan.lock() {
            *place = Box::new(plan);
        }
    }

    /// The lines of the commands seen since the last call.
    pub fn take_seen(&self) -> Vec<String> {
        self.seen
            .lock()
            .map(|mut seen| std::mem::take(&mut *seen))
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes it.
        drop(UnixStream::connect(&self.path));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// A peer that hangs must not hang the tests.
const PATIENCE: Duration = Duration::from_secs(20);

fn serve(
    mut client: UnixStream,
    upstream: &Path,
    plan: &Mutex<Plan>,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let command = read_command(&mut client)?;
    let text = String::from_utf8_lossy(&command);
    let line = text.lines().next().unwrap_or_default().to_owned();
    if let Ok(mut seen) = seen.lock() {
        seen.push(line.clone());
    }
    let fault = plan.lock().map_or(Fault::None, |mut plan| plan(&line));
    match fault {
        Fault::None => client.write_all(&exchange(upstream, &command)?),
        Fault::CutRequest(kept) => {
            let mut stream = UnixStream::connect(upstream)?;
            stream.write_all(&command[..kept.min(command.len())])
        }
        Fault::CutReply(kept) => {
            let reply = exchange(upstream, &command)?;
            client.write_all(&reply[..kept.min(reply.len())])
        }
        Fault::Slow(time) => {
            thread::sleep(time);
            client.write_all(&exchange(upstream, &command)?)
        }
        Fault::Answer(reply) => client.write_all(&reply),
        Fault::KillBefore(pid) => send(pid, Signal::KILL).map_err(std::io::Error::other),
        Fault::KillAfter(pid) => {
            exchange(upstream, &command)?;
            send(pid, Signal::KILL).map_err(std::io::Error::other)
        }
    }
}

fn exchange(upstream: &Path, command: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(upstream)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(command)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(reply)
}

/// A line, or a line and a payload with the empty line that ends it.
fn read_command(client: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut command = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let is_whole = match command.iter().position(|&b| b == b'\n') {
            Some(end) if command[..end].ends_with(b"<<") => command.ends_with(b"\n\n"),
            Some(_) => true,
            None => false,
        };
        let length = match is_whole {
            true => 0,
            false => client.read(&mut buffer)?,
        };
        if length == 0 {
            return Ok(command);
        }
        command.extend_from_slice(&buffer[..length]);
    }
}
