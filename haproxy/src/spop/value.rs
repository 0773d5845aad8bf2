//! Typed data (SPOE.txt 3.1).

use std::net::{Ipv4Addr, Ipv6Addr};

/// One typed value, borrowed from the frame that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// No value: a sample that HAProxy could not fetch.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer of 32 bits.
    Int32(i32),
    /// An unsigned integer of 32 bits.
    UInt32(u32),
    /// A signed integer of 64 bits: what HAProxy sends for every integer sample.
    Int64(i64),
    /// An unsigned integer of 64 bits.
    UInt64(u64),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// A string. SPOP strings are bytes: no encoding is promised.
    String(&'a [u8]),
    /// Binary data.
    Binary(&'a [u8]),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(text.as_bytes())
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<'a> Value<'a> {
    /// The bytes of a string or binary value.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::String(bytes) | Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a string value, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}
