//! The SPOE agent.
