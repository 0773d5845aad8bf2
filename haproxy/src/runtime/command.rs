//! The commands (management.txt §9.3).

use zeroize::Zeroizing;

use super::{Payload, StorePath};

/// One command, or several of the same kind that only look. Whatever its parts
/// are, it is one line, with a payload at most after it.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// `show info`
    ShowInfo,
    /// `show ssl cert`: all names, an open transaction first.
    ShowCertificates,
    /// `show ssl cert NAME`
    ShowCertificate(&'a StorePath),
    /// `show ssl cert NAME`, again and again on one line.
    ShowCertificatesNamed(&'a [StorePath]),
    /// `show ssl crt-list`: the names of the lists.
    ShowCrtLists,
    /// `show ssl crt-list -n LIST`: the entries of one.
    ShowCrtList(&'a StorePath),
    /// `show servers state BACKEND`
    ShowServers(&'a StorePath),
    /// `new ssl cert NAME`
    New(&'a StorePath),
    /// `set ssl cert NAME <<` with a payload
    Set(&'a StorePath, &'a Payload),
    /// `commit ssl cert NAME`
    Commit(&'a StorePath),
    /// `abort ssl cert NAME`
    Abort(&'a StorePath),
    /// `del ssl cert NAME`
    Delete(&'a StorePath),
    /// `add ssl crt-list LIST NAME`
    AddToCrtList {
        /// The crt-list, or the directory that serves as one.
        list: &'a StorePath,
        /// The certificate.
        name: &'a StorePath,
    },
    /// `del ssl crt-list LIST NAME:LINE`
    RemoveFromCrtList {
        /// The crt-list, or the directory that serves as one.
        list: &'a StorePath,
        /// The certificate.
        name: &'a StorePath,
        /// Which of its entries; 0 is the only one. It is always said: HAProxy
        /// would take a colon in the name for it.
        line: u32,
    },
}

impl<'a> Command<'a> {
    /// The bytes to send, `prefix` first. They are wiped when dropped.
    pub fn encode(&self, prefix: &str) -> Zeroizing<Vec<u8>> {
        // Full size at once: to grow would leave copies of a key behind.
        let size = prefix.len() + self.size();
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        bytes.extend_from_slice(prefix.as_bytes());
        bytes.extend_from_slice(self.line().as_bytes());
        if let Some(payload) = self.payload() {
            bytes.extend_from_slice(PAYLOAD_FOLLOWS);
            bytes.extend_from_slice(payload.as_bytes());
        }
        // An empty line ends a payload; without one, the newline ends the line.
        bytes.push(b'\n');
        bytes
    }

    /// How many bytes there are to send.
    pub fn size(&self) -> usize {
        let payload = self.payload();
        let payload = payload.map_or(0, |payload| PAYLOAD_FOLLOWS.len() + payload.len());
        self.line().len() + payload + 1
    }

    /// What goes with the line.
    pub fn payload(&self) -> Option<&'a Payload> {
        match self {
            Self::Set(_, payload) => Some(payload),
            _ => None,
        }
    }

    /// The line without its payload: fit for a log.
    pub fn line(&self) -> String {
        match self {
            Self::ShowInfo => "show info".to_owned(),
            Self::ShowCertificates => "show ssl cert".to_owned(),
            Self::ShowCertificate(name) => format!("show ssl cert {name}"),
            Self::ShowCertificatesNamed(names) => {
                let each = names.iter().map(|name| format!("show ssl cert {name}"));
                Vec::from_iter(each).join(";")
            }
            Self::ShowCrtLists => "show ssl crt-list".to_owned(),
            Self::ShowCrtList(list) => format!("show ssl crt-list -n {list}"),
            Self::ShowServers(backend) => format!("show servers state {backend}"),
            Self::New(name) => format!("new ssl cert {name}"),
            Self::Set(name, _) => format!("set ssl cert {name}"),
            Self::Commit(name) => format!("commit ssl cert {name}"),
            Self::Abort(name) => format!("abort ssl cert {name}"),
            Self::Delete(name) => format!("del ssl cert {name}"),
            Self::AddToCrtList { list, name } => format!("add ssl crt-list {list} {name}"),
            Self::RemoveFromCrtList { list, name, line } => {
                format!("del ssl crt-list {list} {name}:{line}")
            }
        }
    }
}

const PAYLOAD_FOLLOWS: &[u8] = b" <<\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> StorePath {
        StorePath::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_payload_follows_its_line_and_ends_with_an_empty_one() {
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let payload = Payload::from_pem(pem).unwrap();
        let name = path("/a.pem");
        let command = Command::Set(&name, &payload);
        let sent = format!("set ssl cert /a.pem <<\n{pem}\n");
        assert_eq!(*command.encode(""), sent.as_bytes());
        assert_eq!(command.size(), sent.len());
    }

    #[test]
    fn everything_else_is_one_line() {
        let (list, name) = (path("/live"), path("/live/a.pem"));
        for (command, line) in [
            (Command::ShowInfo, "show info\n"),
            (Command::ShowCertificates, "show ssl cert\n"),
            (
                Command::ShowCertificate(&name),
                "show ssl cert /live/a.pem\n",
            ),
            (
                Command::ShowCertificatesNamed(&[list.clone(), name.clone()]),
                "show ssl cert /live;show ssl cert /live/a.pem\n",
            ),
            (Command::ShowCrtList(&list), "show ssl crt-list -n /live\n"),
            (Command::ShowCrtLists, "show ssl crt-list\n"),
            (Command::ShowServers(&list), "show servers state /live\n"),
            (Command::New(&name), "new ssl cert /live/a.pem\n"),
            (Command::Commit(&name), "commit ssl cert /live/a.pem\n"),
            (Command::Abort(&name), "abort ssl cert /live/a.pem\n"),
            (Command::Delete(&name), "del ssl cert /live/a.pem\n"),
            (
                Command::AddToCrtList {
                    list: &list,
                    name: &name,
                },
                "add ssl crt-list /live /live/a.pem\n",
            ),
            (
                Command::RemoveFromCrtList {
                    list: &list,
                    name: &name,
                    line: 3,
                },
                "del ssl crt-list /live /live/a.pem:3\n",
            ),
        ] {
            assert_eq!(*command.encode(""), line.as_bytes());
            assert_eq!(command.size(), line.len());
        }
    }
}
