//! The shipped configuration.

use spoacme_tests::haproxy::{self, Haproxy, Release};
use spoacme_tests::manager::{Ended, command};
use spoacme_tests::pebble::Options;
use spoacme_tests::stage::Stage;
use spoacme_tests::wait::ensure;

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("shipped configuration loads without a warning", loads),
    ("printed configuration is valid", printed),
    ("haproxy-config --diff: what is missing is said", diff),
];

fn loads(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    // It needs a certificate to load: the placeholder.
    let daemon = stage.manager(&pebble, &["example.test"])?.run()?;
    spoacme_tests::wait::until("the placeholder", || {
        std::fs::metadata(stage.path("live/example.test.pem"))
    })?;
    let said = Haproxy::check(&stage)?;
    ensure(said.is_empty(), format!("it says: {said}"))?;
    daemon.stop()
}

fn printed(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let program = release.path.display().to_string();
    let check = ["haproxy-config", "--check", "--haproxy", &program];
    let neighbours = ["--neighbour", "192.0.2.2", "--neighbour", "2001:db8::3"];
    for arguments in [check.to_vec(), [check.as_slice(), &neighbours].concat()] {
        let ended = command(&stage, &arguments)?;
        let wanted = format!("valid for HAProxy {}, without a warning", release.exact);
        ensure(ended.code() == Some(0), format!("{ended:#?}"))?;
        ensure(ended.stdout.trim() == wanted, format!("{ended:#?}"))?;
    }
    Ok(())
}

fn diff(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let spoe_conf = haproxy::repository().join("haproxy/etc/spoe-acme.conf");
    let complete = command(&stage, &["haproxy-config", "--complete"])?.stdout;
    let complete = complete.replace(
        "/etc/haproxy/spoe-acme.conf",
        &spoe_conf.display().to_string(),
    );
    let diff = |text: &str| -> Result<Ended, String> {
        let file = stage.write("haproxy.cfg", text)?.display().to_string();
        command(&stage, &["haproxy-config", "--diff", "--file", &file])
    };
    let whole = diff(&complete)?;
    ensure(whole.code() == Some(0), format!("{whole:#?}"))?;
    ensure(
        whole.stdout.contains("nothing is missing"),
        format!("{whole:#?}"),
    )?;
    // The rule that everybody has, and that swallows the challenge.
    let swallowing = complete.replace("301 unless acme-challenge", "301 unless { ssl_fc }");
    let found = diff(&swallowing)?;
    ensure(found.code() == Some(1), format!("{found:#?}"))?;
    for word in [
        "takes challenges",
        "unless { path_beg /.well-known/acme-challenge/ }",
        "1 thing to mend",
    ] {
        ensure(found.stdout.contains(word), format!("{word}: {found:#?}"))?;
    }
    Ok(())
}
