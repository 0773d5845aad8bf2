//! What goes on from run to run: HAProxy, agent, CA, and a visitor.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::fault::{CALLS, Fault, Happening, Kind, Verb, Wire};
use super::invariants::{self, Since};
use super::outcome::Outcome;
use crate::agent::Agent;
use crate::haproxy::{Haproxy, Release};
use crate::manager::{self, Ended};
use crate::pebble::{Options, Pebble};
use crate::process::Signal;
use crate::proxy::{self, Proxy};
use crate::stage::Stage;
use crate::tls::Visitor;

/// The one name.
pub(super) const NAME: &str = "example.test";

/// What goes on from run to run.
#[derive(Debug)]
pub(super) struct Ground {
    // Dropped in this order: the visitor first, the stage last.
    visitor: Visitor,
    proxy: Proxy,
    haproxy: Option<Haproxy>,
    _agent: Agent,
    pub(super) pebble: Pebble,
    pub(super) stage: Stage,
    /// Handshakes of visitors that have gone.
    handshakes: usize,
}

/// What a verb comes by when nothing goes wrong.
#[derive(Debug)]
pub(super) struct Seen {
    /// `NAME#N`: each time that a failpoint is reached.
    pub(super) points: Vec<String>,
    pub(super) calls: Vec<(&'static str, usize)>,
    pub(super) commands: usize,
}

/// What all commands of a run have printed.
#[derive(Debug, Default)]
pub(super) struct Printed(pub(super) String);

impl Ground {
    /// With a certificate issued and served.
    ///
    /// # Errors
    ///
    /// When it does not come about.
    pub(super) fn lay(release: &Release) -> Result<Self, String> {
        let stage = Stage::new(release)?;
        let pebble = stage.pebble(&Options::default())?;
        let manager = stage.manager(&pebble, &[NAME])?;
        let proxy = manager.through_proxy()?;
        // Makes the placeholder that HAProxy starts with; there is no agent yet.
        manager.call(["issue"])?;
        let (agent, haproxy) = (stage.agent()?, stage.haproxy()?);
        // What is tried is not the way to the CA's question.
        manager.amend("[check]\n", "[check]\nself-test = false\n")?;
        for _ in 0..2 {
            manager.expect(["renew", NAME])?;
        }
        Ok(Self {
            visitor: visitor(&stage),
            proxy,
            haproxy: Some(haproxy),
            _agent: agent,
            pebble,
            stage,
            handshakes: 0,
        })
    }

    /// Handshakes made so far.
    pub(super) fn handshakes(&self) -> usize {
        self.handshakes + self.visitor.seen().handshakes
    }

    /// One run: a command in which something goes wrong, the recovery, and
    /// what must hold.
    ///
    /// # Errors
    ///
    /// When the run cannot be made.
    pub(super) fn run(&mut self, fault: &Fault) -> Result<Outcome, String> {
        let mut printed = Printed::default();
        let mut outcome = Outcome::default();
        self.prepare(fault.verb, &mut Printed::default())?;
        let since = Since::now(self);
        let ended = self.suffer(fault, &mut printed)?;
        outcome.succeeded = ended.status.success();
        self.proxy.let_fail(|_| proxy::Fault::None);
        invariants::in_between(self, &mut outcome);
        self.recover(&mut outcome, &mut printed)?;
        let seen = self.change_visitor();
        invariants::of_visitor(&seen, fault, &printed, &mut outcome);
        invariants::afterwards(self, &since, &printed, &mut outcome)?;
        Ok(outcome)
    }

    /// A verb without a fault, under observation.
    pub(super) fn observe(&self, verb: Verb) -> Result<Seen, String> {
        let mut printed = Printed::default();
        let list = self.stage.path("points");
        self.prepare(verb, &mut printed)?;
        self.proxy.take_seen();
        let mut command = self.command(verb);
        command.env("SPOACME_FAILPOINTS_SEEN", &list);
        self.end(command, &mut printed)?;
        let commands = self.proxy.take_seen().len();
        let text = fs::read_to_string(&list).map_err(|error| error.to_string())?;
        fs::remove_file(&list).map_err(|error| error.to_string())?;
        self.prepare(verb, &mut printed)?;
        let calls = self.count_calls(verb, &mut printed)?;
        Ok(Seen {
            points: numbered(text.lines()),
            calls,
            commands,
        })
    }

    fn count_calls(
        &self,
        verb: Verb,
        printed: &mut Printed,
    ) -> Result<Vec<(&'static str, usize)>, String> {
        let trace = self.stage.path("trace");
        let mut command = strace(&self.command(verb), &["-o", &trace.display().to_string()]);
        command.env("SPOACME_LOG", "info");
        self.end(command, printed)?;
        let text = fs::read_to_string(&trace).map_err(|error| error.to_string())?;
        let count = |call: &str| {
            let sign = format!(" {call}(");
            text.lines().filter(|line| line.contains(&sign)).count()
        };
        let counts = CALLS.map(|call| (call, count(call)));
        Ok(counts.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    /// What must have happened before `verb` does something.
    fn prepare(&self, verb: Verb, printed: &mut Printed) -> Result<(), String> {
        match verb {
            Verb::Renew => Ok(()),
            // Two generations that are usable; there are always two.
            Verb::Rollback => {
                let again = manager::spoacme(&self.stage, ["deploy", "--again", NAME]);
                self.end(again, printed).map(drop)
            }
            // Issued, and killed before it was deployed.
            Verb::Recover => {
                let mut command = self.command(Verb::Renew);
                command.env("SPOACME_FAILPOINT", "previous-linked=kill");
                self.end(command, printed).map(drop)
            }
        }
    }

    fn suffer(&mut self, fault: &Fault, printed: &mut Printed) -> Result<Ended, String> {
        let mut command = self.command(fault.verb);
        match &fault.kind {
            Kind::Point(point, action) => {
                command.env("SPOACME_FAILPOINT", format!("{point}={action}"));
                self.end(command, printed)
            }
            Kind::Haproxy(point, happening) => self.let_happen(command, point, *happening, printed),
            Kind::Syscall(call, number, effect) => {
                let inject = format!("inject={call}:{effect}:when={number}");
                self.end(strace(&command, &["-e", &inject]), printed)
            }
            Kind::Runtime(number, wire) => {
                let (number, wire) = (*number, *wire);
                let pid = Arc::new(AtomicUsize::new(0));
                self.proxy.let_fail(plan(number, wire, Arc::clone(&pid)));
                let child = piped(&mut command)?;
                pid.store(
                    usize::try_from(child.id()).unwrap_or_default(),
                    Ordering::SeqCst,
                );
                let ended = manager::wait(child)?;
                printed.add(&ended);
                Ok(ended)
            }
        }
    }

    /// Something happens to HAProxy while the manager waits at a failpoint.
    fn let_happen(
        &mut self,
        mut command: Command,
        point: &str,
        happening: Happening,
        printed: &mut Printed,
    ) -> Result<Ended, String> {
        let reached = self.stage.path("reached");
        let _ = fs::remove_file(&reached);
        let action = format!("{point}=pause:{}", reached.display());
        let mut child = piped(command.env("SPOACME_FAILPOINT", action))?;
        while !reached.exists() {
            if child
                .try_wait()
                .map_err(|error| error.to_string())?
                .is_some()
            {
                break;
            }
            sleep(Duration::from_millis(1));
        }
        match happening {
            Happening::Reload => self.haproxy()?.reload()?,
            Happening::Restart => {
                self.haproxy = None;
                self.haproxy = Some(self.stage.haproxy()?);
            }
            Happening::Stop => {
                self.haproxy()?.signal_worker(Signal::STOP)?;
                let _ = fs::remove_file(&reached);
                sleep(Duration::from_secs(1));
                self.haproxy()?.signal_worker(Signal::CONT)?;
            }
        }
        let _ = fs::remove_file(&reached);
        let ended = manager::wait(child)?;
        printed.add(&ended);
        Ok(ended)
    }

    /// As the daemon does: again and again, until there is nothing left to do.
    fn recover(&self, outcome: &mut Outcome, printed: &mut Printed) -> Result<(), String> {
        let give_up = Instant::now() + invariants::PATIENCE;
        loop {
            // As if the back-off were over.
            let _ = fs::remove_file(self.path("state/ledger").join(format!("{NAME}.json")));
            let ended = self.end(self.command(Verb::Recover), printed)?;
            outcome.recoveries += 1;
            if ended.code() == Some(4) {
                return Ok(());
            }
            if Instant::now() > give_up {
                outcome.violate(5, format!("not well in time: {ended:?}"));
                return Ok(());
            }
        }
    }

    pub(super) fn haproxy(&self) -> Result<&Haproxy, String> {
        self.haproxy.as_ref().ok_or_else(|| "no HAProxy".to_owned())
    }

    pub(super) fn command(&self, verb: Verb) -> Command {
        let arguments: &[&str] = match verb {
            Verb::Renew => &["renew", NAME],
            Verb::Rollback => &["rollback", NAME],
            Verb::Recover => &["issue", NAME],
        };
        manager::spoacme(&self.stage, arguments)
    }

    fn end(&self, command: Command, printed: &mut Printed) -> Result<Ended, String> {
        let ended = manager::end(command)?;
        printed.add(&ended);
        Ok(ended)
    }

    /// What the visitor has seen in this run; another comes for the next.
    pub(super) fn change_visitor(&mut self) -> crate::tls::Seen {
        let next = visitor(&self.stage);
        let seen = std::mem::replace(&mut self.visitor, next).end();
        self.handshakes += seen.handshakes;
        seen
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.stage.path(name)
    }
}

/// Often enough to meet what is served only for a moment.
fn visitor(stage: &Stage) -> Visitor {
    Visitor::begin_calmly(stage.https, NAME, Duration::from_millis(5))
}

impl Printed {
    fn add(&mut self, ended: &Ended) {
        self.0.push_str(&ended.stdout);
        self.0.push_str(&ended.stderr);
    }
}

/// What goes wrong with the `number`-th command.
fn plan(
    number: usize,
    wire: Wire,
    pid: Arc<AtomicUsize>,
) -> impl FnMut(&str) -> proxy::Fault + Send {
    let mut count = 0;
    move |_| {
        count += 1;
        // One that is busy is so for a while.
        let is_busy = matches!(wire, Wire::Busy) && (number..number + 8).contains(&count);
        if count != number && !is_busy {
            return proxy::Fault::None;
        }
        let pid = || u32::try_from(pid.load(Ordering::SeqCst)).unwrap_or_default();
        match wire {
            Wire::CutRequest(parts) => proxy::Fault::CutRequest(parts),
            Wire::CutReply(parts) => proxy::Fault::CutReply(parts),
            Wire::LoseReply => proxy::Fault::CutReply(0),
            Wire::Slow => proxy::Fault::Slow(Duration::from_secs(1)),
            Wire::Nonsense => proxy::Fault::Answer(b"Bad Gateway\n\n".to_vec()),
            Wire::Busy => proxy::Fault::Answer(BUSY.to_vec()),
            Wire::KillBefore => proxy::Fault::KillBefore(pid()),
            Wire::KillAfter => proxy::Fault::KillAfter(pid()),
        }
    }
}

const BUSY: &[u8] = b"Operations on certificates are currently locked!\n\n";

/// `NAME#N` for each time that a name comes.
fn numbered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut points: Vec<String> = Vec::new();
    for name in names {
        let before = points
            .iter()
            .filter(|point| point.split('#').next() == Some(name));
        let number = before.count() + 1;
        points.push(format!("{name}#{number}"));
    }
    points
}

fn piped(command: &mut Command) -> Result<std::process::Child, String> {
    let started = command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    started.map_err(|error| format!("{command:?}: {error}"))
}

/// The same command under strace, with nothing of strace's own in its output.
fn strace(command: &Command, options: &[&str]) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-e", &format!("trace={}", CALLS.join(","))]);
    if !options.contains(&"-o") {
        traced.args(["-o", "/dev/null"]);
    }
    traced
        .args(options)
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            traced.env(key, value);
        }
    }
    traced
}
