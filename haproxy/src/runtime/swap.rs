//! Swapping a certificate into a running HAProxy.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Client, Command, Details, Error, Outcome, Payload, StorePath};

/// A certificate that HAProxy uses now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Swapped {
    /// The process that uses it, the same before and after.
    pub pid: u32,
    /// Whether it was not used before; else it was replaced.
    pub added: bool,
}

/// Loads `payload`, whose leaf has the SHA-1 `sha1` (hexadecimal), as `name`. A
/// name that HAProxy does not use yet is made and added to `crt_list`; without
/// one it is an error.
///
/// A reload in the middle loses whatever was done in the old process, and a
/// lost reply leaves open what was done: then all is done again, from looking
/// at the process on.
///
/// Write the file that HAProxy loads first: a reload brings back what is there.
///
/// # Errors
///
/// When HAProxy cannot be reached, refuses, or is reloaded again and again.
/// What was used before is then still used, no transaction for `name` is left
/// open, and a certificate made here that did not come into use is deleted,
/// unless HAProxy does not let us.
pub async fn swap<'a>(
    client: &'a Client,
    name: &'a StorePath,
    crt_list: impl Into<Option<&'a StorePath>>,
    payload: &'a Payload,
    sha1: &'a str,
) -> Result<Swapped, Error> {
    let swap = Swap {
        client,
        name,
        crt_list: crt_list.into(),
        payload,
        sha1,
        patience: PATIENCE,
    };
    swap.run().await
}

struct Swap<'a> {
    client: &'a Client,
    name: &'a StorePath,
    crt_list: Option<&'a StorePath>,
    payload: &'a Payload,
    sha1: &'a str,
    patience: Patience,
}

/// How long is waited for others.
#[derive(Clone, Copy)]
struct Patience {
    /// Another program may hold the one transaction for this long.
    foreign: Duration,
    /// Between two looks.
    pause: Duration,
}

const PATIENCE: Patience = Patience {
    foreign: Duration::from_secs(5),
    pause: Duration::from_millis(200),
};

/// HAProxy is not reloaded that often in a row.
const TRIES_MAX: u32 = 5;

impl Swap<'_> {
    async fn run(&self) -> Result<Swapped, Error> {
        let mut last = Error::Reloading { times: TRIES_MAX };
        for _ in 0..TRIES_MAX {
            match self.attempt().await {
                Ok(Some(swapped)) => return Ok(swapped),
                Ok(None) => last = Error::Reloading { times: TRIES_MAX },
                Err(error) if is_worth_redoing(&error) => last = error,
                Err(error) => return Err(error),
            }
            sleep(self.patience.pause).await;
        }
        Err(last)
    }

    /// One try from beginning to end; nothing if HAProxy was reloaded
    /// meanwhile.
    async fn attempt(&self) -> Result<Option<Swapped>, Error> {
        let before = self.client.show_info().await?;
        if before.stopping {
            return Ok(None);
        }
        let command = Command::Set(self.name, self.payload);
        self.client.check_size(command, &before.version)?;
        let outcome = self.load().await;
        let after = self.client.show_info().await;
        match (outcome, after) {
            (_, Ok(after)) if after.pid != before.pid || after.stopping => Ok(None),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(added), Ok(_)) => Ok(Some(Swapped {
                pid: before.pid,
                added,
            })),
        }
    }

    /// Says whether the certificate was added.
    async fn load(&self) -> Result<bool, Error> {
        self.wait_for_transaction().await?;
        let is_used = self.look().await?.is_some_and(|details| details.is_used());
        let list = match (is_used, self.crt_list) {
            (true, _) => None,
            (false, Some(list)) => Some(list),
            (false, None) => return Err(self.not_in_use()),
        };
        let made = match list {
            Some(_) => self.client.new_certificate(self.name).await?,
            None => Outcome::Already,
        };
        let put = self.put(list).await;
        if let Err(error) = &put {
            self.clean_up(made, error).await;
        }
        put.map(|()| list.is_some())
    }

    /// Puts the content in, and the certificate into `list`.
    async fn put(&self, list: Option<&StorePath>) -> Result<(), Error> {
        let (client, name) = (self.client, self.name);
        client.set_what_fits(name, self.payload).await?;
        client.commit_certificate(name).await?;
        if let Some(list) = list {
            self.add_to(list).await?;
        }
        match self.look().await? {
            Some(details) if details.is_used() && details.has_sha1(self.sha1) => Ok(()),
            _ => Err(self.not_in_use()),
        }
    }

    /// To add twice would serve it from two instances.
    async fn add_to(&self, list: &StorePath) -> Result<(), Error> {
        let entries = self.client.crt_list_entries(list).await?;
        let mut entries = entries.iter().flatten();
        if !entries.any(|entry| entry.name == self.name.as_str()) {
            self.client.add_to_crt_list(list, self.name).await?;
        }
        Ok(())
    }

    /// Waits until no transaction is open, and ends one of ours that a crash
    /// left. On 2.6, to set into a foreign one would load our certificate under
    /// its name.
    async fn wait_for_transaction(&self) -> Result<(), Error> {
        let give_up = Instant::now() + self.patience.foreign;
        loop {
            match self.client.open_transaction().await? {
                None => return Ok(()),
                Some(name) if Instant::now() >= give_up => {
                    return Err(Error::ForeignTransaction { name });
                }
                Some(open) if open == self.name.as_str() => {
                    self.client.abort_certificate(self.name).await?;
                }
                Some(_) => sleep(self.patience.pause).await,
            }
        }
    }

    /// Leaves neither a transaction with our content nor a certificate that
    /// nothing uses. HAProxy aborts and deletes nothing else by these commands.
    /// Best effort: the error that led here says more than one of these could.
    async fn clean_up(&self, made: Outcome, error: &Error) {
        match error {
            // Somebody else's content is lost already. If they committed ours,
            // HAProxy would serve it under their name.
            Error::Overwrote { name } => {
                if let Ok(other) = name.parse() {
                    let _ = self.client.abort_certificate(&other).await;
                }
            }
            _ => drop(self.client.abort_certificate(self.name).await),
        }
        if made == Outcome::Done {
            let _ = self.client.delete_certificate(self.name).await;
        }
    }

    async fn look(&self) -> Result<Option<Details>, Error> {
        self.client.certificate(self.name).await
    }

    fn not_in_use(&self) -> Error {
        Error::NotInUse {
            name: self.name.clone(),
        }
    }
}

/// Whether the same again, from the start, is likely to succeed: setting and
/// committing the same bytes twice does no harm.
fn is_worth_redoing(error: &Error) -> bool {
    error.is_unclear() || matches!(error, Error::NoTransaction { .. })
}
