//! HAProxy's two languages: SPOP (`spop`) and the Runtime API (`runtime`).

/// The Stream Processing Offload Protocol: frames, and the agent's side of a connection.
pub mod spop;
