//! PEM as the Runtime API takes it.

use std::fmt;

use zeroize::Zeroizing;

/// A PEM bundle that can be sent after `<<`: armour and base64 only, one LF
/// after each line, no blank line.
///
/// A blank line ends a payload, and HAProxy 2.6 then runs the rest as
/// commands. Nothing but PEM lines can be in a `Payload`. Its memory is wiped
/// when it is dropped: it holds a private key.
pub struct Payload(Zeroizing<String>);

impl Payload {
    /// Copies a bundle that is already written in that form.
    ///
    /// # Errors
    ///
    /// When a line is anything but armour or base64.
    pub fn from_pem(text: &str) -> Result<Self, PayloadError> {
        let mut label = None;
        let mut blocks = 0_usize;
        for (index, line) in text.split_terminator('\n').enumerate() {
            label = match (label, line) {
                (None, _) => Some(begin(line).ok_or(PayloadError { line: index + 1 })?),
                (Some(open), _) if end(line) == Some(open) => {
                    blocks += 1;
                    None
                }
                (Some(open), _) if is_base64(line) => Some(open),
                _ => return Err(PayloadError { line: index + 1 }),
            };
        }
        if label.is_some() || blocks == 0 || !text.ends_with('\n') {
            return Err(PayloadError {
                line: text.lines().count(),
            });
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: there is at least one block.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, bytes: &[u8]) -> bool {
        std::str::from_utf8(bytes).is_ok_and(|text| self.0.contains(text))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// It holds a private key.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// The text is more than PEM. It is not quoted: it may hold a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} of the PEM is neither armour nor base64")]
pub struct PayloadError {
    line: usize,
}

fn begin(line: &str) -> Option<&str> {
    line.strip_prefix("-----BEGIN ")?
        .strip_suffix("-----")
        .filter(|label| is_label(label))
}

fn end(line: &str) -> Option<&str> {
    line.strip_prefix("-----END ")?.strip_suffix("-----")
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ')
}

fn is_base64(line: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    (1..=64).contains(&line.len()) && line.bytes().all(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

    #[test]
    fn takes_blocks_without_anything_between() {
        let two = format!("{PEM}{}", PEM.replace("CERTIFICATE", "PRIVATE KEY"));
        assert_eq!(Payload::from_pem(&two).unwrap().len(), two.len());
    }

    #[test]
    fn refuses_whatever_could_end_it_early() {
        for text in [
            String::new(),
            "\n".to_owned(),
            PEM.replace("MIIB", ""),
            PEM.replace("MIIB", "MIIB\n"),
            format!("{PEM}\n{PEM}"),
            format!("{PEM}show info\n"),
            format!("subject: x\n{PEM}"),
            PEM.replace('\n', "\r\n"),
            PEM.replace("MIIB", "MI;IB"),
            PEM.replace("END CERTIFICATE", "END PRIVATE KEY"),
            PEM.trim_end().to_owned(),
            "-----BEGIN CERTIFICATE-----\nMIIB\n".to_owned(),
        ] {
            assert!(Payload::from_pem(&text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_output_holds_no_key() {
        let shown = format!("{:?}", Payload::from_pem(PEM).unwrap());
        assert_eq!(shown, format!("Payload({} bytes)", PEM.len()));
    }
}
