//! Three load balancers behind one name, with keepalived, in network
//! namespaces: whichever the CA reaches, each gets its certificate.

mod storm;

use spoacme_tests::fleet::{Fleet, NO_SERVER, Node, SIZE, VIRTUAL};
use spoacme_tests::haproxy::{Release, releases};
use spoacme_tests::manager::Ended;
use spoacme_tests::pebble::{Options, Pebble};
use spoacme_tests::tls;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) use storm::print_table;

pub(crate) const STORIES: &[Story] = &[
    ("fleet: each gets its own, validated anywhere", each),
    ("fleet: one load balancer dead", one_dead),
    ("fleet: one agent stopped", one_agent_stopped),
    (
        "fleet: one HAProxy reloading again and again",
        one_reloading,
    ),
    ("fleet: fail-over in the middle of a validation", fail_over),
    ("fleet: 25 issues in a storm of faults", storm::tell),
];

const NAME: &str = "shop.test";

/// Three load balancers, the first on `release`, the others on those after it.
fn fleet(release: &Release, options: &Options) -> Result<Fleet, String> {
    let mut mixed = releases()?;
    let first = mixed.iter().position(|found| found == release).unwrap_or(0);
    mixed.rotate_left(first);
    let fleet = Fleet::start(&mixed, options)?;
    fleet.add(NAME)?;
    Ok(fleet)
}

fn expect_issued(fleet: &Fleet, number: usize, ended: &Ended) -> Result<(), String> {
    let log = || format!("node {number}: {ended:#?}\n{}", fleet.pebble.log());
    ensure(ended.code() == Some(0), log())?;
    let _inside = fleet.nodes[number].enter()?;
    let names = tls::names(&tls::leaf(443, NAME)?)?;
    ensure(names == [NAME], format!("{names:?}"))
}

/// Every load balancer but `except` issues for itself.
fn issue_on_all(fleet: &Fleet, except: Option<usize>) -> Result<(), String> {
    for number in (0..SIZE).filter(|number| Some(*number) != except) {
        let ended = fleet.nodes[number].call(&["renew", NAME])?;
        expect_issued(fleet, number, &ended)?;
    }
    Ok(())
}

/// Waits until HAProxy has told of `count` requests of the CA itself, the
/// self-test's apart, that were answered with the key authorization; returns
/// how many of them a neighbour of the one asked has answered.
fn expect_validated(fleet: &Fleet, count: usize) -> Result<usize, String> {
    until("the journals", || {
        let (alone, by_neighbours) = fleet.validated();
        let told = format!("{alone} + {by_neighbours}:\n{}", fleet.tell());
        ensure(alone + by_neighbours >= count, told).map(|()| by_neighbours)
    })
}

fn each(release: &Release) -> Result<(), String> {
    let fleet = fleet(release, &Options::default())?;
    issue_on_all(&fleet, None)?;
    ensure(fleet.pebble.issued() == SIZE, fleet.pebble.log())?;
    // Three requests for each, to addresses in turn: most land elsewhere.
    let elsewhere = expect_validated(&fleet, 3 * SIZE)?;
    ensure(
        elsewhere >= SIZE,
        format!("{elsewhere} from neighbours:\n{}", fleet.tell()),
    )?;
    let through = [
        "--through",
        "fd00:5a::1",
        "--through",
        "fd00:5a::2",
        "--through",
        "fd00:5a::3",
    ];
    let ended = fleet.nodes[0].call(&[&["token", "test"][..], &through].concat())?;
    ensure(ended.code() == Some(0), format!("{ended:#?}"))?;
    let checked = fleet.nodes[1].call(&["check", NAME])?;
    ensure(checked.stdout.contains(": fine:"), format!("{checked:#?}"))
}

fn one_dead(release: &Release) -> Result<(), String> {
    let mut fleet = fleet(release, &Options::default())?;
    fleet.nodes[2].cut_power()?;
    expect_taken_over(&fleet)?;
    issue_on_all(&fleet, Some(2))
}

/// A machine without power keeps its addresses in this world, where namespaces
/// have no power: what counts is who else has them.
fn expect_taken_over(fleet: &Fleet) -> Result<(), String> {
    until("the others to take over", || {
        let alive = fleet.nodes[..2].iter();
        let has = |node: &Node| node.machine.has(VIRTUAL[2]).unwrap_or(false);
        ensure(
            alive.filter(|node| has(node)).count() == 1,
            "nobody has its address",
        )
    })
}

fn one_agent_stopped(release: &Release) -> Result<(), String> {
    let mut fleet = fleet(release, &Options::default())?;
    if let Some(agent) = fleet.nodes[1].agent.take() {
        agent.kill();
    }
    issue_on_all(&fleet, Some(1))?;
    // Without its agent, it is answered for by its neighbours.
    expect_validated(&fleet, 3 * (SIZE - 1))?;
    let mut asked = fleet.validations()[1].clone();
    asked.retain(|request| request.status == 200);
    ensure(
        !asked.is_empty() && asked.iter().all(|r| r.server != NO_SERVER),
        fleet.tell(),
    )
}

fn one_reloading(release: &Release) -> Result<(), String> {
    let fleet = fleet(release, &Options::default())?;
    let haproxy = fleet.nodes[1].haproxy.as_ref().ok_or("no HAProxy")?;
    std::thread::scope(|scope| {
        let reloads = scope.spawn(|| (0..4).try_for_each(|_| haproxy.reload()));
        let mut rounds = 0;
        while !reloads.is_finished() || rounds == 0 {
            issue_on_all(&fleet, Some(1))?;
            rounds += 1;
        }
        reloads
            .join()
            .unwrap_or_else(|_| Err("panicked".to_owned()))
    })
}

fn fail_over(release: &Release) -> Result<(), String> {
    let options = Options {
        validation_delay_seconds: 3,
        ..Options::default()
    };
    let mut fleet = fleet(release, &options)?;
    // Every question goes to the address that moves.
    fleet.dns.resolve(NAME, &VIRTUAL[1..2])?;
    for _ in 0..ROUNDS_MAX {
        let (ended, was_in_time) = issue_and_cut(&mut fleet)?;
        expect_issued(&fleet, 0, &ended)?;
        if was_in_time {
            // Its heir has answered, who had to ask a neighbour.
            let heir = fleet.validations()[2].clone();
            let good = heir.iter().filter(|request| request.status == 200);
            let from_neighbour = good.filter(|request| request.server != NO_SERVER);
            return ensure(from_neighbour.count() > 0, fleet.tell());
        }
    }
    Err("the CA has never taken its time".to_owned())
}

/// Issues on the first load balancer, and cuts the power of the second between
/// the challenge and the last of the CA's questions. Says whether there was
/// such a moment: the CA draws how long it waits before each.
fn issue_and_cut(fleet: &mut Fleet) -> Result<(Ended, bool), String> {
    fleet.forget();
    let before = delays(&fleet.pebble).len();
    let (first, rest) = fleet.nodes.split_at_mut(1);
    let pebble = &fleet.pebble;
    std::thread::scope(|scope| {
        let issue = scope.spawn(|| first[0].call(&["renew", NAME]));
        let drawn = until("the challenge", || {
            let drawn = delays(pebble).split_off(before);
            ensure(drawn.len() == QUESTIONS, pebble.log()).map(|()| drawn)
        })?;
        let at_once = drawn.iter().filter(|delay| *delay == "0s").count();
        if at_once < QUESTIONS {
            // Those that are under way when the power goes are lost for good.
            until("the first questions", || {
                let asked = rest[0].validations().len();
                ensure(asked >= at_once, format!("{asked} of {at_once}"))
            })?;
            rest[0].cut_power()?;
        }
        let ended = issue
            .join()
            .unwrap_or_else(|_| Err("panicked".to_owned()))?;
        Ok((ended, at_once < QUESTIONS))
    })
}

/// That the CA draws no delay for any of its questions: one in 27.
const ROUNDS_MAX: usize = 10;

/// How often Pebble asks for each challenge.
const QUESTIONS: usize = 3;

/// What the CA has drawn so far, such as `2s`.
fn delays(pebble: &Pebble) -> Vec<String> {
    let log = pebble.log();
    let drawn = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("Sleeping for ")?;
        rest.split(' ').next().map(str::to_owned)
    });
    drawn.collect()
}
