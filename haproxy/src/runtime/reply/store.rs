use super::{Failure, Outcome, says};
use crate::runtime::StorePath;

/// Reads the reply of `new ssl cert NAME`.
///
/// # Errors
///
/// When it is no success, or one for another certificate.
pub fn new(body: &[u8], name: &StorePath) -> Result<Outcome, Failure> {
    if says(body, &format!("New empty certificate store '{name}'!")) {
        Ok(Outcome::Done)
    } else if says(body, &format!("Certificate '{name}' already exists!")) {
        Ok(Outcome::Already)
    } else {
        Err(Failure::Unexpected)
    }
}

/// Reads the reply of `del ssl cert NAME`.
///
/// # Errors
///
/// When the certificate is used or in a transaction, or the reply is something
/// else.
pub fn delete(body: &[u8], name: &StorePath) -> Result<Outcome, Failure> {
    let absent = format!("{CANNOT_DELETE}certificate '{name}' doesn't exist!");
    if says(body, &format!("Certificate '{name}' deleted!")) {
        Ok(Outcome::Done)
    } else if says(body, &absent) {
        Ok(Outcome::Already)
    } else if body.starts_with(CANNOT_DELETE.as_bytes()) {
        Err(Failure::Refused)
    } else {
        Err(Failure::Unexpected)
    }
}

const CANNOT_DELETE: &str = "Can't remove the certificate: ";
