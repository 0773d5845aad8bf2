//! Everything may be restarted at any time.

use std::fs;

use spoacme_tests::haproxy::Release;
use spoacme_tests::pebble::Options;
use spoacme_tests::process::Signal;
use spoacme_tests::stage::Stage;
use spoacme_tests::tls;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("HAProxy reloaded and restarted: newest served", haproxy),
    ("agent restarted while a CA validates", agent),
    ("manager restarted: nothing is issued again", manager),
    ("manager killed in mid order: goes on with it", killed),
    ("CA restarted: the account is registered again", ca),
    ("HAProxy starts last: deployed by itself", last),
];

fn haproxy(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let issued = tls::leaf(stage.https, "example.test")?;
    haproxy.reload()?;
    let served = || tls::leaf(stage.https, "example.test");
    ensure(
        until("the new worker", served)? == issued,
        "a reload lost the certificate",
    )?;
    drop(haproxy);
    let _haproxy = stage.haproxy()?;
    ensure(
        until("the new HAProxy", served)? == issued,
        "a restart lost the certificate",
    )?;
    manager.wait_for_generation(1).map(drop)
}

fn agent(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    // The CA waits up to some seconds, as CAs do, before it asks.
    let options = Options {
        validation_delay_seconds: 6,
        // One rejected would have the order gone on with, and the CA stands still.
        nonces_rejected_percent: 0,
        ..Options::default()
    };
    let pebble = stage.pebble(&options)?;
    let manager = stage.manager(&pebble, &["a.test", "b.test", "c.test"])?;
    crate::outage::placeholder(&stage)?;
    let (agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    until("the tokens", || {
        let log = manager.log();
        ensure(log.contains("tokens published"), &log)
    })?;
    // The CA waits some random seconds before it asks. Held meanwhile, it
    // asks only after the restart, so that the outcome is no matter of luck.
    pebble.signal(Signal::STOP)?;
    agent.kill();
    let _agent = stage.agent()?;
    until("the tokens again", || {
        let log = manager.log();
        ensure(log.contains("tokens published again"), &log)
    })?;
    pebble.signal(Signal::CONT)?;
    manager.wait_for_generation(1)?;
    daemon.stop()
}

fn manager(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    daemon.stop()?;
    for _ in 0..3 {
        let daemon = manager.run()?;
        manager.wait_for_generation(1)?;
        let again = manager.call(["issue"])?;
        ensure(again.code() == Some(4), format!("{again:?}"))?;
        daemon.kill();
    }
    ensure(
        pebble.issued() == 1,
        format!("{} certificates were issued", pebble.issued()),
    )
}

fn killed(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let options = Options {
        validation_delay_seconds: 4,
        ..Options::default()
    };
    let pebble = stage.pebble(&options)?;
    let manager = stage.manager(&pebble, &["a.test", "b.test"])?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    until("the order", || {
        let log = manager.log();
        ensure(log.contains("tokens published"), &log)
    })?;
    daemon.kill();
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    let log = manager.log();
    ensure(log.matches("order created").count() == 1, &log)?;
    ensure(
        pebble.issued() == 1,
        format!("{} certificates were issued", pebble.issued()),
    )?;
    let left = fs::read_dir(stage.path("state/orders")).map_err(|error| error.to_string())?;
    ensure(left.count() == 0, "the order's record is left over")?;
    daemon.stop()
}

fn ca(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let mut pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    // Pebble keeps everything in memory: accounts, orders, its own keys.
    pebble.restart(&stage)?;
    manager.expect(["renew", "example.test"])?;
    manager.wait_for_generation(2).map(drop)
}

fn last(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let daemon = manager.run()?;
    let _agent = stage.agent()?;
    until("word of HAProxy's absence", || {
        let log = manager.log();
        ensure(log.contains("HAProxy: "), &log)
    })?;
    let _haproxy = stage.haproxy()?;
    manager.wait_for_generation(1)?;
    ensure(
        pebble.issued() == 1,
        format!("{} certificates were issued", pebble.issued()),
    )?;
    daemon.stop()
}
