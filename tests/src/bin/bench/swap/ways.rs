//! The ways to bring a certificate into a running HAProxy.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use spoacme_haproxy::runtime::{Address, Client, swap};
use spoacme_tests::haproxy::Haproxy;
use spoacme_tests::wait::{ensure, until};
use tokio::runtime::Runtime;

use super::store::{Bundle, Hot};

/// One way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// `swap`, which looks before and after.
    Ours,
    /// The bytes of `swap` again, by a client that understands nothing.
    Replay,
    /// Of these, only to set and to commit: nobody looks whether it worked.
    Bare,
    /// What acme.sh's deploy hook for HAProxy runs.
    AcmeSh,
    /// A new worker.
    Reload,
}

impl Way {
    pub(super) const ALL: [Self; 5] = [
        Self::Ours,
        Self::Replay,
        Self::Bare,
        Self::AcmeSh,
        Self::Reload,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "spoacme",
            Self::Replay => "HAProxy's ceiling, same bytes",
            Self::Bare => "set and commit alone, blindly",
            Self::AcmeSh => "acme.sh's hook, with socat",
            Self::Reload => "reload",
        }
    }
}

/// Where to send to.
pub(super) struct Target<'a> {
    pub(super) haproxy: &'a Haproxy,
    pub(super) socket: PathBuf,
    runtime: Runtime,
}

impl<'a> Target<'a> {
    pub(super) fn new(haproxy: &'a Haproxy, socket: PathBuf) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Self {
            haproxy,
            socket,
            runtime: runtime.map_err(|error| error.to_string())?,
        })
    }

    /// Swaps as the manager does.
    pub(super) fn swap(&self, hot: &Hot, bundle: &Bundle) -> Result<(), String> {
        self.swap_at(&self.socket, hot, bundle)
    }

    /// The same, at a socket that leads there.
    pub(super) fn swap_at(&self, socket: &Path, hot: &Hot, bundle: &Bundle) -> Result<(), String> {
        let client = Client::new(Address::Unix(socket.to_owned()));
        let swapping = swap(&client, &hot.path, None, &bundle.payload, &bundle.sha1);
        let swapped = self.runtime.block_on(swapping);
        swapped
            .map(drop)
            .map_err(|error| format!("{}: {error}", hot.name))
    }

    /// Sends, each on a connection of its own, and reads until it is closed.
    pub(super) fn send_all<'b>(
        &self,
        commands: impl IntoIterator<Item = &'b Vec<u8>>,
    ) -> Result<(), String> {
        let mut reply = Vec::new();
        for command in commands {
            reply.clear();
            UnixStream::connect(&self.socket)
                .and_then(|mut stream| {
                    stream.write_all(command)?;
                    stream.read_to_end(&mut reply)
                })
                .map_err(|error| format!("{}: {error}", self.socket.display()))?;
        }
        Ok(())
    }

    /// What acme.sh runs for a certificate that HAProxy knows, once its file is
    /// written.
    pub(super) fn acme_sh(&self, hot: &Hot) -> Result<(), String> {
        // Its installer makes bash its shell, and dash's `echo` has no `-e`.
        let status = Command::new("bash")
            .args(["-c", ACME_SH, "acme.sh", hot.path.as_str()])
            .arg(&self.socket)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| format!("bash: {error}"))?;
        ensure(status.success(), format!("acme.sh's commands: {status}"))
    }

    /// Reloads, and waits for another worker than `old` to answer.
    pub(super) fn reload(&self, old: u32) -> Result<(), String> {
        self.haproxy.reload_from(old, RELOAD_PATIENCE)
    }

    /// Waits until a worker has left, so that the next swap has the machine for
    /// itself.
    pub(super) fn wait_for_end(worker: u32) -> Result<(), String> {
        until("the end of the old worker", || {
            let is_there = Path::new(&format!("/proc/{worker}")).exists();
            ensure(!is_there, format!("{worker} is still there"))
        })
    }
}

/// To load 10,000 certificates takes seconds, and a second signal would begin
/// again.
const RELOAD_PATIENCE: Duration = Duration::from_secs(25);

/// A list to see whether HAProxy knows the certificate, then set and commit:
/// three pipes, each a fork for `echo`, `socat` and `grep`.
const ACME_SH: &str = r#"
pem=$1 socket=UNIX:$2
echo 'show ssl cert' | socat "$socket" - | grep -q "^$pem$" || exit 1
echo -e "set ssl cert $pem <<\n$(cat "$pem")\n" | socat "$socket" - | grep -q 'Transaction created' || exit 2
echo "commit ssl cert $pem" | socat "$socket" - | grep -q '^Success!$' || exit 3
"#;
