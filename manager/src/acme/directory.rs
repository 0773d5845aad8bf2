//! What the CA's directory says of itself (RFC 8555 §7.1.1).

use serde::Deserialize;

use super::error::AcmeError;
use super::http::Http;
use crate::config;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Directory {
    meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    caa_identities: Vec<String>,
}

/// What the CA calls itself in CAA records; empty if it does not say.
///
/// # Errors
///
/// When its directory cannot be read.
pub async fn caa_identities(config: &config::Account) -> Result<Vec<String>, AcmeError> {
    let http = Http::new(config.directory_root.as_deref())?;
    let body = http.get(&config.directory).await?;
    let directory: Directory =
        serde_json::from_slice(&body).map_err(|error| AcmeError::Nonsense(error.to_string()))?;
    Ok(directory.meta.caa_identities)
}
