//! Tokens and key authorizations (RFC 8555 §8.1).

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A challenge's token: 22 to 128 characters of the base64url alphabet, which
/// is at least the 128 bits of entropy that RFC 8555 §8.3 demands.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

impl Token {
    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Token {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        let fits = TOKEN_LENGTH_MIN <= text.len() && text.len() <= TOKEN_LENGTH_MAX;
        if fits && text.bytes().all(is_base64url) {
            Ok(Self(text))
        } else {
            Err(TokenError::Token)
        }
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

/// Look-ups are made with a part of a path.
impl Borrow<str> for Token {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key authorization: a token, a dot, and the account key's thumbprint
/// (RFC 8555 §8.1). At most 127 bytes, because Let's Encrypt refuses a body of
/// 128.
///
/// It is no secret to whoever may ask HAProxy for it, but it is not logged.
#[derive(Clone, Eq, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyAuthorization(String);

impl KeyAuthorization {
    /// The key authorization as text: the body of the answer.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it begins with `token` and a dot.
    pub fn is_for(&self, token: &Token) -> bool {
        self.0
            .split_once('.')
            .is_some_and(|(prefix, _)| prefix == token.as_str())
    }
}

impl TryFrom<String> for KeyAuthorization {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        let parts = text.split_once('.');
        let well_formed = parts.is_some_and(|(token, thumbprint)| {
            !token.is_empty()
                && !thumbprint.is_empty()
                && token.bytes().chain(thumbprint.bytes()).all(is_base64url)
        });
        if well_formed && text.len() <= KEY_AUTHORIZATION_LENGTH_MAX {
            Ok(Self(text))
        } else {
            Err(TokenError::KeyAuthorization)
        }
    }
}

impl From<KeyAuthorization> for String {
    fn from(value: KeyAuthorization) -> Self {
        value.0
    }
}

impl fmt::Debug for KeyAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyAuthorization(..)")
    }
}

/// Why a text is no token or key authorization. It is not quoted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// No token.
    #[error("a token is 22 to 128 of A-Z, a-z, 0-9, '_' and '-'")]
    Token,
    /// No key authorization.
    #[error("a key authorization is a token, a dot and a thumbprint, 127 characters at most")]
    KeyAuthorization,
}

const TOKEN_LENGTH_MIN: usize = 22;
const TOKEN_LENGTH_MAX: usize = 128;
const KEY_AUTHORIZATION_LENGTH_MAX: usize = 127;

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Result<Token, TokenError> {
        Token::try_from(text.to_owned())
    }

    #[test]
    fn a_token_is_22_to_128_of_base64url() {
        assert!(token(&"a".repeat(22)).is_ok());
        assert!(token(&"_-Z9".repeat(32)).is_ok());
        for text in [
            "",
            &"a".repeat(21),
            &"a".repeat(129),
            "aaaaaaaaaaaaaaaaaaaaaaaaa/aa",
        ] {
            assert_eq!(token(text), Err(TokenError::Token), "{text:?}");
        }
        for byte in (0..=255_u8).filter(|&byte| !is_base64url(byte)) {
            let text = format!("{}{}", "a".repeat(30), char::from(byte));
            assert_eq!(token(&text), Err(TokenError::Token), "{text:?}");
        }
    }

    #[test]
    fn a_key_authorization_belongs_to_one_token() {
        let token = token(&"t".repeat(43)).unwrap();
        let of = |text: String| KeyAuthorization::try_from(text);
        let value = of(format!("{token}.{}", "x".repeat(43))).unwrap();
        assert!(value.is_for(&token));
        assert!(
            !of(format!("{token}t.{}", "x".repeat(43)))
                .unwrap()
                .is_for(&token)
        );
        for text in [
            token.to_string(),
            format!("{token}."),
            ".x".to_owned(),
            format!("{token}.x.y"),
            format!("{token}.{}", "x".repeat(84)),
            format!("{token}.x\r\nSet-Cookie: a"),
        ] {
            assert_eq!(
                of(text.clone()),
                Err(TokenError::KeyAuthorization),
                "{text:?}"
            );
        }
        assert_eq!(
            of(format!("{token}.{}", "x".repeat(83)))
                .unwrap()
                .as_str()
                .len(),
            127
        );
    }

    #[test]
    fn debug_output_does_not_show_it() {
        let value = KeyAuthorization::try_from(format!("{}.x", "t".repeat(22))).unwrap();
        assert_eq!(format!("{value:?}"), "KeyAuthorization(..)");
    }
}
