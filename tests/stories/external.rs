//! Certificates that others make: swapped when their files change.

use std::fs;
use std::path::Path;
use std::process::Command;

use spoacme_tests::haproxy::Release;
use spoacme_tests::pebble::Options;
use spoacme_tests::stage::Stage;
use spoacme_tests::tls;
use spoacme_tests::wait::{ensure, until};

use crate::Story;
use crate::deploy::{bind, with_external};

pub(crate) const STORIES: &[Story] = &[
    ("others' certificates: swapped when files change", directory),
    ("others' ECDSA and RSA pair: both or neither", pair),
];

fn directory(release: &Release) -> Result<(), String> {
    let mut stage = Stage::new(release)?;
    fs::create_dir(stage.path("others")).map_err(|error| error.to_string())?;
    let others = stage.path("others");
    bind(&mut stage, &format!("crt {}", others.display()))?;
    make(&stage, "others/a.pem", "a.test", Key::Ecdsa)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &[])?;
    with_external(&manager, &stage, "others")?;
    let haproxy = stage.haproxy()?;
    let worker = haproxy.worker()?;
    let daemon = manager.run()?;
    let served = |name: &str, leaf: &[u8]| {
        until("the new content", || {
            let served = tls::leaf(stage.https, name)?;
            ensure(served.as_ref() == leaf, manager.log())
        })
    };
    // Changed, new, and again after it was nonsense.
    let second = make(&stage, "others/a.pem", "a.test", Key::Ecdsa)?;
    served("a.test", &second)?;
    let new = make(&stage, "others/b.pem", "b.test", Key::Ecdsa)?;
    served("b.test", &new)?;
    stage.write("others/a.pem", "nonsense")?;
    until("a complaint", || {
        let log = manager.log();
        ensure(
            log.contains("others/a.pem: ") && log.contains("ERROR"),
            &log,
        )
    })?;
    served("a.test", &second)?;
    let third = make(&stage, "others/a.pem", "a.test", Key::Ecdsa)?;
    served("a.test", &third)?;
    ensure(haproxy.worker()? == worker, "a reload")?;
    daemon.stop()
}

fn pair(release: &Release) -> Result<(), String> {
    let mut stage = Stage::new(release)?;
    let site = stage.path("site.pem");
    bind(&mut stage, &format!("crt {}", site.display()))?;
    let ecdsa = make(&stage, "site.pem.ecdsa", "a.test", Key::Ecdsa)?;
    make(&stage, "site.pem.rsa", "a.test", Key::Rsa)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &[])?;
    with_external(&manager, &stage, "site.pem")?;
    let proxy = manager.through_proxy()?;
    let _haproxy = stage.haproxy()?;
    let daemon = manager.run()?;
    until("the first pair", || {
        let records = fs::read_dir(stage.path("state/external")).map_err(|e| e.to_string())?;
        ensure(records.count() >= 3, manager.log())
    })?;
    // HAProxy refuses the RSA half: the ECDSA half is taken back too.
    let reply = spoacme_tests::haproxy::captured(&release.series, "commit-mismatch")?;
    let reply = reply.replace(
        "/etc/haproxy/live/a.pem",
        &format!("{}.rsa", site.display()),
    );
    proxy.let_fail(
        move |line| match line.starts_with("commit") && line.ends_with(".rsa") {
            true => spoacme_tests::proxy::Fault::Answer(reply.clone().into_bytes()),
            false => spoacme_tests::proxy::Fault::None,
        },
    );
    make_pair(&stage)?;
    until("the refusal", || {
        let log = manager.log();
        ensure(log.contains("rolled back to what was served before"), &log)
    })?;
    ensure(
        tls::leaf(stage.https, "a.test")?.as_ref() == ecdsa,
        "half a pair is served",
    )?;
    proxy.let_fail(|_| spoacme_tests::proxy::Fault::None);
    let newest = make_pair(&stage)?;
    until("the newest pair", || {
        let served = tls::leaf(stage.https, "a.test")?;
        ensure(served.as_ref() == newest, manager.log())
    })?;
    daemon.stop()
}

/// Both files at once, as far as a watcher can see.
fn make_pair(stage: &Stage) -> Result<Vec<u8>, String> {
    let leaf = make(stage, "new.ecdsa", "a.test", Key::Ecdsa)?;
    make(stage, "new.rsa", "a.test", Key::Rsa)?;
    for kind in ["ecdsa", "rsa"] {
        let (from, to) = (format!("new.{kind}"), format!("site.pem.{kind}"));
        fs::rename(stage.path(&from), stage.path(&to)).map_err(|error| error.to_string())?;
    }
    Ok(leaf)
}

#[derive(Clone, Copy)]
enum Key {
    Ecdsa,
    Rsa,
}

/// Writes a self-signed bundle, and gives its leaf.
fn make(stage: &Stage, file: &str, name: &str, key: Key) -> Result<Vec<u8>, String> {
    let (key_file, leaf_file) = (stage.path("made.key"), stage.path("made.pem"));
    let algorithm: &[&str] = match key {
        Key::Ecdsa => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        Key::Rsa => &["-newkey", "rsa:2048"],
    };
    let names = format!("subjectAltName=DNS:{name}");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=others",
            "-addext",
            &names,
        ])
        .args(algorithm)
        .args([
            Path::new("-keyout"),
            &key_file,
            Path::new("-out"),
            &leaf_file,
        ])
        .output()
        .map_err(|error| format!("openssl: {error}"))?;
    ensure(made.status.success(), String::from_utf8_lossy(&made.stderr))?;
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
    let pem = format!("{}{}", read(&leaf_file)?, read(&key_file)?);
    // As careful clients do: whole or not at all.
    stage.write(".new.tmp", &pem)?;
    fs::rename(stage.path(".new.tmp"), stage.path(file)).map_err(|error| error.to_string())?;
    let der = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|e| e.to_string())?;
    Ok(der.1.contents)
}
