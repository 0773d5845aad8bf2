//! keepalived: virtual addresses that move from a load balancer to another.

use std::net::{Ipv6Addr, UdpSocket};
use std::process::Command;

use crate::process::Process;
use crate::stage::Stage;
use crate::wait::ensure;

/// A virtual address, and how much a load balancer wants it.
#[derive(Clone, Copy, Debug)]
pub struct Virtual {
    /// The address.
    pub address: Ipv6Addr,
    /// The VRRP priority; the highest of those alive has it.
    pub priority: u8,
}

/// A running keepalived, on the interface `eth0`.
#[derive(Debug)]
pub struct Keepalived {
    process: Process,
}

impl Keepalived {
    /// Starts one that wants `virtuals`, of which a `stage` has up to 255.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(stage: &Stage, virtuals: &[Virtual]) -> Result<Self, String> {
        let configuration = stage.write("keepalived.conf", &configuration(virtuals))?;
        let mut command = Command::new("keepalived");
        command
            .args(["--vrrp", "--dont-fork", "--log-console", "--log-detail"])
            .arg("--use-file")
            .arg(configuration)
            .arg("--pid")
            .arg(stage.path("keepalived.pid"))
            .arg("--vrrp_pid")
            .arg(stage.path("vrrp.pid"));
        let process = Process::start("keepalived", stage.root(), &mut stage.inside(command))?;
        Ok(Self { process })
    }

    /// What it has logged.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Kills it. Its child, which does VRRP, says farewell and gives the
    /// addresses away: only a power cut or a pulled cable is silent.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Ends it in an orderly way.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(mut self) -> Result<(), String> {
        self.process.terminate().map(drop)
    }
}

/// Fails unless `stage` has `address` now.
///
/// # Errors
///
/// That it has not.
pub fn expect_at(stage: &Stage, address: Ipv6Addr) -> Result<(), String> {
    // Only what is local can be bound.
    let bound = stage.enter(|| UdpSocket::bind((address, 0)).map(drop))?;
    bound.map_err(|error| format!("{address}: {error}"))
}

/// Fails if `stage` has `address` now.
///
/// # Errors
///
/// That it has.
pub fn expect_not_at(stage: &Stage, address: Ipv6Addr) -> Result<(), String> {
    ensure(
        expect_at(stage, address).is_err(),
        format!("{address} is still there"),
    )
}

/// All begin as BACKUP, since none is the real one. VRRP version 3 takes IPv6,
/// and advertisements every tenth of a second: a dead master is noticed after
/// less than half a second (RFC 9568 §6.1).
fn configuration(virtuals: &[Virtual]) -> String {
    let mut text = "global_defs {\n    vrrp_version 3\n}\n".to_owned();
    for (index, Virtual { address, priority }) in virtuals.iter().enumerate() {
        let id = index + 1;
        // A /128 is never chosen as the source of own connections, which would
        // break when the address moves.
        text += &format!(
            "vrrp_instance v{id} {{\n    \
                 interface eth0\n    \
                 state BACKUP\n    \
                 virtual_router_id {id}\n    \
                 priority {priority}\n    \
                 advert_int 0.1\n    \
                 virtual_ipaddress {{\n        \
                     {address}/128\n    \
                 }}\n\
             }}\n"
        );
    }
    text
}
