use super::{Failure, lines, text};

/// Reads the reply of `show ssl cert`: the certificate with an open
/// transaction, if there is one. There is one for the whole process, and it
/// outlives the connection that opened it.
///
/// It stands first, with `*` before it. The names of all certificates follow,
/// which may be very many: they are not looked at.
///
/// # Errors
///
/// When it is something else.
pub fn open_transaction(body: &[u8]) -> Result<Option<String>, Failure> {
    let mut lines = lines(body);
    match (lines.next(), lines.next()) {
        (Some(b"# transaction"), Some([b'*', name @ ..])) => Ok(Some(text(name))),
        (Some(b"# filename"), _) | (None, _) => Ok(None),
        _ => Err(Failure::Unexpected),
    }
}
