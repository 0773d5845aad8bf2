//! The replies. There are no codes: texts say it all, and differ by version.

use nom::bytes::complete::{tag, take_until};
use nom::combinator::rest;
use nom::sequence::separated_pair;
use nom::{IResult, Parser};

use super::{Error, StorePath, Version};

/// What `show info` says of the process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Info {
    /// Its version.
    pub version: Version,
    /// The process: another after each reload.
    pub pid: u32,
    /// Whether it only finishes what it has: an old worker.
    pub stopping: bool,
}

/// The certificates that HAProxy holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stores {
    /// Their names.
    pub names: Vec<String>,
    /// The one with an open transaction.
    pub transaction: Option<String>,
}

/// One certificate that HAProxy holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Loaded {
    /// Whether anything uses it.
    pub status: Status,
    /// The SHA-1 of its leaf, upper-case hexadecimal; none if it is empty.
    pub sha1: Option<String>,
}

/// Whether a certificate is used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Status {
    /// A `bind` line uses it.
    Used,
    /// Nothing uses it.
    Unused,
    /// It has no content yet.
    #[default]
    Empty,
}

impl Loaded {
    /// Whether a `bind` line uses it.
    pub fn is_used(&self) -> bool {
        self.status == Status::Used
    }

    /// Whether its leaf has this SHA-1 (hexadecimal).
    pub fn has_sha1(&self, sha1: &str) -> bool {
        self.sha1
            .as_deref()
            .is_some_and(|own| own.eq_ignore_ascii_case(sha1))
    }
}

/// Reads what `show info` says.
pub fn info(text: &str) -> Option<Info> {
    let value = |key| {
        fields(text)
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    };
    Some(Info {
        version: Version::parse(value("Version")?),
        pid: value("Pid")?.parse().ok()?,
        stopping: value("Stopping").is_some_and(|stopping| stopping != "0"),
    })
}

/// Reads what `show ssl cert` says: a name on each line, `*` before the one
/// with an open transaction, comments.
pub fn stores(text: &str) -> Stores {
    let mut stores = Stores::default();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match line.strip_prefix('*') {
            Some(name) => stores.transaction = Some(name.to_owned()),
            None => stores.names.push(line.to_owned()),
        }
    }
    stores
}

/// Reads what `show ssl cert NAME` says; none if there is no such certificate.
pub fn loaded(text: &str) -> Option<Loaded> {
    fields(text).find(|(key, _)| *key == "Filename")?;
    let value = |key| {
        fields(text)
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    };
    let status = match value("Status") {
        Some("Used") => Status::Used,
        Some("Unused") => Status::Unused,
        _ => Status::Empty,
    };
    Some(Loaded {
        status,
        sha1: value("SHA1 FingerPrint").map(str::to_owned),
    })
}

/// Reads what `show ssl crt-list -n LIST` says: `NAME:LINE`, filters after it.
pub fn crt_list(text: &str) -> Vec<String> {
    let name = |line: &str| {
        line.split(['[', ' '])
            .next()?
            .rsplit_once(':')
            .map(|(n, _)| n.to_owned())
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(name)
        .collect()
}

/// Reads what `show servers state BACKEND` says: how many of its servers are
/// up; none if there is no such backend.
pub fn servers_up(text: &str) -> Option<usize> {
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("# be_id "));
    let columns = lines.next()?.trim_start_matches("# ");
    let state = columns.split(' ').position(|name| name == "srv_op_state")?;
    let is_up = |line: &&str| line.split(' ').nth(state) == Some(RUNNING);
    Some(lines.filter(is_up).count())
}

/// `SRV_ST_RUNNING` (management.txt, `show servers state`).
const RUNNING: &str = "2";

/// Whether the whole exchange went wrong, whatever the command.
pub fn common_failure(text: &str, line: &str) -> Option<Error> {
    if text.contains("Operations on certificates are currently locked!") {
        return Some(Error::Busy);
    }
    if text.starts_with("Permission denied") {
        return Some(Error::Denied);
    }
    if text.starts_with("Unknown command") {
        return Some(Error::UnknownCommand(line.to_owned()));
    }
    text.trim()
        .is_empty()
        .then(|| Error::Empty(line.to_owned()))
}

/// `new ssl cert`: made now, or there already.
pub fn is_new(text: &str, name: &StorePath) -> bool {
    text.contains(&format!("New empty certificate store '{name}'!"))
        || text.contains(&format!("Certificate '{name}' already exists!"))
}

/// `set ssl cert`: a transaction made anew, for exactly this certificate. On
/// 2.6, "updated" may mean that another one's transaction was overwritten.
pub fn is_set(text: &str, name: &StorePath) -> bool {
    text.lines()
        .any(|line| line == format!("Transaction created for certificate {name}!"))
}

/// `commit ssl cert`.
pub fn is_committed(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "Success!")
}

/// `commit ssl cert` without a transaction: a reload came in between.
pub fn is_without_transaction(text: &str) -> bool {
    text.contains("No ongoing transaction")
}

/// `add ssl crt-list`: added now, or there already.
pub fn is_added(text: &str) -> bool {
    is_committed(text) || text.contains("file already exists in this directory!")
}

/// `abort ssl cert`, or `del ssl cert`.
pub fn is_gone(text: &str, name: &StorePath) -> bool {
    text.contains(&format!("Transaction aborted for certificate '{name}'!"))
        || text.contains(&format!("Certificate '{name}' deleted!"))
}

/// A reply for a log or an error: one line, escaped, shortened.
pub fn quote(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = |c: char| if c.is_control() { '?' } else { c };
    line.chars().map(plain).take(QUOTE_LENGTH_MAX).collect()
}

const QUOTE_LENGTH_MAX: usize = 300;

/// The lines of the form `Key: value`.
fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter_map(|line| field(line).ok().map(|(_, pair)| pair))
}

fn field(line: &str) -> IResult<&str, (&str, &str)> {
    separated_pair(take_until(":"), tag(":"), rest.map(str::trim)).parse(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> StorePath {
        StorePath::try_from("/live/a.pem".to_owned()).unwrap()
    }

    #[test]
    fn reads_the_process() {
        let text = "Name: HAProxy\nVersion: 2.6.12-1+deb12u4\nPid: 17545\nStopping: 0\n\n";
        let read = info(text).unwrap();
        assert_eq!(
            (read.version.branch(), read.pid, read.stopping),
            ((2, 6), 17_545, false)
        );
        assert!(
            info(&text.replace("Stopping: 0", "Stopping: 1"))
                .unwrap()
                .stopping
        );
        assert_eq!(info("Unknown command\n"), None);
        assert_eq!(info("Pid: x\nVersion: 1\n"), None);
    }

    #[test]
    fn tells_an_open_transaction_from_the_names() {
        let text = "# transaction\n*/live/b.pem\n# filename\n/live/a.pem\n/live/b.pem\n\n";
        let read = stores(text);
        assert_eq!(read.transaction.as_deref(), Some("/live/b.pem"));
        assert_eq!(read.names, ["/live/a.pem", "/live/b.pem"]);
    }

    #[test]
    fn reads_a_certificate_whatever_the_order_of_its_fields() {
        let text = "Filename: /live/a.pem\nStatus: Used\nnotAfter: Nov 24 03:54:25 2026 GMT\n\
                    SHA1 FingerPrint: F8E4E8740F28A79302E48E6C2C4A1A9A22F85728\n\n";
        let read = loaded(text).unwrap();
        assert!(read.is_used() && read.has_sha1("f8e4e8740f28a79302e48e6c2c4a1a9a22f85728"));
        assert_eq!(
            loaded("Filename: /live/a.pem\nStatus: Empty\n\n"),
            Some(Loaded::default())
        );
        assert_eq!(
            loaded("Can't display the certificate: Not found or invalid name!\n"),
            None
        );
    }

    #[test]
    fn reads_the_entries_of_a_list() {
        let text = "# /live\n/live/a.pem:0\n/live/b.pem:3 *.example.com\n/c.pem:4 [alpn h2\0]\n\n";
        assert_eq!(crt_list(text), ["/live/a.pem", "/live/b.pem", "/c.pem"]);
    }

    #[test]
    fn counts_the_servers_that_are_up() {
        let head = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n";
        let server = |state: u32| format!("6 acme-agent 1 agent - {state} 0\n");
        assert_eq!(servers_up(&format!("{head}{}\n", server(0))), Some(0));
        assert_eq!(
            servers_up(&format!("{head}{}{}\n", server(2), server(0))),
            Some(1)
        );
        assert_eq!(servers_up("Can't find backend.\n\n"), None);
    }

    #[test]
    fn only_a_transaction_of_our_own_counts_as_set() {
        assert!(is_set(
            "Transaction created for certificate /live/a.pem!\n\n",
            &path()
        ));
        for text in [
            "Transaction updated for certificate /live/a.pem!\n\n",
            "Transaction updated for certificate /live/b.pem!\n\n",
            "Transaction created for certificate /live/a.pem.rsa!\n\n",
            "Can't update /live/a.pem!\n",
            "",
        ] {
            assert!(!is_set(text, &path()), "{text}");
        }
    }

    #[test]
    fn a_commit_needs_its_success() {
        assert!(is_committed("Committing /live/a.pem.\nSuccess!\n\n"));
        assert!(!is_committed("Committing /live/a.pem.\nFailed!\n\n"));
        assert!(is_without_transaction(
            "No ongoing transaction! !\nCan't commit /live/a.pem!\n"
        ));
    }

    #[test]
    fn common_failures_are_told_apart() {
        let busy = "Can't update: Operations on certificates are currently locked!\n";
        assert!(matches!(common_failure(busy, "x"), Some(Error::Busy)));
        assert!(matches!(
            common_failure("Permission denied\n\n", "x"),
            Some(Error::Denied)
        ));
        let unknown = common_failure("Unknown command: 'x'\nhelp\n", "x");
        assert!(matches!(unknown, Some(Error::UnknownCommand(_))));
        assert!(matches!(common_failure("\n", "x"), Some(Error::Empty(_))));
        assert!(common_failure("Success!\n", "x").is_none());
    }

    #[test]
    fn a_quote_is_one_short_line() {
        assert_eq!(quote("a\n\tb\u{1b}[0m"), "a b?[0m");
        assert_eq!(quote(&"x".repeat(1000)).len(), 300);
    }
}
