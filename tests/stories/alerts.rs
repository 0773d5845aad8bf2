//! Somebody hears of trouble.

use std::fs;

use serde_json::Value;
use spoacme_tests::haproxy::Release;
use spoacme_tests::mail::{MailServer, PASSWORD, Receiver, USER};
use spoacme_tests::manager::Manager;
use spoacme_tests::pebble::Options;
use spoacme_tests::ports;
use spoacme_tests::stage::Stage;
use spoacme_tests::wait::{ensure, until};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("alerts: issuing fails, told once by three ways", failing),
    ("alerts: HAProxy and agent gone and back", gone_and_back),
    ("alerts: a certificate is not served", not_served),
    ("alerts: a certificate ends soon", expiring),
    ("alerts: receiver down at first, then delivered", delayed),
    ("alert test: a line each, no password in any", test),
];

/// What every story has: no patience.
const IMPATIENT: &str = "[alerts]\ngrace-seconds = 0\n";

fn webhook(receiver: &Receiver) -> String {
    let port = receiver.port;
    format!("\n[[alert]]\nname = \"hook\"\nwebhook = \"http://127.0.0.1:{port}/SECRET-PATH\"\n")
}

fn mail(server: &MailServer, scheme: &str, password_file: &str) -> String {
    let (port, root) = (server.port, server.root.display());
    format!(
        "\n[[alert]]\nname = \"mail\"\nsmtp = \"{scheme}://127.0.0.1:{port}\"\nroot = \"{root}\"\n\
         from = \"spoacme@lb1.test\"\nto = [\"ops@example.com\", \"on-call@example.com\"]\n\
         user = \"{USER}\"\npassword-file = \"{password_file}\"\n"
    )
}

fn configure(stage: &Stage, alerts: &[String]) -> Result<(), String> {
    let text = [&[IMPATIENT.to_owned()], alerts].concat().concat();
    stage.write("conf.d/alerts.toml", &text).map(drop)
}

fn failing(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let mut pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let (receiver, server) = (Receiver::start()?, MailServer::start(&stage, "starttls")?);
    let password = stage
        .write("password", &format!("{PASSWORD}\n"))?
        .display()
        .to_string();
    // Not a shell: the dollar stays a dollar.
    let odd = stage.path("$(id) `id`").display().to_string();
    let command = format!("\n[[alert]]\ncommand = [\"/bin/cp\", \"/dev/stdin\", {odd:?}]\n");
    configure(
        &stage,
        &[
            webhook(&receiver),
            mail(&server, "smtp", &password),
            command,
        ],
    )?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    pebble.kill();
    let daemon = manager.run()?;
    until("the alerts", || {
        let (hooks, mails) = (receiver.count("failing"), server.mails().len());
        let told = hooks == 1 && mails == 1 && fs::exists(&odd).unwrap_or_default();
        ensure(
            told,
            format!("{hooks} hooks, {mails} mails: {}", manager.log()),
        )
    })?;
    let mails = server.mails();
    for word in [
        "example.test: failing",
        "cannot reach the CA",
        "X-Tls: True",
        "on-call@example.com",
    ] {
        ensure(mails[0].contains(word), format!("{word}: {}", mails[0]))?;
    }
    let by_command = fs::read_to_string(&odd).map_err(|error| error.to_string())?;
    let by_command: Value = serde_json::from_str(&by_command).map_err(|error| error.to_string())?;
    ensure(by_command["event"] == "failing", &by_command)?;
    let hook = &receiver.taken()[0];
    ensure(
        hook["text"]
            .as_str()
            .is_some_and(|text| text.contains("cannot reach the CA")),
        hook,
    )?;
    daemon.stop()?;
    // The next daemon remembers what was told.
    let daemon = manager.run()?;
    pebble.restart(&stage)?;
    manager.expect(["renew", "example.test"])?;
    until("the recovery", || {
        ensure(receiver.count("recovered") == 1, manager.log())
    })?;
    ensure(
        receiver.count("failing") == 1,
        format!("{:#?}", receiver.taken()),
    )?;
    ensure(
        !manager.log().contains("SECRET-PATH") && !manager.log().contains(PASSWORD),
        manager.log(),
    )?;
    daemon.stop()
}

fn gone_and_back(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let receiver = Receiver::start()?;
    configure(&stage, &[webhook(&receiver)])?;
    crate::outage::placeholder(&stage)?;
    let (agent, haproxy) = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    drop(haproxy);
    agent.kill();
    nudge(&stage)?;
    until("the alerts", || {
        let told = [
            receiver.count("haproxy-unreachable"),
            receiver.count("agent-unreachable"),
        ];
        ensure(told == [1, 1], format!("{told:?}: {}", manager.log()))
    })?;
    let _running = (stage.agent()?, stage.haproxy()?);
    until("the recovery", || {
        let count = receiver.count("recovered");
        ensure(count == 2, format!("{count}: {}", manager.log()))
    })?;
    ensure(
        receiver.count("not-served") == 0,
        format!("{:#?}", receiver.taken()),
    )?;
    daemon.stop()
}

/// Lets the daemon make a pass at once, by a change of its configuration.
fn nudge(stage: &Stage) -> Result<(), String> {
    stage.write("conf.d/nudge.toml", "# changed\n").map(drop)
}

fn not_served(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let receiver = Receiver::start()?;
    configure(&stage, &[webhook(&receiver)])?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    // An address that it is to be served at, and is not.
    let (path, nobody) = (stage.path("spoacme.toml"), ports::free()?);
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let text = text.replace("verify = [", &format!("verify = [\"127.0.0.1:{nobody}\", "));
    stage.write("spoacme.toml", &text)?;
    until("the alert", || {
        ensure(receiver.count("not-served") == 1, manager.log())
    })?;
    let taken = receiver.taken();
    ensure(taken[0]["certificate"] == "example.test", &taken[0])?;
    daemon.stop()
}

fn delayed(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let receiver = Receiver::start()?;
    receiver.answer(503);
    configure(&stage, &[webhook(&receiver)])?;
    let daemon = manager.run()?;
    until("the failure in the status", || {
        let text = manager.call(["status"])?.stdout;
        let is_shown = text.contains("to hook: not delivered: http://127.0.0.1")
            && text.contains("status 503");
        ensure(is_shown && !text.contains("SECRET"), text)
    })?;
    receiver.answer(200);
    until("the delivery", || {
        ensure(receiver.count("haproxy-unreachable") == 1, manager.log())
    })?;
    until("a clean status", || {
        let text = manager.call(["status"])?.stdout;
        ensure(!text.contains("not delivered"), text)
    })?;
    daemon.stop()
}

fn test(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    let manager: Manager<'_> = stage.manager(&pebble, &["example.test"])?;
    let (receiver, server) = (Receiver::start()?, MailServer::start(&stage, "tls")?);
    let wrong = "not the password";
    let password = stage.write("password", wrong)?.display().to_string();
    configure(
        &stage,
        &[webhook(&receiver), mail(&server, "smtps", &password)],
    )?;
    let ended = manager.call(["alert", "test"])?;
    ensure(ended.code() == Some(3), format!("{ended:#?}"))?;
    ensure(
        ended.stdout.trim() == "hook: delivered",
        format!("{ended:#?}"),
    )?;
    ensure(
        ended.stderr.contains("mail: ") && ended.stderr.contains("credentials invalid"),
        format!("{ended:#?}"),
    )?;
    ensure(!ended.stderr.contains(wrong), format!("{ended:#?}"))?;
    stage.write("password", PASSWORD)?;
    manager.expect(["alert", "test", "mail"])?;
    ensure(
        server.mails().len() == 1 && receiver.count("test") == 1,
        "not one each",
    )?;
    let unknown = manager.call(["alert", "test", "pager"])?;
    ensure(
        unknown.code() == Some(2) && unknown.stderr.contains("hook, mail"),
        format!("{unknown:?}"),
    )
}

fn expiring(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let short = Options {
        validity_seconds: 12,
        ..Options::default()
    };
    let mut pebble = stage.pebble(&short)?;
    let manager = stage.manager(&pebble, &["example.test"])?;
    let receiver = Receiver::start()?;
    configure(&stage, &[webhook(&receiver)])?;
    crate::outage::placeholder(&stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    let daemon = manager.run()?;
    manager.wait_for_generation(1)?;
    pebble.kill();
    until("the alert", || {
        ensure(receiver.count("expiring") == 1, manager.log())
    })?;
    let taken = receiver.taken();
    let alert = taken.iter().find(|taken| taken["event"] == "expiring");
    let text = alert
        .map(|alert| alert["detail"].to_string())
        .unwrap_or_default();
    ensure(
        text.contains("valid only until") || text.contains("expired at"),
        text,
    )?;
    daemon.stop()
}
