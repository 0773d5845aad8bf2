//! `spoacme check` finds each fault by its real cause.
#![expect(clippy::print_stdout, reason = "the confusion matrix of a test run")]

mod bystander;
mod faults;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use spoacme_tests::dns::{Answers, Dns};
use spoacme_tests::haproxy::{Release, releases};
use spoacme_tests::manager::{Ended, Manager, command};
use spoacme_tests::pebble::{Options, Pebble};
use spoacme_tests::stage::Stage;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("check: every fault is found by its cause", every_fault),
    ("check: --all and exit codes", exit_codes),
    ("self-test: a certain failure costs no attempt", blocked),
    ("self-test: a hairpin does not block", hairpin),
];

/// The name that is looked at.
const NAME: &str = "shop.test";

/// One load balancer, whole and well, with a CA and a DNS of its own.
struct Scene {
    stage: Stage,
    dns: Dns,
    pebble: Pebble,
    running: Vec<Box<dyn Any>>,
}

impl Scene {
    fn set(release: &Release) -> Result<Self, String> {
        let mut scene = Self::without_haproxy(release)?;
        crate::outage::placeholder(&scene.stage)?;
        scene.running.push(Box::new(scene.stage.agent()?));
        scene.running.push(Box::new(scene.stage.haproxy()?));
        crate::outage::wait_for_agent(&scene.stage)?;
        Ok(scene)
    }

    /// The same with nothing on the ports yet.
    fn without_haproxy(release: &Release) -> Result<Self, String> {
        let stage = Stage::new(release)?;
        let address = format!("127.0.0.1:{}", spoacme_tests::ports::free()?);
        let dns = Dns::start(address.parse().map_err(|e| format!("{address}: {e}"))?)?;
        let pebble = stage.pebble(&Options::default())?;
        let manager = stage.manager(&pebble, &[NAME])?;
        manager.ask_dns(&address)?;
        dns.set("test", Answers::default());
        dns.resolve(NAME, &["127.0.0.1"])?;
        Ok(Self {
            stage,
            dns,
            pebble,
            running: Vec::new(),
        })
    }

    fn manager(&self) -> Result<Manager<'_>, String> {
        let manager = self.stage.manager(&self.pebble, &[NAME])?;
        manager.ask_dns(&self.dns.address.to_string())?;
        Ok(manager)
    }

    /// Runs the command, and returns its one finding.
    fn check(&self, arguments: &[String]) -> Result<Value, String> {
        let mut all = vec!["check", "--json", NAME];
        all.extend(arguments.iter().map(String::as_str));
        let ended = command(&self.stage, &all)?;
        let found: Value = parse(&ended)?;
        Ok(found[0].clone())
    }
}

fn parse(ended: &Ended) -> Result<Value, String> {
    serde_json::from_str(&ended.stdout).map_err(|error| format!("{error}: {ended:#?}"))
}

/// What was set up, and what was found.
static CONFUSION: Mutex<BTreeMap<(&'static str, String), usize>> = Mutex::new(BTreeMap::new());

fn every_fault(release: &Release) -> Result<(), String> {
    // What HAProxy has a part in is seen on each; the rest once.
    let is_newest = releases()?.last() == Some(release);
    let mut wrong = Vec::new();
    for fault in faults::ALL
        .iter()
        .filter(|fault| is_newest || fault.is_of_haproxy)
    {
        let mut scene = match fault.is_of_haproxy {
            true => Scene::without_haproxy(release)?,
            false => Scene::set(release)?,
        };
        let arguments = (fault.set)(&mut scene).map_err(|e| format!("{}: {e}", fault.title))?;
        let found = scene
            .check(&arguments)
            .map_err(|e| format!("{}: {e}", fault.title))?;
        let class = found["class"].as_str().unwrap_or_default().to_owned();
        let mut confusion = CONFUSION.lock().unwrap_or_else(PoisonError::into_inner);
        *confusion.entry((fault.class, class.clone())).or_default() += 1;
        let has_hint = fault.class == "fine" || found["hint"].is_string();
        let has_severity = found["severity"] == fault.severity;
        if class != fault.class || !has_hint || !has_severity {
            wrong.push(format!(
                "{}: wanted {} {}: {found:#}",
                fault.title, fault.severity, fault.class
            ));
        }
    }
    ensure(wrong.is_empty(), wrong.join("\n"))
}

/// Prints what was set up against what was found.
pub(crate) fn print_confusion() {
    let confusion = CONFUSION.lock().unwrap_or_else(PoisonError::into_inner);
    if confusion.is_empty() {
        return;
    }
    let total: usize = confusion.values().sum();
    let diagonal = confusion
        .iter()
        .filter(|((wanted, found), _)| wanted == found);
    let right: usize = diagonal.map(|(_, count)| count).sum();
    println!("\ncheck: {right} of {total} causes were given the class that they have");
    let wanted: BTreeSet<_> = confusion.keys().map(|(wanted, _)| *wanted).collect();
    for class in wanted {
        let row = confusion.iter().filter(|((wanted, _), _)| *wanted == class);
        let cells = row.map(|((_, found), count)| format!("{found} {count}"));
        println!(
            "  {class:16} found as: {}",
            cells.collect::<Vec<_>>().join(", ")
        );
    }
}

fn exit_codes(release: &Release) -> Result<(), String> {
    let scene = Scene::set(release)?;
    scene.dns.resolve("blog.test", &["127.0.0.1"])?;
    let run = |arguments: &[&str]| command(&scene.stage, arguments);
    for (arguments, code) in [
        (&["check", NAME][..], 0),
        (&["check", "--all"], 0),
        (&["check", NAME, "blog.test"], 0),
        (&["check", NAME, "missing.test"], 3),
        (&["check", "missing.test"], 1),
        (&["check", "*.shop.test"], 2),
        (&["check", "--connect-to", "lb2", NAME], 2),
        (&["check"], 2),
    ] {
        let ended = run(arguments)?;
        ensure(
            ended.code() == Some(code),
            format!("{arguments:?}: {ended:#?}"),
        )?;
    }
    let text = run(&["check", NAME])?.stdout;
    for word in [
        "shop.test: fine: a CA would succeed",
        "127.0.0.1",
        "cause: every address",
    ] {
        ensure(text.contains(word), format!("{word}: {text}"))?;
    }
    // Nothing is left on the agent.
    let listed = run(&["token", "list", "--json"])?.stdout;
    ensure(listed.trim() == "[]", listed)
}

fn blocked(release: &Release) -> Result<(), String> {
    let mut scene = Scene::set(release)?;
    let address = format!("127.0.0.2:{}", scene.stage.http);
    scene.dns.resolve(NAME, &["127.0.0.2"])?;
    // The CA resolves by its own DNS, and would be led to the right place.
    scene.pebble.resolve(NAME, "127.0.0.1")?;
    bystander::nginx(&mut scene, &address, "return 200 'welcome to nginx';")?;
    let manager = scene.manager()?;
    let ended = manager.call(["issue"])?;
    ensure(ended.code() == Some(1), format!("{ended:#?}"))?;
    for word in [
        "the CA was not asked, since it would fail",
        "welcome to nginx",
        "hint: ",
    ] {
        ensure(ended.stderr.contains(word), format!("{word}: {ended:#?}"))?;
    }
    let log = scene.pebble.log();
    ensure(!log.contains("Attempting to validate"), log)?;
    manager.expect(["renew", "--no-self-test", NAME])?;
    ensure(
        scene.pebble.issued() == 1,
        "not issued without the self-test",
    )
}

fn hairpin(release: &Release) -> Result<(), String> {
    let scene = Scene::set(release)?;
    scene.dns.resolve(NAME, &["127.0.0.9"])?;
    let manager = scene.manager()?;
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    until("the note", || {
        ensure(manager.log().contains("common behind NAT"), manager.log())
    })?;
    daemon.stop()
}
