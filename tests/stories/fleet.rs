//! Three load balancers behind one name, with keepalived, in network
//! namespaces: whichever the CA reaches, each gets its certificate.

mod storm;

use spoacme_tests::fleet::{Fleet, Node, SIZE, VIRTUAL};
use spoacme_tests::haproxy::{Release, releases};
use spoacme_tests::manager::Ended;
use spoacme_tests::pebble::Options;
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

fn each(release: &Release) -> Result<(), String> {
    let fleet = fleet(release, &Options::default())?;
    issue_on_all(&fleet, None)?;
    ensure(fleet.pebble.issued() == SIZE, fleet.pebble.log())?;
    // Three requests for each, to addresses in turn: most land elsewhere.
    let elsewhere = fleet.answered_by_neighbours()?;
    ensure(
        elsewhere >= 3,
        format!("only {elsewhere} answers came from neighbours"),
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
    let elsewhere = fleet.answered_by_neighbours()?;
    ensure(
        elsewhere >= 2,
        format!("only {elsewhere} answers came from neighbours"),
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
    let (first, rest) = fleet.nodes.split_at_mut(1);
    let pebble = &fleet.pebble;
    let ended = std::thread::scope(|scope| {
        let issue = scope.spawn(|| first[0].call(&["renew", NAME]));
        // The challenge is posted; the CA takes its time before it asks.
        until("the challenge", || {
            ensure(
                pebble.log().contains("Pulled a task from the Tasks queue"),
                pebble.log(),
            )
        })?;
        rest[1].cut_power()?;
        issue.join().unwrap_or_else(|_| Err("panicked".to_owned()))
    })?;
    expect_issued(&fleet, 0, &ended)
}
