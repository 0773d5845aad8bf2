//! Machines on one cable: network namespaces and a switch between them.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A cable that machines are plugged into.
#[derive(Debug)]
pub struct Network {
    switch: String,
    machines: Vec<String>,
}

/// A machine of a [`Network`].
#[derive(Clone, Debug)]
pub struct Machine {
    name: String,
    switch: String,
    port: String,
}

/// Puts the calling thread back where it was when dropped. What the thread
/// starts, and every socket that it opens, is meanwhile on the machine.
#[derive(Debug)]
pub struct Inside {
    outside: File,
}

static NETWORKS: AtomicUsize = AtomicUsize::new(0);

impl Network {
    /// A switch without machines. What a killed run has left is removed.
    ///
    /// # Errors
    ///
    /// When the system lets us not: it takes root.
    pub fn new() -> Result<Self, String> {
        sweep();
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let switch = format!("{PREFIX}{}-{number}", process::id());
        let network = Self {
            switch,
            machines: Vec::new(),
        };
        let switch = &network.switch;
        ip(&["netns", "add", switch])?;
        ip(&["-n", switch, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", switch, "link", "set", "br0", "up"])?;
        Ok(network)
    }

    /// A machine with `address`, such as `fd00::1/64`, on its `eth0`.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn machine(&mut self, address: &str) -> Result<Machine, String> {
        let number = self.machines.len();
        let machine = Machine {
            name: format!("{}-{number}", self.switch),
            switch: self.switch.clone(),
            port: format!("port{number}"),
        };
        let Machine { name, switch, port } = &machine;
        ip(&["netns", "add", name])?;
        self.machines.push(name.clone());
        ip(&[
            "link", "add", port, "netns", switch, "type", "veth", "peer", "name", "eth0", "netns",
            name,
        ])?;
        ip(&["-n", switch, "link", "set", port, "master", "br0", "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        ip(&["-n", name, "addr", "add", address, "dev", "eth0", "nodad"])?;
        Ok(machine)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.machines.iter().chain([&self.switch]) {
            // Whoever is left in it keeps it alive, nameless, until they end.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

impl Machine {
    /// Moves the calling thread onto the machine.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn enter(&self) -> Result<Inside, String> {
        let open =
            |path: PathBuf| File::open(&path).map_err(|e| format!("{}: {e}", path.display()));
        let outside = open("/proc/thread-self/ns/net".into())?;
        let inside = open(PathBuf::from("/run/netns").join(&self.name))?;
        join(&inside)?;
        Ok(Inside { outside })
    }

    /// Pulls its cable, or plugs it in again.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn plug(&self, is_in: bool) -> Result<(), String> {
        let state = if is_in { "up" } else { "down" };
        ip(&["-n", &self.switch, "link", "set", &self.port, state])
    }

    /// Takes an address of length 128 from it, if it has it.
    pub fn forget(&self, address: &str) {
        let address = format!("{address}/128");
        let _ = ip(&["-n", &self.name, "addr", "del", &address, "dev", "eth0"]);
    }

    /// Whether one of its addresses is `address`.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn has(&self, address: &str) -> Result<bool, String> {
        let text = output(&["-n", &self.name, "-o", "addr", "show"])?;
        Ok(text.contains(&format!(" {address}/")))
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

/// Before the process id of the run that made it.
const PREFIX: &str = "spoacme-test-";

/// Removes the namespaces of runs that are no more.
fn sweep() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let id = rest.split('-').next().unwrap_or_default();
        if !PathBuf::from("/proc").join(id).exists() {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    output(arguments).map(drop)
}

fn output(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("ip {}: {said}", arguments.join(" ")))
}
