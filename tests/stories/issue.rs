//! Certificates come, are renewed, and multiply, without a reload.

use spoacme_tests::haproxy::Release;
use spoacme_tests::pebble::Options;
use spoacme_tests::stage::Stage;
use spoacme_tests::tls::{self, Visitor};
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("first issue from nothing", first),
    ("renewal under a client: no handshake fails", renewal),
    ("short life: the daemon renews by itself", short_life),
    ("second name is added live", second_name),
    ("half of all nonces rejected: still issued", nonces),
];

fn first(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test", "www.example.test"])?;
    let daemon = manager.run()?;
    until("the placeholder", || {
        std::fs::metadata(stage.path("live/example.test.pem"))
    })?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let worker = haproxy.worker()?;
    manager.wait_for_generation(1)?;
    ensure(haproxy.worker()? == worker, "HAProxy was reloaded")?;
    for name in ["example.test", "www.example.test"] {
        let served = tls::chain(stage.https, name)?;
        ensure(
            served.len() == 2,
            format!("{} certificates are served", served.len()),
        )?;
    }
    ensure(
        pebble.issued() == 1,
        format!("{} certificates were issued", pebble.issued()),
    )?;
    daemon.stop()
}

fn renewal(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let worker = haproxy.worker()?;
    let visitor = Visitor::begin(stage.https, "example.test");
    for _ in 0..3 {
        let before = visitor.seen().handshakes;
        manager.expect(["renew", "example.test"])?;
        until("visits after the renewal", || {
            ensure(visitor.seen().handshakes > before + 10, "too few")
        })?;
    }
    let seen = visitor.end();
    ensure(seen.failures.is_empty(), format!("{:#?}", seen.failures))?;
    ensure(
        seen.leaves.len() == 4 && seen.changes == 3,
        format!("{} changes", seen.changes),
    )?;
    ensure(haproxy.worker()? == worker, "HAProxy was reloaded")
}

fn short_life(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let options = Options {
        validity_seconds: 16,
        ..Options::default()
    };
    let pebble = stage.pebble(&options)?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let worker = haproxy.worker()?;
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    let visitor = Visitor::begin(stage.https, "example.test");
    manager.wait_for_generation(2)?;
    let seen = visitor.end();
    ensure(seen.failures.is_empty(), format!("{:#?}", seen.failures))?;
    ensure(haproxy.worker()? == worker, "HAProxy was reloaded")?;
    daemon.stop()
}

fn second_name(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    let (worker, first) = (haproxy.worker()?, tls::leaf(stage.https, "example.test")?);
    manager.add(&["second.test"])?;
    until("both certificates", || {
        let status = manager.wait_for_generation(1)?;
        let count = status["certificates"].as_array().map_or(0, Vec::len);
        ensure(count == 2, format!("{count} certificates"))
    })?;
    let second = tls::leaf(stage.https, "second.test")?;
    ensure(
        second != first,
        "the second name gets the first certificate",
    )?;
    ensure(
        tls::leaf(stage.https, "example.test")? == first,
        "the first certificate changed",
    )?;
    ensure(haproxy.worker()? == worker, "HAProxy was reloaded")?;
    haproxy.reload()?;
    let kept = until("the new worker", || tls::leaf(stage.https, "second.test"))?;
    ensure(
        kept == second,
        "the second certificate is gone after a reload",
    )?;
    daemon.stop()
}

fn nonces(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let options = Options {
        nonces_rejected_percent: 50,
        ..Options::default()
    };
    let pebble = stage.pebble(&options)?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"]).map(drop)
}
