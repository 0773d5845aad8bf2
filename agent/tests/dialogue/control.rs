//! Dialogues with clients of the control socket.

use spoacme_control::{Code, Error, Owner, REQUEST_SIZE_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::peer::{Agent, TOKEN, entry};

const OTHER: &str = "another-token-of-enough-characters";

/// Sends raw bytes and returns all that comes back.
async fn raw(agent: &Agent, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(agent.control_path()).await.unwrap();
    // The agent may have refused before all is sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn every_operation_does_what_it_says() {
    let agent = Agent::start().await;
    let client = agent.client();
    let boot_id = client.ping().await.unwrap().boot_id;
    let stored = client.put(&Owner::cli(), &[entry(TOKEN)]).await.unwrap();
    assert_eq!((stored.stored, stored.boot_id), (Some(1), boot_id));
    client
        .replace(&Owner::manager(), &[entry(OTHER)])
        .await
        .unwrap();
    let listed = client.list().await.unwrap();
    let rows: Vec<_> = listed
        .iter()
        .map(|l| (l.token.as_str(), l.owner.as_str()))
        .collect();
    assert_eq!(rows, [(TOKEN, "cli"), (OTHER, "manager")]);
    assert!(
        listed
            .iter()
            .all(|l| (3_590..=3_600).contains(&l.seconds_left))
    );
    assert_eq!(client.stats().await.unwrap().tokens, 2);
    assert!(client.delete(&Owner::cli(), TOKEN).await.unwrap());
    assert!(!client.delete(&Owner::cli(), OTHER).await.unwrap());
    client.replace(&Owner::manager(), &[]).await.unwrap();
    assert!(client.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn another_owners_token_is_refused_by_name() {
    let agent = Agent::start().await;
    agent.publish(TOKEN);
    let refused = agent
        .client()
        .put(&Owner::manager(), &[entry(TOKEN)])
        .await
        .unwrap_err();
    let Error::Refused(refusal) = refused else {
        panic!("{refused}")
    };
    assert_eq!(refusal.code, Code::Conflict);
    assert!(
        refusal.message.contains("published by cli"),
        "{}",
        refusal.message
    );
}

#[tokio::test]
async fn nonsense_is_refused_and_the_next_line_is_heard() {
    let agent = Agent::start().await;
    for bytes in [
        "{}\n",
        "[]\n",
        "\u{0}\n",
        "{\"op\":\"reboot\"}\n",
        "{\"op\":\"ping\",\"x\":1}\n",
        "{\"op\":\"delete\",\"owner\":\"cli\",\"tokens\":[\"../../etc/passwd\"]}\n",
        "{\"op\":\"delete\",\"owner\":\"Not An Owner\",\"tokens\":[]}\n",
    ] {
        let text = raw(&agent, format!("{bytes}{{\"op\":\"ping\"}}\n").as_bytes()).await;
        let answers: Vec<_> = text.lines().collect();
        assert_eq!(answers.len(), 2, "{bytes}: {text}");
        assert!(answers[0].contains("\"malformed\""), "{bytes}: {text}");
        assert!(answers[1].starts_with("{\"ok\":true"), "{bytes}: {text}");
    }
}

#[tokio::test]
async fn a_line_too_long_is_refused_and_ends_the_connection() {
    let agent = Agent::start().await;
    let text = raw(&agent, &vec![b' '; REQUEST_SIZE_MAX + 10]).await;
    assert!(
        text.contains("malformed") && text.lines().count() == 1,
        "{text}"
    );
    agent.client().ping().await.unwrap();
}

#[tokio::test]
async fn a_line_that_is_cut_changes_nothing() {
    let agent = Agent::start().await;
    let line = format!(
        "{{\"op\":\"put\",\"owner\":\"cli\",\"tokens\":[{}]}}",
        serde_json::to_string(&entry(TOKEN)).unwrap()
    );
    let text = raw(&agent, line.as_bytes()).await;
    assert!(text.contains("malformed"), "{text}");
    assert!(agent.client().list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_restart_is_seen_by_another_boot_id() {
    let (first, second) = (Agent::start().await, Agent::start().await);
    let boot_ids = (
        first.client().ping().await.unwrap().boot_id,
        second.client().ping().await.unwrap().boot_id,
    );
    assert_ne!(boot_ids.0, boot_ids.1);
}
