//! What a visitor of the challenge path gets.

use spoacme_tests::haproxy::Release;
use spoacme_tests::manager::token;
use spoacme_tests::stage::Stage;
use spoacme_tests::wait::{ensure, until};
use spoacme_tests::{http, ports, tls};

use crate::Story;

pub(crate) const STORIES: &[Story] = &[
    ("known token is answered", known),
    ("unknown token is not found", unknown),
    ("expired token is not found", expired),
    ("token of another host is not found", foreign),
    ("other requests pass untouched", others),
    ("agent over TCP", over_tcp),
    ("agent over an abstract socket", over_abstract_socket),
];

const TOKEN: &str = "DGyRejmCefe7v4NfDGDKfA-abcdefghijklmnopqrst";
const PATH: &str = "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA-abcdefghijklmnopqrst";
const THUMBPRINT: &str = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";

/// A stage without a CA, its HAProxy served by the agent.
fn stage(release: &Release) -> Result<(Stage, impl Sized), String> {
    let stage = Stage::new(release)?;
    crate::outage::placeholder(&stage)?;
    let running = (stage.agent()?, stage.haproxy()?);
    crate::outage::wait_for_agent(&stage)?;
    Ok((stage, running))
}

fn over_tcp(release: &Release) -> Result<(), String> {
    let mut stage = Stage::new(release)?;
    stage.agent_listen = format!("127.0.0.1:{}", ports::free()?);
    stage.agent_server = stage.agent_listen.clone();
    answers(&stage)
}

fn over_abstract_socket(release: &Release) -> Result<(), String> {
    let mut stage = Stage::new(release)?;
    // Such names are the machine's, not the stage's.
    let name = format!("spoacme-test-{}", ports::free()?);
    stage.agent_listen = format!("abns:{name}");
    stage.agent_server = format!("abns@{name}");
    answers(&stage)
}

fn answers(stage: &Stage) -> Result<(), String> {
    crate::outage::placeholder(stage)?;
    let _running = (stage.agent()?, stage.haproxy()?);
    crate::outage::wait_for_agent(stage)?;
    let key_authorization = put(stage, "example.test", "60")?;
    let answer = http::get(stage.http, "example.test", PATH)?;
    ensure(answer.body == key_authorization, format!("{answer:?}"))
}

fn put(stage: &Stage, host: &str, ttl: &str) -> Result<String, String> {
    let answer = format!("{TOKEN}.{THUMBPRINT}");
    token(
        stage,
        &["put", "--host", host, "--ttl", ttl, TOKEN, &answer],
    )?;
    Ok(answer)
}

fn known(release: &Release) -> Result<(), String> {
    let (stage, _running) = stage(release)?;
    let key_authorization = put(&stage, "example.test", "60")?;
    // A port, upper case and a trailing dot name the same host.
    for host in [
        "example.test",
        "Example.TEST",
        "example.test:80",
        "example.test.",
    ] {
        let answer = http::get(stage.http, host, PATH)?;
        ensure(answer.status == 200, format!("{host}: {answer:?}"))?;
        ensure(
            answer.body == key_authorization,
            format!("{host}: {answer:?}"),
        )?;
        let head = answer.head.to_lowercase();
        ensure(head.contains("content-type: text/plain"), &head)?;
        ensure(head.contains("cache-control: no-store"), &head)?;
    }
    let head = http::request(stage.http, "HEAD", "example.test", PATH)?;
    ensure(
        head.status == 200 && head.body.is_empty(),
        format!("{head:?}"),
    )
}

fn unknown(release: &Release) -> Result<(), String> {
    let (stage, _running) = stage(release)?;
    put(&stage, "example.test", "60")?;
    for path in [
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA-xxxxxxxxxxxxxxxxxxxx",
        "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA-abcdefghijklmnopqrst/",
        "/.well-known/acme-challenge/DGyRejmCefe7v4NfDGDKfA%2Dabcdefghijklmnopqrst",
        "/.well-known/acme-challenge/../../etc/passwd",
    ] {
        let answer = http::get(stage.http, "example.test", path)?;
        ensure(answer.status == 404, format!("{path}: {answer:?}"))?;
    }
    Ok(())
}

fn expired(release: &Release) -> Result<(), String> {
    let (stage, _running) = stage(release)?;
    put(&stage, "example.test", "1")?;
    let get = || http::get(stage.http, "example.test", PATH);
    until("the token's end", || match get()?.status {
        404 => Ok(()),
        other => Err(format!("status {other}")),
    })
}

fn foreign(release: &Release) -> Result<(), String> {
    let (stage, _running) = stage(release)?;
    put(&stage, "example.test", "60")?;
    for host in [
        "other.test",
        "www.example.test",
        "example.test.evil.test",
        "",
    ] {
        let answer = http::get(stage.http, host, PATH)?;
        ensure(answer.status == 404, format!("{host}: {answer:?}"))?;
    }
    Ok(())
}

fn others(release: &Release) -> Result<(), String> {
    let (stage, _running) = stage(release)?;
    for path in [
        "/",
        "/.well-known/security.txt",
        "/.well-known/acme-challenge",
    ] {
        let answer = http::get(stage.http, "example.test", path)?;
        ensure(answer.status == 301, format!("{path}: {answer:?}"))?;
        let location = format!("location: https://example.test{path}");
        ensure(
            answer.head.to_lowercase().contains(&location),
            format!("{path}: {answer:?}"),
        )?;
    }
    tls::leaf(stage.https, "example.test").map(drop)
}
