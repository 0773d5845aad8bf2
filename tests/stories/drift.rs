//! What drifts, fails or is done by hand in odd moments: nothing good is lost,
//! and somebody is told.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use spoacme_tests::haproxy::{Haproxy, Release, captured};
use spoacme_tests::manager::{self, Manager};
use spoacme_tests::pebble::{Options, Pebble};
use spoacme_tests::ports;
use spoacme_tests::proxy::{Fault, Proxy};
use spoacme_tests::stage::Stage;
use spoacme_tests::tls;
use spoacme_tests::wait::{ensure, until, until_within};

use crate::Story;
use crate::deploy::{bind, with_external};

pub(crate) const STORIES: &[Story] = &[
    ("somebody's open transaction: told who waits", transaction),
    ("damaged record: the others are issued, it is told", damaged),
    ("chain cut by hand: loaded whole again", chain),
    ("rollback of an old certificate: kept", rollback_kept),
    (
        "rollback to an expired one: refused, all as it was",
        rollback_expired,
    ),
    ("two HAProxys behind one address: renewed", one_address),
    ("new HAProxy refuses: the other keeps its newest", newcomer),
    (
        "a name that another certificate wins: not taken back",
        overlap,
    ),
    ("repair refused: the file stays", repair_refused),
    ("reload overtakes a swap before its proof", overtaken),
    ("HAProxy goes away in the middle of a proof", away),
    ("pipe instead of a bundle: nothing waits for it", pipe),
    (
        "others' removed certificate: forgotten with its key",
        removed,
    ),
];

/// The usual players, with nothing issued yet.
macro_rules! playing {
    ($release:expr, $options:expr => $stage:ident, $pebble:ident, $manager:ident) => {
        let $stage = Stage::new($release)?;
        let $pebble = $stage.pebble(&$options)?;
        let $manager = $stage.manager(&$pebble, &["example.test"])?;
        crate::outage::placeholder(&$stage)?;
    };
}

/// A command that writes each alert into a file.
fn alerts(stage: &Stage) -> Result<(), String> {
    let out = stage.path("told.txt").display().to_string();
    let text = format!(
        "[alerts]\ngrace-seconds = 1\n\n[[alert]]\n\
         command = [\"/bin/sh\", \"-c\", \"cat >> {out}; echo >> {out}\"]\n"
    );
    stage.write("conf.d/alerts.toml", &text).map(drop)
}

fn wait_for_alert(stage: &Stage, manager: &Manager<'_>, word: &str) -> Result<(), String> {
    until("an alert", || {
        let told = fs::read_to_string(stage.path("told.txt")).unwrap_or_default();
        ensure(told.contains(word), format!("{told}\n{}", manager.log()))
    })
}

fn self_signed(name: &str) -> Result<String, String> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]);
    let made = made.map_err(|error| error.to_string())?;
    Ok(made.cert.pem() + &made.signing_key.serialize_pem())
}

fn text(path: PathBuf) -> Result<String, String> {
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn transaction(release: &Release) -> Result<(), String> {
    playing!(release, Options::default() => stage, pebble, manager);
    stage.write("live/zzz.pem", &self_signed("zzz.test")?)?;
    alerts(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    let other = stage.path("live/zzz.pem").display().to_string();
    haproxy.runtime(&format!(
        "set ssl cert {other} <<\n{}",
        self_signed("zzz.test")?
    ))?;
    let ended = manager.call(["renew", "example.test"])?;
    ensure(ended.stderr.contains("and not ours"), format!("{ended:#?}"))?;
    wait_for_alert(&stage, &manager, "and not ours")?;
    haproxy.runtime(&format!("abort ssl cert {other}"))?;
    manager.wait_for_generation(2)?;
    ensure(pebble.issued() == 2, "issued again")?;
    daemon.stop()
}

fn damaged(release: &Release) -> Result<(), String> {
    playing!(release, Options::default() => stage, pebble, manager);
    alerts(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    stage.write("state/ledger/example.test.json", "")?;
    stage.write("state/certs/example.test/1/key.pem", "")?;
    let daemon = manager.run()?;
    manager.add(&["later.test"])?;
    until("the other certificate", || {
        tls::leaf(stage.https, "later.test")
            .and_then(|leaf| tls::names(&leaf))
            .and_then(|names| ensure(names == ["later.test"], manager.log()))
    })?;
    wait_for_alert(&stage, &manager, "is damaged")?;
    ensure(pebble.issued() == 2, "issued again")?;
    daemon.stop()
}

fn chain(release: &Release) -> Result<(), String> {
    playing!(release, Options::default() => stage, pebble, manager);
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let whole = tls::chain(stage.https, "example.test")?;
    let file = stage.path("live/example.test.pem");
    let pem = text(file.clone())?;
    let end = "-----END CERTIFICATE-----\n";
    let leaf = pem.split_inclusive(end).next().unwrap_or_default();
    let key = pem.rsplit(end).next().unwrap_or_default();
    fs::write(&file, format!("{leaf}{key}")).map_err(|error| error.to_string())?;
    haproxy.reload()?;
    ensure(
        tls::chain(stage.https, "example.test")?.len() == 1,
        "the chain is not cut",
    )?;
    manager.expect(["issue"])?;
    ensure(
        tls::chain(stage.https, "example.test")? == whole,
        "the chain is not whole",
    )?;
    ensure(text(file)? == pem, "the file is not whole")?;
    manager.wait_for_generation(1)?;
    ensure(pebble.issued() == 1, "issued again")
}

/// The one gone back to is past the time of its renewal: that is why there was
/// a newer one.
fn rollback_kept(release: &Release) -> Result<(), String> {
    let options = Options {
        validity_seconds: 60,
        ..Options::default()
    };
    playing!(release, options => stage, pebble, manager);
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    let first = tls::leaf(stage.https, "example.test")?;
    let patience = Duration::from_secs(60);
    until_within(patience, "a renewal", || {
        ensure(pebble.issued() == 2, "none yet")
    })?;
    until("the second", || {
        ensure(
            tls::leaf(stage.https, "example.test")? != first,
            "the first",
        )
    })?;
    manager.expect(["rollback", "example.test"])?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        ensure(
            tls::leaf(stage.https, "example.test")? == first,
            manager.log(),
        )?;
        sleep(Duration::from_millis(50));
    }
    ensure(pebble.issued() == 2, "issued again")?;
    daemon.stop()
}

fn rollback_expired(release: &Release) -> Result<(), String> {
    let options = Options {
        validity_seconds: 12,
        ..Options::default()
    };
    playing!(release, options => stage, _pebble, manager);
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let begun = Instant::now();
    sleep(Duration::from_secs(9));
    manager.expect(["renew", "example.test"])?;
    let newest = tls::leaf(stage.https, "example.test")?;
    sleep(Duration::from_secs(13).saturating_sub(begun.elapsed()));
    let ended = manager.call(["rollback", "example.test"])?;
    ensure(
        ended.code() == Some(1) && ended.stderr.contains("expired"),
        format!("{ended:#?}"),
    )?;
    ensure(
        tls::leaf(stage.https, "example.test")? == newest,
        "another is served",
    )?;
    manager.wait_for_generation(2).map(drop)
}

/// A second HAProxy with a directory of its own.
fn other(stage: &Stage, https: u16, directory: &str) -> Result<Haproxy, String> {
    let configuration = format!(
        "global\n stats socket {} level admin\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 50s\n timeout server 50s\n\
         frontend f\n bind 127.0.0.1:{https} ssl crt {}\n http-request return status 200\n",
        stage.path("other.sock").display(),
        stage.path(directory).display(),
    );
    let path = stage.write("other.cfg", &configuration)?;
    Haproxy::start_other(stage, &path, "other.sock")
}

fn configure_other(
    stage: &Stage,
    manager: &Manager<'_>,
    https: u16,
    socket: &str,
) -> Result<(), String> {
    let table = format!(
        "[[haproxy]]\nname = \"other\"\nsocket = {:?}\ncertificates = {:?}\n\
         verify = [\"127.0.0.1:{https}\"]\n",
        stage.path(socket),
        stage.path("live2")
    );
    manager.amend("[haproxy]", "[[haproxy]]")?;
    stage.write("conf.d/other.toml", &table).map(drop)
}

fn one_address(release: &Release) -> Result<(), String> {
    playing!(release, Options::default() => stage, pebble, manager);
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let file = "example.test.pem";
    fs::create_dir(stage.path("live2")).map_err(|error| error.to_string())?;
    fs::copy(
        stage.path("live").join(file),
        stage.path("live2").join(file),
    )
    .map_err(|error| error.to_string())?;
    let _other = other(&stage, stage.https, "live2")?;
    configure_other(&stage, &manager, stage.https, "other.sock")?;
    manager.expect(["renew", "example.test"])?;
    manager.wait_for_generation(2)?;
    ensure(pebble.issued() == 2, "issued again")
}

fn newcomer(release: &Release) -> Result<(), String> {
    playing!(release, Options::default() => stage, pebble, manager);
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    manager.expect(["renew", "example.test"])?;
    let newest = tls::leaf(stage.https, "example.test")?;
    fs::create_dir(stage.path("live2")).map_err(|error| error.to_string())?;
    stage.write("live2/aaa.pem", &self_signed("default.test")?)?;
    let https = ports::free()?;
    let _other = other(&stage, https, "live2")?;
    let proxy = Proxy::start(&stage.path("other-proxy.sock"), &stage.path("other.sock"))?;
    let file = stage.path("live2/example.test.pem");
    refuse(&proxy, release, &file)?;
    configure_other(&stage, &manager, https, "other-proxy.sock")?;
    for words in [
        "on other: HAProxy: HAProxy rejects",
        "on other: refused before",
    ] {
        let ended = manager.call(["issue"])?;
        ensure(ended.stderr.contains(words), format!("{words}: {ended:#?}"))?;
        ensure(
            tls::leaf(stage.https, "example.test")? == newest,
            "another is served",
        )?;
        ensure(!file.exists(), "what it refuses is left in its directory")?;
    }
    proxy.let_fail(|_| Fault::None);
    manager
        .expect(["deploy", "--again"])
        .or_else(|_| manager.call(["deploy", "--again"]))?;
    ensure(pebble.issued() == 2, "issued again")
}

/// From now on HAProxy refuses what is committed as `file`.
fn refuse(proxy: &Proxy, release: &Release, file: &std::path::Path) -> Result<(), String> {
    let reply = captured(&release.series, "commit-mismatch")?;
    let reply = reply.replace("/etc/haproxy/live/a.pem", &file.display().to_string());
    proxy.let_fail(move |line| match line.starts_with("commit") {
        true => Fault::Answer(reply.clone().into_bytes()),
        false => Fault::None,
    });
    Ok(())
}

/// It was not served for that name before either.
fn overlap(release: &Release) -> Result<(), String> {
    playing!(release, Options::default() => stage, pebble, manager);
    let both = "[[certificate]]\nname = \"z\"\nnames = [\"z.test\", \"example.test\"]\n";
    stage.write("conf.d/z.toml", both)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.call(["issue"])?;
    let ended = manager.call(["renew", "z"])?;
    ensure(
        ended.stderr.contains("does not serve it for example.test")
            && !ended.stderr.contains("rolled back"),
        format!("{ended:#?}"),
    )?;
    ensure(
        pebble.issued() == 3,
        format!("{} were issued", pebble.issued()),
    )
}

/// Somebody loads another by hand, and HAProxy does not take ours back.
fn repair_refused(release: &Release) -> Result<(), String> {
    let mut stage = Stage::new(release)?;
    let file = stage.path("site.pem");
    bind(&mut stage, &format!("crt {}", file.display()))?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let table = "[[certificate]]\n";
    manager.amend(table, &format!("{table}file = {file:?}\n"))?;
    stage.write("site.pem", &self_signed("example.test")?)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let proxy = manager.through_proxy()?;
    manager.expect(["issue"])?;
    let ours = text(file.clone())?;
    let path = file.display();
    haproxy.runtime(&format!(
        "set ssl cert {path} <<\n{}",
        self_signed("example.test")?
    ))?;
    haproxy.runtime(&format!("commit ssl cert {path}"))?;
    refuse(&proxy, release, &file)?;
    let ended = manager.call(["issue"])?;
    ensure(ended.code() == Some(1), format!("{ended:#?}"))?;
    ensure(text(file)? == ours, "the file is another")?;
    Haproxy::check(&stage).map(drop)
}

/// A renewal that stands still once HAProxy has the new certificate.
fn swapped(stage: &Stage) -> Result<(Child, PathBuf), String> {
    let reached = stage.path("reached");
    let action = format!("swapped=pause:{}", reached.display());
    let child = manager::spoacme(stage, ["renew", "example.test"])
        .env("SPOACME_FAILPOINT", action)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    until("the swap", || ensure(reached.exists(), "not yet"))?;
    Ok((child, reached))
}

/// A worker that had read the old file comes up with it.
fn overtaken(release: &Release) -> Result<(), String> {
    playing!(release, Options::default() => stage, pebble, manager);
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let file = stage.path("live/example.test.pem");
    let old = text(file.clone())?;
    let (child, reached) = swapped(&stage)?;
    let new = text(file.clone())?;
    fs::write(&file, old).map_err(|error| error.to_string())?;
    haproxy.reload()?;
    fs::write(&file, new).map_err(|error| error.to_string())?;
    fs::remove_file(&reached).map_err(|error| error.to_string())?;
    let ended = manager::wait(child)?;
    ensure(ended.status.success(), format!("{ended:#?}"))?;
    manager.wait_for_generation(2)?;
    ensure(pebble.issued() == 2, "issued again")
}

fn away(release: &Release) -> Result<(), String> {
    playing!(release, Options::default() => stage, pebble, manager);
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let (child, reached) = swapped(&stage)?;
    drop(haproxy);
    fs::remove_file(&reached).map_err(|error| error.to_string())?;
    let ended = manager::wait(child)?;
    ensure(!ended.stderr.contains("rolled back"), format!("{ended:#?}"))?;
    let _haproxy = stage.haproxy()?;
    manager.call(["issue"])?;
    manager.wait_for_generation(2)?;
    ensure(pebble.issued() == 2, "issued again")
}

fn pipe(release: &Release) -> Result<(), String> {
    playing!(release, Options::default() => stage, pebble, manager);
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    let made = Command::new("mkfifo").arg(stage.path("site.pem")).status();
    ensure(made.is_ok_and(|status| status.success()), "no pipe")?;
    with_external(&manager, &stage, "site.pem")?;
    let daemon = manager.run()?;
    manager.add(&["later.test"])?;
    manager.wait_for_generation(1)?;
    until("a complaint", || {
        let log = manager.log();
        ensure(
            log.contains("it is no regular file") || log.contains("it is missing"),
            &log,
        )
    })?;
    ensure(pebble.issued() == 2, "not both were issued")?;
    daemon.stop()
}

fn removed(release: &Release) -> Result<(), String> {
    let mut stage = Stage::new(release)?;
    let others = stage.path("others");
    fs::create_dir(&others).map_err(|error| error.to_string())?;
    bind(&mut stage, &format!("crt {}", others.display()))?;
    stage.write("others/a.pem", &self_signed("a.test")?)?;
    stage.write("others/b.pem", &self_signed("b.test")?)?;
    let pebble: Pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &[])?;
    with_external(&manager, &stage, "others")?;
    let _haproxy = stage.haproxy()?;
    let daemon = manager.run()?;
    let kept = |count: usize| {
        until("the records", || {
            let entries = fs::read_dir(stage.path("state/external")).map_err(|e| e.to_string())?;
            let found = entries.count();
            ensure(found == count, format!("{found} files\n{}", manager.log()))
        })
    };
    kept(4)?;
    fs::remove_file(others.join("b.pem")).map_err(|error| error.to_string())?;
    kept(2)?;
    daemon.stop()
}
