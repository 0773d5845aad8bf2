//! A fleet: three load balancers behind one name, and a CA, each a machine of
//! its own on one switch.
//!
//! After [Let's Encrypt for load-balanced services](https://vshn.ch/blog/lets-encrypt-for-load-balanced-services/):
//! as many virtual addresses as load balancers; keepalived gives each its own,
//! and that of a dead one to the next. Nothing is shared between them.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::agent::Agent;
use crate::dns::{Answers, Dns};
use crate::haproxy::{Haproxy, Release};
use crate::http;
use crate::journal::{Journal, Request};
use crate::keepalived::{self, Keepalived, Virtual};
use crate::manager::{Daemon, Ended, Manager};
use crate::netns::{Netns, Switch};
use crate::pebble::{self, Options};
use crate::process::Process;
use crate::stage::Stage;
use crate::wait::{ensure, until};

/// The name that all of them serve.
pub const NAME: &str = "service.test";

/// How many load balancers there are.
pub const SIZE: usize = 3;

/// Where the CA is.
pub const CA: Ipv6Addr = address(0xca);

/// The virtual addresses; the one of an index belongs to the load balancer of
/// that index, while it lives.
pub const VIRTUAL: [Ipv6Addr; SIZE] = [address(1), address(2), address(3)];

/// The load balancers' own addresses.
pub const OWN: [Ipv6Addr; SIZE] = [address(0xf001), address(0xf002), address(0xf003)];

const fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// Three load balancers and a CA.
#[derive(Debug)]
pub struct Fleet {
    /// The load balancers.
    pub nodes: [Node; SIZE],
    /// The CA.
    pub ca: Ca,
    /// The DNS server, which runs beside the CA.
    pub dns: Dns,
    switch: Switch,
    _directory: TempDir,
}

/// A load balancer.
#[derive(Debug)]
pub struct Node {
    /// From 0.
    pub index: usize,
    /// Its directory, HAProxy and place in the network.
    pub stage: Stage,
    /// What its HAProxy was asked.
    pub journal: Journal,
    /// Its agent, while it runs.
    pub agent: Option<Agent>,
    /// Its HAProxy, while it runs.
    pub haproxy: Option<Haproxy>,
    /// Its keepalived, while it runs.
    pub keepalived: Option<Keepalived>,
    /// Its manager's daemon, while it runs.
    pub daemon: Option<Daemon>,
    _netns: Netns,
}

/// The CA.
#[derive(Debug)]
pub struct Ca {
    process: Process,
    /// Its directory and place in the network.
    pub stage: Stage,
    _netns: Netns,
}

impl Fleet {
    /// Starts everything but the managers' daemons.
    ///
    /// # Errors
    ///
    /// When something does not come up.
    pub fn start(releases: [&Release; SIZE], options: &Options) -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("spoacme-").tempdir();
        let directory = directory.map_err(|error| format!("no temporary directory: {error}"))?;
        let part = |name: &str| -> Result<PathBuf, String> {
            let path = directory.path().join(name);
            fs::create_dir_all(&path).map_err(|error| format!("{name}: {error}"))?;
            Ok(path)
        };
        // HAProxy's own user passes through.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).map_err(|error| error.to_string())?;
        let switch = Switch::new(directory.path())?;
        let (ca, dns) = Ca::start(&switch, releases[0], part("ca")?, options)?;
        let mut nodes = Vec::new();
        for (index, release) in releases.into_iter().enumerate() {
            let root = part(&format!("lb{index}"))?;
            nodes.push(Node::build(index, &switch, release, root, &ca)?);
        }
        let nodes = <[Node; SIZE]>::try_from(nodes).map_err(|_| "too few".to_owned())?;
        let mut fleet = Self {
            nodes,
            ca,
            dns,
            switch,
            _directory: directory,
        };
        for node in &mut fleet.nodes {
            node.start()?;
        }
        fleet.resolve(&VIRTUAL);
        fleet.wait_until_whole()?;
        fleet.clear_journals();
        Ok(fleet)
    }

    /// Lets the name have `addresses`, from answer to answer another one first.
    pub fn resolve(&self, addresses: &[Ipv6Addr]) {
        let addresses = addresses.iter().copied().map(IpAddr::V6).collect();
        self.dns.set(
            NAME,
            Answers {
                addresses,
                ..Answers::default()
            },
        );
    }

    /// Cuts the power of a load balancer: it says no farewell to anybody.
    ///
    /// # Errors
    ///
    /// When its cable cannot be pulled.
    pub fn power_off(&mut self, index: usize) -> Result<(), String> {
        self.set_carrier(index, false)?;
        self.nodes[index].kill();
        Ok(())
    }

    /// Gives it power again, and starts what ran on it, but for the daemon.
    ///
    /// # Errors
    ///
    /// When something does not come up.
    pub fn power_on(&mut self, index: usize) -> Result<(), String> {
        self.set_carrier(index, true)?;
        self.nodes[index].start()
    }

    /// Pulls a load balancer's cable, or puts it back.
    ///
    /// # Errors
    ///
    /// When ip(8) fails.
    pub fn set_carrier(&self, index: usize, is_up: bool) -> Result<(), String> {
        self.switch.set_carrier(&format!("lb{index}"), is_up)
    }

    /// Waits until every virtual address is where it belongs and answers the
    /// CA, every agent answers, and each sees both others.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn wait_until_whole(&self) -> Result<(), String> {
        let whole = || {
            self.nodes
                .iter()
                .try_for_each(|node| self.expect_whole(node))
        };
        until("the whole fleet", whole).map_err(|error| {
            let log = |node: &Node| match &node.keepalived {
                Some(keepalived) => keepalived.output(),
                None => "no keepalived".to_owned(),
            };
            format!("{error}\n{}", self.nodes.each_ref().map(log).join("\n"))
        })
    }

    fn expect_whole(&self, node: &Node) -> Result<(), String> {
        for (index, address) in VIRTUAL.into_iter().enumerate() {
            match index == node.index {
                true => keepalived::expect_at(&node.stage, address)?,
                false => keepalived::expect_not_at(&node.stage, address)?,
            }
        }
        node.expect_neighbours(&[true; SIZE - 1])?;
        // 404 is the agent's word: without it, it were 503.
        let answer = self.ask(VIRTUAL[node.index], UNKNOWN)?;
        ensure(answer.status == 404, format!("{answer:?}"))
    }

    /// Asks an address for a path, from where the CA is.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn ask(&self, address: Ipv6Addr, path: &str) -> Result<http::Answer, String> {
        let address = SocketAddr::from((address, 80));
        self.ca.stage.enter(|| http::get_at(address, NAME, path))?
    }

    /// What the CA has asked of each load balancer since the journals were
    /// cleared.
    pub fn validations(&self) -> [Vec<Request>; SIZE] {
        self.nodes.each_ref().map(|node| {
            let mut requests = node.journal.challenges();
            requests.retain(|r| r.frontend == "http" && r.client == CA.to_string());
            requests
        })
    }

    /// How many of the CA's requests were answered with the token by the load
    /// balancer asked itself, and by a neighbour of it.
    pub fn answered(&self) -> (usize, usize) {
        let all = self.validations().concat();
        let good = all.iter().filter(|request| request.status == 200);
        let (own, others): (Vec<_>, Vec<_>) = good.partition(|r| r.server == "<NOSRV>");
        (own.len(), others.len())
    }

    /// Forgets what was asked so far.
    pub fn clear_journals(&self) {
        for node in &self.nodes {
            node.journal.clear();
        }
    }
}

/// No CA's token.
const UNKNOWN: &str = "/.well-known/acme-challenge/are-you-there-are-you-there-are-you-there-x";

impl Node {
    fn build(
        index: usize,
        switch: &Switch,
        release: &Release,
        root: PathBuf,
        ca: &Ca,
    ) -> Result<Self, String> {
        let mut stage = Stage::within(release, &root)?;
        let netns = Netns::new("netns", &root)?;
        switch.plug(&format!("lb{index}"), &netns, &format!("{}/64", OWN[index]))?;
        stage.door = Some(netns.door());
        (stage.http, stage.https) = (80, 443);
        // Both families: the manager looks at 127.0.0.1.
        stage.http_bind = Some("[::]:80".to_owned());
        stage.https_bind = Some("[::]:443".to_owned());
        let others = (1..SIZE).map(|step| OWN[(index + step) % SIZE]);
        stage.neighbours = others.map(|ip| format!("[{ip}]:80")).collect();
        placeholder(&stage)?;
        stage.write("spoacme.toml", &configuration(&stage, OWN[index], ca))?;
        Ok(Self {
            index,
            journal: Journal::open(&stage.path("chroot"))?,
            stage,
            agent: None,
            haproxy: None,
            keepalived: None,
            daemon: None,
            _netns: netns,
        })
    }

    /// Starts agent, HAProxy and keepalived.
    fn start(&mut self) -> Result<(), String> {
        self.agent = Some(self.stage.agent()?);
        self.haproxy = Some(self.stage.haproxy()?);
        self.keepalived = Some(Keepalived::start(&self.stage, &wishes(self.index))?);
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        if let Some(haproxy) = self.haproxy.take() {
            haproxy.kill();
        }
        if let Some(agent) = self.agent.take() {
            agent.kill();
        }
        if let Some(keepalived) = self.keepalived.take() {
            keepalived.kill();
        }
    }

    /// Its manager.
    pub fn manager(&self) -> Manager<'_> {
        Manager::of(&self.stage)
    }

    /// Starts its manager's daemon.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn run_daemon(&mut self) -> Result<(), String> {
        self.daemon = None;
        self.daemon = Some(self.manager().run()?);
        Ok(())
    }

    /// Issues a certificate now, and says how long that took.
    ///
    /// # Errors
    ///
    /// When it fails, or what is served then is not what was issued.
    pub fn renew(&self) -> Result<(Ended, Duration), String> {
        let begun = Instant::now();
        let ended = self.manager().expect(["renew", NAME])?;
        Ok((ended, begun.elapsed()))
    }

    /// Fails unless its health checks find its neighbours as `wanted`.
    ///
    /// # Errors
    ///
    /// What they find instead.
    pub fn expect_neighbours(&self, wanted: &[bool; SIZE - 1]) -> Result<(), String> {
        let haproxy = self.haproxy.as_ref().ok_or("no HAProxy")?;
        let table = haproxy.runtime("show stat")?;
        let state = |number: usize| {
            let start = format!("acme-neighbour-{number}-alone,neighbour,");
            let line = table.lines().find(|line| line.starts_with(&start))?;
            // management.txt 9.1: field 17 is the status.
            line.split(',')
                .nth(17)
                .map(|status| status.starts_with("UP"))
        };
        let found = [state(1), state(2)];
        ensure(
            found == wanted.map(Some),
            format!("load balancer {} finds neighbours {found:?}", self.index),
        )
    }
}

/// Who has which virtual address while all are alive, and who is next: the
/// priorities are shifted by one per load balancer.
fn wishes(index: usize) -> [Virtual; SIZE] {
    std::array::from_fn(|number| {
        let steps = (index + SIZE - number) % SIZE;
        Virtual {
            address: VIRTUAL[number],
            priority: 103 - u8::try_from(steps).unwrap_or_default(),
        }
    })
}

/// A certificate for HAProxy to start with, made as an operator might.
fn placeholder(stage: &Stage) -> Result<(), String> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
    let made = made.map_err(|error| error.to_string())?;
    fs::create_dir_all(stage.path("live")).map_err(|error| error.to_string())?;
    let pem = made.cert.pem() + &made.signing_key.serialize_pem();
    stage.write(&format!("live/{NAME}.pem"), &pem).map(drop)
}

fn configuration(stage: &Stage, own: Ipv6Addr, ca: &Ca) -> String {
    format!(
        "state-directory = {:?}\n\n\
         [account]\n\
         email = \"ops@example.com\"\n\
         agree-to-terms = true\n\
         directory = \"https://[{CA}]:{ACME_PORT}/dir\"\n\
         directory-root = {:?}\n\n\
         [agent]\n\
         control = {:?}\n\n\
         [haproxy]\n\
         socket = {:?}\n\
         certificates = {:?}\n\
         verify = [\"127.0.0.1:443\", \"[{own}]:443\"]\n\n\
         [check]\n\
         dns = [\"[{CA}]:53\"]\n\
         allow-reserved = true\n\n\
         [[certificate]]\n\
         names = [{NAME:?}]\n",
        stage.path("state"),
        ca.stage.path("pebble.pem"),
        stage.path("agent.sock"),
        stage.path("admin.sock"),
        stage.path("live"),
    )
}

impl Ca {
    /// Starts DNS and the CA.
    fn start(
        switch: &Switch,
        release: &Release,
        root: PathBuf,
        options: &Options,
    ) -> Result<(Self, Dns), String> {
        let mut stage = Stage::within(release, &root)?;
        let netns = Netns::new("netns", &root)?;
        switch.plug("ca", &netns, &format!("{CA}/64"))?;
        stage.door = Some(netns.door());
        (stage.http, stage.https) = (80, 443);
        let dns = stage.enter(|| Dns::start((CA, 53).into()))??;
        pebble::make_certificate(&root, &CA.to_string())?;
        let listen = [ACME_PORT, ACME_PORT + 1].map(|port| format!("[{CA}]:{port}"));
        let process = pebble::start_ca(&stage, options, &listen, &format!("[{CA}]:53"))?;
        let mut ca = Self {
            process,
            stage,
            _netns: netns,
        };
        until("Pebble", || {
            ca.process.expect_running()?;
            let connect = || std::net::TcpStream::connect((CA, ACME_PORT));
            ca.stage.enter(connect)?.map_err(|error| error.to_string())
        })?;
        Ok((ca, dns))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// How many certificates it has issued.
    pub fn issued(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }
}

const ACME_PORT: u16 = 14_000;
