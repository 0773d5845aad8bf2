//! The faults there are, and which of them is drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::ground::Ground;
use super::random::Random;

/// One fault, in the middle of one command.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// What is being done.
    pub(super) verb: Verb,
    /// What goes wrong with it.
    pub(super) kind: Kind,
}

/// What is being done when something goes wrong.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Verb {
    /// A certificate is issued and deployed.
    Renew,
    /// The one before is deployed again.
    Rollback,
    /// What a crash after a renewal left is mended.
    Recover,
}

impl Verb {
    /// Every verb.
    pub(super) const ALL: [Self; 3] = [Self::Renew, Self::Rollback, Self::Recover];
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// At a failpoint of the manager: `NAME#N=ACTION`.
    Point(String, &'static str),
    /// At a failpoint, something happens to HAProxy.
    Haproxy(String, Happening),
    /// The n-th call of a kind fails, or kills the caller.
    Syscall(&'static str, usize, &'static str),
    /// The n-th command to HAProxy.
    Runtime(usize, Wire),
}

/// What happens to HAProxy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// It is reloaded.
    Reload,
    /// It is restarted.
    Restart,
    /// It stands still for a second.
    Stop,
}

/// What goes wrong with a command to HAProxy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wire {
    /// It is cut after so many parts of 1000.
    CutRequest(usize),
    /// Its reply is cut after so many parts of 1000.
    CutReply(usize),
    /// Its reply is lost.
    LoseReply,
    /// It takes a second.
    Slow,
    /// The reply is nonsense, and HAProxy saw nothing.
    Nonsense,
    /// HAProxy is busy for some time.
    Busy,
    /// The manager is killed before it arrives.
    KillBefore,
    /// The manager is killed after it had its effect.
    KillAfter,
}

impl Fault {
    /// Its family, for the summary.
    pub(super) fn family(&self) -> String {
        match &self.kind {
            Kind::Point(_, action) => format!(
                "failpoint: {}",
                action.split(':').next().unwrap_or_default()
            ),
            Kind::Haproxy(_, happening) => format!("HAProxy: {happening:?}"),
            Kind::Syscall(_, _, effect) => format!("system call: {effect}"),
            Kind::Runtime(_, wire) => match wire {
                Wire::CutRequest(_) => "Runtime API: command cut".to_owned(),
                Wire::CutReply(_) => "Runtime API: reply cut".to_owned(),
                wire => format!("Runtime API: {wire:?}"),
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.verb, self.kind)
    }
}

/// All that can go wrong, learnt from a run in which nothing does.
#[derive(Clone, Debug)]
pub(super) struct Menu {
    points: BTreeMap<Verb, Vec<String>>,
    calls: BTreeMap<Verb, Vec<(&'static str, usize)>>,
    commands: BTreeMap<Verb, usize>,
}

/// What a failpoint does.
const ACTIONS: [&str; 4] = ["exit", "kill", "error", "delay:300"];

/// The calls that change something or bring something in.
pub(super) const CALLS: [&str; 9] = [
    "openat", "write", "fsync", "rename", "unlink", "link", "connect", "sendto", "mkdir",
];

const EFFECTS: [&str; 5] = [
    "signal=SIGKILL",
    "error=EIO",
    "error=ENOSPC",
    "error=EROFS",
    "error=EMFILE",
];

impl Menu {
    /// Runs every verb without a fault, and notes what it comes by.
    ///
    /// # Errors
    ///
    /// When even that fails.
    pub(super) fn read(ground: &Ground) -> Result<Self, String> {
        let mut menu = Self {
            points: BTreeMap::new(),
            calls: BTreeMap::new(),
            commands: BTreeMap::new(),
        };
        for verb in Verb::ALL {
            let seen = ground.observe(verb)?;
            menu.points.insert(verb, seen.points);
            menu.calls.insert(verb, seen.calls);
            menu.commands.insert(verb, seen.commands);
        }
        Ok(menu)
    }

    /// The names of all failpoints come by.
    pub(super) fn points(&self) -> BTreeSet<String> {
        let name = |point: &String| point.split('#').next().unwrap_or_default().to_owned();
        self.points.values().flatten().map(name).collect()
    }

    /// Draws a fault.
    pub(super) fn draw(&self, random: &mut Random) -> Fault {
        let verb = *random
            .one(&[Verb::Renew, Verb::Renew, Verb::Rollback, Verb::Recover])
            .unwrap_or(&Verb::Renew);
        let point = |random: &mut Random| {
            let points = self
                .points
                .get(&verb)
                .map(Vec::as_slice)
                .unwrap_or_default();
            random.one(points).cloned().unwrap_or_default()
        };
        let kind = match random.below(10) {
            0..=3 => Kind::Point(
                point(random),
                random.one(&ACTIONS).copied().unwrap_or("kill"),
            ),
            4 => {
                let all = [
                    Happening::Reload,
                    Happening::Reload,
                    Happening::Restart,
                    Happening::Stop,
                ];
                Kind::Haproxy(
                    point(random),
                    *random.one(&all).unwrap_or(&Happening::Reload),
                )
            }
            5..=7 => self.draw_call(verb, random),
            _ => self.draw_wire(verb, random),
        };
        Fault { verb, kind }
    }

    fn draw_call(&self, verb: Verb, random: &mut Random) -> Kind {
        let calls = self.calls.get(&verb).map(Vec::as_slice).unwrap_or_default();
        let (call, count) = random.one(calls).copied().unwrap_or(("write", 1));
        // Writes also wake threads, by eventfds, which never fail in earnest: an
        // error there would only hang the runtime.
        let effects = if call == "write" {
            &EFFECTS[..1]
        } else {
            &EFFECTS[..]
        };
        let effect = random.one(effects).copied().unwrap_or("error=EIO");
        Kind::Syscall(call, random.below(count) + 1, effect)
    }

    fn draw_wire(&self, verb: Verb, random: &mut Random) -> Kind {
        let commands = self.commands.get(&verb).copied().unwrap_or(1);
        let wire = match random.below(8) {
            0 => Wire::CutRequest(random.below(1000)),
            1 => Wire::CutReply(random.below(1000)),
            2 => Wire::LoseReply,
            3 => Wire::Slow,
            4 => Wire::Nonsense,
            5 => Wire::Busy,
            6 => Wire::KillBefore,
            _ => Wire::KillAfter,
        };
        Kind::Runtime(random.below(commands) + 1, wire)
    }
}
