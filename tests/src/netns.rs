//! Network namespaces: machines of their own on one wire, as far as the
//! network goes.
//!
//! They have no names, so that there is nothing to be left over: a namespace
//! lives as long as the process that holds it, which the kernel kills with the
//! thread that has started it, and takes its interfaces along. `nsenter
//! --target PID --net` looks into one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Process;
use crate::wait::{self, ensure};

/// A namespace with its loopback up.
#[derive(Debug)]
pub struct Netns {
    holder: Process,
}

/// Where a namespace is entered, for those who do not keep it alive.
#[derive(Clone, Debug)]
pub struct Door {
    path: PathBuf,
}

/// A switch that namespaces are plugged into.
#[derive(Debug)]
pub struct Switch {
    netns: Netns,
}

impl Netns {
    /// Makes one, held by a process that logs to `directory/name.log`.
    ///
    /// # Errors
    ///
    /// When the kernel or the user's rights do not allow it.
    pub fn new(name: &str, directory: &Path) -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sleep", "infinity"]);
        let mut holder = Process::start(name, directory, &mut command)?;
        let ours = link_of("self")?;
        // setpriv and unshare become one another before the namespace is new.
        wait::until("a network namespace", || {
            holder.expect_running()?;
            let theirs = link_of(&holder.id().to_string())?;
            ensure(theirs != ours, "not yet")
        })?;
        let netns = Self { holder };
        // No duplicate address detection: for a second after its coming an
        // address could not be used. No addresses by router, either.
        let set = |key: &str, value: &str| {
            let path = Path::new("/proc/sys/net/ipv6/conf").join(key);
            fs::write(&path, value).map_err(|error| format!("{}: {error}", path.display()))
        };
        netns.door().enter(|| {
            for which in ["all", "default"] {
                set(&format!("{which}/accept_dad"), "0")?;
                set(&format!("{which}/accept_ra"), "0")?;
            }
            Ok::<_, String>(())
        })??;
        netns.door().ip("link set lo up")?;
        Ok(netns)
    }

    /// Where it is entered.
    pub fn door(&self) -> Door {
        Door {
            path: format!("/proc/{}/ns/net", self.holder.id()).into(),
        }
    }
}

fn link_of(process: &str) -> Result<PathBuf, String> {
    fs::read_link(format!("/proc/{process}/ns/net")).map_err(|error| error.to_string())
}

impl Door {
    /// Does `work` inside, in a thread of its own: sockets that it opens, and
    /// threads that it starts, belong there for good.
    ///
    /// # Errors
    ///
    /// When the namespace is gone.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, String> {
        let moved = || {
            let door = File::open(&self.path).map_err(|error| error.to_string())?;
            move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| error.to_string())?;
            Ok(work())
        };
        thread::scope(|scope| scope.spawn(moved).join())
            .unwrap_or_else(|_| Err("panicked".to_owned()))
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// `command`, to be run inside. It is nsenter that is started, which
    /// becomes the program and so keeps its process id.
    pub fn inside(&self, command: &Command) -> Command {
        let mut door = std::ffi::OsString::from("--net=");
        door.push(&self.path);
        let mut inside = Command::new("nsenter");
        inside.arg(door).arg("--").arg(command.get_program());
        inside.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Runs ip(8) inside, with arguments separated by spaces.
    ///
    /// # Errors
    ///
    /// When it fails, with what it says.
    pub fn ip(&self, arguments: &str) -> Result<(), String> {
        let mut command = Command::new("ip");
        command.args(arguments.split(' ').map(OsStr::new));
        let output = self.inside(&command).output();
        let output = output.map_err(|error| format!("ip {arguments}: {error}"))?;
        ensure(
            output.status.success(),
            format!(
                "ip {arguments}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ),
        )
    }
}

impl Switch {
    /// Makes one, in a namespace of its own.
    ///
    /// # Errors
    ///
    /// When the kernel or the user's rights do not allow it.
    pub fn new(directory: &Path) -> Result<Self, String> {
        let netns = Netns::new("switch", directory)?;
        // It floods multicast, as a switch without IGMP and MLD snooping does:
        // nobody here sends the queries that snooping lives on.
        netns
            .door()
            .ip("link add switch type bridge mcast_snooping 0")?;
        netns.door().ip("link set switch up")?;
        Ok(Self { netns })
    }

    /// Plugs `netns` into port `port` by its interface `eth0`, which has
    /// `address`, such as `2001:db8::1/64`.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub fn plug(&self, port: &str, netns: &Netns, address: &str) -> Result<(), String> {
        let holder = netns.holder.id();
        let door = self.netns.door();
        door.ip(&format!(
            "link add {port} type veth peer name eth0 netns {holder}"
        ))?;
        door.ip(&format!("link set {port} master switch up"))?;
        let door = netns.door();
        door.ip(&format!("address add {address} dev eth0 nodad"))?;
        door.ip("link set eth0 up")
    }

    /// Takes the carrier from a port, or gives it back: a pulled cable.
    ///
    /// # Errors
    ///
    /// When there is no such port.
    pub fn set_carrier(&self, port: &str, is_up: bool) -> Result<(), String> {
        let state = if is_up { "up" } else { "down" };
        self.netns.door().ip(&format!("link set {port} {state}"))
    }
}
