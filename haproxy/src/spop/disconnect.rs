//! DISCONNECT frames and their status codes (SPOE.txt 3.5).

/// Why a peer disconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

impl Status {
    /// Nothing is wrong.
    pub const NORMAL: Self = Self(0);
    /// I/O error.
    pub const IO: Self = Self(1);
    /// A time-out.
    pub const TIMEOUT: Self = Self(2);
    /// A frame longer than agreed.
    pub const TOO_BIG: Self = Self(3);
    /// A frame that does not parse.
    pub const INVALID_FRAME: Self = Self(4);
    /// Resources are exhausted.
    pub const RESOURCES: Self = Self(13);
}
