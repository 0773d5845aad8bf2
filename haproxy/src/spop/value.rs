//! Typed data (SPOE.txt 3.1).

use std::net::{Ipv4Addr, Ipv6Addr};

use nom::Parser;
use nom::combinator::map;
use nom::number::complete::{be_u32, be_u128, u8};

use super::error::{Malformed, Parsed};
use super::varint;

/// One typed value, borrowed from the frame that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// No value: what HAProxy sends for a sample that it could not fetch.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer of 32 bits.
    Int32(i32),
    /// An unsigned integer of 32 bits.
    UInt32(u32),
    /// A signed integer of 64 bits: what HAProxy sends for an integer sample.
    Int64(i64),
    /// An unsigned integer of 64 bits.
    UInt64(u64),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// A string. It is bytes: SPOP promises no encoding.
    String(&'a [u8]),
    /// Binary data.
    Binary(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The bytes of a string or of binary data.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::String(bytes) | Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a string that is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Self::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Reads a value. Flags that its type does not use are ignored.
    #[inline]
    pub(super) fn decode(input: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, tag) = u8(input)?;
        match tag & TYPE_MASK {
            NULL => Ok((rest, Self::Null)),
            BOOL => Ok((rest, Self::Bool(tag & TRUE != 0))),
            INT32 => map(signed, Self::Int32).parse(rest),
            UINT32 => map(unsigned, Self::UInt32).parse(rest),
            INT64 => map(signed, Self::Int64).parse(rest),
            UINT64 => map(unsigned, Self::UInt64).parse(rest),
            IPV4 => map(be_u32, |bits| Self::Ipv4(Ipv4Addr::from_bits(bits))).parse(rest),
            IPV6 => map(be_u128, |bits| Self::Ipv6(Ipv6Addr::from_bits(bits))).parse(rest),
            STRING => map(varint::decode_string, Self::String).parse(rest),
            BINARY => map(varint::decode_string, Self::Binary).parse(rest),
            reserved => Err(nom::Err::Failure(Malformed::ReservedType(reserved))),
        }
    }

    /// Appends the value.
    pub(super) fn encode(&self, output: &mut Vec<u8>) {
        match *self {
            Self::Null => output.push(NULL),
            Self::Bool(false) => output.push(BOOL),
            Self::Bool(true) => output.push(BOOL | TRUE),
            Self::Int32(value) => encode_integer(INT32, i64::from(value).cast_unsigned(), output),
            Self::UInt32(value) => encode_integer(UINT32, value.into(), output),
            Self::Int64(value) => encode_integer(INT64, value.cast_unsigned(), output),
            Self::UInt64(value) => encode_integer(UINT64, value, output),
            Self::Ipv4(address) => encode_array(IPV4, &address.octets(), output),
            Self::Ipv6(address) => encode_array(IPV6, &address.octets(), output),
            Self::String(bytes) => encode_string(STRING, bytes, output),
            Self::Binary(bytes) => encode_string(BINARY, bytes, output),
        }
    }
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

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::UInt32(value)
    }
}

fn unsigned<T: TryFrom<u64>>(input: &[u8]) -> Parsed<'_, T> {
    let (rest, value) = varint::decode(input)?;
    Ok((rest, in_range(value)?))
}

/// Signed integers of either width travel as the two's complement of 64 bits.
fn signed<T: TryFrom<i64>>(input: &[u8]) -> Parsed<'_, T> {
    let (rest, value) = varint::decode(input)?;
    Ok((rest, in_range(value.cast_signed())?))
}

fn in_range<W, T: TryFrom<W>>(wide: W) -> Result<T, nom::Err<Malformed>> {
    T::try_from(wide).map_err(|_| nom::Err::Failure(Malformed::IntegerRange))
}

fn encode_integer(tag: u8, value: u64, output: &mut Vec<u8>) {
    output.push(tag);
    varint::encode(value, output);
}

fn encode_array(tag: u8, octets: &[u8], output: &mut Vec<u8>) {
    output.push(tag);
    output.extend_from_slice(octets);
}

fn encode_string(tag: u8, bytes: &[u8], output: &mut Vec<u8>) {
    output.push(tag);
    varint::encode_string(bytes, output);
}

const TYPE_MASK: u8 = 0x0f;
/// The flag of a [`BOOL`] that holds true.
const TRUE: u8 = 0x10;

const NULL: u8 = 0;
const BOOL: u8 = 1;
const INT32: u8 = 2;
const UINT32: u8 = 3;
const INT64: u8 = 4;
const UINT64: u8 = 5;
const IPV4: u8 = 6;
const IPV6: u8 = 7;
const STRING: u8 = 8;
const BINARY: u8 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts both directions, and that no proper prefix is a value.
    fn check(value: Value<'_>, bytes: &[u8]) {
        let mut output = Vec::new();
        value.encode(&mut output);
        assert_eq!(output, bytes, "encoding of {value:?}");
        assert_eq!(Value::decode(bytes), Ok((&[][..], value)));
        for end in 0..bytes.len() {
            assert_eq!(
                Value::decode(&bytes[..end]),
                Err(nom::Err::Error(Malformed::Truncated))
            );
        }
    }

    #[test]
    fn every_type_round_trips() {
        check(Value::Null, &[0x00]);
        check(Value::Bool(false), &[0x01]);
        check(Value::Bool(true), &[0x11]);
        check(Value::Int32(7), &[0x02, 0x07]);
        check(Value::UInt32(16_380), &[0x03, 0xfc, 0xf0, 0x06]);
        check(Value::Int64(240), &[0x04, 0xf0, 0x00]);
        check(Value::UInt64(1), &[0x05, 0x01]);
        check(Value::Ipv4(Ipv4Addr::LOCALHOST), &[0x06, 127, 0, 0, 1]);
        let mut localhost = [0; 17];
        (localhost[0], localhost[16]) = (0x07, 1);
        check(Value::Ipv6(Ipv6Addr::LOCALHOST), &localhost);
        check(Value::from("ab"), b"\x08\x02ab");
        check(Value::Binary(&[0xff]), &[0x09, 0x01, 0xff]);
    }

    #[test]
    fn negative_integers_travel_as_64_bits() {
        let minus_one = [0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e];
        check(Value::Int32(-1), &[&[0x02], &minus_one[..]].concat());
        check(Value::Int64(-1), &[&[0x04], &minus_one[..]].concat());
        check(Value::UInt64(u64::MAX), &[&[0x05], &minus_one[..]].concat());
    }

    #[test]
    fn rejects_an_integer_out_of_its_range() {
        let mut bytes = vec![UINT32];
        varint::encode(u64::from(u32::MAX) + 1, &mut bytes);
        let out_of_range = Err(nom::Err::Failure(Malformed::IntegerRange));
        assert_eq!(Value::decode(&bytes), out_of_range);
        bytes[0] = INT32;
        assert_eq!(Value::decode(&bytes), out_of_range);
    }

    #[test]
    fn rejects_the_reserved_types() {
        for kind in 10..=15 {
            let reserved = Err(nom::Err::Failure(Malformed::ReservedType(kind)));
            assert_eq!(Value::decode(&[0xf0 | kind, 0, 0]), reserved);
        }
    }

    #[test]
    fn ignores_flags_that_the_type_does_not_use() {
        assert_eq!(Value::decode(b"\xf8\x01a"), Ok((&[][..], Value::from("a"))));
        assert_eq!(Value::decode(&[0xe1]), Ok((&[][..], Value::Bool(false))));
    }
}
