//! The account at the CA: made once, kept, and found again.

use instant_acme::{Account, Key};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tracing::info;

use super::error::AcmeError;
use super::http::Http;
use crate::config;
use crate::store::{AccountRecord, Store};

/// The account of `config`, registered if the CA does not know it yet.
pub(super) async fn open(
    http: &Http,
    config: &config::Account,
    store: &Store,
) -> Result<Account, AcmeError> {
    let stored = store.account(&config.directory);
    let (Some(key), Some(record)) = (stored.key()?, stored.record()?) else {
        return register(http, config, store).await;
    };
    let builder = Account::builder_with_http(Box::new(http.clone()));
    let account = builder
        .from_parts(record.url.clone(), key, config.directory.clone())
        .await?;
    if record.email != config.email {
        update_contact(&account, config).await?;
        stored.keep_record(&AccountRecord {
            email: config.email.clone(),
            ..record
        })?;
        info!(email = config.email, "the CA has the new contact");
    }
    Ok(account)
}

/// Registers, or finds the account that the CA has for our key (RFC 8555
/// §7.3.1). The key is on disk before the CA hears of it.
pub(super) async fn register(
    http: &Http,
    config: &config::Account,
    store: &Store,
) -> Result<Account, AcmeError> {
    let stored = store.account(&config.directory);
    let der = match stored.key()? {
        Some(der) => der,
        None => {
            let (_, der) = Key::generate_pkcs8()?;
            stored.keep_key(&der)?;
            der
        }
    };
    let builder = Account::builder_with_http(Box::new(http.clone()));
    let (account, _) = builder
        .create_from_key(pair(&der)?, config.directory.clone())
        .await?;
    if config.email.is_some() {
        update_contact(&account, config).await?;
    }
    stored.keep_record(&AccountRecord {
        url: account.id().to_owned(),
        directory: config.directory.clone(),
        email: config.email.clone(),
    })?;
    info!(url = account.id(), "account registered");
    Ok(account)
}

fn pair(der: &PrivatePkcs8KeyDer<'_>) -> Result<(Key, PrivateKeyDer<'static>), AcmeError> {
    let key = Key::from_pkcs8_der(der.clone_key())?;
    Ok((key, PrivateKeyDer::Pkcs8(der.clone_key())))
}

async fn update_contact(account: &Account, config: &config::Account) -> Result<(), AcmeError> {
    let contact = config.email.as_ref().map(|email| format!("mailto:{email}"));
    let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
    Ok(account.update_contacts(&contacts).await?)
}
