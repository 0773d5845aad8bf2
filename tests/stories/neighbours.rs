//! A load balancer that does not know a token asks the others.

use std::thread;

use spoacme_tests::haproxy::Release;
use spoacme_tests::http;
use spoacme_tests::neighbour::{KNOWN, Neighbour, Play};
use spoacme_tests::pebble::Options;
use spoacme_tests::stage::Stage;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("neighbours: whoever knows is found", found),
    ("neighbours: agent down, a neighbour knows", agent_down),
    ("neighbours: one that asks is not asked back", no_loop),
    ("neighbours: reloads lose no question", reloads),
    ("token test: through each load balancer", token_test),
];

/// A stage whose HAProxy has two neighbours.
fn stage(release: &Release) -> Result<(Stage, [Neighbour; 2]), String> {
    let neighbours = [Neighbour::start()?, Neighbour::start()?];
    let mut stage = Stage::new(release)?;
    stage.neighbours = neighbours
        .iter()
        .map(|n| format!("127.0.0.1:{}", n.port))
        .collect();
    crate::outage::placeholder(&stage)?;
    Ok((stage, neighbours))
}

fn found(release: &Release) -> Result<(), String> {
    use Play::{AgentFailed, Closes, DoesNotKnow, Hangs, IsGone, Knows};
    let (stage, neighbours) = stage(release)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    crate::outage::wait_for_agent(&stage)?;
    for (first, second, wanted) in [
        (Knows, DoesNotKnow, 200),
        (DoesNotKnow, Knows, 200),
        (DoesNotKnow, DoesNotKnow, 404),
        (AgentFailed, Knows, 200),
        (Closes, Knows, 200),
        (IsGone, Knows, 200),
        (Knows, IsGone, 200),
        (Knows, Hangs, 200),
        (Hangs, Knows, 200),
        (IsGone, IsGone, 404),
        (Hangs, AgentFailed, 404),
    ] {
        neighbours[0].play(first)?;
        neighbours[1].play(second)?;
        // What HAProxy's health checks still hold of the play before.
        until("the new play", || ask_once(&stage, wanted))?;
        ask_at_once(&stage, wanted).map_err(|e| format!("{first:?}, {second:?}: {e}"))?;
    }
    Ok(())
}

/// A CA asks from several places at once.
fn ask_at_once(stage: &Stage, wanted: u16) -> Result<(), String> {
    let ask = || (0..5).try_for_each(|_| ask_once(stage, wanted));
    thread::scope(|scope| {
        let askers = Vec::from_iter((0..4).map(|_| scope.spawn(ask)));
        let join = |asker: thread::ScopedJoinHandle<'_, _>| {
            asker.join().unwrap_or_else(|_| Err("panicked".to_owned()))
        };
        askers.into_iter().try_for_each(join)
    })
}

fn ask_once(stage: &Stage, wanted: u16) -> Result<(), String> {
    let answer = http::get(stage.http, "example.test", KNOWN)?;
    let is_right = answer.status == wanted && (wanted != 200 || answer.body == "known");
    ensure(is_right, format!("wanted {wanted}: {answer:?}"))
}

fn agent_down(release: &Release) -> Result<(), String> {
    let (stage, neighbours) = stage(release)?;
    let _haproxy = stage.haproxy()?;
    until("the agent's absence", || ask_once(&stage, 503))?;
    neighbours[1].play(Play::Knows)?;
    until("the neighbour", || ask_once(&stage, 200))?;
    ask_at_once(&stage, 200)
}

fn no_loop(release: &Release) -> Result<(), String> {
    let (stage, neighbours) = stage(release)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    crate::outage::wait_for_agent(&stage)?;
    let before = neighbours.each_ref().map(Neighbour::asked);
    let answer = http::get_with(stage.http, "example.test", KNOWN, "Acme-Neighbour: asks")?;
    ensure(answer.status == 404, format!("{answer:?}"))?;
    let after = neighbours.each_ref().map(Neighbour::asked);
    ensure(
        before == after,
        format!("asked: {before:?}, then {after:?}"),
    )
}

fn reloads(release: &Release) -> Result<(), String> {
    let (stage, neighbours) = stage(release)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    crate::outage::wait_for_agent(&stage)?;
    neighbours[1].play(Play::Knows)?;
    until("the neighbour", || ask_once(&stage, 200))?;
    thread::scope(|scope| {
        let reloads = scope.spawn(|| (0..5).try_for_each(|_| haproxy.reload()));
        let mut asked = 0;
        while !reloads.is_finished() {
            ask_once(&stage, 200).map_err(|e| format!("after {asked} questions: {e}"))?;
            asked += 1;
        }
        ensure(asked > 20, format!("only {asked} questions"))?;
        reloads
            .join()
            .unwrap_or_else(|_| Err("panicked".to_owned()))
    })
}

/// Two whole load balancers, each the neighbour of the other.
fn token_test(release: &Release) -> Result<(), String> {
    let stage_at = |bind: &str, port: u16, neighbour: &str| -> Result<Stage, String> {
        let mut stage = Stage::new(release)?;
        stage.http = port;
        stage.http_bind = Some(format!("{bind}:{port}"));
        stage.neighbours = vec![format!("{neighbour}:{port}"), "127.0.0.9:1".to_owned()];
        crate::outage::placeholder(&stage)?;
        Ok(stage)
    };
    let port = spoacme_tests::ports::free()?;
    let first = stage_at("127.0.0.1", port, "127.0.0.2")?;
    let second = stage_at("127.0.0.2", port, "127.0.0.1")?;
    let _running = (
        first.agent()?,
        first.haproxy()?,
        second.agent()?,
        second.haproxy()?,
    );
    let pebble = first.pebble(&Options::default())?;
    let manager = first.manager(&pebble, &["example.test"])?;
    let test = || {
        manager.call([
            "token",
            "test",
            "--through",
            "127.0.0.1",
            "--through",
            "127.0.0.2",
        ])
    };
    let ended = until("both", || {
        let ended = test()?;
        ensure(ended.code() == Some(0), format!("{ended:#?}")).map(|()| ended)
    })?;
    let right = ended
        .stdout
        .matches("answers with the key authorization")
        .count();
    ensure(right == 2, &ended.stdout)?;
    let ended = manager.call([
        "token",
        "test",
        "--through",
        "127.0.0.1",
        "--through",
        "127.0.0.8",
    ])?;
    ensure(ended.code() == Some(3), format!("{ended:#?}"))?;
    ensure(ended.stdout.contains("refuses connections"), &ended.stdout)
}
