//! Dialogues with HAProxy's side played by the test.

use std::time::Duration;

use spoacme_agent::config::Limits;
use spoacme_haproxy::spop::{FrameType, Status};

use super::peer::{Agent, TOKEN, disconnect, fragment, hello, notify, notify_with};

const PREFIX: &str = "/.well-known/acme-challenge/";

#[tokio::test]
async fn answers_a_known_token_with_its_key_authorization() {
    let agent = Agent::start().await;
    agent.publish(TOKEN);
    let mut haproxy = agent.greet().await;
    haproxy
        .send(&notify(
            (0, 1),
            &format!("{PREFIX}{TOKEN}"),
            "Example.test:80",
        ))
        .await;
    let ack = haproxy.receive().await;
    assert_eq!(ack.ids, (0, 1));
    let answer = ("key_authorization".to_owned(), format!("{TOKEN}.thumb"));
    assert_eq!(
        ack.variables(),
        [answer, ("found".to_owned(), "true".to_owned())]
    );
    assert_eq!(agent.client().stats().await.unwrap().lookups_found, 1);
}

#[tokio::test]
async fn says_plainly_that_it_does_not_know() {
    let agent = Agent::start().await;
    agent.publish(TOKEN);
    let mut haproxy = agent.greet().await;
    let questions = [
        (format!("{PREFIX}{TOKEN}"), "other.test"),
        (format!("{PREFIX}{TOKEN}"), ""),
        (format!("{PREFIX}{TOKEN}x"), "example.test"),
        (format!("{PREFIX}{TOKEN}/"), "example.test"),
        (format!("/{PREFIX}{TOKEN}"), "example.test"),
        (PREFIX.to_owned(), "example.test"),
        (String::new(), "example.test"),
    ];
    for (path, host) in questions {
        haproxy.send(&notify((7, 1), &path, host)).await;
        assert!(haproxy.receive().await.is_not_found(), "{path} {host}");
    }
}

#[tokio::test]
async fn never_leaves_an_ack_empty() {
    let agent = Agent::start().await;
    let mut haproxy = agent.greet().await;
    // HAProxy 3.1 to 3.2.3 send a NOTIFY without message; others may be for
    // another agent, or lack arguments.
    let mut unknown = Vec::new();
    spoacme_haproxy::spop::Message::encode("something-else", &[], &mut unknown);
    let mut bare = Vec::new();
    spoacme_haproxy::spop::Message::encode("acme-challenge", &[], &mut bare);
    for payload in [&[][..], &unknown, &bare] {
        haproxy.send(&notify_with((3, 1), payload)).await;
        assert!(haproxy.receive().await.is_not_found());
    }
}

#[tokio::test]
async fn answers_pipelined_questions_in_their_order() {
    let agent = Agent::start().await;
    agent.publish(TOKEN);
    let mut haproxy = agent.greet().await;
    let path = format!("{PREFIX}{TOKEN}");
    let questions: Vec<u8> = (1..=20)
        .flat_map(|id| notify((id * 2 - 1, 1), &path, "example.test"))
        .collect();
    // In two pieces, cut within a frame.
    let (first, second) = questions.split_at(questions.len() / 2 + 3);
    haproxy.send(first).await;
    haproxy.send(second).await;
    for id in 1..=20 {
        let ack = haproxy.receive().await;
        assert_eq!(ack.ids, (id * 2 - 1, 1));
        assert!(!ack.is_not_found());
    }
}

#[tokio::test]
async fn answers_a_health_check_and_closes() {
    let agent = Agent::start().await;
    let mut haproxy = agent.connect().await;
    haproxy.send(&hello(true)).await;
    let answer = haproxy.receive().await;
    assert_eq!(answer.kind, FrameType::AGENT_HELLO);
    assert_eq!(answer.hello().frame_size_max, 16_380);
    haproxy.expect_end().await;
    assert_eq!(agent.client().stats().await.unwrap().health_checks, 1);
}

#[tokio::test]
async fn answers_a_disconnect_with_its_own() {
    let agent = Agent::start().await;
    let mut haproxy = agent.greet().await;
    haproxy.send(&disconnect(Status::TIMEOUT)).await;
    haproxy.expect_goodbye(Status::NORMAL).await;
}

#[tokio::test]
async fn names_what_is_wrong_and_closes() {
    let agent = Agent::start().await;
    let client_hello = b"\x16\x03\x01\x06\x00\x01\x00\x05\xfc\x03\x03";
    for (bytes, status) in [
        (&client_hello[..], Status::TOO_BIG),
        (b"GET / HTTP/1.1\r\n\r\n", Status::TOO_BIG),
        (&[0, 0, 0, 0], Status::INVALID_FRAME),
        (&notify((1, 1), "/", "example.test"), Status::INVALID_FRAME),
    ] {
        let mut haproxy = agent.connect().await;
        haproxy.send(bytes).await;
        haproxy.expect_goodbye(status).await;
    }
    for (bytes, status) in [
        (hello(false), Status::INVALID_FRAME),
        (fragment(), Status::FRAGMENTATION_UNSUPPORTED),
    ] {
        let mut haproxy = agent.greet().await;
        haproxy.send(&bytes).await;
        haproxy.expect_goodbye(status).await;
    }
    assert_eq!(agent.client().stats().await.unwrap().protocol_errors, 6);
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_turned_away() {
    let limits = Limits {
        hello_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let agent = Agent::with(limits).await;
    agent.connect().await.expect_goodbye(Status::TIMEOUT).await;
    // Byte by byte is no better: the time is for the whole HELLO.
    let mut haproxy = agent.connect().await;
    haproxy.send(&hello(false)[..5]).await;
    haproxy.expect_goodbye(Status::TIMEOUT).await;
}

#[tokio::test]
async fn a_frame_that_is_begun_must_be_completed() {
    let limits = Limits {
        frame_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let agent = Agent::with(limits).await;
    let mut haproxy = agent.greet().await;
    haproxy
        .send(&notify((1, 1), "/", "example.test")[..10])
        .await;
    haproxy.expect_goodbye(Status::TIMEOUT).await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_the_others_go_on() {
    let limits = Limits {
        connections_max: 2,
        ..Limits::default()
    };
    let agent = Agent::with(limits).await;
    let (mut first, _second) = (agent.greet().await, agent.greet().await);
    agent.connect().await.expect_end().await;
    first.send(&notify((1, 1), "/", "example.test")).await;
    assert!(first.receive().await.is_not_found());
    let stats = agent.client().stats().await.unwrap();
    assert_eq!(
        (stats.connections_accepted, stats.connections_refused),
        (2, 1)
    );
}

#[tokio::test]
async fn answers_what_was_sent_before_it_stops() {
    let agent = Agent::start().await;
    agent.publish(TOKEN);
    let mut haproxy = agent.greet().await;
    let path = format!("{PREFIX}{TOKEN}");
    for id in 1..=50 {
        haproxy.send(&notify((id, 1), &path, "example.test")).await;
    }
    agent.stop.cancel();
    for id in 1..=50 {
        assert_eq!(haproxy.receive().await.ids, (id, 1));
    }
    haproxy.expect_goodbye(Status::NORMAL).await;
    agent.join().await;
}

#[tokio::test]
async fn a_reset_is_nothing_to_speak_of() {
    let agent = Agent::start().await;
    drop(agent.greet().await);
    let mut haproxy = agent.connect().await;
    haproxy.send(&hello(false)[..7]).await;
    drop(haproxy);
    // Another connection is served, and nothing counts as an error.
    let _still = agent.greet().await;
    let stats = agent.client().stats().await.unwrap();
    assert_eq!((stats.protocol_errors, stats.panics), (0, 0));
}
