//! The demonstration that `scripts/demo` runs: a certificate is issued
//! through the agent, hot-swapped into HAProxy, joined by a second one, and
//! renewed, while a visitor never stops making handshakes.
#![expect(clippy::print_stdout, reason = "it tells a story")]

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use spoacme_tests::haproxy::{Haproxy, releases};
use spoacme_tests::http;
use spoacme_tests::manager::{Manager, token};
use spoacme_tests::pebble::{self, Options};
use spoacme_tests::stage::Stage;
use spoacme_tests::tls::{self, Visitor};
use spoacme_tests::wait::{ensure, until};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().map(PathBuf::from).unwrap_or_default();
    let keep = arguments.next().as_deref() == Some("--keep");
    match tell(&root, keep) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe demonstration failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A certificate is renewed at half of so short a life.
const LIFE_SECONDS: u64 = 40;

fn tell(root: &std::path::Path, keep: bool) -> Result<(), String> {
    let release = releases()?.into_iter().next().ok_or("no HAProxy")?;
    println!(
        "HAProxy {}, Pebble {}, all on the loopback, in {}",
        release.exact,
        pebble::version(),
        root.display()
    );
    let started = Instant::now();
    let stage = Stage::within(&release, root)?;
    let options = Options {
        validity_seconds: LIFE_SECONDS,
        ..Options::default()
    };

    chapter(
        started,
        "Nothing has been issued yet; HAProxy starts all the same",
    );
    let pebble = stage.pebble(&options)?;
    let manager = stage.manager(&pebble, &["shop.test", "www.shop.test"])?;
    let daemon = manager.run()?;
    until("the placeholder", || {
        std::fs::metadata(stage.path("live/shop.test.pem"))
    })?;
    let haproxy = stage.haproxy()?;
    let worker = haproxy.worker()?;
    say(&format!("haproxy.cfg as shipped; worker process {worker}"));
    say(&format!(
        "served for shop.test: {}",
        describe(stage.https, "shop.test")?
    ));

    chapter(
        started,
        "The agent starts; HAProxy asks it for challenge tokens, and for nothing else",
    );
    let _agent = stage.agent()?;
    show_lookups(&stage)?;

    chapter(started, "The manager issues");
    manager.wait_for_generation(1)?;
    retell(&manager, "shop.test");
    say(&format!(
        "served for shop.test: {}",
        describe(stage.https, "shop.test")?
    ));
    same_worker(&haproxy, worker)?;

    chapter(started, "A second name is added live: a file in conf.d");
    manager.add(&["blog.test"])?;
    until("both certificates", || {
        let status = manager.wait_for_generation(1)?;
        ensure(
            status["certificates"]
                .as_array()
                .is_some_and(|rows| rows.len() == 2),
            "one row",
        )
    })?;
    say(&format!(
        "served for blog.test: {}",
        describe(stage.https, "blog.test")?
    ));
    same_worker(&haproxy, worker)?;

    chapter(
        started,
        "Half of their life is over; a visitor keeps coming while they are renewed",
    );
    let visitor = Visitor::begin(stage.https, "shop.test");
    manager.wait_for_generation(2)?;
    let seen = visitor.end();
    say(&format!(
        "{} handshakes, {} failed, {} certificates seen",
        seen.handshakes,
        seen.failures.len(),
        seen.leaves.len()
    ));
    ensure(seen.failures.is_empty(), format!("{:?}", seen.failures))?;
    same_worker(&haproxy, worker)?;

    chapter(started, "spoacme status");
    for line in manager.expect(["status"])?.stdout.lines() {
        say(line);
    }
    println!("\nDone in {} seconds.", started.elapsed().as_secs());
    if keep {
        look_around(&stage)?;
    }
    daemon.stop()
}

fn chapter(started: Instant, title: &str) {
    println!("\n[{:2} s] {title}", started.elapsed().as_secs());
}

fn say(line: &str) {
    println!("       {line}");
    // Whoever reads through a pipe reads along.
    let _ = io::stdout().flush();
}

/// A token known, for its host and for another, and one unknown.
fn show_lookups(stage: &Stage) -> Result<(), String> {
    const TOKEN: &str = "a-token-for-the-demonstration";
    let answer = format!("{TOKEN}.thumbprint");
    let path = format!("/.well-known/acme-challenge/{TOKEN}");
    token(stage, &["put", "--host", "shop.test", TOKEN, &answer])?;
    until("the agent's answer", || {
        let status = http::get(stage.http, "shop.test", &path)?.status;
        ensure(status == 200, format!("status {status}"))
    })?;
    for (host, path, what) in [
        ("shop.test", path.as_str(), "token published for this host"),
        ("blog.test", path.as_str(), "the same token, another host"),
        (
            "shop.test",
            "/.well-known/acme-challenge/another",
            "unknown token",
        ),
        ("shop.test", "/", "any other request: redirected to https"),
    ] {
        let status = http::get(stage.http, host, path)?.status;
        say(&format!("{status}  http://{host}{path:58} {what}"));
    }
    token(stage, &["delete", TOKEN]).map(drop)
}

/// What the manager has logged about a certificate.
fn retell(manager: &Manager<'_>, name: &str) {
    let about = format!("certificate={name}");
    for line in manager.log().lines().filter(|line| line.contains(&about)) {
        if let Some((_, text)) = line.split_once(" INFO ") {
            say(text);
        }
    }
}

fn describe(port: u16, name: &str) -> Result<String, String> {
    let chain = tls::chain(port, name)?;
    let issuer = tls::issuer(chain.first().ok_or("an empty chain")?)?;
    Ok(format!(
        "{} certificate(s), issued by {issuer}",
        chain.len()
    ))
}

fn same_worker(haproxy: &Haproxy, worker: u32) -> Result<(), String> {
    let now = haproxy.worker()?;
    ensure(now == worker, format!("HAProxy was reloaded: worker {now}"))?;
    say(&format!("no reload: still worker process {now}"));
    Ok(())
}

fn look_around(stage: &Stage) -> Result<(), String> {
    let root = stage.root().display();
    println!("\nAll of it keeps running. Look around from another terminal:");
    println!("  target/debug/spoacme -c {root}/spoacme.toml status");
    println!(
        "  curl -i -H 'Host: shop.test' http://127.0.0.1:{}/.well-known/acme-challenge/x",
        stage.http
    );
    println!(
        "  openssl s_client -connect 127.0.0.1:{} -servername shop.test </dev/null",
        stage.https
    );
    println!("  echo 'show ssl cert' | socat - {root}/admin.sock");
    println!("  tail -f {root}/spoacme.log {root}/agent.log");
    println!("Press Enter or Ctrl-C to end it.");
    io::stdin()
        .lock()
        .read_line(&mut String::new())
        .map(drop)
        .map_err(|error| error.to_string())
}
