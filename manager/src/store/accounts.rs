//! Who we are to a CA: `accounts/<ca>/{key.pem,account.json}`.

use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};

use super::{Access, Store, StoreError, make_directory, read, read_json, write, write_json};
use crate::bundle;

/// What a CA knows us by.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct AccountRecord {
    /// The account's URL (RFC 8555 §7.3).
    pub url: String,
    /// The CA's directory.
    pub directory: String,
    /// The contact that the CA was given.
    pub email: Option<String>,
}

/// The place of one account.
#[derive(Clone, Debug)]
pub struct StoredAccount {
    directory: PathBuf,
}

impl Store {
    /// The place of the account at the CA with this directory URL.
    pub fn account(&self, directory_url: &str) -> StoredAccount {
        StoredAccount {
            directory: self.root.join("accounts").join(folder(directory_url)),
        }
    }
}

impl StoredAccount {
    /// The account key, if there is one.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn key(&self) -> Result<Option<PrivatePkcs8KeyDer<'static>>, StoreError> {
        let path = self.directory.join("key.pem");
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        match bundle::key_from_pem(&text) {
            Ok(PrivateKeyDer::Pkcs8(key)) => Ok(Some(key)),
            Ok(_) => Err(StoreError::damaged(&path, "not a PKCS#8 key")),
            Err(error) => Err(StoreError::damaged(&path, error)),
        }
    }

    /// Keeps the account key. Done before the CA hears of it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_key(&self, key: &PrivatePkcs8KeyDer<'_>) -> Result<(), StoreError> {
        make_directory(&self.directory, 0o700)?;
        let text = bundle::key_to_pem(&PrivateKeyDer::Pkcs8(key.clone_key()));
        write(
            &self.directory.join("key.pem"),
            text.as_bytes(),
            Access::PRIVATE,
        )
    }

    /// What the CA knows us by, once it does.
    ///
    /// # Errors
    ///
    /// When the record cannot be read.
    pub fn record(&self) -> Result<Option<AccountRecord>, StoreError> {
        read_json(&self.directory.join("account.json"))
    }

    /// Keeps what the CA knows us by.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn keep_record(&self, record: &AccountRecord) -> Result<(), StoreError> {
        write_json(&self.directory.join("account.json"), record)
    }
}

impl fmt::Display for StoredAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.directory.display().fmt(f)
    }
}

/// A file name for a directory URL: readable, without what a path would
/// take amiss. Two CAs differ in host or path, and so do their folders.
fn folder(directory_url: &str) -> String {
    let plain = directory_url.trim_start_matches("https://");
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = plain.chars().map(keep).take(200).collect();
    name.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_readable_and_stays_inside() {
        assert_eq!(
            folder("https://ca.example:14000/dir"),
            "ca.example_14000_dir"
        );
        assert_eq!(folder("https://../../etc/passwd"), "_.._etc_passwd");
    }
}
