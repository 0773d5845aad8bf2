//! Bad input and bad days: one clear message, the right exit code, and what
//! was serving stays in place.

use std::fs;

use spoacme_tests::haproxy::{Haproxy, Release};
use spoacme_tests::manager::{Ended, Manager};
use spoacme_tests::pebble::Options;
use spoacme_tests::proxy::Fault;
use spoacme_tests::stage::Stage;
use spoacme_tests::tls;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("wrong configuration key: named with its line", wrong_key),
    ("HAProxy's socket missing: CA is not asked", no_socket),
    ("CA out of reach: said, and serving goes on", no_ca),
    ("agent out of reach: said, and serving goes on", no_agent),
    ("state directory unusable: named", no_state),
    ("validation fails: name and cause are said", no_validation),
    ("PEM that HAProxy refuses: rolled back", refused),
    ("unfit certificate: HAProxy is not even asked", unfit),
    (
        "bundle too large for the socket: waits for a reload",
        too_large,
    ),
    ("faulty change of a running configuration", faulty_change),
];

/// A stage with one certificate issued and served.
macro_rules! serving {
    ($release:expr => $stage:ident, $pebble:ident, $manager:ident, $agent:ident, $haproxy:ident) => {
        let $stage = Stage::new($release)?;
        #[allow(unused_mut, reason = "some stories kill it")]
        let mut $pebble = $stage.pebble(&Options::default())?;
        let $manager = $stage.manager(&$pebble, &["example.test"])?;
        crate::outage::placeholder(&$stage)?;
        let ($agent, $haproxy) = ($stage.agent()?, $stage.haproxy()?);
        $manager.expect(["issue"])?;
    };
}

/// Ended with `code`, said `words` in one message, and what was served is
/// served.
fn expect(ended: &Ended, code: i32, words: &[&str]) -> Result<(), String> {
    ensure(ended.code() == Some(code), format!("{ended:#?}"))?;
    for word in words {
        ensure(
            ended.stderr.contains(word),
            format!("{word:?} is missing in {ended:#?}"),
        )?;
    }
    ensure(!ended.stderr.contains("panicked"), format!("{ended:#?}"))
}

fn renew(manager: &Manager<'_>) -> Result<Ended, String> {
    manager.call(["renew", "example.test"])
}

fn wrong_key(release: &Release) -> Result<(), String> {
    serving!(release => stage, pebble, manager, _agent, _haproxy);
    let before = tls::leaf(stage.https, "example.test")?;
    let good = fs::read_to_string(stage.path("spoacme.toml")).map_err(|e| e.to_string())?;
    stage.write("spoacme.toml", &good.replace("verify =", "verfy ="))?;
    let file = stage.path("spoacme.toml").display().to_string();
    let words = [&file, "unknown key `verfy`; did you mean `verify`?"];
    expect(&renew(&manager)?, 78, &words)?;
    expect(&manager.call(["config", "check"])?, 78, &words)?;
    expect(&manager.call(["run"])?, 78, &words)?;
    ensure(pebble.issued() == 1, "a certificate was issued")?;
    ensure(
        tls::leaf(stage.https, "example.test")? == before,
        "another certificate is served",
    )
}

fn no_socket(release: &Release) -> Result<(), String> {
    serving!(release => stage, pebble, manager, _agent, _haproxy);
    let before = tls::leaf(stage.https, "example.test")?;
    let socket = stage.path("admin.sock");
    let aside = stage.path("aside.sock");
    fs::rename(&socket, &aside).map_err(|error| error.to_string())?;
    let ended = renew(&manager)?;
    fs::rename(&aside, &socket).map_err(|error| error.to_string())?;
    expect(&ended, 1, &[&socket.display().to_string(), "hint: "])?;
    ensure(pebble.issued() == 1, "the CA was asked")?;
    ensure(
        tls::leaf(stage.https, "example.test")? == before,
        "another certificate is served",
    )
}

fn no_ca(release: &Release) -> Result<(), String> {
    serving!(release => stage, pebble, manager, _agent, _haproxy);
    let before = tls::leaf(stage.https, "example.test")?;
    pebble.kill();
    expect(
        &renew(&manager)?,
        1,
        &["cannot reach the CA", &pebble.directory(), "hint: "],
    )?;
    ensure(
        tls::leaf(stage.https, "example.test")? == before,
        "another certificate is served",
    )
}

fn no_agent(release: &Release) -> Result<(), String> {
    serving!(release => stage, pebble, manager, agent, _haproxy);
    let before = tls::leaf(stage.https, "example.test")?;
    agent.stop()?;
    let socket = stage.path("agent.sock").display().to_string();
    expect(
        &renew(&manager)?,
        1,
        &["cannot publish tokens", &socket, "hint: "],
    )?;
    ensure(
        tls::leaf(stage.https, "example.test")? == before,
        "another certificate is served",
    )?;
    ensure(pebble.issued() == 1, "the CA was asked")?;
    let _agent = stage.agent()?;
    crate::outage::wait_for_agent(&stage)?;
    manager.expect(["renew", "example.test"])?;
    ensure(
        pebble.issued() == 2,
        format!("{} certificates were issued", pebble.issued()),
    )
}

fn no_state(release: &Release) -> Result<(), String> {
    serving!(release => stage, pebble, manager, _agent, _haproxy);
    let before = tls::leaf(stage.https, "example.test")?;
    // Permissions do not stop root; a file in the way stops anybody.
    fs::rename(stage.path("state"), stage.path("aside")).map_err(|error| error.to_string())?;
    stage.write("state", "")?;
    let state = stage.path("state").display().to_string();
    expect(&renew(&manager)?, 1, &[&state, "hint: "])?;
    ensure(pebble.issued() == 1, "the CA was asked")?;
    ensure(
        tls::leaf(stage.https, "example.test")? == before,
        "another certificate is served",
    )
}

fn no_validation(release: &Release) -> Result<(), String> {
    serving!(release => stage, pebble, manager, _agent, _haproxy);
    let before = tls::leaf(stage.https, "example.test")?;
    // The CA is led to where nothing answers.
    pebble.resolve("example.test", "127.0.0.77")?;
    let words = ["the CA could not validate example.test", "hint: "];
    expect(&renew(&manager)?, 1, &words)?;
    ensure(pebble.issued() == 1, "a certificate was issued")?;
    let status = manager.status()?;
    ensure(
        status["certificates"][0]["history"]["failures"] == 1,
        format!("{status:#}"),
    )?;
    ensure(
        tls::leaf(stage.https, "example.test")? == before,
        "another certificate is served",
    )
}

/// A generation in the store that OpenSSL will not serve: its key is too
/// small for any security level that Debian allows.
fn refused(release: &Release) -> Result<(), String> {
    serving!(release => stage, pebble, manager, _agent, haproxy);
    let proxy = manager.through_proxy()?;
    let before = tls::leaf(stage.https, "example.test")?;
    let file = fs::read(stage.path("live/example.test.pem")).map_err(|error| error.to_string())?;
    let reply = spoacme_tests::haproxy::captured(&release.series, "commit-mismatch")?;
    let reply = reply.replace("/etc/haproxy/live/a.pem", &path(&stage));
    proxy.let_fail(move |line| match line.starts_with("commit") {
        true => Fault::Answer(reply.clone().into_bytes()),
        false => Fault::None,
    });
    let ended = renew(&manager)?;
    let words = [
        "issued, but not deployed: rolled back",
        "HAProxy rejects the certificate",
    ];
    expect(&ended, 3, &words)?;
    ensure(
        tls::leaf(stage.https, "example.test")? == before,
        "another certificate is served",
    )?;
    let now = fs::read(stage.path("live/example.test.pem")).map_err(|error| error.to_string())?;
    ensure(now == file, "the file is not the one before")?;
    expect_no_transaction(&haproxy)?;
    // It is not tried again, and the one before counts as the newest.
    let again = manager.call(["issue"])?;
    ensure(again.code() == Some(4), format!("{again:#?}"))?;
    manager.wait_for_generation(1)?;
    ensure(pebble.issued() == 2, "another certificate was issued")?;
    // Unless somebody says so.
    proxy.let_fail(|_| Fault::None);
    manager.expect(["deploy", "--again", "example.test"])?;
    manager.wait_for_generation(2).map(drop)
}

fn path(stage: &Stage) -> String {
    stage.path("live/example.test.pem").display().to_string()
}

fn expect_no_transaction(haproxy: &Haproxy) -> Result<(), String> {
    let certificates = haproxy.runtime("show ssl cert")?;
    ensure(
        !certificates.contains("\n*"),
        format!("a transaction is left open: {certificates}"),
    )
}

/// A key of 1024 bits, which no client of today takes.
fn unfit(release: &Release) -> Result<(), String> {
    serving!(release => stage, pebble, manager, _agent, _haproxy);
    let proxy = manager.through_proxy()?;
    let before = tls::leaf(stage.https, "example.test")?;
    spoacme_tests::weak::plant_generation(&stage, "example.test", 2)?;
    let ended = manager.call(["issue"])?;
    expect(&ended, 1, &["not published: the private key is none of"])?;
    let asked = proxy.take_seen();
    ensure(
        !asked.iter().any(|line| line.starts_with("set ")),
        format!("HAProxy was asked: {asked:?}"),
    )?;
    ensure(
        tls::leaf(stage.https, "example.test")? == before,
        "another certificate is served",
    )?;
    let again = manager.call(["issue"])?;
    ensure(again.code() == Some(4), format!("{again:#?}"))?;
    manager.wait_for_generation(1)?;
    ensure(pebble.issued() == 1, "a certificate was issued")
}

/// Before 3.4, a command must fit into one buffer of 16 kB.
fn too_large(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let label = "a".repeat(60);
    let long = |number| format!("{label}.{label}.{label}.n{number}.test");
    let names: Vec<String> = (0..70).map(long).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let manager = stage.manager(&pebble, &names)?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let ended = manager.call(["issue"])?;
    if release.series.as_str() >= "3.4" {
        return ensure(ended.status.success(), format!("{ended:#?}"));
    }
    let words = ["issued, but not deployed", "16320", "reload HAProxy"];
    expect(&ended, 3, &words)?;
    haproxy.reload()?;
    manager.expect(["issue"])?;
    manager.wait_for_generation(1)?;
    ensure(
        pebble.issued() == 1,
        format!("{} certificates were issued", pebble.issued()),
    )
}

fn faulty_change(release: &Release) -> Result<(), String> {
    serving!(release => stage, pebble, manager, _agent, _haproxy);
    let daemon = manager.run()?;
    let log_has = |text: &str| until(text, || ensure(manager.log().contains(text), manager.log()));
    log_has("started")?;
    stage.write(
        "conf.d/second.toml",
        "[[certificate]]\nname = [\"second.test\"]\n",
    )?;
    log_has("the changed configuration is not taken")?;
    log_has("conf.d/second.toml:2")?;
    stage.write(
        "conf.d/second.toml",
        "[[certificate]]\nnames = [\"second.test\"]\n",
    )?;
    until("the second certificate", || tls_name(&stage, "second.test"))?;
    ensure(
        pebble.issued() == 2,
        format!("{} certificates were issued", pebble.issued()),
    )?;
    daemon.stop()
}

/// Succeeds once the leaf served for `name` is issued for it.
fn tls_name(stage: &Stage, name: &str) -> Result<(), String> {
    let names = tls::names(&tls::leaf(stage.https, name)?)?;
    ensure(names == [name], format!("{names:?}"))
}
