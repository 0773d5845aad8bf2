//! The harness of the end-to-end stories: real HAProxy, a real CA, the real
//! binaries, on free ports of the loopback and in a directory of their own.
//!
//! ```text
//! Stage ── Haproxy   the shipped configuration, one version of HAProxy
//!       ├─ Agent     spoacme-agent
//!       ├─ Pebble    the CA, with its challenge test server for DNS
//!       ├─ Manager   spoacme: the daemon, or one command
//!       ├─ Proxy     between it and HAProxy, to let things go wrong
//!       └─ Client    HTTP and TLS as a visitor
//!
//! Fleet ── Node × 3   a stage on a machine of its own, with keepalived, and
//!       │  └─ Journal what its HAProxy was asked, and by whom
//!       ├─ Pebble     on another machine, with
//!       ├─ Dns        a server that rotates the addresses
//!       └─ Network    between them
//! ```

pub mod agent;
pub mod dns;
pub mod faults;
pub mod fleet;
pub mod haproxy;
pub mod http;
pub mod journal;
pub mod mail;
pub mod manager;
pub mod neighbour;
pub mod netns;
pub mod pebble;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod stage;
pub mod tls;
pub mod wait;
pub mod weak;
