//! The socket client.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use super::{Address, Command, Error, Info, Loaded, Payload, StorePath, Stores, reply};

/// Talks to one HAProxy: one connection for each command.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
}

impl Client {
    /// A client of the Runtime API at `address`.
    pub fn new(address: Address) -> Self {
        Self { address }
    }

    /// What process this is.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or answers something else.
    pub async fn show_info(&self) -> Result<Info, Error> {
        let text = self.run(Command::ShowInfo).await?;
        reply::info(&text).ok_or_else(|| refused(Command::ShowInfo, &text))
    }

    /// The certificates that it holds.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub async fn certificates(&self) -> Result<Stores, Error> {
        Ok(reply::stores(&self.run(Command::ShowCertificates).await?))
    }

    /// One certificate that it holds.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub async fn certificate(&self, name: &StorePath) -> Result<Option<Loaded>, Error> {
        Ok(reply::loaded(
            &self.run(Command::ShowCertificate(name)).await?,
        ))
    }

    /// The certificates of a crt-list, or of a directory that serves as one.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub async fn crt_list(&self, list: &StorePath) -> Result<Vec<String>, Error> {
        Ok(reply::crt_list(
            &self.run(Command::ShowCrtList(list)).await?,
        ))
    }

    /// How many servers of a backend are up; none if there is no such backend.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub async fn servers_up(&self, backend: &StorePath) -> Result<Option<usize>, Error> {
        let text = self.run(Command::ShowServers(backend)).await?;
        Ok(reply::servers_up(&text))
    }

    /// Makes an empty certificate; one that is there already is fine.
    ///
    /// # Errors
    ///
    /// When it cannot be reached or refuses.
    pub async fn new_certificate(&self, name: &StorePath) -> Result<(), Error> {
        self.expect(Command::New(name), |text| reply::is_new(text, name))
            .await
    }

    /// Begins a transaction with new content for a certificate.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, refuses, or answers of another transaction
    /// than a new one for exactly this certificate.
    pub async fn set_certificate(&self, name: &StorePath, payload: &Payload) -> Result<(), Error> {
        self.expect(Command::Set(name, payload), |text| {
            reply::is_set(text, name)
        })
        .await
    }

    /// Commits the transaction. False if there is none any more: HAProxy was
    /// reloaded in between.
    ///
    /// # Errors
    ///
    /// When it cannot be reached or refuses; the transaction may then still be
    /// open.
    pub async fn commit_certificate(&self, name: &StorePath) -> Result<bool, Error> {
        let text = self.run(Command::Commit(name)).await?;
        match (
            reply::is_committed(&text),
            reply::is_without_transaction(&text),
        ) {
            (true, _) => Ok(true),
            (false, true) => Ok(false),
            (false, false) => Err(refused(Command::Commit(name), &text)),
        }
    }

    /// Ends a transaction without effect. None to end is fine.
    ///
    /// # Errors
    ///
    /// When it cannot be reached or refuses.
    pub async fn abort_certificate(&self, name: &StorePath) -> Result<(), Error> {
        let done = |text: &str| reply::is_gone(text, name) || reply::is_without_transaction(text);
        self.expect(Command::Abort(name), done).await
    }

    /// Removes a certificate that nothing uses.
    ///
    /// # Errors
    ///
    /// When it cannot be reached or refuses.
    pub async fn delete_certificate(&self, name: &StorePath) -> Result<(), Error> {
        self.expect(Command::Delete(name), |text| reply::is_gone(text, name))
            .await
    }

    /// Adds a certificate to a crt-list, or to a directory that serves as one.
    /// Not idempotent for a list: look at [`Self::crt_list`] first.
    ///
    /// # Errors
    ///
    /// When it cannot be reached or refuses.
    pub async fn add_to_crt_list(&self, list: &StorePath, name: &StorePath) -> Result<(), Error> {
        self.expect(Command::AddToCrtList { list, name }, reply::is_added)
            .await
    }

    async fn expect(
        &self,
        command: Command<'_>,
        done: impl FnOnce(&str) -> bool,
    ) -> Result<(), Error> {
        let text = self.run(command).await?;
        if done(&text) {
            Ok(())
        } else {
            Err(refused(command, &text))
        }
    }

    /// Sends a command until HAProxy is not busy, for some seconds at most.
    async fn run(&self, command: Command<'_>) -> Result<String, Error> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES_MAX {
            match self.run_once(command).await {
                Err(Error::Busy) => {}
                Err(Error::Connect { source, .. }) if source.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            sleep(pause).await;
            pause *= 2;
        }
        self.run_once(command).await
    }

    async fn run_once(&self, command: Command<'_>) -> Result<String, Error> {
        let line = command.line();
        let exchanged = timeout(COMMAND_TIMEOUT, self.exchange(command, &line)).await;
        let late = |_| Error::TimedOut {
            command: line.clone(),
            limit: COMMAND_TIMEOUT,
        };
        let bytes = exchanged.map_err(late)??;
        // An `alpn` list is printed with NUL bytes; names are ASCII.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        reply::common_failure(&text, &line).map_or(Ok(text), Err)
    }

    async fn exchange(&self, command: Command<'_>, line: &str) -> Result<Vec<u8>, Error> {
        let connect = |source| Error::Connect {
            address: self.address.clone(),
            source,
        };
        let broken = |source| Error::Broken {
            address: self.address.clone(),
            command: line.to_owned(),
            source,
        };
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(connect)?;
                converse(stream, &command.encode()).await.map_err(broken)
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(connect)?;
                converse(stream, &command.encode()).await.map_err(broken)
            }
        }
    }
}

/// For one command, connecting included.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

const TRIES_MAX: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// In bytes: the list of some 100,000 certificates.
const REPLY_SIZE_MAX: u64 = 16 << 20;

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
) -> io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    let mut reply = Vec::new();
    stream.take(REPLY_SIZE_MAX).read_to_end(&mut reply).await?;
    Ok(reply)
}

fn refused(command: Command<'_>, text: &str) -> Error {
    Error::Refused {
        command: command.line(),
        reply: reply::quote(text),
    }
}
