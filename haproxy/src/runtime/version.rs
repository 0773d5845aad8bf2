//! Which HAProxy this is, and what it can do.

use std::fmt;

use nom::bytes::complete::tag;
use nom::character::complete::u32;
use nom::combinator::{map, opt};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

/// A version of HAProxy, as `show info` gives it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    numbers: (u32, u32, u32),
    is_development: bool,
    text: String,
}

impl Version {
    /// Reads `2.6.12-1+deb12u4` or `3.5-dev5`. What cannot be read counts as
    /// the oldest.
    pub fn parse(text: &str) -> Self {
        let (rest, numbers) = numbers(text).unwrap_or((text, (0, 0, 0)));
        Self {
            numbers,
            is_development: rest.starts_with("-dev"),
            text: text.to_owned(),
        }
    }

    /// Major, minor and patch number, such as `(2, 6, 12)`.
    pub fn numbers(&self) -> (u32, u32, u32) {
        self.numbers
    }

    /// How many bytes a command with its payload may have, in a HAProxy whose
    /// `tune.bufsize` is `buffer_size` (16,384 by default).
    ///
    /// Before 3.4 both must fit into one such buffer. Beyond, 2.6 closes without
    /// a word, and 3.2.0 to 3.2.15 spin until the watchdog kills the worker; so
    /// it is never tried. From 3.4 on, `tune.cli.max-payload-size` is 128 kB by
    /// default; its development versions count as 3.3.
    pub fn command_size_max(&self, buffer_size: usize) -> usize {
        if self.takes_large_payloads() {
            128 << 10
        } else {
            buffer_size.saturating_sub(Self::COMMAND_MARGIN)
        }
    }

    /// Whether a payload may be larger than a buffer: from 3.4 on.
    pub fn takes_large_payloads(&self) -> bool {
        let (major, minor, _) = self.numbers;
        (major, minor) >= (3, 4) && !(self.is_development && minor == 4)
    }

    /// Whether whoever may use the socket can read private keys by it:
    /// `dump ssl cert`, from 3.1 on.
    pub fn dumps_keys(&self) -> bool {
        let (major, minor, _) = self.numbers;
        (major, minor) >= (3, 1)
    }

    /// What is left free of a buffer, in bytes: 16,352 of 16,384 were seen to
    /// pass, 16,436 not to.
    pub(super) const COMMAND_MARGIN: usize = 64;
}

fn numbers(text: &str) -> IResult<&str, (u32, u32, u32)> {
    let patch = map(opt(preceded(tag("."), u32)), Option::unwrap_or_default);
    (terminated(u32, tag(".")), u32, patch).parse(text)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_numbers() {
        for (text, numbers) in [
            ("2.6.12-1+deb12u4", (2, 6, 12)),
            ("3.5-dev5", (3, 5, 0)),
            ("3.0.11-1+deb13u1", (3, 0, 11)),
            ("", (0, 0, 0)),
            ("unknown", (0, 0, 0)),
            ("99999999999.1", (0, 0, 0)),
        ] {
            assert_eq!(Version::parse(text).numbers(), numbers, "{text}");
        }
    }

    #[test]
    fn only_3_4_and_later_take_large_commands() {
        for (text, size) in [
            ("2.6.12-1+deb12u4", 16_320),
            ("3.2.26-1", 16_320),
            ("3.4-dev7", 16_320),
            ("3.4.7-1", 131_072),
            ("3.5-dev5", 131_072),
            ("4.0.0", 131_072),
            ("?", 16_320),
        ] {
            let version = Version::parse(text);
            assert_eq!(version.command_size_max(16_384), size, "{text}");
            let larger = version.command_size_max(32_768);
            assert_eq!(larger, if size > 16_384 { size } else { 32_704 }, "{text}");
        }
    }
}
