//! The socket client.

#[cfg(test)]
pub(super) mod fake;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::reply::{self, Failure, Set};
use super::{
    Address, Command, CrtListEntry, Details, Error, Info, Outcome, Payload, StorePath, Version,
};

/// Talks to one HAProxy: one connection for each command.
///
/// HAProxy has one transaction, whoever connects and whatever certificate it
/// is for: let one task at a time change something.
///
/// Every method fails when HAProxy cannot be reached, stays busy, gives no
/// whole reply in time, or gives one that is neither success nor a failure of
/// its own.
#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
    command_timeout: Duration,
    buffer_size: usize,
}

impl Client {
    /// A client of the Runtime API at `address`, with five seconds for each
    /// command.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            command_timeout: COMMAND_TIMEOUT,
            buffer_size: BUFFER_SIZE,
        }
    }

    /// For a HAProxy with this `tune.bufsize`, in bytes; 16,384 by default.
    #[must_use]
    pub fn with_buffer_size(mut self, buffer_size: usize) -> Self {
        self.buffer_size = buffer_size;
        self
    }

    /// How many bytes a command with its payload may have for that version.
    pub fn command_size_max(&self, version: &Version) -> usize {
        version.command_size_max(self.buffer_size)
    }

    /// With this time for each command, from connecting to the end of the
    /// reply.
    #[must_use]
    pub fn with_command_timeout(mut self, command_timeout: Duration) -> Self {
        self.command_timeout = command_timeout;
        self
    }

    /// What process this is.
    pub async fn show_info(&self) -> Result<Info, Error> {
        self.ask(Command::ShowInfo, Info::parse).await
    }

    /// The certificate with an open transaction. There is one transaction for
    /// the whole process.
    pub async fn open_transaction(&self) -> Result<Option<String>, Error> {
        self.ask(Command::ShowCertificates, reply::open_transaction)
            .await
    }

    /// One certificate that it holds.
    pub async fn certificate(&self, name: &StorePath) -> Result<Option<Details>, Error> {
        let read = |body: &[u8]| Details::parse(body, name);
        self.ask(Command::ShowCertificate(name), read).await
    }

    /// Several certificates, in the order of `names`: many times faster than
    /// one by one.
    pub async fn certificates_named(
        &self,
        names: &[StorePath],
    ) -> Result<Vec<Option<Details>>, Error> {
        let at_once = match self.address {
            // A master takes `;` for the end of what it passes on.
            Address::Master(_) => 1,
            _ => NAMES_AT_ONCE,
        };
        let mut found = Vec::with_capacity(names.len());
        let mut rest = names;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest, at_once));
            let read = |body: &[u8]| reply::several(body, now);
            found.extend(self.ask(Command::ShowCertificatesNamed(now), read).await?);
            rest = later;
        }
        Ok(found)
    }

    /// The names of its crt-lists, and of the directories that serve as such.
    pub async fn crt_lists(&self) -> Result<Vec<String>, Error> {
        self.ask(Command::ShowCrtLists, reply::crt_lists).await
    }

    /// The entries of a crt-list, or of a directory that serves as one; nothing
    /// if there is none of that name.
    pub async fn crt_list_entries(
        &self,
        list: &StorePath,
    ) -> Result<Option<Vec<CrtListEntry>>, Error> {
        self.ask(Command::ShowCrtList(list), reply::crt_list).await
    }

    /// How many servers of a backend are up; nothing if there is no such
    /// backend.
    pub async fn servers_up(&self, backend: &StorePath) -> Result<Option<usize>, Error> {
        self.ask(Command::ShowServers(backend), reply::servers_up)
            .await
    }

    /// Makes an empty certificate, unless it is there already.
    pub async fn new_certificate(&self, name: &StorePath) -> Result<Outcome, Error> {
        self.ask(Command::New(name), |body| reply::new(body, name))
            .await
    }

    /// Opens a transaction with new content for a certificate.
    ///
    /// # Errors
    ///
    /// Also when the bundle is too large for this version, which is found
    /// before it is sent; when HAProxy cannot load it; and when anybody's
    /// transaction was open: one for `name` is then ended, one for another
    /// certificate is left to its owner.
    pub async fn set_certificate(&self, name: &StorePath, payload: &Payload) -> Result<(), Error> {
        let command = Command::Set(name, payload);
        if command.size() > BUFFER_SIZE.min(self.buffer_size) - Version::COMMAND_MARGIN {
            self.check_size(command, &self.show_info().await?.version)?;
        }
        self.set_what_fits(name, payload).await
    }

    /// Refuses a command that this version would not take whole.
    pub(super) fn check_size(&self, command: Command<'_>, version: &Version) -> Result<(), Error> {
        let (size, limit) = (command.size(), self.command_size_max(version));
        if size <= limit {
            return Ok(());
        }
        Err(Error::TooLarge {
            size,
            limit: Some(limit),
        })
    }

    /// [`Self::set_certificate`] for whoever has checked the size already.
    pub(super) async fn set_what_fits(
        &self,
        name: &StorePath,
        payload: &Payload,
    ) -> Result<(), Error> {
        let command = Command::Set(name, payload);
        match self.ask(command, |body| reply::set(body, name)).await? {
            Set::Created => Ok(()),
            Set::Updated => {
                self.abort_certificate(name).await?;
                Err(Error::ForeignTransaction {
                    name: name.to_string(),
                })
            }
        }
    }

    /// Commits the transaction for a certificate.
    ///
    /// # Errors
    ///
    /// Also when HAProxy rejects the content, or no transaction or another's is
    /// open. One for `name` may then still be open: end it.
    pub async fn commit_certificate(&self, name: &StorePath) -> Result<(), Error> {
        self.ask(Command::Commit(name), |body| reply::commit(body, name))
            .await
    }

    /// Ends the transaction for a certificate without effect, if one is open.
    ///
    /// # Errors
    ///
    /// Also when another certificate's is open.
    pub async fn abort_certificate(&self, name: &StorePath) -> Result<Outcome, Error> {
        self.ask(Command::Abort(name), |body| reply::abort(body, name))
            .await
    }

    /// Adds a certificate to a crt-list, or to a directory that serves as one.
    /// A list takes it again and again: look at its entries first.
    ///
    /// # Errors
    ///
    /// Also when there is no such list or certificate, or it is empty.
    pub async fn add_to_crt_list(
        &self,
        list: &StorePath,
        name: &StorePath,
    ) -> Result<Outcome, Error> {
        let command = Command::AddToCrtList { list, name };
        self.ask(command, |body| reply::add(body, list, name)).await
    }

    /// Removes all entries of a certificate from a crt-list, or from a
    /// directory that serves as one.
    ///
    /// # Errors
    ///
    /// Also when the certificate is the default one of a `bind` line.
    pub async fn remove_from_crt_list(
        &self,
        list: &StorePath,
        name: &StorePath,
    ) -> Result<Outcome, Error> {
        let entries = self.crt_list_entries(list).await?.unwrap_or_default();
        let mut outcome = Outcome::Already;
        for entry in entries.iter().filter(|entry| entry.name == name.as_str()) {
            let line = entry.line;
            let command = Command::RemoveFromCrtList { list, name, line };
            self.ask(command, |body| reply::remove(body, list, name))
                .await?;
            outcome = Outcome::Done;
        }
        Ok(outcome)
    }

    /// Removes a certificate, if it is there.
    ///
    /// # Errors
    ///
    /// Also when it is used or in a transaction.
    pub async fn delete_certificate(&self, name: &StorePath) -> Result<Outcome, Error> {
        self.ask(Command::Delete(name), |body| reply::delete(body, name))
            .await
    }

    /// Asks until HAProxy takes the command, for some seconds at most. Only what
    /// was surely not carried out is sent again.
    async fn ask<T>(
        &self,
        command: Command<'_>,
        read: impl Fn(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = self.ask_once(command, &read).await;
            let patience = outcome
                .as_ref()
                .err()
                .map_or(Duration::ZERO, |e| self.patience(e));
            if begun.elapsed() + pause > patience {
                return outcome;
            }
            sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }

    /// For how long a command is sent again that did not get as far as to have
    /// an effect: the lock on certificates was taken, the queue of the socket
    /// was full (EAGAIN), or the master was just making itself anew.
    fn patience(&self, error: &Error) -> Duration {
        match error {
            Error::Busy => RETRY_MAX,
            Error::Connect { source, .. } => match (source.kind(), &self.address) {
                (ErrorKind::WouldBlock, _) => RETRY_MAX,
                (ErrorKind::ConnectionRefused, Address::Master(_)) => RELOAD_MAX,
                _ => Duration::ZERO,
            },
            _ => Duration::ZERO,
        }
    }

    async fn ask_once<T>(
        &self,
        command: Command<'_>,
        read: impl Fn(&[u8]) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let exchanged = timeout(self.command_timeout, self.exchange(command)).await;
        let reply = exchanged.map_err(|_| Error::TimedOut {
            command: command.line(),
            limit: self.command_timeout,
        })??;
        if reply.len() > REPLY_SIZE_MAX {
            return Err(Error::TooLong {
                command: command.line(),
                limit: REPLY_SIZE_MAX,
            });
        }
        let body = reply::body(&reply, command)?;
        read(body).map_err(|failure| failure.into_error(command, &reply))
    }

    async fn exchange(&self, command: Command<'_>) -> Result<Vec<u8>, Error> {
        let bytes = command.encode(self.address.prefix());
        let conversed = match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                converse(stream.map_err(|e| self.unreachable(e))?, &bytes, false).await
            }
            Address::Master(path) => {
                let stream = UnixStream::connect(path).await;
                converse(stream.map_err(|e| self.unreachable(e))?, &bytes, true).await
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await;
                converse(stream.map_err(|e| self.unreachable(e))?, &bytes, false).await
            }
        };
        conversed.map_err(|source| Error::Broken {
            address: self.address.clone(),
            command: command.line(),
            source,
        })
    }

    fn unreachable(&self, source: io::Error) -> Error {
        let address = self.address.clone();
        match source.kind() {
            ErrorKind::PermissionDenied => Error::Permission { address },
            _ => Error::Connect { address, source },
        }
    }
}

/// `tune.bufsize` by default, in bytes.
const BUFFER_SIZE: usize = 16_384;

/// What one line asks for at most: its reply takes HAProxy a millisecond.
const NAMES_AT_ONCE: usize = 100;

/// How many of `names` fit into one line, at least one.
fn fitting(names: &[StorePath], at_once: usize) -> usize {
    let mut size = 0;
    let fit = names.iter().take(at_once).take_while(|name| {
        size += "show ssl cert ;".len() + name.as_str().len();
        size < BUFFER_SIZE / 2
    });
    fit.count().max(1)
}

/// For one command, connecting included.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// For one command, all its tries together.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What a master takes to make itself anew, and to spare.
const RELOAD_MAX: Duration = Duration::from_secs(2);

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// In bytes: the list of some 100,000 certificates.
const REPLY_SIZE_MAX: usize = 16 << 20;

/// Sends the command and reads until HAProxy closes.
///
/// HAProxy may answer "too big" and close before it has read everything, so
/// that the reply counts more than what became of the connection. A master
/// waits for more commands until it is told that none come.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
    ends_itself: bool,
) -> io::Result<Vec<u8>> {
    let mut written = stream.write_all(bytes).await;
    if ends_itself && written.is_ok() {
        written = stream.shutdown().await;
    }
    let mut reply = Vec::new();
    let limit = u64::try_from(REPLY_SIZE_MAX + 1).unwrap_or(u64::MAX);
    let read = stream.take(limit).read_to_end(&mut reply).await;
    if reply.is_empty() {
        written?;
        read?;
    }
    Ok(reply)
}
