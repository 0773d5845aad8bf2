//! Pebble, the CA, with its challenge test server for DNS.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::haproxy::tools;
use crate::http;
use crate::ports;
use crate::process::{Process, Signal};
use crate::stage::Stage;
use crate::wait;

/// How the CA behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Life of a certificate in seconds.
    pub validity_seconds: u64,
    /// How long the CA may wait before it validates, in seconds; it draws.
    pub validation_delay_seconds: u32,
    /// How many intermediates a chain has.
    pub chain_length: u32,
    /// How many of a hundred good nonces it rejects.
    pub nonces_rejected_percent: u32,
    /// Whether it has [`DAY_PROFILE`] beside the default one. It draws one of
    /// them for who names none.
    pub has_day_profile: bool,
    /// Whether it wants [`EXTERNAL_ACCOUNT`].
    pub wants_external_account: bool,
    /// The IP address by which it is known.
    pub address: String,
    /// The DNS server that it asks, if not one of its own.
    pub dns: Option<SocketAddr>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            validity_seconds: 90 * 86400,
            validation_delay_seconds: 0,
            chain_length: 1,
            nonces_rejected_percent: 5,
            has_day_profile: false,
            wants_external_account: false,
            address: LOOPBACK.to_owned(),
            dns: None,
        }
    }
}

/// An account elsewhere that the CA knows: key identifier and MAC key.
pub const EXTERNAL_ACCOUNT: (&str, &str) = (
    "kid-1",
    "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
);

/// A profile of a day.
pub const DAY_PROFILE: &str = "day";

const LOOPBACK: &str = "127.0.0.1";

/// A running CA.
#[derive(Debug)]
pub struct Pebble {
    process: Process,
    _dns: Option<Process>,
    dns_management: u16,
    options: Options,
    dns_port: u16,
    port: u16,
    management: u16,
    root: PathBuf,
}

impl Pebble {
    pub(crate) fn start(stage: &Stage, options: &Options) -> Result<Self, String> {
        let (port, management, dns_port) = (ports::free()?, ports::free()?, ports::free()?);
        let dns_management = ports::free()?;
        let _dns = match options.dns {
            Some(_) => None,
            None => Some(start_dns(stage, dns_port, dns_management)?),
        };
        let root = make_certificate(stage.root(), &options.address)?;
        stage.write(
            "pebble.json",
            &configuration(stage, options, port, management),
        )?;
        let process = start_ca(stage, options, dns_port)?;
        let options = options.clone();
        let mut pebble = Self {
            process,
            _dns,
            dns_management,
            options,
            dns_port,
            port,
            management,
            root,
        };
        pebble.wait()?;
        Ok(pebble)
    }

    /// Ends it and starts it anew: it forgets accounts, orders and its keys.
    ///
    /// # Errors
    ///
    /// When it does not come up again.
    pub fn restart(&mut self, stage: &Stage) -> Result<(), String> {
        self.process.kill();
        self.process = start_ca(stage, &self.options, self.dns_port)?;
        self.wait()
    }

    /// Makes `name` resolve to `address`, for the CA alone.
    ///
    /// # Errors
    ///
    /// When the DNS server refuses.
    pub fn resolve(&self, name: &str, address: &str) -> Result<(), String> {
        let record = json!({ "host": name, "addresses": [address] });
        let answer = http::post(self.dns_management, "/add-a", &record.to_string())?;
        wait::ensure(answer.status == 200, format!("{answer:?}"))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        self.process.signal(signal)
    }

    /// Ends it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    fn wait(&mut self) -> Result<(), String> {
        wait::until("Pebble", || {
            self.process.expect_running()?;
            ensure_listening(self.port)?;
            ensure_listening(self.management)
        })
    }

    /// The DNS server that it asks, on the loopback.
    pub fn dns(&self) -> u16 {
        self.dns_port
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        let address = &self.options.address;
        let host = match address.contains(':') {
            true => format!("[{address}]"),
            false => address.clone(),
        };
        format!("https://{host}:{}/dir", self.port)
    }

    /// The root that vouches for its own TLS certificate, not for those that
    /// it issues.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The serial of the certificate that it has issued last, lower-case
    /// hexadecimal; none if there is none.
    pub fn last_serial(&self) -> Option<String> {
        let log = self.log();
        let (_, after) = log.rsplit_once("Issued certificate serial ")?;
        let serial = after.split_whitespace().next()?;
        Some(serial.trim_start_matches('0').to_owned())
    }

    /// How many certificates it has issued.
    pub fn issued(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }
}

fn start_ca(stage: &Stage, options: &Options, dns_port: u16) -> Result<Process, String> {
    let own = format!("127.0.0.1:{dns_port}");
    let dns = options.dns.map_or(own, |address| address.to_string());
    let mut command = Command::new(program("pebble"));
    command
        .arg("-config")
        .arg(stage.path("pebble.json"))
        .args(["-strict", "-dnsserver", &dns])
        .env("PEBBLE_AUTHZREUSE", "0")
        .env("PEBBLE_CHAIN_LENGTH", options.chain_length.to_string())
        .env(
            "PEBBLE_WFE_NONCEREJECT",
            options.nonces_rejected_percent.to_string(),
        );
    if options.validation_delay_seconds == 0 {
        command.env("PEBBLE_VA_NOSLEEP", "1");
    } else {
        command.env(
            "PEBBLE_VA_SLEEPTIME",
            options.validation_delay_seconds.to_string(),
        );
    }
    Process::start("pebble", stage.root(), &mut command)
}

/// A program of the newest Pebble found.
fn program(name: &str) -> PathBuf {
    let private = tools().join("pebble").join(name);
    if private.is_file() {
        private
    } else {
        PathBuf::from(name)
    }
}

/// The version of the Pebble that stories run against, as Debian has it:
/// Pebble itself says "dev" at best.
pub fn version() -> String {
    let private = fs::read_to_string(tools().join("pebble/.complete"));
    private.map_or_else(|_| "of Debian 12".to_owned(), |text| text.trim().to_owned())
}

/// Every name resolves to the loopback.
fn start_dns(stage: &Stage, port: u16, management: u16) -> Result<Process, String> {
    let program = program("pebble-challtestsrv");
    let help = Command::new(&program)
        .arg("-help")
        .output()
        .map_err(|e| format!("{program:?}: {e}"))?;
    let help = String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).into_owned();
    let mut command = Command::new(&program);
    for off in ["http01", "https01", "tlsalpn01", "doh"] {
        if help.contains(&format!("-{off} ")) {
            command.arg(format!("-{off}")).arg("");
        }
    }
    let dns = if help.contains("-dnsserver ") {
        "-dnsserver"
    } else {
        "-dns01"
    };
    command
        .args([dns, &format!("127.0.0.1:{port}")])
        .args(["-management", &format!("127.0.0.1:{management}")])
        .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
    let mut process = Process::start("dns", stage.root(), &mut command)?;
    wait::until("the DNS server", || {
        process.expect_running()?;
        http::get(management, "127.0.0.1", "/").map(drop)
    })?;
    Ok(process)
}

fn configuration(stage: &Stage, options: &Options, port: u16, management: u16) -> String {
    let validity = options.validity_seconds;
    json!({ "pebble": {
        "listenAddress": match options.address.as_str() {
            LOOPBACK => format!("127.0.0.1:{port}"),
            _ => format!("[::]:{port}"),
        },
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": stage.path("pebble.pem"),
        "privateKey": stage.path("pebble.key"),
        "httpPort": stage.http,
        "tlsPort": stage.https,
        "ocspResponderURL": "",
        "caaIdentities": ["pebble.test"],
        "externalAccountBindingRequired": options.wants_external_account,
        "externalAccountMACKeys": { (EXTERNAL_ACCOUNT.0): EXTERNAL_ACCOUNT.1 },
        // 2.10 has profiles; 2.4 knows only the older key.
        "certificateValidityPeriod": validity,
        "profiles": profiles(options),
    }})
    .to_string()
}

fn profiles(options: &Options) -> serde_json::Value {
    let validity = options.validity_seconds;
    let mut profiles =
        json!({ "default": { "description": "default", "validityPeriod": validity } });
    if options.has_day_profile {
        profiles[DAY_PROFILE] = json!({ "description": "a day", "validityPeriod": 86400 });
    }
    profiles
}

/// Pebble's own TLS certificate; it is its own root.
fn make_certificate(directory: &Path, address: &str) -> Result<PathBuf, String> {
    let names = [address.to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
    let path = directory.join("pebble.pem");
    let write = |path: &Path, text: String| fs::write(path, text).map_err(|e| e.to_string());
    write(&path, made.cert.pem())?;
    write(
        &directory.join("pebble.key"),
        made.signing_key.serialize_pem(),
    )?;
    Ok(path)
}

fn ensure_listening(port: u16) -> Result<(), String> {
    std::net::TcpStream::connect(("127.0.0.1", port))
        .map(drop)
        .map_err(|error| error.to_string())
}
