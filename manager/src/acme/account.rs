//! The account at the CA: made once, kept, and found again.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, ExternalAccountKey, Key, NewAccount};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tracing::info;
use zeroize::Zeroizing;

use super::error::AcmeError;
use super::http::Http;
use crate::config;
use crate::store::{AccountRecord, Store, StoredAccount};

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
    if let (Some(external), None) = (&config.external, stored.key()?) {
        return bind(http, config, external, &stored).await;
    }
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
    keep(account, config, &stored).await
}

/// Registers with an external account (RFC 8555 §7.3.4). instant-acme makes the
/// key itself then, so that it is on disk only right after.
async fn bind(
    http: &Http,
    config: &config::Account,
    external: &config::ExternalAccount,
    stored: &StoredAccount,
) -> Result<Account, AcmeError> {
    let key = ExternalAccountKey::new(external.key_id.clone(), &mac_key(external)?);
    let nobody = NewAccount {
        contact: &[],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let builder = Account::builder_with_http(Box::new(http.clone()));
    let (account, credentials) = builder
        .create(&nobody, config.directory.clone(), Some(&key))
        .await?;
    stored.keep_key(credentials.private_key())?;
    keep(account, config, stored).await
}

/// The MAC key, as CAs give it: base64url with or without its end.
fn mac_key(external: &config::ExternalAccount) -> Result<Zeroizing<Vec<u8>>, AcmeError> {
    let fail = |what: String| AcmeError::ExternalAccount {
        path: external.key_file.clone(),
        what,
    };
    let text = std::fs::read_to_string(&external.key_file).map_err(|e| fail(e.to_string()))?;
    let text = Zeroizing::new(text);
    let bare = text.trim().trim_end_matches('=');
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(bare);
    let key = decoded.map_err(|_| fail("it holds no base64url".to_owned()))?;
    match key.is_empty() {
        true => Err(fail("it is empty".to_owned())),
        false => Ok(Zeroizing::new(key)),
    }
}

async fn keep(
    account: Account,
    config: &config::Account,
    stored: &StoredAccount,
) -> Result<Account, AcmeError> {
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
