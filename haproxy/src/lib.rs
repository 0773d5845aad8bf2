//! HAProxy's two languages: SPOP (`spop`) and the Runtime API (`runtime`).

pub mod runtime;
pub mod spop;
