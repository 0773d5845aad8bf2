//! Three load balancers behind one name: each with HAProxy, agent, manager and
//! keepalived, each the first owner of one of three virtual addresses; and a
//! fourth machine with the CA and the DNS server, which rotates the addresses.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::agent::Agent;
use crate::dns::Dns;
use crate::haproxy::{Haproxy, Release};
use crate::journal::{Journal, Request};
use crate::manager::{Daemon, Ended, command, daemon};
use crate::netns::{Inside, Machine, Network};
use crate::pebble::{Options, Pebble};
use crate::process::Process;
use crate::stage::Stage;
use crate::wait::{ensure, until};

/// How many load balancers there are.
pub const SIZE: usize = 3;

/// The virtual addresses; the first owner of each is the load balancer of the
/// same number.
pub const VIRTUAL: [&str; SIZE] = ["fd00:5a::101", "fd00:5a::102", "fd00:5a::103"];

const OWN: [&str; SIZE] = ["fd00:5a::1", "fd00:5a::2", "fd00:5a::3"];
const CA: &str = "fd00:5a::ca";

/// A fleet, and the world around it.
#[derive(Debug)]
pub struct Fleet {
    /// The load balancers.
    pub nodes: Vec<Node>,
    /// The CA.
    pub pebble: Pebble,
    /// The DNS server.
    pub dns: Dns,
    // Dropped last: what runs on the machines ends first.
    _ca: Stage,
    ca_machine: Machine,
    _network: Network,
}

/// One load balancer.
#[derive(Debug)]
pub struct Node {
    /// Its files and ports.
    pub stage: Stage,
    /// Its place in the network.
    pub machine: Machine,
    /// Its HAProxy, while it runs.
    pub haproxy: Option<Haproxy>,
    /// Its agent, while it runs.
    pub agent: Option<Agent>,
    journal: Journal,
    keepalived: Option<Process>,
    daemon: Option<Daemon>,
    number: usize,
}

impl Fleet {
    /// A fleet with all at work, its load balancers on `releases` in turn.
    ///
    /// # Errors
    ///
    /// When something does not come up.
    pub fn start(releases: &[Release], options: &Options) -> Result<Self, String> {
        let mut network = Network::new()?;
        let ca_machine = network.machine(&format!("{CA}/64"))?;
        let (ca, pebble, dns) = start_ca(&ca_machine, &releases[0], options)?;
        let mut nodes = Vec::new();
        for number in 0..SIZE {
            let machine = network.machine(&format!("{}/64", OWN[number]))?;
            let release = &releases[number % releases.len()];
            nodes.push(Node::start(number, machine, release)?);
        }
        let fleet = Self {
            nodes,
            pebble,
            dns,
            _ca: ca,
            ca_machine,
            _network: network,
        };
        fleet.wait()?;
        Ok(fleet)
    }

    /// Lets `name` lead to the virtual addresses, and every load balancer have
    /// a certificate of it.
    ///
    /// # Errors
    ///
    /// When it cannot be configured.
    pub fn add(&self, name: &str) -> Result<(), String> {
        self.dns.resolve(name, &VIRTUAL)?;
        for node in &self.nodes {
            let manager = node.stage.manager(&self.pebble, &[name])?;
            manager.ask_dns(&self.dns.address.to_string())?;
        }
        Ok(())
    }

    /// Waits until every virtual address is at its first owner and nowhere
    /// else, and every load balancer answers for its agent, knows its
    /// neighbours to be up, and can reach them.
    ///
    /// # Errors
    ///
    /// When that does not come about.
    pub fn wait(&self) -> Result<(), String> {
        until("the virtual addresses", || {
            for (first, address) in VIRTUAL.iter().enumerate() {
                let has = |node: &Node| node.machine.has(address).unwrap_or(false);
                let owners = Vec::from_iter(self.nodes.iter().map(has));
                let is_right = owners
                    .iter()
                    .enumerate()
                    .all(|(n, &has)| has == (n == first));
                ensure(is_right, format!("owners of {address}: {owners:?}"))?;
            }
            Ok::<_, String>(())
        })
        .map_err(|error| {
            let logs = self.nodes.iter().map(Node::keepalived_log);
            format!("{error}\n{}", Vec::from_iter(logs).join("\n"))
        })?;
        self.nodes.iter().try_for_each(Node::wait)?;
        until("the neighbours", || self.expect_within_reach())
    }

    /// Health checks are some seconds old, and for half a second after a cable
    /// is plugged in nothing comes through it.
    fn expect_within_reach(&self) -> Result<(), String> {
        for from in &self.nodes {
            let _inside = from.enter()?;
            for to in &self.nodes {
                let address = to.http()?;
                TcpStream::connect_timeout(&address, REACH)
                    .map_err(|error| format!("{} to {address}: {error}", from.number))?;
            }
        }
        Ok(())
    }

    /// Who owns a virtual address.
    pub fn owner(&self, address: &str) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.machine.has(address).unwrap_or(false))
    }

    /// Moves the calling thread to where the CA is.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn enter_ca(&self) -> Result<Inside, String> {
        self.ca_machine.enter()
    }

    /// What the CA itself has asked of each load balancer since
    /// [`forget`](Self::forget). Self-tests ask likewise, but from elsewhere.
    pub fn validations(&self) -> [Vec<Request>; SIZE] {
        std::array::from_fn(|number| self.nodes[number].validations())
    }

    /// How many of the CA's requests were answered with the key authorization
    /// by the load balancer that was asked, and by a neighbour of it.
    pub fn validated(&self) -> (usize, usize) {
        let mut asked = self.validations().concat();
        asked.retain(|request| request.status == 200);
        let alone = asked.iter().filter(|request| request.server == NO_SERVER);
        let alone = alone.count();
        (alone, asked.len() - alone)
    }

    /// Forgets what was asked so far.
    pub fn forget(&self) {
        self.nodes.iter().for_each(|node| node.journal.clear());
    }

    /// What every HAProxy was asked, for whoever looks for a cause.
    pub fn tell(&self) -> String {
        let of = |node: &Node| {
            let requests = node.journal.challenges();
            let lines = requests.iter().map(|r| format!("\n  {r}"));
            format!("load balancer {}:{}", node.number, String::from_iter(lines))
        };
        Vec::from_iter(self.nodes.iter().map(of)).join("\n")
    }
}

fn start_ca(
    machine: &Machine,
    release: &Release,
    options: &Options,
) -> Result<(Stage, Pebble, Dns), String> {
    let _inside = machine.enter()?;
    let mut stage = Stage::new(release)?;
    (stage.http, stage.https) = (80, 443);
    let listen = "[::]:53".parse().map_err(|error| format!("{error}"))?;
    let mut dns = Dns::start(listen)?;
    dns.address = SocketAddr::new(CA.parse().map_err(|error| format!("{error}"))?, 53);
    let options = Options {
        address: CA.to_owned(),
        dns: Some(dns.address),
        ..options.clone()
    };
    let pebble = stage.pebble(&options)?;
    Ok((stage, pebble, dns))
}

impl Node {
    fn start(number: usize, machine: Machine, release: &Release) -> Result<Self, String> {
        let _inside = machine.enter()?;
        let mut stage = Stage::new(release)?;
        (stage.http, stage.https) = (80, 443);
        // IPv4 comes along: the loopback, and nothing else.
        stage.http_bind = Some("[::]:80".to_owned());
        let others = (0..SIZE).filter(|other| *other != number);
        stage.neighbours = others.map(|other| format!("[{}]:80", OWN[other])).collect();
        let pem = placeholder()?;
        std::fs::create_dir_all(stage.path("live")).map_err(|error| error.to_string())?;
        stage.write("live/placeholder.pem", &pem)?;
        let mut node = Self {
            agent: None,
            haproxy: None,
            journal: Journal::open(&stage.path("chroot"))?,
            keepalived: None,
            daemon: None,
            machine,
            stage,
            number,
        };
        node.start_agent()?;
        node.start_haproxy()?;
        node.start_keepalived()?;
        Ok(node)
    }

    /// Where its plain HTTP frontend is, at its own address.
    ///
    /// # Errors
    ///
    /// Never, as long as this file names addresses.
    pub fn http(&self) -> Result<SocketAddr, String> {
        let own = OWN[self.number].parse();
        own.map(|own| SocketAddr::new(own, self.stage.http))
            .map_err(|error| format!("{error}"))
    }

    /// What the CA itself has asked since [`Fleet::forget`].
    pub fn validations(&self) -> Vec<Request> {
        let mut requests = self.journal.challenges();
        requests.retain(|request| request.client == CA);
        requests
    }

    /// What its health checks say of its neighbours: `UP`, `DOWN`, or between.
    ///
    /// # Errors
    ///
    /// When HAProxy does not answer.
    pub fn neighbours(&self) -> Result<[String; SIZE - 1], String> {
        let haproxy = self.haproxy.as_ref().ok_or("no HAProxy")?;
        let stats = haproxy.runtime("show stat")?;
        let status = |number| {
            let server = format!("acme-neighbour-{number}-alone,neighbour,");
            let line = stats.lines().find(|line| line.starts_with(&server));
            let status = line.and_then(|line| line.split(',').nth(STATUS));
            status.unwrap_or_default().to_owned()
        };
        Ok([status(1), status(2)])
    }

    /// Starts the agent.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_agent(&mut self) -> Result<(), String> {
        let _inside = self.machine.enter()?;
        self.agent = Some(self.stage.agent()?);
        Ok(())
    }

    /// Starts HAProxy.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_haproxy(&mut self) -> Result<(), String> {
        let _inside = self.machine.enter()?;
        self.haproxy = Some(self.stage.haproxy()?);
        Ok(())
    }

    /// Starts keepalived.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_keepalived(&mut self) -> Result<(), String> {
        // One that was killed has left its addresses, and files with process
        // ids that are taken again.
        for file in ["keepalived.pid", "vrrp.pid"] {
            let _ = std::fs::remove_file(self.stage.path(file));
        }
        VIRTUAL
            .iter()
            .for_each(|address| self.machine.forget(address));
        let _inside = self.machine.enter()?;
        let file = self
            .stage
            .write("keepalived.conf", &configuration(self.number))?;
        let path = |name: &str| self.stage.path(name);
        // keepalived has a process for VRRP that outlives it: in a PID namespace
        // both end together.
        let mut command = Command::new("unshare");
        command
            .args([
                "--pid",
                "--fork",
                "--kill-child=KILL",
                "/usr/sbin/keepalived",
            ])
            .args(["--dont-fork", "--log-console", "--vrrp", "--no-syslog"])
            .arg("--use-file")
            .arg(file)
            .arg("--pid")
            .arg(path("keepalived.pid"))
            .arg("--vrrp_pid")
            .arg(path("vrrp.pid"));
        self.keepalived = Some(Process::start(
            "keepalived",
            self.stage.root(),
            &mut command,
        )?);
        Ok(())
    }

    /// Starts the manager's daemon, after killing the one that runs.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn restart_daemon(&mut self) -> Result<(), String> {
        let _inside = self.machine.enter()?;
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        self.daemon = Some(daemon(&self.stage)?);
        Ok(())
    }

    /// Whether keepalived runs.
    pub fn has_keepalived(&self) -> bool {
        self.keepalived.is_some()
    }

    /// Ends keepalived without a word to the others.
    pub fn kill_keepalived(&mut self) {
        self.keepalived = None;
    }

    /// The end of what keepalived has said.
    fn keepalived_log(&self) -> String {
        let log = std::fs::read_to_string(self.stage.path("keepalived.log")).unwrap_or_default();
        let end = log.lines().rev().take(LOG_SHOWN).map(str::to_owned);
        let mut lines = Vec::from_iter(end);
        lines.reverse();
        format!("node {}:\n{}", self.number, lines.join("\n"))
    }

    /// Cuts its power: nothing of it runs, and its cable is dead.
    ///
    /// # Errors
    ///
    /// When the cable cannot be pulled.
    pub fn cut_power(&mut self) -> Result<(), String> {
        self.machine.plug(false)?;
        (self.keepalived, self.haproxy, self.agent) = (None, None, None);
        self.daemon = None;
        Ok(())
    }

    /// Runs `spoacme` on it.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn call(&self, arguments: &[&str]) -> Result<Ended, String> {
        let _inside = self.machine.enter()?;
        command(&self.stage, arguments)
    }

    /// Moves the calling thread onto it.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn enter(&self) -> Result<Inside, String> {
        self.machine.enter()
    }

    /// Waits until HAProxy holds its agent and its neighbours to be up.
    fn wait(&self) -> Result<(), String> {
        let Some(haproxy) = &self.haproxy else {
            return Ok(());
        };
        until("the servers of HAProxy", || {
            let stats = haproxy.runtime("show stat")?;
            let servers = [
                "acme-agent,agent,",
                "acme-neighbour-1-alone,neighbour,",
                "acme-neighbour-2-alone,neighbour,",
            ];
            for server in servers {
                let line = stats.lines().find(|line| line.starts_with(server));
                let is_up = line.is_some_and(|line| line.split(',').nth(STATUS) == Some("UP"));
                ensure(is_up, format!("node {}: {line:?}", self.number))?;
            }
            Ok::<_, String>(())
        })
    }
}

/// `timeout connect` of the shipped configuration, for a neighbour.
const REACH: Duration = Duration::from_millis(250);

/// In lines, of a log.
const LOG_SHOWN: usize = 25;

/// What HAProxy logs as the server if it has answered by itself.
pub const NO_SERVER: &str = "<NOSRV>";

/// A column of `show stat` (management manual §9.1).
const STATUS: usize = 17;

fn placeholder() -> Result<String, String> {
    let made = rcgen::generate_simple_self_signed(["placeholder.test".to_owned()]);
    let made = made.map_err(|error| error.to_string())?;
    Ok(made.cert.pem() + &made.signing_key.serialize_pem())
}

/// Three instances with shifted priorities, and unicast between the nodes.
/// keepalived gives an IPv6 address of length 128 no preferred life, so that no
/// connection goes out from it, to be lost when the address moves.
fn configuration(number: usize) -> String {
    let mut text = "global_defs {\n  vrrp_version 3\n  enable_script_security\n}\n".to_owned();
    for (instance, address) in VIRTUAL.iter().enumerate() {
        let distance = (number + SIZE - instance) % SIZE;
        let priority = 200 - 50 * distance;
        let peers = (0..SIZE)
            .filter(|other| *other != number)
            .map(|other| OWN[other]);
        let peers = Vec::from_iter(peers).join("\n    ");
        text.push_str(&format!(
            "vrrp_instance name_{instance} {{\n  state BACKUP\n  interface eth0\n  \
             virtual_router_id {}\n  priority {priority}\n  advert_int 0.2\n  \
             unicast_src_ip {}\n  unicast_peer {{\n    {peers}\n  }}\n  \
             virtual_ipaddress {{\n    {address}/128\n  }}\n}}\n",
            instance + 51,
            OWN[number],
        ));
    }
    text
}
