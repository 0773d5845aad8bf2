//! By mail (RFC 5321), with TLS unless the configuration says otherwise.

use std::fs;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use zeroize::Zeroizing;

use super::event::Event;
use crate::config::{Smtp, SmtpSecurity};

/// Sends one mail to all recipients.
pub(super) async fn send(config: &Smtp, event: &Event) -> Result<(), String> {
    let transport = transport(config)?;
    let message = message(config, event)?;
    match transport.send(message).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "{}:{}: {}",
            config.host,
            config.port,
            innermost(&error)
        )),
    }
}

fn transport(config: &Smtp) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let tls = match config.security {
        SmtpSecurity::Tls => Tls::Wrapper(parameters(config)?),
        SmtpSecurity::StartTls => Tls::Required(parameters(config)?),
        SmtpSecurity::Plain => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
        .port(config.port)
        .tls(tls);
    if let Some(login) = &config.login {
        let read = fs::read_to_string(&login.password_file).map(Zeroizing::new);
        let password =
            read.map_err(|error| format!("{}: {error}", login.password_file.display()))?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        builder = builder.credentials(Credentials::new(login.user.clone(), password));
    }
    Ok(builder.build())
}

fn parameters(config: &Smtp) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.root {
        let fail = |error: String| format!("{}: {error}", path.display());
        let pem = fs::read(path).map_err(|error| fail(error.to_string()))?;
        let root = Certificate::from_pem(&pem).map_err(|error| fail(innermost(&error)))?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(root);
    }
    builder.build_rustls().map_err(|error| innermost(&error))
}

fn message(config: &Smtp, event: &Event) -> Result<Message, String> {
    let mailbox = |text: &String| -> Result<Mailbox, String> {
        text.parse().map_err(|error| format!("{text:?}: {error}"))
    };
    let mut builder = Message::builder()
        .from(mailbox(&config.from)?)
        .subject(event.subject())
        .header(ContentType::TEXT_PLAIN);
    for to in &config.to {
        builder = builder.to(mailbox(to)?);
    }
    let body = format!(
        "{}\n\nat {}, on {}\n",
        event.message(),
        event.at,
        event.host
    );
    builder.body(body).map_err(|error| error.to_string())
}

/// What the lowest layer says: the server's words, or the system's.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
