//! What is asked of a CA: kinds of keys, profiles, accounts.

use std::fs;

use spoacme_tests::haproxy::Release;
use spoacme_tests::pebble::{DAY_PROFILE, EXTERNAL_ACCOUNT, Options};
use spoacme_tests::stage::Stage;
use spoacme_tests::tls;
use spoacme_tests::wait::ensure;

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("kinds of keys and profile: as asked, and kept", as_asked),
    ("external account: bound, or said what is missing", external),
];

fn as_asked(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let options = Options {
        has_day_profile: true,
        ..Options::default()
    };
    let pebble = stage.pebble(&options)?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    let ask = |key: &str, profile: &str| {
        let text = format!(
            "[[certificate]]\nnames = [\"second.test\"]\nkey-type = {key:?}\nprofile = {profile:?}\n"
        );
        stage.write("conf.d/second.toml", &text)
    };
    for (key, size) in [("rsa-2048", 270), ("ecdsa-p384", 97), ("ecdsa-p256", 65)] {
        ask(key, DAY_PROFILE)?;
        manager.expect(["renew", "second.test"])?;
        let leaf = tls::leaf(stage.https, "second.test")?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).map_err(|e| e.to_string())?;
        let found = parsed.public_key().subject_public_key.data.len();
        ensure(found == size, format!("{key}: {found} bytes"))?;
        let validity = parsed.validity();
        let life = validity.not_after.timestamp() - validity.not_before.timestamp();
        ensure(life <= 86400, format!("a life of {life} s"))?;
    }
    ask("ecdsa-p256", "forever")?;
    let ended = manager.call(["renew", "second.test"])?;
    let words = "the CA has no profile \"forever\"; it has: ";
    ensure(
        ended.stderr.contains(words) && ended.stderr.contains(DAY_PROFILE),
        format!("{ended:#?}"),
    )?;
    ask("rsa-1024", DAY_PROFILE)?;
    let ended = manager.call(["config", "check"])?;
    ensure(
        ended.code() == Some(78) && ended.stderr.contains("second.toml:3"),
        format!("{ended:#?}"),
    )
}

fn external(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let options = Options {
        wants_external_account: true,
        ..Options::default()
    };
    let pebble = stage.pebble(&options)?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    let ended = manager.call(["issue"])?;
    ensure(
        ended.code() == Some(1) && ended.stderr.contains("`eab-key-id` and `eab-key-file`"),
        format!("{ended:#?}"),
    )?;
    let file = stage.path("mac-key");
    let (id, key) = EXTERNAL_ACCOUNT;
    let lines = format!("agree-to-terms = true\neab-key-id = {id:?}\neab-key-file = {file:?}\n");
    manager.amend("agree-to-terms = true\n", &lines)?;
    // As if the back-off were over, and no account had been tried.
    for part in ["ledger", "accounts"] {
        let path = stage.path("state").join(part);
        fs::remove_dir_all(&path).map_err(|error| error.to_string())?;
    }
    let ended = manager.call(["issue"])?;
    ensure(
        ended.stderr.contains("eab-key-file") && ended.stderr.contains("No such file"),
        format!("{ended:#?}"),
    )?;
    fs::write(&file, format!("{key}\n")).map_err(|error| error.to_string())?;
    let ended = manager.expect(["renew", "example.test"])?;
    ensure(!ended.stderr.contains(key), "the MAC key was printed")?;
    manager.expect(["renew", "example.test"])?;
    manager.wait_for_generation(2).map(drop)
}
