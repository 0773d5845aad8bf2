//! The demonstration that `scripts/demo` runs: a certificate is issued
//! through the agent, hot-swapped into HAProxy, joined by a second one, and
//! renewed, while a visitor never stops making handshakes.
#![expect(clippy::print_stdout, reason = "it tells a story")]

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
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

fn tell(root: &Path, keep: bool) -> Result<(), String> {
    let release = releases()?.into_iter().next().ok_or("no HAProxy")?;
    println!(
        "HAProxy {}, Pebble {}, all on the loopback, in {}",
        release.exact,
        pebble::version(),
        root.display()
    );
    let stage = Stage::within(&release, root)?;
    let options = Options {
        validity_seconds: LIFE_SECONDS,
        ..Options::default()
    };
    let pebble = stage.pebble(&options)?;
    let manager = stage.manager(&pebble, &["shop.test", "www.shop.test"])?;
    let demo = Demo {
        started: Instant::now(),
        stage: &stage,
        manager,
    };
    demo.tell(keep)
}

struct Demo<'a> {
    started: Instant,
    stage: &'a Stage,
    manager: Manager<'a>,
}

impl Demo<'_> {
    fn tell(&self, keep: bool) -> Result<(), String> {
        self.chapter("Nothing has been issued yet; HAProxy starts all the same");
        let daemon = self.manager.run()?;
        let haproxy = self.start_with_placeholder()?;
        let worker = haproxy.worker()?;

        self.chapter("The agent starts; HAProxy asks it for tokens, and for nothing else");
        let _agent = self.stage.agent()?;
        show_lookups(self.stage)?;

        self.chapter("The manager issues");
        self.manager.wait_for_generation(1)?;
        retell(&self.manager, "shop.test");
        self.show_served("shop.test")?;
        show_no_reload(&haproxy, worker)?;

        self.chapter("A second name is added live: a file in conf.d");
        self.add_second()?;
        show_no_reload(&haproxy, worker)?;

        self.chapter("Half of a short life is over: renewal, while a visitor keeps coming");
        self.renew_under_a_visitor()?;
        show_no_reload(&haproxy, worker)?;

        self.chapter("spoacme status");
        let status = self.manager.expect(["status"])?;
        status.stdout.lines().for_each(say);
        println!("\nDone in {} seconds.", self.started.elapsed().as_secs());
        if keep {
            look_around(self.stage)?;
        }
        daemon.stop()
    }

    fn start_with_placeholder(&self) -> Result<Haproxy, String> {
        let file = self.stage.path("live/shop.test.pem");
        until("the placeholder", || fs::metadata(&file))?;
        let haproxy = self.stage.haproxy()?;
        say(&format!(
            "haproxy.cfg as shipped; worker process {}",
            haproxy.worker()?
        ));
        self.show_served("shop.test")?;
        Ok(haproxy)
    }

    fn add_second(&self) -> Result<(), String> {
        self.manager.add(&["blog.test"])?;
        until("both certificates", || {
            let status = self.manager.wait_for_generation(1)?;
            let count = status["certificates"].as_array().map_or(0, Vec::len);
            ensure(count == 2, format!("{count} certificates"))
        })?;
        self.show_served("blog.test")
    }

    fn renew_under_a_visitor(&self) -> Result<(), String> {
        let visitor = Visitor::begin(self.stage.https, "shop.test");
        self.manager.wait_for_generation(2)?;
        let seen = visitor.end();
        say(&format!(
            "{} handshakes, {} failed, {} certificates seen",
            seen.handshakes,
            seen.failures.len(),
            seen.leaves.len()
        ));
        ensure(seen.failures.is_empty(), format!("{:?}", seen.failures))
    }

    fn show_served(&self, name: &str) -> Result<(), String> {
        let chain = tls::chain(self.stage.https, name)?;
        let issuer = tls::issuer(chain.first().ok_or("an empty chain")?)?;
        say(&format!(
            "served for {name}: a chain of {}, issued by {issuer}",
            chain.len()
        ));
        Ok(())
    }

    fn chapter(&self, title: &str) {
        println!("\n[{:2} s] {title}", self.started.elapsed().as_secs());
    }
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

fn show_no_reload(haproxy: &Haproxy, worker: u32) -> Result<(), String> {
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
