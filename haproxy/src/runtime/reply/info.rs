use std::str::{self, FromStr};
use std::time::Duration;

use super::{Failure, fields, text};
use crate::runtime::Version;

/// What `show info` says of the process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Info {
    /// Its version.
    pub version: Version,
    /// The process: another after each reload.
    pub pid: u32,
    /// How long it has run, in whole seconds.
    pub uptime: Duration,
    /// Whether it only finishes what it has: an old worker.
    pub stopping: bool,
    /// How many threads it runs.
    pub threads: u32,
}

impl Info {
    /// Reads the reply of `show info`.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn parse(body: &[u8]) -> Result<Self, Failure> {
        Self::find(body).ok_or(Failure::Unexpected)
    }

    fn find(body: &[u8]) -> Option<Self> {
        let value = |key: &str| fields(body).find(|(name, _)| *name == key.as_bytes());
        let value = |key| value(key).map(|(_, value)| value);
        Some(Self {
            version: Version::parse(&text(value("Version")?)),
            pid: number(value("Pid")?)?,
            uptime: Duration::from_secs(number(value("Uptime_sec")?)?),
            stopping: number::<u32>(value("Stopping")?)? != 0,
            threads: number(value("Nbthread")?)?,
        })
    }
}

fn number<T: FromStr>(value: &[u8]) -> Option<T> {
    str::from_utf8(value).ok()?.parse().ok()
}
