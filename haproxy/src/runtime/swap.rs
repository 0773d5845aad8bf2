//! Swapping a certificate into a running HAProxy.

use std::time::Duration;

use tokio::time::sleep;

use super::{Client, Command, Error, Info, Payload, StorePath};

/// A certificate that HAProxy uses now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Swapped {
    /// The process that uses it, the same before and after.
    pub pid: u32,
    /// Whether it was unknown to HAProxy before.
    pub added: bool,
}

/// Loads `payload`, whose leaf has the SHA-1 `sha1`, as `name`; a name that
/// HAProxy does not know yet is made and added to `crt_list`.
///
/// A reload in the middle loses whatever was done in the old process, so that
/// all is done again in the new one.
///
/// # Errors
///
/// When HAProxy cannot be reached or refuses. No transaction of ours is then
/// left open, and what was used before is still used.
pub async fn swap(
    client: &Client,
    name: &StorePath,
    crt_list: &StorePath,
    payload: &Payload,
    sha1: &str,
) -> Result<Swapped, Error> {
    for _ in 0..RELOADS_MAX {
        let before = client.show_info().await?;
        if before.stopping {
            sleep(RELOAD_PAUSE).await;
            continue;
        }
        check_size(&before, name, payload)?;
        let added = match try_swap(client, name, crt_list, payload).await {
            Ok(Some(added)) => added,
            Ok(None) => continue,
            Err(_) if is_reloaded(client, &before).await => continue,
            Err(error) => return Err(error),
        };
        let loaded = client.certificate(name).await?;
        if is_reloaded(client, &before).await {
            continue;
        }
        if loaded.is_some_and(|loaded| loaded.is_used() && loaded.has_sha1(sha1)) {
            return Ok(Swapped {
                pid: before.pid,
                added,
            });
        }
        return Err(Error::NotInUse { name: name.clone() });
    }
    Err(Error::Reloading(RELOADS_MAX))
}

/// HAProxy is not reloaded that often in a row.
const RELOADS_MAX: u32 = 5;
const RELOAD_PAUSE: Duration = Duration::from_millis(200);

/// How long another program may hold the one transaction there is.
const FOREIGN_PAUSE: Duration = Duration::from_millis(500);
const FOREIGN_TRIES: u32 = 10;

fn check_size(info: &Info, name: &StorePath, payload: &Payload) -> Result<(), Error> {
    let size = Command::Set(name, payload).encode().len();
    let limit = info.version.payload_size_max();
    if size <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        size,
        limit,
        version: info.version.to_string(),
    })
}

/// Says whether the certificate is new; nothing if a reload took the
/// transaction away.
async fn try_swap(
    client: &Client,
    name: &StorePath,
    crt_list: &StorePath,
    payload: &Payload,
) -> Result<Option<bool>, Error> {
    close_transaction(client, name).await?;
    let known = client.certificate(name).await?;
    let added = !known.is_some_and(|loaded| loaded.is_used());
    if added {
        client.new_certificate(name).await?;
    }
    match set_and_commit(client, name, payload).await {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => {
            clean_up(client, name, added).await;
            return Err(error);
        }
    }
    if added
        && !client
            .crt_list(crt_list)
            .await?
            .iter()
            .any(|entry| entry == name.as_str())
        && let Err(error) = client.add_to_crt_list(crt_list, name).await
    {
        clean_up(client, name, added).await;
        return Err(error);
    }
    Ok(Some(added))
}

/// Makes sure that no transaction is open: ends one of ours that a crash left,
/// and waits for another program's. On 2.6, setting into a foreign one would
/// load our certificate under its name.
async fn close_transaction(client: &Client, name: &StorePath) -> Result<(), Error> {
    for _ in 0..FOREIGN_TRIES {
        match client.certificates().await?.transaction {
            None => return Ok(()),
            Some(open) if open == name.as_str() => client.abort_certificate(name).await?,
            Some(_) => sleep(FOREIGN_PAUSE).await,
        }
    }
    let open = client.certificates().await?.transaction;
    open.map_or(Ok(()), |open| Err(Error::ForeignTransaction(open)))
}

async fn set_and_commit(
    client: &Client,
    name: &StorePath,
    payload: &Payload,
) -> Result<bool, Error> {
    client.set_certificate(name, payload).await?;
    client.commit_certificate(name).await
}

/// Leaves neither a transaction of ours nor an unused certificate. Best
/// effort: the error that led here says more than one of these could.
async fn clean_up(client: &Client, name: &StorePath, added: bool) {
    let transaction = client
        .certificates()
        .await
        .ok()
        .and_then(|stores| stores.transaction);
    if transaction.as_deref() == Some(name.as_str()) {
        let _ = client.abort_certificate(name).await;
    }
    if added {
        let _ = client.delete_certificate(name).await;
    }
}

async fn is_reloaded(client: &Client, before: &Info) -> bool {
    match client.show_info().await {
        Ok(now) => now.pid != before.pid || now.stopping,
        Err(_) => false,
    }
}
