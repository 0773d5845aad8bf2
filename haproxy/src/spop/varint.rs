//! Variable-length integers and the strings they measure (SPOE.txt 3.1).
//!
//! The first byte holds four bits, each further byte seven, and every length starts counting
//! where the shorter one ends: a number has exactly one encoding, and none is over-long.

use nom::bytes::complete::take;
use nom::number::complete::u8;

use super::error::{Malformed, Parsed};

/// Reads one integer: ten bytes at most, which may still say more than 64 bits.
#[inline]
pub(super) fn decode(input: &[u8]) -> Parsed<'_, u64> {
    let (rest, first) = u8(input)?;
    if first < FIRST_FLAG {
        return Ok((rest, first.into()));
    }
    decode_long(rest, first.into())
}

fn decode_long(mut rest: &[u8], mut value: u64) -> Parsed<'_, u64> {
    let mut unit = Some(FIRST_UNIT);
    loop {
        let (after, byte) = u8(rest)?;
        rest = after;
        value = unit
            .and_then(|unit| unit.checked_mul(byte.into()))
            .and_then(|part| value.checked_add(part))
            .ok_or(nom::Err::Failure(Malformed::VarintOverflow))?;
        if byte < NEXT_FLAG {
            return Ok((rest, value));
        }
        unit = unit.and_then(|unit| unit.checked_mul(NEXT_UNIT));
    }
}

/// Appends one integer.
pub(super) fn encode(mut value: u64, output: &mut Vec<u8>) {
    if value >= u64::from(FIRST_FLAG) {
        output.push(low_byte(value) | FIRST_FLAG);
        value = value.saturating_sub(u64::from(FIRST_FLAG)) / FIRST_UNIT;
        while value >= u64::from(NEXT_FLAG) {
            output.push(low_byte(value) | NEXT_FLAG);
            value = value.saturating_sub(u64::from(NEXT_FLAG)) / NEXT_UNIT;
        }
    }
    output.push(low_byte(value));
}

/// Reads a string: its size, then as many bytes, borrowed.
#[inline]
pub(super) fn decode_string(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, size) = decode(input)?;
    let size = usize::try_from(size).map_err(|_| nom::Err::Failure(Malformed::Truncated))?;
    take(size)(rest)
}

/// Appends a string.
pub(super) fn encode_string(string: &[u8], output: &mut Vec<u8>) {
    encode(string.len() as u64, output);
    output.extend_from_slice(string);
}

fn low_byte(value: u64) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

/// A first byte from here on has a successor, worth sixteen times as much.
const FIRST_FLAG: u8 = 0xf0;
const FIRST_UNIT: u64 = 1 << 4;
/// A later byte from here on has a successor, worth 128 times as much.
const NEXT_FLAG: u8 = 0x80;
const NEXT_UNIT: u64 = 1 << 7;

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts both directions.
    fn check(value: u64, bytes: &[u8]) {
        let mut output = Vec::new();
        encode(value, &mut output);
        assert_eq!(output, bytes, "encoding of {value}");
        assert_eq!(
            decode(bytes),
            Ok((&[][..], value)),
            "decoding of {bytes:02x?}"
        );
        for end in 0..bytes.len() {
            assert_eq!(
                decode(&bytes[..end]),
                Err(nom::Err::Error(Malformed::Truncated))
            );
        }
    }

    #[test]
    fn grows_at_the_thresholds_of_the_specification() {
        check(0, &[0x00]);
        check(239, &[0xef]);
        check(240, &[0xf0, 0x00]);
        check(2_287, &[0xff, 0x7f]);
        check(2_288, &[0xf0, 0x80, 0x00]);
        check(0x1234, &[0xf4, 0x94, 0x01]);
        check(16_380, &[0xfc, 0xf0, 0x06]);
        check(264_431, &[0xff, 0xff, 0x7f]);
        check(264_432, &[0xf0, 0x80, 0x80, 0x00]);
        check(33_818_863, &[0xff, 0xff, 0xff, 0x7f]);
        check(33_818_864, &[0xf0, 0x80, 0x80, 0x80, 0x00]);
        check(4_328_786_159, &[0xff, 0xff, 0xff, 0xff, 0x7f]);
        check(4_328_786_160, &[0xf0, 0x80, 0x80, 0x80, 0x80, 0x00]);
    }

    #[test]
    fn holds_64_bits_in_ten_bytes() {
        let max = [0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e];
        check(u64::MAX, &max);
    }

    #[test]
    fn every_power_of_two_and_its_neighbours_round_trip() {
        for bit in 0..64 {
            for value in [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1] {
                let mut output = Vec::new();
                encode(value, &mut output);
                assert!(output.len() <= 10);
                assert_eq!(decode(&output), Ok((&[][..], value)));
            }
        }
    }

    #[test]
    fn rejects_more_than_64_bits() {
        let overflow = Err(nom::Err::Failure(Malformed::VarintOverflow));
        let one_too_many = [0xff, 0xf1, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e];
        assert_eq!(decode(&one_too_many), overflow);
        assert_eq!(decode(&[0xff; 10]), overflow);
        assert_eq!(decode(&[0xff; 64]), overflow);
        let eleven = [
            0xf0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,
        ];
        assert_eq!(decode(&eleven), overflow);
    }

    #[test]
    fn leaves_what_follows() {
        assert_eq!(decode(&[0xf0, 0x00, 0xaa]), Ok((&[0xaa][..], 240)));
        assert_eq!(decode_string(b"\x02abc"), Ok((&b"c"[..], &b"ab"[..])));
    }

    #[test]
    fn a_string_longer_than_the_input_is_truncated() {
        assert_eq!(
            decode_string(b"\x03ab"),
            Err(nom::Err::Error(Malformed::Truncated))
        );
        let huge = [
            0xff, 0xf0, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0x0e, b'a',
        ];
        assert_eq!(
            decode_string(&huge),
            Err(nom::Err::Error(Malformed::Truncated))
        );
    }
}
