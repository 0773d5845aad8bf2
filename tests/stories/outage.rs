//! The agent is down: the challenge path says so, and nothing else notices.

use std::fs;
use std::time::{Duration, Instant};

use spoacme_tests::haproxy::Release;
use spoacme_tests::http;
use spoacme_tests::process::Signal;
use spoacme_tests::stage::Stage;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("agent absent: 503 on the challenge path only", absent),
    ("agent hung: 503 within the processing time-out", hung),
    ("agent back: answers again without a reload", back),
];

const PATH: &str = "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA-abcdefghijklmnopqrst";

/// `timeout processing` of the shipped spoe-acme.conf.
const PROCESSING_TIMEOUT: Duration = Duration::from_millis(500);

/// A certificate for HAProxy to start with, made as an operator might.
pub(crate) fn placeholder(stage: &Stage) -> Result<(), String> {
    let made = rcgen::generate_simple_self_signed(["example.test".to_owned()]);
    let made = made.map_err(|error| error.to_string())?;
    fs::create_dir_all(stage.path("live")).map_err(|error| error.to_string())?;
    let pem = made.cert.pem() + &made.signing_key.serialize_pem();
    stage.write("live/example.test.pem", &pem).map(drop)
}

/// Waits until HAProxy's look-ups reach the agent.
pub(crate) fn wait_for_agent(stage: &Stage) -> Result<(), String> {
    until("an answer of the agent", || expect(stage, 404))
}

fn expect(stage: &Stage, status: u16) -> Result<(), String> {
    let answer = http::get(stage.http, "example.test", PATH)?;
    ensure(answer.status == status, format!("{answer:?}"))
}

/// Twenty other requests, together faster than one look-up that times out.
fn expect_others_untouched(stage: &Stage) -> Result<(), String> {
    let started = Instant::now();
    for _ in 0..20 {
        let answer = http::get(stage.http, "example.test", "/shop")?;
        ensure(answer.status == 301, format!("{answer:?}"))?;
    }
    let took = started.elapsed();
    ensure(
        took < PROCESSING_TIMEOUT,
        format!("20 other requests took {took:?}"),
    )
}

fn absent(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    placeholder(&stage)?;
    let _haproxy = stage.haproxy()?;
    expect(&stage, 503)?;
    expect_others_untouched(&stage)
}

fn hung(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    placeholder(&stage)?;
    let (agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    wait_for_agent(&stage)?;
    agent.signal(Signal::STOP)?;
    let started = Instant::now();
    expect(&stage, 503)?;
    let took = started.elapsed();
    let limit = PROCESSING_TIMEOUT * 2;
    ensure(
        took < limit,
        format!("503 took {took:?}, the time-out is {PROCESSING_TIMEOUT:?}"),
    )?;
    expect_others_untouched(&stage)?;
    agent.signal(Signal::CONT)?;
    wait_for_agent(&stage)
}

fn back(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    placeholder(&stage)?;
    let (agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    wait_for_agent(&stage)?;
    let worker = haproxy.worker()?;
    agent.kill();
    until("a 503", || expect(&stage, 503))?;
    let _agent = stage.agent()?;
    wait_for_agent(&stage)?;
    ensure(haproxy.worker()? == worker, "HAProxy was reloaded")
}
