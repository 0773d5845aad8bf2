//! Between a client of the Runtime API and HAProxy, writing down what is said.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What was sent on each connection to `listen` while `act` ran, and passed on
/// to `server`.
pub(super) fn record(
    listen: &Path,
    server: &Path,
    act: impl FnOnce() -> Result<(), String>,
) -> Result<Vec<Vec<u8>>, String> {
    let fail = |error: io::Error| format!("{}: {error}", listen.display());
    let listener = UnixListener::bind(listen).map_err(fail)?;
    let is_over = AtomicBool::new(false);
    let (outcome, recorded) = thread::scope(|scope| {
        let recorder = scope.spawn(|| relay_all(&listener, server, &is_over));
        let outcome = act();
        is_over.store(true, Ordering::SeqCst);
        // It may have ended already, of an error that it returns.
        drop(UnixStream::connect(listen));
        (outcome, recorder.join())
    });
    fs::remove_file(listen).map_err(fail)?;
    outcome?;
    let recorded = recorded.map_err(|_| "the recorder panicked".to_owned())?;
    recorded.map_err(fail)
}

fn relay_all(
    listener: &UnixListener,
    server: &Path,
    is_over: &AtomicBool,
) -> io::Result<Vec<Vec<u8>>> {
    let mut recorded = Vec::new();
    loop {
        let (client, _) = listener.accept()?;
        if is_over.load(Ordering::SeqCst) {
            return Ok(recorded);
        }
        recorded.push(relay(&client, &UnixStream::connect(server)?)?);
    }
}

/// Passes on both ways until the server closes.
fn relay(client: &UnixStream, server: &UnixStream) -> io::Result<Vec<u8>> {
    thread::scope(|scope| {
        let sent = scope.spawn(|| pass_on(client, server));
        io::copy(&mut &*server, &mut &*client)?;
        client.shutdown(Shutdown::Both)?;
        sent.join().map_err(|_| io::Error::other("panicked"))?
    })
}

fn pass_on(mut from: &UnixStream, mut to: &UnixStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(all);
        };
        to.write_all(bytes)?;
        all.extend_from_slice(bytes);
    }
}
