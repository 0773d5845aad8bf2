//! `[[alert]]` and `[alerts]`: who is told of trouble, and when.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::SignedDuration;
use lettre::message::Mailbox;
use toml::Spanned;

use super::file;
use super::problem::Notebook;
use super::resolve::absolute;
use crate::alert::Kind;

/// One destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alert {
    /// What it is called; no two share one.
    pub name: String,
    /// How it is reached.
    pub channel: Channel,
    /// What it is told of.
    pub events: BTreeSet<Kind>,
}

/// How a destination is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Channel {
    /// By mail.
    Smtp(Smtp),
    /// By HTTP.
    Webhook(Webhook),
    /// By a program, with its arguments.
    Command(Vec<String>),
}

/// A mail server, and the mails it is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Smtp {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub security: SmtpSecurity,
    /// Who we are there, if it wants to know.
    pub login: Option<Login>,
    /// A PEM file of roots to trust for it instead of the system's.
    pub root: Option<PathBuf>,
    /// The sender.
    pub from: String,
    /// The recipients; at least one.
    pub to: Vec<String>,
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SmtpSecurity {
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// STARTTLS, or not at all (RFC 3207).
    StartTls,
    /// Without TLS.
    Plain,
}

/// A login at a mail server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The file with the password, read when it is needed.
    pub password_file: PathBuf,
}

/// Where events are posted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Webhook {
    /// The URL.
    pub url: SecretUrl,
    /// A PEM file of roots to trust for it instead of the system's.
    pub root: Option<PathBuf>,
}

/// A URL whose path may be a secret: only its host is ever shown.
#[derive(Clone, Eq, PartialEq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The whole URL, for the request itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        write!(f, "{scheme}://{host}/…")
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// When somebody is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Thresholds {
    /// Of so many failures in a row.
    pub failures: u32,
    /// Of a certificate with less than this part of its life left, in percent.
    pub life_left_percent: u32,
    /// Of what lasts that long.
    pub grace: SignedDuration,
    /// Again after that long.
    pub repeat: SignedDuration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            failures: 3,
            life_left_percent: 20,
            grace: SignedDuration::from_secs(60),
            repeat: SignedDuration::from_hours(24),
        }
    }
}

pub(super) fn resolve_thresholds(typed: &file::Alerts, notebook: &mut Notebook<'_>) -> Thresholds {
    let default = Thresholds::default();
    let mut number = |typed: &Option<Spanned<u32>>, key: &str, range: (u32, u32), or: u32| {
        let Some(typed) = typed else { return or };
        let (value, (least, most)) = (*typed.get_ref(), range);
        if !(least..=most).contains(&value) {
            notebook.at(
                typed.span(),
                format!("{key} {value} is not between {least} and {most}"),
            );
        }
        value
    };
    let failures = number(&typed.failures, "failures", (1, 100), default.failures);
    let percent = default.life_left_percent;
    let life_left_percent = number(
        &typed.life_left_percent,
        "life-left-percent",
        (1, 90),
        percent,
    );
    let grace = number(&typed.grace_seconds, "grace-seconds", (0, 86_400), 60);
    let repeat = number(&typed.repeat_hours, "repeat-hours", (1, 8760), 24);
    Thresholds {
        failures,
        life_left_percent,
        grace: SignedDuration::from_secs(grace.into()),
        repeat: SignedDuration::from_hours(repeat.into()),
    }
}

/// One `[[alert]]`, the `number`th.
pub(super) fn resolve_alert(
    typed: Spanned<file::Alert>,
    number: usize,
    notebook: &mut Notebook<'_>,
) -> Option<Alert> {
    let span = typed.span();
    let mut typed = typed.into_inner();
    let events = events(typed.events.take(), notebook);
    let (kind, channel) = match (
        typed.smtp.take(),
        typed.webhook.take(),
        typed.command.take(),
    ) {
        (Some(url), None, None) => ("smtp", smtp(&url, &mut typed, span.clone(), notebook)),
        (None, Some(url), None) => ("webhook", webhook(url, &mut typed, notebook)),
        (None, None, Some(words)) => ("command", command(words, notebook)),
        _ => {
            notebook.at(
                span,
                "[[alert]] needs one of `smtp`, `webhook` and `command`",
            );
            return None;
        }
    };
    let foreign = [
        ("from", typed.from.is_some()),
        ("to", !typed.to.is_empty()),
        ("user", typed.user.is_some()),
        ("password-file", typed.password_file.is_some()),
        ("root", typed.root.is_some()),
        ("allow-plain", typed.allow_plain),
    ];
    for (key, _) in foreign.iter().filter(|(_, is_left)| *is_left) {
        notebook.at(span.clone(), format!("`{key}` does not go with `{kind}`"));
    }
    let name = typed
        .name
        .map_or_else(|| format!("{kind}-{number}"), Spanned::into_inner);
    Some(Alert {
        name,
        channel: channel?,
        events,
    })
}

fn events(typed: Option<Vec<Spanned<String>>>, notebook: &mut Notebook<'_>) -> BTreeSet<Kind> {
    let Some(typed) = typed else {
        return Kind::ALL.into();
    };
    let mut events = BTreeSet::new();
    for text in typed {
        match Kind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text.get_ref())
        {
            Some(kind) => drop(events.insert(kind)),
            None => {
                let known = Kind::ALL.map(Kind::as_str).join(", ");
                let message = format!("there is no event {:?}; there are {known}", text.get_ref());
                notebook.at(text.span(), message);
            }
        }
    }
    events
}

fn smtp(
    url: &Spanned<String>,
    typed: &mut file::Alert,
    span: std::ops::Range<usize>,
    notebook: &mut Notebook<'_>,
) -> Option<Channel> {
    let Some((security, host, port)) = server(url.get_ref()) else {
        // Somebody may have put a password into it, which is not shown.
        let message = "smtp is not smtps://HOST, smtp://HOST (STARTTLS) or smtp+plain://HOST, a \
                       :PORT after it or not; `user` and `password-file` are keys of their own";
        notebook.at(url.span(), message);
        return None;
    };
    let to = Vec::from_iter(typed.to.drain(..).map(Spanned::into_inner));
    let Some(from) = typed.from.take().filter(|_| !to.is_empty()) else {
        notebook.at(span, "an [[alert]] with `smtp` needs `from` and `to`");
        return None;
    };
    for mailbox in to.iter().chain([from.get_ref()]) {
        if let Err(error) = mailbox.parse::<Mailbox>() {
            let message = format!("{mailbox:?} is no mail address: {error}");
            notebook.at(span.clone(), message);
        }
    }
    let root = typed
        .root
        .take()
        .and_then(|path| absolute(path, "root", notebook));
    let login = match (typed.user.take(), typed.password_file.take()) {
        (None, None) => None,
        (Some(user), Some(path)) => Some(Login {
            user: user.into_inner(),
            password_file: absolute(path, "password-file", notebook)?,
        }),
        _ => {
            notebook.at(span, "`user` and `password-file` go together");
            return None;
        }
    };
    if login.is_some() && security == SmtpSecurity::Plain {
        notebook.at(
            url.span(),
            "a password does not go over a connection without TLS",
        );
    }
    Some(Channel::Smtp(Smtp {
        host,
        port,
        security,
        login,
        root,
        from: from.into_inner(),
        to,
    }))
}

fn server(url: &str) -> Option<(SmtpSecurity, String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    // The submission ports of RFC 8314 and RFC 6409, and that of RFC 5321.
    let (security, port) = match scheme {
        "smtps" => (SmtpSecurity::Tls, 465),
        "smtp" => (SmtpSecurity::StartTls, 587),
        "smtp+plain" => (SmtpSecurity::Plain, 25),
        _ => return None,
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, text)) if !host.ends_with(':') => (host, text.parse().ok()?),
        _ => (rest, port),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-[]:".contains(c);
    (!host.is_empty() && host.chars().all(is_host)).then(|| (security, host.to_owned(), port))
}

fn webhook(
    url: Spanned<String>,
    typed: &mut file::Alert,
    notebook: &mut Notebook<'_>,
) -> Option<Channel> {
    let allow_plain = std::mem::take(&mut typed.allow_plain);
    let root = typed
        .root
        .take()
        .and_then(|path| absolute(path, "root", notebook));
    let uri = url.get_ref().parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let is_loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    let may_be_plain = allow_plain || is_loopback;
    // The text may be a secret and is not shown.
    match uri.as_ref().and_then(http::Uri::scheme_str) {
        Some("https") if !host.is_empty() => {}
        Some("http") if !host.is_empty() && may_be_plain => {}
        Some("http") => {
            let message = "webhook is http; use https, or say `allow-plain = true`";
            notebook.at(url.span(), message);
            return None;
        }
        _ => {
            notebook.at(url.span(), "webhook is not an https URL");
            return None;
        }
    }
    Some(Channel::Webhook(Webhook {
        url: SecretUrl(url.into_inner()),
        root,
    }))
}

fn command(words: Spanned<Vec<String>>, notebook: &mut Notebook<'_>) -> Option<Channel> {
    let span = words.span();
    let words = words.into_inner();
    match words.first() {
        Some(program) if program.starts_with('/') => Some(Channel::Command(words)),
        _ => {
            notebook.at(
                span,
                "command is not [\"/PATH/OF/PROGRAM\", \"ARGUMENT\", …]",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_its_host_only() {
        let url = SecretUrl("https://user:pw@hooks.example.com/services/T0/SECRET?x".to_owned());
        assert_eq!(
            format!("{url} {url:?}"),
            "https://hooks.example.com/… https://hooks.example.com/…"
        );
    }

    #[test]
    fn mail_servers_are_named_by_url() {
        use SmtpSecurity::{Plain, StartTls, Tls};
        for (url, wanted) in [
            ("smtps://mail.test", Some((Tls, "mail.test", 465))),
            ("smtp://mail.test", Some((StartTls, "mail.test", 587))),
            ("smtp://mail.test:2525", Some((StartTls, "mail.test", 2525))),
            ("smtp+plain://127.0.0.1:25", Some((Plain, "127.0.0.1", 25))),
            ("mail.test", None),
            ("imap://mail.test", None),
            ("smtp://", None),
            ("smtp://user@mail.test", None),
            ("smtp://mail.test:smtp", None),
        ] {
            let found = server(url);
            let found = found
                .as_ref()
                .map(|(security, host, port)| (*security, host.as_str(), *port));
            assert_eq!(found, wanted, "{url}");
        }
    }
}
