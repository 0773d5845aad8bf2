//! HAProxy's two languages, SPOP (`spop`) and the Runtime API (`runtime`), and
//! the configuration that people paste (`configuration`).

pub mod configuration;
pub mod runtime;
pub mod spop;
