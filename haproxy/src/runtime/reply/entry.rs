use super::{Failure, Outcome, lines, says};
use crate::runtime::StorePath;

/// Reads the reply of `add ssl crt-list LIST NAME`. A directory takes a
/// certificate once; a list takes it again and again, without a word.
///
/// # Errors
///
/// When it is no success, or one for another entry.
pub fn add(body: &[u8], list: &StorePath, name: &StorePath) -> Result<Outcome, Failure> {
    let list = stored(list);
    let begin = format!("Inserting certificate '{name}' in crt-list '{list}'");
    let is_begun = lines(body).any(|line| is_progress(line, &begin));
    if is_begun && says(body, "Success!") {
        Ok(Outcome::Done)
    } else if is_begun && says(body, "Failed!") {
        Err(Failure::Refused)
    } else if says(body, ADDED_BEFORE) {
        Ok(Outcome::Already)
    } else if body.starts_with(CANNOT_ADD) {
        Err(Failure::Refused)
    } else {
        Err(Failure::Unexpected)
    }
}

/// Reads the reply of `del ssl crt-list LIST NAME:LINE`.
///
/// # Errors
///
/// When it is no success, or one for another entry.
pub fn remove(body: &[u8], list: &StorePath, name: &StorePath) -> Result<Outcome, Failure> {
    let list = stored(list);
    let absent =
        format!("{CANNOT_REMOVE}certificate '{name}' can't be found in crt-list '{list}'!");
    if says(
        body,
        &format!("Entry '{name}' deleted in crtlist '{list}'!"),
    ) {
        Ok(Outcome::Done)
    } else if says(body, &absent) {
        Ok(Outcome::Already)
    } else if body.starts_with(CANNOT_REMOVE.as_bytes()) {
        Err(Failure::Refused)
    } else {
        Err(Failure::Unexpected)
    }
}

const ADDED_BEFORE: &str = "Can't edit the crt-list: file already exists in this directory!";
const CANNOT_ADD: &[u8] = b"Can't edit the crt-list: ";
const CANNOT_REMOVE: &str = "Can't delete the entry: ";

/// A sentence with a dot for each instance that was made.
pub(super) fn is_progress(line: &[u8], sentence: &str) -> bool {
    let dots = line.strip_prefix(sentence.as_bytes());
    dots.is_some_and(|dots| dots.iter().all(|&b| b == b'.'))
}

/// HAProxy keeps a directory without its trailing slashes.
fn stored(list: &StorePath) -> &str {
    list.as_str().trim_end_matches('/')
}
