//! A pass of the daemon over many certificates with which all is well: how
//! long it takes and in how much memory, against asking HAProxy for one after
//! the other.

mod inquirer;
mod plant;

use std::fmt;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use spoacme_tests::haproxy::{Release, releases};
use spoacme_tests::manager::spoacme;
use spoacme_tests::process::Process;
use spoacme_tests::stage::Stage;
use spoacme_tests::wait::{ensure, until_within};

use crate::times::Times;
use inquirer::Inquirer;

/// Measures with this many certificates.
pub(crate) fn run(certificates: usize) -> Result<(), String> {
    println!("{certificates} certificates, {PASSES} passes after the first.\n");
    println!(
        "{:20}{:>12}{:>8}{:>13}{:>15}{:>12}{:>14}{:>10}",
        "HAProxy",
        "pass p50 ms",
        "max ms",
        "at once ms",
        "one by one ms",
        "ratio",
        "resident MiB",
        "peak MiB"
    );
    for release in releases()? {
        println!("{}", measure(&release, certificates)?);
    }
    Ok(())
}

const PASSES: usize = 12;

/// For one pass, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

fn measure(release: &Release, certificates: usize) -> Result<Row, String> {
    let stage = Stage::new(release)?;
    let files = plant::plant(&stage, certificates)?;
    let _agent = stage.agent()?;
    let _haproxy = stage.haproxy()?;
    let inquirer = Inquirer::new(stage.path("admin.sock"), &files)?;
    let mut daemon = Daemon::start(&stage)?;
    let mut row = Row {
        release: release.exact.clone(),
        ..Row::default()
    };
    for number in 1..=PASSES {
        row.passes.push(daemon.pass(number)?);
        row.at_once.push(inquirer.at_once()?);
        row.one_by_one.push(inquirer.one_by_one()?);
    }
    row.resident = daemon.memory("VmRSS:")?;
    row.peak = daemon.memory("VmHWM:")?;
    Ok(row)
}

/// `spoacme run`, which says of each pass how long it took.
struct Daemon<'a> {
    stage: &'a Stage,
    process: Process,
}

impl<'a> Daemon<'a> {
    /// Starts it, and waits for its first pass, which finds everything cold.
    fn start(stage: &'a Stage) -> Result<Self, String> {
        configure(stage)?;
        // Not where it watches its configuration: a pass that is logged there
        // would call for another.
        let logs = stage.path("logs");
        fs::create_dir_all(&logs).map_err(|error| error.to_string())?;
        let arguments = ["--log-level", "debug", "--log-format", "json", "run"];
        let process = Process::start("spoacme", &logs, &mut spoacme(stage, arguments))?;
        let mut daemon = Self { stage, process };
        daemon.wait(0)?;
        Ok(daemon)
    }

    /// Has it make a pass, the `number`th after the first, and says how long
    /// that took.
    fn pass(&mut self, number: usize) -> Result<Duration, String> {
        // It watches the directory, and takes nothing from this file.
        self.stage.write("conf.d/bench", &number.to_string())?;
        self.wait(number)
    }

    fn wait(&mut self, number: usize) -> Result<Duration, String> {
        let pass = until_within(PATIENCE, "a pass", || {
            self.process.expect_running()?;
            let log = self.process.output();
            let events = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let mut passes = events.filter(|event: &Value| event["message"] == "pass");
            passes.nth(number).ok_or(log)
        })?;
        // All is well, so that it has only to look.
        ensure(pass["worked"] == 0, &pass)?;
        let millis = pass["millis"].as_u64().ok_or("no `millis`")?;
        Ok(Duration::from_millis(millis))
    }

    /// What the kernel says of its memory (proc(5)), such as `VmRSS:`, in MiB.
    fn memory(&self, what: &str) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib >> 10)
            .ok_or_else(|| format!("no {what} in {status}"))
    }
}

fn configure(stage: &Stage) -> Result<(), String> {
    let text = format!(
        "state-directory = {:?}\n\n\
         [account]\n\
         agree-to-terms = true\n\
         directory = \"https://ca.invalid/directory\"\n\n\
         [agent]\n\
         control = {:?}\n\n\
         [haproxy]\n\
         socket = {:?}\n\
         certificates = {:?}\n\
         verify = [\"127.0.0.1:{}\"]\n",
        stage.path("state"),
        stage.path("agent.sock"),
        stage.path("admin.sock"),
        stage.path("live"),
        stage.https,
    );
    stage.write("spoacme.toml", &text).map(drop)
}

/// What was found with one HAProxy.
#[derive(Default)]
struct Row {
    release: String,
    passes: Times,
    /// To ask for all as a pass does.
    at_once: Times,
    one_by_one: Times,
    /// In MiB.
    resident: u64,
    peak: u64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = |times: &Times| times.percentile(50).as_secs_f64() * 1000.0;
        let [pass, at_once, each] = [&self.passes, &self.at_once, &self.one_by_one].map(median);
        write!(
            f,
            "{:20}{:>12.0}{:>8}{:>13.0}{:>15.0}{:>12.2}{:>14}{:>10}",
            self.release,
            pass,
            self.passes.percentile(100).as_millis(),
            at_once,
            each,
            // The same pass, had it asked for one after the other.
            pass / (pass - at_once + each),
            self.resident,
            self.peak,
        )
    }
}
