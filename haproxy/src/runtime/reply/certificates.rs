use super::{Failure, lines, text};

/// The certificates that HAProxy holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificates {
    /// Their names.
    pub names: Vec<String>,
    /// The one with an open transaction. There is one for the whole process,
    /// and it outlives the connection that opened it.
    pub transaction: Option<String>,
}

impl Certificates {
    /// Reads the reply of `show ssl cert`: `*` before the name with an open
    /// transaction, comments between the parts, nothing if there is nothing.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        let mut lines = lines(body).peekable();
        if lines.peek().is_some_and(|first| !first.starts_with(b"#")) {
            return Err(Failure::Unexpected);
        }
        let mut certificates = Self::default();
        for line in lines.filter(|line| !line.starts_with(b"#")) {
            match line.strip_prefix(b"*") {
                Some(name) => certificates.transaction = Some(text(name)),
                None => certificates.names.push(text(line)),
            }
        }
        Ok(certificates)
    }
}
