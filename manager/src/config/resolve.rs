//! From what the files say to a complete [`Config`].

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::alert::{self, Alert, Thresholds};
use super::file::{self, File};
use super::haproxy::{self, External, Haproxy};
use super::problem::Notebook;
use super::{
    Account, Agent, CERTIFICATE_NAMES_MAX, Certificate, Check, Config, DEFAULT_AGENT_CONTROL,
    Directory, ExternalAccount,
};
use crate::names::{CertificateName, DnsName};

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    state_directory: Option<PathBuf>,
    account: Option<(Account, bool)>,
    agent: Option<Agent>,
    haproxys: Vec<Haproxy>,
    has_haproxy: bool,
    externals: Vec<External>,
    check: Option<Check>,
    thresholds: Option<Thresholds>,
    alerts: Vec<Alert>,
    certificates: BTreeMap<CertificateName, Certificate>,
}

impl Draft {
    /// Adds what one file says.
    pub(super) fn add(&mut self, file: File, notebook: &mut Notebook<'_>) {
        if let Some(directory) = file.state_directory {
            let span = directory.span();
            let path = absolute(directory, "state-directory", notebook);
            set_once(
                &mut self.state_directory,
                path,
                span,
                "state-directory",
                notebook,
            );
        }
        if let Some(account) = file.account {
            let span = account.span();
            let account = resolve_account(account.into_inner(), notebook);
            set_once(
                &mut self.account,
                Some(account),
                span,
                "[account]",
                notebook,
            );
        }
        if let Some(agent) = file.agent {
            let span = agent.span();
            let agent = resolve_agent(agent.into_inner(), notebook);
            set_once(&mut self.agent, Some(agent), span, "[agent]", notebook);
        }
        for haproxy in file.haproxy.0 {
            self.add_haproxy(haproxy, notebook);
        }
        for external in file.external {
            self.externals
                .extend(haproxy::resolve_external(external, notebook));
        }
        if let Some(check) = file.check {
            let span = check.span();
            let check = resolve_check(check.into_inner(), notebook);
            set_once(&mut self.check, Some(check), span, "[check]", notebook);
        }
        if let Some(alerts) = file.alerts {
            let span = alerts.span();
            let thresholds = alert::resolve_thresholds(alerts.get_ref(), notebook);
            set_once(
                &mut self.thresholds,
                Some(thresholds),
                span,
                "[alerts]",
                notebook,
            );
        }
        for alert in file.alert {
            self.add_alert(alert, notebook);
        }
        for certificate in file.certificate {
            self.add_certificate(certificate, notebook);
        }
    }

    fn add_haproxy(&mut self, typed: file::Haproxy, notebook: &mut Notebook<'_>) {
        self.has_haproxy = true;
        let Some(resolved) = haproxy::resolve_haproxy(typed, notebook) else {
            return;
        };
        if self.haproxys.iter().any(|h| h.name == resolved.name) {
            let message = format!(
                "two [haproxy] are called {:?}; give each a `name` of its own",
                resolved.name
            );
            return notebook.missing(message);
        }
        self.haproxys.push(resolved);
    }

    fn add_alert(&mut self, typed: Spanned<file::Alert>, notebook: &mut Notebook<'_>) {
        let span = typed.span();
        let number = self.alerts.len() + 1;
        let Some(alert) = alert::resolve_alert(typed, number, notebook) else {
            return;
        };
        if self.alerts.iter().any(|known| known.name == alert.name) {
            let message = format!("an [[alert]] called {:?} stands above already", alert.name);
            return notebook.at(span, message);
        }
        self.alerts.push(alert);
    }

    fn add_certificate(&mut self, typed: Spanned<file::Certificate>, notebook: &mut Notebook<'_>) {
        let span = typed.span();
        let Some(certificate) = resolve_certificate(typed, notebook) else {
            return;
        };
        if self.certificates.contains_key(&certificate.name) {
            let message = format!(
                "a certificate called {} is configured already; give one of them a `name` of its own",
                certificate.name
            );
            return notebook.at(span, message);
        }
        let other = self
            .certificates
            .values()
            .find(|other| other.file.is_some() && other.file == certificate.file);
        if let Some(other) = other {
            let message = format!("{} has the same `file`; a file holds one", other.name);
            return notebook.at(span, message);
        }
        self.certificates
            .insert(certificate.name.clone(), certificate);
    }

    /// The configuration, if nothing that it needs is missing.
    pub(super) fn finish(self, notebook: &mut Notebook<'_>) -> Option<Config> {
        let account = self.finish_account(notebook);
        if !self.has_haproxy {
            notebook.missing("[haproxy] with `socket` and `certificates` is missing");
        }
        for name in self.externals.iter().flat_map(|e| &e.haproxys) {
            if !self.haproxys.iter().any(|h| h.name == *name) {
                notebook.missing(format!(
                    "[[external]] names {name:?}, but no [[haproxy]] does"
                ));
            }
        }
        Some(Config {
            state_directory: self
                .state_directory
                .unwrap_or_else(|| STATE_DIRECTORY.into()),
            account: account?,
            agent: self.agent.unwrap_or_else(|| Agent {
                control: DEFAULT_AGENT_CONTROL.into(),
            }),
            haproxys: self.haproxys,
            externals: self.externals,
            check: self
                .check
                .unwrap_or_else(|| resolve_check(file::Check::default(), notebook)),
            thresholds: self.thresholds.unwrap_or_default(),
            alerts: self.alerts,
            certificates: self.certificates.into_values().collect(),
        })
    }

    fn finish_account(&self, notebook: &mut Notebook<'_>) -> Option<Account> {
        match &self.account {
            Some((account, true)) => Some(account.clone()),
            Some((account, false)) => {
                notebook.missing(format!(
                    "[account] lacks `agree-to-terms = true`: the CA at {} issues only to those \
                     who agree to its terms of service",
                    account.directory
                ));
                None
            }
            None => {
                notebook.missing("[account] with `agree-to-terms = true` is missing");
                None
            }
        }
    }
}

const STATE_DIRECTORY: &str = "/var/lib/spoacme";

/// Let's Encrypt, production.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Its staging directory, whose certificates nobody trusts.
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

fn set_once<T>(
    place: &mut Option<T>,
    value: Option<T>,
    span: std::ops::Range<usize>,
    what: &str,
    notebook: &mut Notebook<'_>,
) {
    if place.is_some() {
        notebook.at(span, format!("{what} stands in an earlier file already"));
    } else {
        *place = value;
    }
}

fn resolve_account(typed: file::Account, notebook: &mut Notebook<'_>) -> (Account, bool) {
    let directory = directory(typed.directory, notebook);
    let external = external_account(typed.eab_key_id, typed.eab_key_file, notebook);
    let staging = https(typed.staging, "staging", notebook)
        .or_else(|| (directory == DIRECTORY).then(|| STAGING.to_owned()));
    let staging_root = typed
        .staging_root
        .and_then(|p| absolute(p, "staging-root", notebook));
    let email = typed.email.and_then(|email| {
        let looks_right = email
            .get_ref()
            .split_once('@')
            .is_some_and(|(a, b)| !a.is_empty() && b.contains('.'));
        if !looks_right {
            notebook.at(
                email.span(),
                format!("email {:?} is not an address", email.get_ref()),
            );
        }
        looks_right.then(|| email.into_inner())
    });
    let account = Account {
        email,
        directory,
        directory_root: typed
            .directory_root
            .and_then(|p| absolute(p, "directory-root", notebook)),
        staging: staging.map(|url| Directory {
            url,
            root: staging_root,
        }),
        external,
        profile: typed.profile.and_then(|name| profile(name, notebook)),
    };
    (account, typed.agree_to_terms)
}

/// A CA by its name, or any by its URL.
fn directory(typed: Option<Spanned<String>>, notebook: &mut Notebook<'_>) -> String {
    let named = |name: &Spanned<String>| {
        let known = CAS.iter().find(|(known, _)| known == name.get_ref());
        known.map(|(_, url)| (*url).to_owned())
    };
    let url = match typed {
        Some(typed) => named(&typed).or_else(|| https(Some(typed), "directory", notebook)),
        None => None,
    };
    url.unwrap_or_else(|| DIRECTORY.to_owned())
}

/// The directories of CAs that issue to everybody, by their names.
const CAS: [(&str, &str); 5] = [
    ("letsencrypt", DIRECTORY),
    ("letsencrypt-staging", STAGING),
    ("zerossl", "https://acme.zerossl.com/v2/DV90"),
    ("google", "https://dv.acme-v02.api.pki.goog/directory"),
    (
        "google-staging",
        "https://dv.acme-v02.test-api.pki.goog/directory",
    ),
];

fn external_account(
    key_id: Option<Spanned<String>>,
    key_file: Option<Spanned<String>>,
    notebook: &mut Notebook<'_>,
) -> Option<ExternalAccount> {
    match (key_id, key_file) {
        (Some(key_id), Some(file)) => Some(ExternalAccount {
            key_id: key_id.into_inner(),
            key_file: absolute(file, "eab-key-file", notebook)?,
        }),
        (None, None) => None,
        (Some(alone), None) | (None, Some(alone)) => {
            notebook.at(
                alone.span(),
                "eab-key-id and eab-key-file belong together: the CA gives both",
            );
            None
        }
    }
}

fn profile(name: Spanned<String>, notebook: &mut Notebook<'_>) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let looks_right = !name.get_ref().is_empty() && name.get_ref().chars().all(plain);
    if !looks_right {
        let message = format!(
            "profile {:?} is no name of letters, digits, '.', '_' and '-'",
            name.get_ref()
        );
        notebook.at(name.span(), message);
    }
    looks_right.then(|| name.into_inner())
}

fn https(url: Option<Spanned<String>>, key: &str, notebook: &mut Notebook<'_>) -> Option<String> {
    let url = url?;
    if url.get_ref().starts_with("https://") {
        return Some(url.into_inner());
    }
    let message = format!(
        "{key} {:?} is not an https URL{}",
        url.get_ref(),
        or_a_name(key)
    );
    notebook.at(url.span(), message);
    None
}

/// Where a CA's name would do too.
fn or_a_name(key: &str) -> String {
    if key != "directory" {
        return String::new();
    }
    let names = CAS.iter().map(|(name, _)| *name);
    format!(", nor one of {}", Vec::from_iter(names).join(", "))
}

fn resolve_agent(typed: file::Agent, notebook: &mut Notebook<'_>) -> Agent {
    let control = typed
        .control
        .and_then(|path| absolute(path, "control", notebook));
    Agent {
        control: control.unwrap_or_else(|| DEFAULT_AGENT_CONTROL.into()),
    }
}

fn resolve_check(typed: file::Check, notebook: &mut Notebook<'_>) -> Check {
    let port = typed.port.unwrap_or(HTTP_PORT);
    let own = || vec![Spanned::new(0..0, Ipv4Addr::LOCALHOST.to_string())];
    let mut connect_to = Vec::new();
    for text in typed.connect_to.unwrap_or_else(own) {
        match super::socket_address(text.get_ref(), port) {
            Some(address) => connect_to.push(address),
            None => notebook.at(
                text.span(),
                format!("connect-to {:?} is not IP or IP:PORT", text.get_ref()),
            ),
        }
    }
    let mut dns = Vec::new();
    for text in typed.dns {
        match super::socket_address(text.get_ref(), DNS_PORT) {
            Some(address) => dns.push(address),
            None => notebook.at(
                text.span(),
                format!("dns {:?} is not IP or IP:PORT", text.get_ref()),
            ),
        }
    }
    let timeout = typed.timeout.map_or(CHECK_TIMEOUT_SECONDS, |seconds| {
        if !CHECK_TIMEOUT_RANGE.contains(seconds.get_ref()) {
            let message = format!(
                "timeout {} is not between 1 and {CHECK_TIMEOUT_MAX_SECONDS} seconds",
                seconds.get_ref()
            );
            notebook.at(seconds.span(), message);
        }
        seconds.into_inner()
    });
    Check {
        self_test: typed.self_test.unwrap_or(true),
        connect_to,
        dns,
        allow_reserved: typed.allow_reserved,
        port,
        tls_port: typed.tls_port.unwrap_or(HTTPS_PORT),
        timeout: Duration::from_secs(timeout),
    }
}

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
const DNS_PORT: u16 = 53;

/// A CA gives up after some ten seconds; an answer takes a few milliseconds.
const CHECK_TIMEOUT_SECONDS: u64 = 5;
const CHECK_TIMEOUT_MAX_SECONDS: u64 = 60;
const CHECK_TIMEOUT_RANGE: RangeInclusive<u64> = 1..=CHECK_TIMEOUT_MAX_SECONDS;

fn resolve_certificate(
    typed: Spanned<file::Certificate>,
    notebook: &mut Notebook<'_>,
) -> Option<Certificate> {
    let span = typed.span();
    let file::Certificate {
        name,
        names: typed_names,
        file,
        key_type,
        profile: typed_profile,
    } = typed.into_inner();
    let mut names: Vec<DnsName> = Vec::new();
    for text in typed_names {
        let text_span = text.span();
        match DnsName::try_from(text.into_inner()) {
            Ok(name) if names.contains(&name) => {
                notebook.at(text_span, format!("{name} is listed twice"));
            }
            Ok(name) => names.push(name),
            Err(error) => notebook.at(text_span, error.to_string()),
        }
    }
    if names.len() > CERTIFICATE_NAMES_MAX {
        let message = format!(
            "{} names; a certificate holds {CERTIFICATE_NAMES_MAX} at most",
            names.len()
        );
        notebook.at(span.clone(), message);
    }
    let Some(first) = names.first() else {
        notebook.at(span, "[[certificate]] has no valid `names`");
        return None;
    };
    let name = match name {
        None => CertificateName::from(first),
        Some(text) => {
            let span = text.span();
            let parsed = CertificateName::try_from(text.into_inner());
            parsed
                .map_err(|error| notebook.at(span, error.to_string()))
                .ok()?
        }
    };
    let file = file.and_then(|path| absolute(path, "file", notebook));
    Some(Certificate {
        file,
        key_type: key_type.unwrap_or_default(),
        profile: typed_profile.and_then(|name| profile(name, notebook)),
        ..Certificate::new(name, names)
    })
}

pub(super) fn absolute(
    text: Spanned<String>,
    key: &str,
    notebook: &mut Notebook<'_>,
) -> Option<PathBuf> {
    let path = PathBuf::from(text.get_ref());
    if path.is_absolute() {
        return Some(path);
    }
    notebook.at(
        text.span(),
        format!("{key} {:?} is not an absolute path", text.get_ref()),
    );
    None
}
