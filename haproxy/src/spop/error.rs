//! What a peer can do wrong.

/// Why a session ends in error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not yet.
    #[error("invalid frame")]
    Invalid,
}
