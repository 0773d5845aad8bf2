use crate::runtime::Payload;

/// A reply for a log or an error: one line of printable ASCII, shortened.
///
/// 2.6 may take a part of a payload for commands, and later versions name the
/// command that they do not know; so whatever is in the payload is left out.
pub fn quote(reply: &[u8], payload: Option<&Payload>) -> String {
    let mut quoted = String::new();
    let words = reply
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    for word in words {
        if quoted.len() >= LENGTH_MAX {
            quoted.truncate(LENGTH_MAX);
            quoted.push_str(" ...");
            break;
        }
        if !quoted.is_empty() {
            quoted.push(' ');
        }
        if payload.is_some_and(|payload| is_from(word, payload)) {
            quoted.push_str("[removed]");
        } else {
            quoted.push_str(
                &word[..word.len().min(LENGTH_MAX)]
                    .escape_ascii()
                    .to_string(),
            );
        }
    }
    quoted
}

/// In bytes.
const LENGTH_MAX: usize = 300;

/// Shorter runs say nothing, and may be a word.
const SECRET_LENGTH_MIN: usize = 12;

/// Whether a word has a run of base64 that is in the payload.
fn is_from(word: &[u8], payload: &Payload) -> bool {
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    word.split(|b| !is_base64(b))
        .filter(|run| run.len() >= SECRET_LENGTH_MIN)
        .any(|run| payload.contains(run))
}
