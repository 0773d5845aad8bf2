//! Which HAProxy this is, and what it can do.

use std::fmt;

/// A version of HAProxy, as `show info` gives it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    branch: (u32, u32),
    text: String,
}

impl Version {
    /// Reads `2.6.12-1+deb12u4` or `3.5-dev5`. What cannot be read counts as
    /// the oldest.
    pub fn parse(text: &str) -> Self {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let branch = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => (0, 0),
        };
        Self {
            branch,
            text: text.to_owned(),
        }
    }

    /// Major and minor number, such as `(2, 6)`.
    pub fn branch(&self) -> (u32, u32) {
        self.branch
    }

    /// How many bytes a command with its payload may have.
    ///
    /// Before 3.4 both must fit into one buffer of `tune.bufsize`, 16,384 by
    /// default. Beyond, 2.6 closes without a word, and 3.2.0 to 3.2.15 spin
    /// until the watchdog kills the worker; so it is never tried. From 3.4 on,
    /// `tune.cli.max-payload-size` is 128 kB by default.
    pub fn payload_size_max(&self) -> usize {
        if self.branch >= (3, 4) {
            128 << 10
        } else {
            (16 << 10) - 64
        }
    }
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
    fn reads_the_branch() {
        for (text, branch) in [
            ("2.6.12-1+deb12u4", (2, 6)),
            ("3.5-dev5", (3, 5)),
            ("3.0.11-1+deb13u1", (3, 0)),
            ("", (0, 0)),
            ("unknown", (0, 0)),
            ("99999999999.1", (0, 0)),
        ] {
            assert_eq!(Version::parse(text).branch(), branch, "{text}");
        }
    }

    #[test]
    fn only_3_4_and_later_take_large_payloads() {
        assert_eq!(Version::parse("3.2.26").payload_size_max(), 16_320);
        assert_eq!(Version::parse("3.4.7").payload_size_max(), 131_072);
        assert_eq!(Version::parse("?").payload_size_max(), 16_320);
    }
}
