//! Certificates come and go by command, one or hundreds.

use std::fs;

use serde_json::Value;
use spoacme_tests::haproxy::Release;
use spoacme_tests::manager::Manager;
use spoacme_tests::pebble::Options;
use spoacme_tests::process::Signal;
use spoacme_tests::stage::Stage;
use spoacme_tests::tls;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("add and remove: served, then gone, no reload", come_and_go),
    (
        "add --csv: bad lines are said, the rest is issued",
        from_csv,
    ),
    ("issue stopped by Ctrl-C: goes on from there", stopped),
    ("remove the last: HAProxy can still start", the_last),
    ("issue --dry-run: staging asked, nothing changed", rehearsal),
    ("second daemon is refused", second_daemon),
];

fn come_and_go(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    let (worker, first) = (haproxy.worker()?, tls::leaf(stage.https, "example.test")?);
    let said = manager
        .expect(["add", "shop.test", "www.shop.test"])?
        .stdout;
    ensure(said.contains("the daemon issues what is new"), &said)?;
    until("the new certificate", || {
        let names = tls::names(&tls::leaf(stage.https, "www.shop.test")?)?;
        ensure(
            names.contains(&"www.shop.test".to_owned()),
            format!("{names:?}"),
        )
    })?;
    until("the end of its deployment", || {
        let status = manager.status()?;
        ensure(status["certificates"][1]["agree"] == true, &status)
    })?;
    let said = manager.expect(["remove", "shop.test"])?.stdout;
    ensure(said.trim() == "shop.test: removed and archived", &said)?;
    ensure(
        tls::leaf(stage.https, "shop.test")? == first,
        "it is still served",
    )?;
    let file = stage.path("live/shop.test.pem").display().to_string();
    let loaded = haproxy.runtime("show ssl cert")?;
    ensure(
        !loaded.contains(&file) && !stage.path("live/shop.test.pem").exists(),
        loaded,
    )?;
    let archived = fs::read_dir(stage.path("state/archive"))
        .map_err(|e| e.to_string())?
        .count();
    ensure(archived == 1, format!("{archived} in the archive"))?;
    let file = manager.call(["remove", "example.test"])?;
    ensure(
        file.code() == Some(1) && file.stderr.contains("configuration"),
        format!("{file:?}"),
    )?;
    ensure(haproxy.worker()? == worker, "HAProxy was reloaded")?;
    daemon.stop()
}

fn from_csv(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &[])?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    let mut text = "name,names\n".to_owned();
    for number in 0..12 {
        text.push_str(&format!("n{number},n{number}.test;www.n{number}.test\n"));
    }
    text.push_str("# a comment\nbad,*.wild.test\nn3,other.test\n");
    let file = stage.write("domains.csv", &text)?.display().to_string();
    let before = fs::read(stage.path("state/desired/certificates.json")).ok();
    let dry = manager.call(["add", "--dry-run", "--csv", &file])?;
    ensure(
        dry.stdout.contains("12 would be added") && before.is_none(),
        format!("{dry:?}"),
    )?;
    let ended = manager.call(["add", "--csv", &file])?;
    ensure(ended.code() == Some(3), format!("{ended:?}"))?;
    for word in [
        "domains.csv:15: \"*.wild.test\"",
        "domains.csv:16: n3 was added with other names",
    ] {
        ensure(ended.stderr.contains(word), format!("{word}: {ended:?}"))?;
    }
    let again = manager.call(["add", "--csv", &file])?;
    ensure(
        again
            .stdout
            .contains("0 added, 0 changed, 12 there already"),
        format!("{again:?}"),
    )?;
    let issued = manager.expect(["issue"])?.stdout;
    ensure(
        issued.contains("12 done, 0 with nothing to do, 0 failed"),
        &issued,
    )?;
    for number in 0..12 {
        let name = format!("www.n{number}.test");
        ensure(
            tls::names(&tls::leaf(stage.https, &name)?)?.contains(&name),
            &name,
        )?;
    }
    Ok(())
}

fn count_done(manager: &Manager<'_>) -> Result<usize, String> {
    let status = manager.status()?;
    let rows = status["certificates"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Ok(rows
        .iter()
        .filter(|row| row["agree"] == Value::Bool(true))
        .count())
}

fn stopped(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &[])?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    let names = Vec::from_iter((0..20).map(|number| format!("n{number}.test")));
    let file = stage
        .write("domains.csv", &names.join("\n"))?
        .display()
        .to_string();
    manager.expect(["add", "--csv", &file])?;
    let mut command = manager.start(["issue"])?;
    until("the first certificates", || {
        ensure(pebble.issued() >= 3, pebble.issued())
    })?;
    command.signal(Signal::INT)?;
    let code = command.wait()?.code();
    ensure(code == Some(3), format!("{code:?}: {}", command.output()))?;
    ensure(command.output().contains("of 20"), command.output())?;
    let done = count_done(&manager)?;
    ensure(done < 20, "it did not stop")?;
    manager.expect(["issue"])?;
    let (done, issued) = (count_done(&manager)?, pebble.issued());
    // What was under way when it stopped is gone on with, not ordered anew.
    ensure(
        done == 20 && issued == 20,
        format!("{done} of 20, {issued} issued"),
    )
}

fn the_last(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &[])?;
    manager.expect(["add", "only.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    fs::remove_file(stage.path("live/example.test.pem")).map_err(|error| error.to_string())?;
    let said = manager.expect(["remove", "--purge", "only.test"])?.stdout;
    ensure(said.contains("placeholder"), &said)?;
    ensure(
        !stage.path("state/certs/only.test").exists(),
        "its keys are still there",
    )?;
    haproxy.reload()?;
    let issuer = until("the new worker", || {
        tls::issuer(&tls::leaf(stage.https, "only.test")?)
    })?;
    ensure(issuer.contains("placeholder"), issuer)
}

fn rehearsal(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let text = fs::read_to_string(stage.path("spoacme.toml")).map_err(|e| e.to_string())?;
    // The CA itself is out of reach; its staging directory is there.
    let text = text
        .replace("directory = \"https", "staging = \"https")
        .replace("directory-root", "staging-root")
        .replace(
            "agree-to-terms",
            "directory = \"https://127.0.0.1:1/dir\"\nagree-to-terms",
        );
    stage.write("spoacme.toml", &text)?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    let before = tls::leaf(stage.https, "example.test")?;
    let said = manager.expect(["issue", "--dry-run"])?.stdout;
    ensure(
        said.contains("the staging CA issues it; nothing was changed"),
        &said,
    )?;
    ensure(pebble.issued() == 1, "the staging CA was not asked")?;
    ensure(
        tls::leaf(stage.https, "example.test")? == before,
        "something was deployed",
    )?;
    ensure(
        !stage.path("state/certs/example.test").exists(),
        "a generation was kept",
    )?;
    ensure(
        manager.call(["issue"])?.code() == Some(1),
        "the CA itself answered",
    )
}

fn second_daemon(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let daemon = manager.run()?;
    until("the daemon", || {
        fs::metadata(stage.path("live/example.test.pem"))
    })?;
    let second = manager.call(["run"])?;
    ensure(second.code() == Some(1), format!("{second:?}"))?;
    ensure(
        second.stderr.contains("daemon.lock is held by process"),
        format!("{second:?}"),
    )?;
    daemon.stop()
}
