use std::collections::HashSet;

use super::*;
use crate::runtime::capture::{captured, path};
use crate::runtime::client::fake::Fake;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const SET: &str = "set ssl cert /etc/haproxy/live/a.pem <<";

fn payload() -> Payload {
    Payload::from_pem(PEM).unwrap()
}

fn large_payload() -> Payload {
    let line = format!("{}\n", "A".repeat(64));
    Payload::from_pem(&PEM.replace("MIIB\n", &line.repeat(300))).unwrap()
}

fn a() -> StorePath {
    path("live/a.pem")
}

#[tokio::test]
async fn each_command_has_a_connection_and_ends_with_its_line() {
    let fake = Fake::playing(vec![
        ("show info", captured("3.0", "show-info")),
        (SET, captured("3.0", "set-created")),
        (
            "commit ssl cert /etc/haproxy/live/a.pem",
            captured("3.0", "commit-done"),
        ),
    ]);
    let client = fake.client();
    client.show_info().await.unwrap();
    client.set_certificate(&a(), &payload()).await.unwrap();
    client.commit_certificate(&a()).await.unwrap();
    let seen = fake.seen();
    assert_eq!(seen[0], "show info\n");
    assert_eq!(seen[1], format!("{SET}\n{PEM}\n"));
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn a_busy_haproxy_is_asked_again() {
    let line = "new ssl cert /etc/haproxy/live/c.pem";
    let fake = Fake::playing(vec![
        (line, captured("2.6", "busy")),
        (line, captured("2.6", "busy")),
        (line, captured("2.6", "new-created")),
    ]);
    let outcome = fake.client().new_certificate(&path("live/c.pem")).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_missing_reply_and_half_a_one_are_errors_and_not_repeated() {
    let line = "show ssl cert";
    let fake = Fake::playing(vec![
        (line, Vec::new()),
        (line, captured("2.6", "show-cert")[..30].to_vec()),
    ]);
    let client = fake.client();
    let empty = client.open_transaction().await.unwrap_err();
    assert!(matches!(empty, Error::Empty { .. }) && empty.is_unclear());
    let cut = client.open_transaction().await.unwrap_err();
    assert!(matches!(cut, Error::Cut { .. }) && cut.is_unclear());
    assert_eq!(fake.lines().len(), 2);
}

#[tokio::test]
async fn a_silent_haproxy_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let limit = Duration::from_millis(50);
    let client = Client::new(Address::Unix(socket)).with_command_timeout(limit);
    let error = client.show_info().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_haproxy_is_an_error_with_a_hint() {
    let client = Client::new(Address::Unix("/nonexistent/admin.sock".into()));
    let error = client.show_info().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.is_transient());
    assert!(error.hint().unwrap().contains("stats socket"));
}

#[tokio::test]
async fn an_endless_reply_is_cut_off() {
    let fake = Fake::answering(|_| vec![b'x'; REPLY_SIZE_MAX + 100]);
    let error = fake.client().open_transaction().await.unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
}

/// 2.6 would close without a word, and 3.2.0 to 3.2.15 die of it.
#[tokio::test]
async fn a_bundle_too_large_for_the_version_is_not_sent() {
    for series in ["2.6", "3.0", "3.2"] {
        let fake = Fake::playing(vec![("show info", captured(series, "show-info"))]);
        let set = fake.client().set_certificate(&a(), &large_payload()).await;
        assert!(matches!(
            set,
            Err(Error::TooLarge {
                limit: Some(16_320),
                ..
            })
        ));
        assert_eq!(fake.lines(), ["show info"]);
    }
    let fake = Fake::playing(vec![
        ("show info", captured("3.4", "show-info")),
        (SET, captured("3.4", "set-created")),
    ]);
    fake.client()
        .set_certificate(&a(), &large_payload())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_transaction_that_was_open_for_our_name_is_ended() {
    let fake = Fake::playing(vec![
        (SET, captured("2.6", "set-updated")),
        (
            "abort ssl cert /etc/haproxy/live/a.pem",
            captured("2.6", "abort-done"),
        ),
    ]);
    let error = fake.client().set_certificate(&a(), &payload()).await;
    assert!(matches!(error, Err(Error::ForeignTransaction { .. })));
    assert_eq!(fake.lines().len(), 2);
}

#[tokio::test]
async fn a_transaction_of_another_name_is_left_to_its_owner() {
    for series in ["2.6", "3.0"] {
        let line = "set ssl cert /etc/haproxy/live/b.pem <<";
        let fake = Fake::playing(vec![(line, captured(series, "set-other"))]);
        let b = path("live/b.pem");
        let error = fake.client().set_certificate(&b, &payload()).await;
        let error = error.unwrap_err();
        match series {
            "2.6" => assert!(matches!(error, Error::Overwrote { .. })),
            _ => assert!(matches!(error, Error::ForeignTransaction { .. })),
        }
        assert_eq!(fake.lines(), [line]);
    }
}

#[tokio::test]
async fn every_entry_of_a_certificate_is_removed() {
    let fake = Fake::answering(|line| match line {
        "show ssl crt-list -n /etc/haproxy/list.txt" => captured("3.2", "show-list-file"),
        _ => {
            b"Entry '/etc/haproxy/twice.pem' deleted in crtlist '/etc/haproxy/list.txt'!\n\n".into()
        }
    });
    let (list, twice) = (path("list.txt"), path("twice.pem"));
    let outcome = fake.client().remove_from_crt_list(&list, &twice).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(
        fake.lines()[1..],
        [
            "del ssl crt-list /etc/haproxy/list.txt /etc/haproxy/twice.pem:2",
            "del ssl crt-list /etc/haproxy/list.txt /etc/haproxy/twice.pem:3",
        ]
    );
    let absent = fake.client().remove_from_crt_list(&list, &a()).await;
    assert_eq!(absent.unwrap(), Outcome::Already);
}

#[tokio::test]
async fn speaks_over_tcp_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut line = [0; 10];
        stream.read_exact(&mut line).await.unwrap();
        stream
            .write_all(&captured("3.4", "show-info"))
            .await
            .unwrap();
        line
    });
    let client = Client::new(address.parse().unwrap());
    let version = client.show_info().await.unwrap().version;
    assert!(version.numbers() > (3, 4, 0));
    assert_eq!(&server.await.unwrap(), b"show info\n");
}

/// Ten thousand names of whatever could split a command: each is refused, or
/// reaches HAProxy as exactly one command with itself as the only argument.
#[tokio::test]
async fn no_name_makes_two_commands() {
    let fake = Fake::answering(|_| b"\n".to_vec());
    let client = fake.client();
    let (mut taken, mut refused) = (HashSet::new(), 0);
    for text in hostile_names().take(10_000) {
        match StorePath::try_from(text) {
            Err(_) => refused += 1,
            Ok(name) => {
                let error = client.delete_certificate(&name).await.unwrap_err();
                assert!(matches!(error, Error::UnexpectedReply { .. }), "{error}");
                taken.insert(name.to_string());
            }
        }
    }
    let seen = fake.seen();
    assert!(
        taken.len() > 100 && refused > 1000,
        "{} {refused}",
        taken.len()
    );
    for sent in &seen {
        let name = sent.strip_prefix("del ssl cert ").unwrap();
        assert!(taken.contains(name.strip_suffix('\n').unwrap()), "{sent:?}");
    }
    assert_eq!(seen.len(), 10_000 - refused);
    for name in taken {
        assert!(!name.contains(|c: char| " \n\r\0;\\#'\"*<".contains(c) || !c.is_ascii()));
    }
}

/// A linear congruential generator, so that a failure comes back.
fn hostile_names() -> impl Iterator<Item = String> {
    const PIECES: [&str; 16] = [
        "a", "/", ".pem", ";", "\n", "\r", "\0", " ", "<<", "\\", "#", "'", "\"", "*", "é",
        "\u{2024}",
    ];
    let mut state: u64 = 1;
    std::iter::repeat_with(move || {
        let mut text = String::new();
        for _ in 0..6 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let index = usize::try_from(state >> 60).unwrap();
            // Most of the pieces are harmless, so that some names pass.
            let is_harmless = (state >> 40) & 3 != 0;
            text.push_str(PIECES[if is_harmless { index % 3 } else { index }]);
        }
        text
    })
}

#[tokio::test]
async fn a_master_passes_each_command_on_to_its_worker() {
    let fake = Fake::playing(vec![
        ("@1 show info", captured("3.0", "show-info")),
        (
            "@1 show ssl cert /etc/haproxy/live/a.pem",
            captured("3.0", "show-cert-used"),
        ),
        (
            "@1 show ssl cert /etc/haproxy/live/a.pem",
            captured("3.0", "show-cert-used"),
        ),
        (
            "@1 set ssl cert /etc/haproxy/live/a.pem <<",
            captured("3.0", "set-created"),
        ),
    ]);
    let client = Client::new(Address::Master(fake.path()));
    client.show_info().await.unwrap();
    let twice = client.certificates_named(&[a(), a()]).await.unwrap();
    assert!(twice.iter().all(Option::is_some));
    client.set_certificate(&a(), &payload()).await.unwrap();
}

#[tokio::test]
async fn many_names_are_asked_for_in_lines_that_fit() {
    let fake = Fake::answering(|line| {
        let count = line.split(';').count();
        captured("3.4", "show-cert-unknown").repeat(count)
    });
    let names =
        Vec::from_iter((0..1000).map(|i| path(&format!("live/{}{i}.pem", "x".repeat(100)))));
    let found = fake.client().certificates_named(&names).await.unwrap();
    assert_eq!(found.len(), 1000);
    let lines = fake.lines();
    assert!(
        lines.iter().all(|line| line.len() < BUFFER_SIZE),
        "{}",
        lines.len()
    );
    let asked: usize = lines.iter().map(|line| line.split(';').count()).sum();
    assert_eq!(asked, 1000);
}

#[tokio::test]
async fn a_larger_buffer_takes_larger_bundles() {
    let fake = Fake::playing(vec![
        ("show info", captured("2.6", "show-info")),
        (SET, captured("2.6", "set-created")),
    ]);
    let client = fake.client().with_buffer_size(32_768);
    client
        .set_certificate(&a(), &large_payload())
        .await
        .unwrap();
}
