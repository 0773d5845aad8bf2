//! The exit codes: a contract, listed in the README and in `--help`.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed; nothing was done.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Some was done and some failed.
    Partly = 3,
    /// There was nothing to do.
    Nothing = 4,
    /// The configuration is faulty (`EX_CONFIG` of sysexits.h).
    BadConfiguration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
