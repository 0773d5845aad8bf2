//! By HTTP: a JSON object with a `text` that Slack and its kin show.

use std::fs;

use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use super::event::Event;
use crate::config::Webhook;

/// Posts the event.
pub(super) async fn send(config: &Webhook, event: &Event) -> Result<(), String> {
    let mut body = json!(event);
    body["text"] = json!(escape(&format!("{}\n{}", event.subject(), event.message())));
    body["detail"] = json!(event.text);
    let request = client(config)?
        .post(config.url.expose())
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string());
    let place = config.url.to_string();
    // The URL may be a secret; the error would name it.
    let answer = request.send().await.map_err(|error| {
        let error = error.without_url();
        format!("{place}: {}", innermost(&error))
    })?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("{place}: status {status}")),
    }
}

/// What Slack would take for a link or a call to everybody.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn client(config: &Webhook) -> Result<Client, String> {
    let mut builder = Client::builder().redirect(reqwest::redirect::Policy::none());
    if let Some(path) = &config.root {
        let fail = |error: String| format!("{}: {error}", path.display());
        let pem = fs::read(path).map_err(|error| fail(error.to_string()))?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem);
        builder = builder.tls_certs_only(roots.map_err(|error| fail(innermost(&error)))?);
    }
    builder.build().map_err(|error| innermost(&error))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
