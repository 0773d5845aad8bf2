//! Deploying, whatever HAProxy loads certificates from, and taking it back.

use std::fs;
use std::time::Duration;

use spoacme_tests::haproxy::{Haproxy, Release, captured, repository};
use spoacme_tests::manager::Manager;
use spoacme_tests::pebble::Options;
use spoacme_tests::ports;
use spoacme_tests::proxy::{Fault, Proxy};
use spoacme_tests::stage::Stage;
use spoacme_tests::tls;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("rollback, deploy, verify by hand", by_hand),
    ("swapped but not served: taken back by itself", not_served),
    ("by the master's socket", by_master),
    (
        "crt-list: line written once, live without a reload",
        crt_list,
    ),
    ("single crt file: swapped, also by default", single_file),
    ("two HAProxys, each its own truth", two),
    (
        "two HAProxys, one refuses: taken back on both",
        two_one_refuses,
    ),
    ("two processes on one port: mixed answers", mixed),
    (
        "reload begun before a swap: mended by the daemon",
        overtaken,
    ),
    ("somebody else's newer certificate stays", newer),
    (
        "HAProxy restarted with an old file: mended at once",
        restarted,
    ),
    ("strict-sni, TLS 1.3 only: proven all the same", strict),
];

fn by_hand(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let first = tls::leaf(stage.https, "example.test")?;
    let refused = manager.call(["rollback", "example.test"])?;
    ensure(
        refused.code() == Some(1) && refused.stderr.contains("no such generation"),
        format!("{refused:#?}"),
    )?;
    manager.expect(["renew", "example.test"])?;
    let second = tls::leaf(stage.https, "example.test")?;
    let ended = manager.expect(["rollback", "example.test", "--json"])?;
    ensure(
        ended.stdout.contains("\"generation\": 1"),
        format!("{ended:#?}"),
    )?;
    ensure(
        tls::leaf(stage.https, "example.test")? == first,
        "not rolled back",
    )?;
    // Neither a pass nor a command brings the newer one back.
    let idle = manager.call(["issue"])?;
    ensure(idle.code() == Some(4), format!("{idle:#?}"))?;
    manager.expect(["deploy", "--again", "example.test"])?;
    ensure(
        tls::leaf(stage.https, "example.test")? == second,
        "not deployed again",
    )?;
    let verified = manager.expect(["verify"])?;
    let line = format!("127.0.0.1:{} example.test: served", stage.https);
    ensure(verified.stdout.contains(&line), format!("{verified:#?}"))?;
    let elsewhere = format!("127.0.0.1:{}", stage.http);
    let failed = manager.call(["verify", "--json", "--address", &elsewhere])?;
    ensure(
        failed.code() == Some(1) && failed.stdout.contains("\"served\": false"),
        format!("{failed:#?}"),
    )
}

/// The Runtime API is that of a HAProxy that is not the one at the address.
fn not_served(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let before = tls::leaf(stage.https, "example.test")?;
    let other = Other::start(&stage)?;
    manager.amend(
        &format!("verify = [\"127.0.0.1:{}\"]", stage.https),
        &other.verify(),
    )?;
    let ended = manager.call(["renew", "example.test"])?;
    let words = ["rolled back to what was served before", "does not serve it"];
    for word in words {
        ensure(ended.stderr.contains(word), format!("{word}: {ended:#?}"))?;
    }
    ensure(ended.code() == Some(3), format!("{ended:#?}"))?;
    for port in [stage.https, other.https] {
        ensure(tls::leaf(port, "example.test")? == before, "not taken back")?;
    }
    let again = manager.call(["issue"])?;
    ensure(again.code() == Some(4), format!("{again:#?}"))?;
    ensure(pebble.issued() == 2, "issued again")
}

/// A second HAProxy that loads the same files.
struct Other {
    https: u16,
    _haproxy: Haproxy,
}

impl Other {
    fn start(stage: &Stage) -> Result<Self, String> {
        let https = ports::free()?;
        let text = format!(
            "global\n stats socket {} level admin\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 50s\n timeout server 50s\n\
             frontend f\n bind 127.0.0.1:{https} ssl crt {}\n http-request return status 200\n",
            stage.path("other.sock").display(),
            stage.path("live").display(),
        );
        let configuration = stage.write("other.cfg", &text)?;
        let _haproxy = Haproxy::start_other(stage, &configuration, "other.sock")?;
        Ok(Self { https, _haproxy })
    }

    fn verify(&self) -> String {
        format!("verify = [\"127.0.0.1:{}\"]", self.https)
    }
}

fn by_master(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let (socket, master) = (stage.path("admin.sock"), stage.path("master.sock"));
    let master = format!("master@{}", master.display());
    manager.amend(&socket.display().to_string(), &master)?;
    manager.expect(["issue"])?;
    haproxy.reload()?;
    manager.expect(["renew", "example.test"])?;
    manager.wait_for_generation(2).map(drop)
}

/// Instead of the directory, HAProxy loads a list that has others' lines too.
fn crt_list(release: &Release) -> Result<(), String> {
    let mut stage = Stage::new(release)?;
    let list = stage.path("list.txt");
    bind(&mut stage, &format!("crt-list {}", list.display()))?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let line = format!("crt-list = {list:?}\nverify =");
    manager.amend("verify =", &line)?;
    stage.write("list.txt", "# by hand\n")?;
    prepare(&manager)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let worker = haproxy.worker()?;
    manager.add(&["second.test"])?;
    manager.expect(["issue"])?;
    ensure(haproxy.worker()? == worker, "a reload")?;
    for _ in 0..2 {
        manager.wait_for_generation(1)?;
        let text = fs::read_to_string(&list).map_err(|error| error.to_string())?;
        let lines = ["example.test.pem", "second.test.pem"];
        let lines = lines.map(|file| format!("{}\n", stage.path("live").join(file).display()));
        ensure(text == format!("# by hand\n{}", lines.concat()), text)?;
        haproxy.reload()?;
        manager.expect(["renew", "--all"])?;
    }
    Ok(())
}

/// Lets the daemon make what HAProxy needs to start.
fn prepare(manager: &Manager<'_>) -> Result<(), String> {
    let daemon = manager.run()?;
    until("the placeholder", || {
        let log = manager.log();
        ensure(
            log.contains("placeholder made") && log.contains("started"),
            &log,
        )
    })?;
    daemon.stop()
}

/// `bind ... crt FILE`, whose certificate is also that of those without SNI.
fn single_file(release: &Release) -> Result<(), String> {
    let mut stage = Stage::new(release)?;
    let file = stage.path("site.pem");
    bind(&mut stage, &format!("crt {}", file.display()))?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let names = "[[certificate]]\n";
    manager.amend(names, &format!("{names}file = {file:?}\n"))?;
    prepare(&manager)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let worker = haproxy.worker()?;
    for generation in 1..=2 {
        manager.expect(["renew", "--all"])?;
        manager.wait_for_generation(generation)?;
    }
    let own = tls::leaf(stage.https, "example.test")?;
    ensure(
        tls::leaf(stage.https, "other.test")? == own,
        "not the default",
    )?;
    ensure(haproxy.worker()? == worker, "a reload")
}

fn two(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    let other = Other::start(&stage)?;
    let table = format!(
        "[[haproxy]]\nname = \"other\"\nsocket = {:?}\ncertificates = {:?}\n{}\n",
        stage.path("other.sock"),
        stage.path("live"),
        other.verify()
    );
    manager.amend("[haproxy]", "[[haproxy]]")?;
    stage.write("conf.d/other.toml", &table)?;
    manager.expect(["issue"])?;
    manager.wait_for_generation(1)?;
    let first = tls::leaf(stage.https, "example.test")?;
    ensure(
        tls::leaf(other.https, "example.test")? == first,
        "not on both",
    )?;
    // One that is away does not keep the other from its certificate.
    let https = other.https;
    drop(other);
    let ended = manager.call(["renew", "example.test"])?;
    ensure(
        ended.code() == Some(3) && ended.stderr.contains("on other: HAProxy: "),
        format!("{ended:#?}"),
    )?;
    let second = tls::leaf(stage.https, "example.test")?;
    ensure(second != first, "not renewed on the one that is there")?;
    ensure(
        tls::leaf(https, "example.test").is_err(),
        "the other is there",
    )?;
    let shown = manager.call(["status"])?;
    ensure(
        shown.stdout.contains("other: not reachable"),
        format!("{shown:#?}"),
    )
}

/// Both load the same files.
fn two_one_refuses(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    let other = Other::start(&stage)?;
    let socket = stage.path("other-proxy.sock");
    let proxy = Proxy::start(&socket, &stage.path("other.sock"))?;
    let table = format!(
        "[[haproxy]]\nname = \"other\"\nsocket = {socket:?}\ncertificates = {:?}\n{}\n",
        stage.path("live"),
        other.verify()
    );
    manager.amend("[haproxy]", "[[haproxy]]")?;
    stage.write("conf.d/other.toml", &table)?;
    manager.expect(["issue"])?;
    let first = tls::leaf(stage.https, "example.test")?;
    let file = stage.path("live/example.test.pem");
    let before = fs::read(&file).map_err(|error| error.to_string())?;
    let reply = captured(&release.series, "commit-mismatch")?;
    let reply = reply.replace("/etc/haproxy/live/a.pem", &file.display().to_string());
    proxy.let_fail(move |line| match line.starts_with("commit") {
        true => Fault::Answer(reply.clone().into_bytes()),
        false => Fault::None,
    });
    let ended = manager.call(["renew", "example.test"])?;
    ensure(
        ended.code() == Some(3) && ended.stderr.contains("on other: rolled back"),
        format!("{ended:#?}"),
    )?;
    for port in [stage.https, other.https] {
        ensure(tls::leaf(port, "example.test")? == first, "not taken back")?;
    }
    let now = fs::read(&file).map_err(|error| error.to_string())?;
    ensure(now == before, "the file is not the one before")?;
    manager.wait_for_generation(1).map(drop)
}

/// A worker that was reading the old file when the new one was swapped in.
fn overtaken(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    for generation in 2..=6 {
        let before = haproxy.worker()?;
        haproxy.begin_reload()?;
        let ended = manager.call(["renew", "example.test"])?;
        ensure(ended.stdout.contains("issued"), format!("{ended:#?}"))?;
        if haproxy.worker()? == before {
            haproxy.reload_from(before, Duration::from_secs(3))?;
        }
        manager.wait_for_generation(generation)?;
    }
    daemon.stop()
}

/// HAProxy binds with SO_REUSEPORT: another process shares the port unseen.
fn mixed(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let mut twin = Stage::new(release)?;
    twin.https = stage.https;
    let directory = twin.path("live");
    fs::create_dir(&directory).map_err(|error| error.to_string())?;
    let file = "live/example.test.pem";
    fs::copy(stage.path(file), twin.path(file)).map_err(|error| error.to_string())?;
    let _twin = twin.haproxy()?;
    let ended = manager.call(["renew", "example.test"])?;
    ensure(
        ended.stderr.contains("mixed answers"),
        format!("{ended:#?}"),
    )
}

fn newer(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    // Another client issues a newer one into the same file.
    let file = stage.path("live/example.test.pem");
    let theirs = elsewhere(release)?;
    fs::write(&file, &theirs).map_err(|error| error.to_string())?;
    let ended = manager.call(["issue"])?;
    let words = "what is in place for example.test is newer";
    ensure(
        ended.code() == Some(1) && ended.stderr.contains(words),
        format!("{ended:#?}"),
    )?;
    let now = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    ensure(now == theirs, "replaced")?;
    manager.expect(["deploy", "--force", "example.test"])?;
    manager.wait_for_generation(1).map(drop)
}

/// A bundle for the same name from another CA, made later.
fn elsewhere(release: &Release) -> Result<String, String> {
    // The dates of certificates have whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    fs::read_to_string(stage.path("live/example.test.pem")).map_err(|error| error.to_string())
}

/// A restore from a backup, say: the file is an old one, and HAProxy has it.
fn restarted(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    manager.expect(["issue"])?;
    let file = stage.path("live/example.test.pem");
    let old = fs::read(&file).map_err(|error| error.to_string())?;
    manager.expect(["renew", "example.test"])?;
    let newest = tls::leaf(stage.https, "example.test")?;
    let daemon = manager.run()?;
    manager.wait_for_generation(2)?;
    fs::write(&file, old).map_err(|error| error.to_string())?;
    haproxy.reload()?;
    until("the newest again", || {
        let served = tls::leaf(stage.https, "example.test")?;
        ensure(served == newest, manager.log())
    })?;
    manager.wait_for_generation(2)?;
    ensure(pebble.issued() == 2, "issued again")?;
    daemon.stop()
}

fn strict(release: &Release) -> Result<(), String> {
    let mut stage = Stage::new(release)?;
    let live = stage.path("live");
    let bind_line = format!("crt {} strict-sni ssl-min-ver TLSv1.3", live.display());
    bind(&mut stage, &bind_line)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    crate::outage::placeholder(&stage)?;
    let (_agent, _haproxy) = (stage.agent()?, stage.haproxy()?);
    for generation in 1..=2 {
        manager.expect(["renew", "--all"])?;
        manager.wait_for_generation(generation)?;
    }
    ensure(tls::leaf(stage.https, "other.test").is_err(), "not strict")
}

/// The shipped configuration, with another `bind ... ssl`.
pub(crate) fn bind(stage: &mut Stage, arguments: &str) -> Result<(), String> {
    let shipped = repository().join("haproxy/etc/haproxy.cfg");
    let text = fs::read_to_string(&shipped).map_err(|error| error.to_string())?;
    let old = "crt \"${SPOACME_CERTIFICATES-/var/lib/spoacme/live/}\"";
    ensure(text.contains(old), "the shipped bind line has changed")?;
    let path = stage.write("haproxy.cfg", &text.replace(old, arguments))?;
    stage.configuration = Some(path);
    Ok(())
}

/// A manager's configuration with `[[external]]` of `path`.
pub(crate) fn with_external(
    manager: &Manager<'_>,
    stage: &Stage,
    path: &str,
) -> Result<(), String> {
    let text = format!("[[external]]\npath = {:?}\n", stage.path(path));
    stage.write("conf.d/external.toml", &text)?;
    manager.call(["config", "check"]).map(drop)
}
