//! Machines on one cable: network namespaces and a switch between them.
//!
//! The namespaces have no names, so that there is nothing to be left over:
//! each lives as long as the process that holds it, which the kernel kills
//! with the thread that has started it, even when that is killed itself.
//! `nsenter --target PID --net` looks into one, by the process id of its
//! `sleep infinity`.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::process::Process;
use crate::wait::{ensure, until};

/// A cable that machines are plugged into.
#[derive(Debug)]
pub struct Network {
    switch: Namespace,
    holders: Vec<Process>,
    directory: TempDir,
}

/// A machine of a [`Network`].
#[derive(Clone, Debug)]
pub struct Machine {
    own: Namespace,
    switch: Namespace,
    port: String,
}

/// A network namespace, by the process that holds it.
#[derive(Clone, Copy, Debug)]
struct Namespace {
    holder: u32,
}

/// Puts the calling thread back where it was when dropped. What the thread
/// starts, and every socket that it opens, is meanwhile on the machine.
#[derive(Debug)]
pub struct Inside {
    outside: File,
}

impl Network {
    /// A switch without machines.
    ///
    /// # Errors
    ///
    /// When the system lets us not: it takes root.
    pub fn new() -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("spoacme-net-").tempdir();
        let directory = directory.map_err(|error| format!("no temporary directory: {error}"))?;
        let mut holders = Vec::new();
        let switch = Namespace::new(&directory, &mut holders)?;
        // It floods multicast: snooping lives on a querier's questions, and
        // nobody here asks.
        switch.ip("link add br0 type bridge mcast_snooping 0")?;
        switch.ip("link set br0 up")?;
        Ok(Self {
            switch,
            holders,
            directory,
        })
    }

    /// A machine with `address`, such as `fd00::1/64`, on its `eth0`.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn machine(&mut self, address: &str) -> Result<Machine, String> {
        let port = format!("port{}", self.holders.len());
        let own = Namespace::new(&self.directory, &mut self.holders)?;
        let machine = Machine {
            own,
            switch: self.switch,
            port,
        };
        let Machine { switch, port, .. } = &machine;
        let holder = own.holder;
        switch.ip(&format!(
            "link add {port} type veth peer name eth0 netns {holder}"
        ))?;
        switch.ip(&format!("link set {port} master br0 up"))?;
        own.ip("link set lo up")?;
        own.ip("link set eth0 up")?;
        own.ip(&format!("addr add {address} dev eth0 nodad"))?;
        Ok(machine)
    }
}

impl Machine {
    /// Moves the calling thread onto the machine.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn enter(&self) -> Result<Inside, String> {
        self.own.enter()
    }

    /// Pulls its cable, or plugs it in again.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn plug(&self, is_in: bool) -> Result<(), String> {
        let state = if is_in { "up" } else { "down" };
        self.switch.ip(&format!("link set {} {state}", self.port))
    }

    /// Takes an address of length 128 from it, if it has it.
    pub fn forget(&self, address: &str) {
        let _ = self.own.ip(&format!("addr del {address}/128 dev eth0"));
    }

    /// Whether one of its addresses is `address`.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn has(&self, address: &str) -> Result<bool, String> {
        let text = self.own.output("-o addr show")?;
        Ok(text.contains(&format!(" {address}/")))
    }
}

impl Namespace {
    fn new(directory: &TempDir, holders: &mut Vec<Process>) -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sleep", "infinity"]);
        let name = format!("holder-{}", holders.len());
        let mut process = Process::start(&name, directory.path(), &mut command)?;
        let namespace = Self {
            holder: process.id(),
        };
        // It is setpriv and then unshare before it is in a namespace of its own.
        let ours = fs::read_link("/proc/thread-self/ns/net").map_err(|e| e.to_string())?;
        until("a network namespace", || {
            process.expect_running()?;
            let theirs = fs::read_link(namespace.path()).map_err(|e| e.to_string())?;
            ensure(theirs != ours, "it is still ours")
        })?;
        holders.push(process);
        Ok(namespace)
    }

    fn path(self) -> PathBuf {
        format!("/proc/{}/ns/net", self.holder).into()
    }

    fn enter(self) -> Result<Inside, String> {
        let open =
            |path: PathBuf| File::open(&path).map_err(|e| format!("{}: {e}", path.display()));
        let outside = open("/proc/thread-self/ns/net".into())?;
        join(&open(self.path())?)?;
        Ok(Inside { outside })
    }

    fn ip(self, arguments: &str) -> Result<(), String> {
        self.output(arguments).map(drop)
    }

    /// What ip(8) says of `arguments`, which spaces separate.
    fn output(self, arguments: &str) -> Result<String, String> {
        let _inside = self.enter()?;
        let output = Command::new("ip")
            .args(arguments.split(' '))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("ip: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("ip {arguments}: {said}"))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A thread that cannot get out must not go on elsewhere.
        if let Err(error) = join(&self.outside) {
            panic!("cannot leave the network namespace: {error}");
        }
    }
}

fn join(namespace: &File) -> Result<(), String> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| format!("setns: {error}"))
}
