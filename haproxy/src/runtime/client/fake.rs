//! A HAProxy that says what it was told to say.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::{Address, Client};

/// Listens until it is dropped. Each connection is one line of its script.
pub(in crate::runtime) struct Fake {
    directory: TempDir,
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// The line of a command, and the reply to it.
pub(in crate::runtime) type Exchange = (&'static str, Vec<u8>);

impl Fake {
    /// Answers as in the script, and whatever is not in it with a complaint.
    pub(in crate::runtime) fn playing(script: Vec<Exchange>) -> Self {
        let mut script = VecDeque::from(script);
        Self::answering(move |line| match script.pop_front() {
            Some((expected, reply)) if expected == line => reply,
            Some((expected, _)) => format!("the script has {expected:?} here\n\n").into(),
            None => b"the script is at its end\n\n".to_vec(),
        })
    }

    /// Answers whatever `answer` makes of the line of a command.
    pub(in crate::runtime) fn answering(
        mut answer: impl FnMut(&str) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("sock")).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let command = read_command(&mut stream).await;
                let line = command.lines().next().unwrap_or_default().to_owned();
                record.lock().unwrap().push(command);
                // The client may have given up.
                let _ = stream.write_all(&answer(&line)).await;
            }
        });
        Self {
            directory,
            seen,
            task,
        }
    }

    pub(in crate::runtime) fn path(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    pub(in crate::runtime) fn client(&self) -> Client {
        Client::new(Address::Unix(self.path()))
    }

    /// All that was sent, one text for each connection.
    pub(in crate::runtime) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The lines of the commands that were sent, without payloads.
    pub(in crate::runtime) fn lines(&self) -> Vec<String> {
        let line = |command: &String| command.lines().next().unwrap_or_default().to_owned();
        self.seen().iter().map(line).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A line, or a line and a payload with the empty line that ends it.
async fn read_command(stream: &mut UnixStream) -> String {
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
            false => stream.read(&mut buffer).await.unwrap_or_default(),
        };
        if length == 0 {
            return String::from_utf8(command).unwrap();
        }
        command.extend_from_slice(&buffer[..length]);
    }
}
