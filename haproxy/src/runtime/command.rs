//! The commands (management.txt §9.3).

use super::{Payload, StorePath};

/// One command. Whatever its parts are, it is one line, with a payload at most
/// after it.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// `show info`
    ShowInfo,
    /// `show ssl cert`: all names, an open transaction first.
    ShowCertificates,
    /// `show ssl cert NAME`
    ShowCertificate(&'a StorePath),
    /// `show ssl crt-list -n LIST`
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
}

impl Command<'_> {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.line().into_bytes();
        if let Self::Set(_, payload) = self {
            bytes.extend_from_slice(b" <<\n");
            bytes.extend_from_slice(payload.as_bytes());
        }
        // An empty line ends a payload; without one, the newline ends the line.
        bytes.push(b'\n');
        bytes
    }

    /// The line without its payload: fit for a log.
    pub fn line(&self) -> String {
        match self {
            Self::ShowInfo => "show info".to_owned(),
            Self::ShowCertificates => "show ssl cert".to_owned(),
            Self::ShowCertificate(name) => format!("show ssl cert {name}"),
            Self::ShowCrtList(list) => format!("show ssl crt-list -n {list}"),
            Self::ShowServers(backend) => format!("show servers state {backend}"),
            Self::New(name) => format!("new ssl cert {name}"),
            Self::Set(name, _) => format!("set ssl cert {name}"),
            Self::Commit(name) => format!("commit ssl cert {name}"),
            Self::Abort(name) => format!("abort ssl cert {name}"),
            Self::Delete(name) => format!("del ssl cert {name}"),
            Self::AddToCrtList { list, name } => format!("add ssl crt-list {list} {name}"),
        }
    }
}

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
        let bytes = Command::Set(&path("/a.pem"), &payload).encode();
        assert_eq!(bytes, format!("set ssl cert /a.pem <<\n{pem}\n").as_bytes());
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
            (Command::ShowCrtList(&list), "show ssl crt-list -n /live\n"),
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
        ] {
            assert_eq!(command.encode(), line.as_bytes());
        }
    }

    /// Ten thousand names of whatever could split a command: each is refused,
    /// or gives exactly one line.
    #[test]
    fn no_name_makes_two_commands() {
        const PIECES: [&str; 16] = [
            "a", "/", ".pem", ";", "\n", "\r", "\0", " ", "<<", "\\", "#", "'", "\"", "*", "é",
            "\u{2028}",
        ];
        let mut state: u64 = 1;
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..10_000 {
            let mut text = String::new();
            for _ in 0..6 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Half of the pieces are harmless, so that some names pass.
                let index = usize::try_from(state >> 60).unwrap();
                text.push_str(
                    PIECES[if state & (1 << 40) == 0 {
                        index % 3
                    } else {
                        index
                    }],
                );
            }
            match StorePath::try_from(text) {
                Err(_) => refused += 1,
                Ok(name) => {
                    taken += 1;
                    let bytes = Command::Delete(&name).encode();
                    assert_eq!(
                        bytes.iter().filter(|&&b| b == b'\n' || b == b';').count(),
                        1
                    );
                    assert_eq!(bytes.split(|&b| b == b' ').count(), 4);
                }
            }
        }
        assert!(taken > 100 && refused > 1000, "{taken} {refused}");
    }
}
