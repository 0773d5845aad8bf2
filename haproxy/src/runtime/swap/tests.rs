use super::*;
use crate::runtime::capture::{captured, path};
use crate::runtime::client::fake::{Exchange, Fake};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

const SHOW: &str = "show ssl cert";
const SHOW_A: &str = "show ssl cert /etc/haproxy/live/a.pem";
const SET_A: &str = "set ssl cert /etc/haproxy/live/a.pem <<";
const COMMIT_A: &str = "commit ssl cert /etc/haproxy/live/a.pem";
const ABORT_A: &str = "abort ssl cert /etc/haproxy/live/a.pem";
const NEW_C: &str = "new ssl cert /etc/haproxy/live/c.pem";
const SHOW_C: &str = "show ssl cert /etc/haproxy/live/c.pem";
const SET_C: &str = "set ssl cert /etc/haproxy/live/c.pem <<";
const COMMIT_C: &str = "commit ssl cert /etc/haproxy/live/c.pem";
const ABORT_C: &str = "abort ssl cert /etc/haproxy/live/c.pem";
const DELETE_C: &str = "del ssl cert /etc/haproxy/live/c.pem";
const SHOW_LIVE: &str = "show ssl crt-list -n /etc/haproxy/live";
const ADD_C: &str = "add ssl crt-list /etc/haproxy/live /etc/haproxy/live/c.pem";

/// What HAProxy 2.6 says to this.
fn says(line: &'static str, reply: &str) -> Exchange {
    (line, captured("2.6", reply))
}

fn info(pid: u32, stopping: u32) -> Exchange {
    let text = format!(
        "Version: 2.6.12\nPid: {pid}\nUptime_sec: 1\nStopping: {stopping}\nNbthread: 2\n\n"
    );
    ("show info", text.into())
}

fn loaded_c(status: &str) -> Exchange {
    let text =
        format!("Filename: /etc/haproxy/live/c.pem\nStatus: {status}\nSHA1 FingerPrint: AB\n\n");
    (SHOW_C, text.into())
}

/// The SHA-1 that A has once the swap is done.
fn sha1_of_a() -> String {
    let shown = captured("2.6", "show-cert-chain");
    let details = Details::parse(&shown, &path("live/a.pem"));
    details.unwrap().unwrap().sha1.unwrap()
}

async fn run(fake: &Fake, file: &str, sha1: &str) -> Result<Swapped, Error> {
    let payload = Payload::from_pem(PEM).unwrap();
    Swap {
        client: &fake.client(),
        name: &path(file),
        crt_list: Some(&path("live")),
        payload: &payload,
        sha1,
        patience: Patience {
            foreign: Duration::from_millis(30),
            pause: Duration::from_millis(5),
        },
    }
    .run()
    .await
}

/// Swaps A, and expects the script to be played to its end.
async fn swap_a(script: Vec<Exchange>) -> Result<Swapped, Error> {
    let lines: Vec<_> = script.iter().map(|(line, _)| *line).collect();
    let fake = Fake::playing(script);
    let outcome = run(&fake, "live/a.pem", &sha1_of_a()).await;
    assert_eq!(fake.lines(), lines, "{outcome:?}");
    outcome
}

/// Swaps C in the same way, which HAProxy does not have yet.
async fn swap_c(script: Vec<Exchange>) -> Result<Swapped, Error> {
    let lines: Vec<_> = script.iter().map(|(line, _)| *line).collect();
    let fake = Fake::playing(script);
    let outcome = run(&fake, "live/c.pem", "ab").await;
    assert_eq!(fake.lines(), lines, "{outcome:?}");
    outcome
}

#[tokio::test]
async fn replaces_a_certificate() {
    let swapped = swap_a(vec![
        info(7, 0),
        says(SHOW, "show-cert"),
        says(SHOW_A, "show-cert-used"),
        says(SET_A, "set-created"),
        says(COMMIT_A, "commit-done"),
        says(SHOW_A, "show-cert-chain"),
        info(7, 0),
    ]);
    let expected = Swapped {
        pid: 7,
        added: false,
    };
    assert_eq!(swapped.await.unwrap(), expected);
}

#[tokio::test]
async fn adds_a_certificate_that_is_new() {
    let swapped = swap_c(vec![
        info(7, 0),
        says(SHOW, "show-cert"),
        (SHOW_C, captured("2.6", "show-cert-unknown")),
        says(NEW_C, "new-created"),
        says(SET_C, "set-created-c"),
        says(COMMIT_C, "commit-done-c"),
        says(SHOW_LIVE, "show-list-directory"),
        says(ADD_C, "add-done"),
        loaded_c("Used"),
        info(7, 0),
    ]);
    assert!(swapped.await.unwrap().added);
}

/// A crash may have left anything.
#[tokio::test]
async fn goes_on_from_what_a_crash_left() {
    let list = b"# /etc/haproxy/live\n/etc/haproxy/live/c.pem:0\n\n".to_vec();
    let swapped = swap_c(vec![
        info(7, 0),
        (
            SHOW,
            b"# transaction\n*/etc/haproxy/live/c.pem\n# filename\n\n".to_vec(),
        ),
        (
            ABORT_C,
            b"Transaction aborted for certificate '/etc/haproxy/live/c.pem'!\n\n".to_vec(),
        ),
        says(SHOW, "show-cert"),
        loaded_c("Unused"),
        says(NEW_C, "new-exists"),
        says(SET_C, "set-created-c"),
        says(COMMIT_C, "commit-done-c"),
        (SHOW_LIVE, list),
        loaded_c("Used"),
        info(7, 0),
    ]);
    assert!(swapped.await.unwrap().added);
}

#[tokio::test]
async fn waits_for_a_foreign_transaction_and_then_gives_up() {
    let fake = Fake::answering(|line| match line {
        "show info" => info(7, 0).1,
        _ => captured("2.6", "show-cert-transaction"),
    });
    let error = run(&fake, "live/b.pem", "ab").await.unwrap_err();
    let Error::ForeignTransaction { name } = error else {
        panic!("{error}");
    };
    assert_eq!(name, path("live/a.pem").as_str());
    assert!(fake.lines().iter().all(|line| line.starts_with("show ")));
}

#[tokio::test]
async fn goes_on_when_a_foreign_transaction_is_over() {
    let swapped = swap_a(vec![
        info(7, 0),
        (
            SHOW,
            b"# transaction\n*/etc/haproxy/live/b.pem\n# filename\n\n".to_vec(),
        ),
        says(SHOW, "show-cert"),
        says(SHOW_A, "show-cert-used"),
        says(SET_A, "set-created"),
        says(COMMIT_A, "commit-done"),
        says(SHOW_A, "show-cert-chain"),
        info(7, 0),
    ]);
    assert_eq!(swapped.await.unwrap().pid, 7);
}

#[tokio::test]
async fn ends_its_transaction_when_the_commit_is_refused() {
    let error = swap_a(vec![
        info(7, 0),
        says(SHOW, "show-cert"),
        says(SHOW_A, "show-cert-used"),
        says(SET_A, "set-created"),
        says(COMMIT_A, "commit-mismatch"),
        says(ABORT_A, "abort-done"),
        info(7, 0),
    ]);
    let error = error.await.unwrap_err();
    assert!(error.is_refusal() && !error.is_transient(), "{error}");
}

#[tokio::test]
async fn deletes_a_certificate_that_did_not_come_into_use() {
    let error = swap_c(vec![
        info(7, 0),
        says(SHOW, "show-cert"),
        says(SHOW_C, "show-cert-unknown"),
        says(NEW_C, "new-created"),
        says(SET_C, "set-created-c"),
        says(COMMIT_C, "commit-done-c"),
        says(SHOW_LIVE, "show-list-unknown"),
        says(ADD_C, "add-unknown-list"),
        says(ABORT_C, "abort-none"),
        says(DELETE_C, "delete-done"),
        info(7, 0),
    ]);
    let error = error.await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.hint().unwrap().contains("bind"), "{error}");
}

/// 2.6 loads our bundle into the other transaction, where it must not stay.
#[tokio::test]
async fn ends_the_transaction_that_it_ran_into() {
    let overwrote = b"Transaction updated for certificate /etc/haproxy/live/b.pem!\n\n";
    let error = swap_a(vec![
        info(7, 0),
        says(SHOW, "show-cert"),
        says(SHOW_A, "show-cert-used"),
        (SET_A, overwrote.to_vec()),
        (
            "abort ssl cert /etc/haproxy/live/b.pem",
            b"Transaction aborted for certificate '/etc/haproxy/live/b.pem'!\n\n".to_vec(),
        ),
        info(7, 0),
    ]);
    let error = error.await.unwrap_err();
    assert!(matches!(error, Error::Overwrote { .. }), "{error}");
}

#[tokio::test]
async fn begins_again_in_the_new_process_after_a_reload() {
    let round = |pid_after| {
        vec![
            says(SHOW, "show-cert"),
            says(SHOW_A, "show-cert-used"),
            says(SET_A, "set-created"),
            says(COMMIT_A, "commit-done"),
            says(SHOW_A, "show-cert-chain"),
            info(pid_after, 0),
        ]
    };
    let script = [
        vec![info(7, 0)],
        round(8),
        vec![info(8, 1), info(8, 0)],
        round(8),
    ];
    assert_eq!(swap_a(script.concat()).await.unwrap().pid, 8);
}

#[tokio::test]
async fn begins_again_when_a_reload_took_the_transaction() {
    let swapped = swap_a(vec![
        info(7, 0),
        says(SHOW, "show-cert"),
        says(SHOW_A, "show-cert-used"),
        says(SET_A, "set-created"),
        says(COMMIT_A, "commit-none"),
        says(ABORT_A, "abort-none"),
        info(8, 0),
        info(8, 0),
        says(SHOW, "show-cert"),
        says(SHOW_A, "show-cert-chain"),
        says(SET_A, "set-created"),
        says(COMMIT_A, "commit-done"),
        says(SHOW_A, "show-cert-chain"),
        info(8, 0),
    ]);
    assert_eq!(swapped.await.unwrap().pid, 8);
}

#[tokio::test]
async fn begins_again_when_a_reply_is_lost() {
    let swapped = swap_a(vec![
        info(7, 0),
        says(SHOW, "show-cert"),
        says(SHOW_A, "show-cert-used"),
        says(SET_A, "set-created"),
        (COMMIT_A, Vec::new()),
        says(ABORT_A, "abort-none"),
        info(7, 0),
        info(7, 0),
        says(SHOW, "show-cert"),
        says(SHOW_A, "show-cert-chain"),
        says(SET_A, "set-created"),
        says(COMMIT_A, "commit-done"),
        says(SHOW_A, "show-cert-chain"),
        info(7, 0),
    ]);
    assert!(swapped.await.is_ok());
}

#[tokio::test]
async fn gives_up_on_a_haproxy_that_only_stops() {
    let error = swap_a(vec![info(7, 1); 5]).await.unwrap_err();
    assert!(matches!(error, Error::Reloading { times: 5 }), "{error}");
}

#[tokio::test]
async fn success_alone_is_not_believed() {
    let error = swap_a(vec![
        info(7, 0),
        says(SHOW, "show-cert"),
        says(SHOW_A, "show-cert-used"),
        says(SET_A, "set-created"),
        says(COMMIT_A, "commit-done"),
        says(SHOW_A, "show-cert-used"),
        says(ABORT_A, "abort-none"),
        info(7, 0),
    ]);
    let error = error.await.unwrap_err();
    assert!(matches!(error, Error::NotInUse { .. }), "{error}");
}

#[tokio::test]
async fn sends_nothing_of_a_bundle_that_is_too_large() {
    let fake = Fake::playing(vec![info(7, 0)]);
    let pem = PEM.replace("MIIB\n", &format!("{}\n", "A".repeat(64)).repeat(300));
    let (client, name) = (fake.client(), path("live/c.pem"));
    let payload = Payload::from_pem(&pem).unwrap();
    let outcome = swap(&client, &name, &path("live"), &payload, "ab").await;
    assert!(matches!(outcome, Err(Error::TooLarge { .. })));
    assert_eq!(fake.lines(), ["show info"]);
}

#[tokio::test]
async fn makes_nothing_that_could_not_come_into_use() {
    let fake = Fake::playing(vec![
        info(7, 0),
        says(SHOW, "show-cert"),
        says(SHOW_C, "show-cert-unknown"),
        info(7, 0),
    ]);
    let (client, name) = (fake.client(), path("live/c.pem"));
    let payload = Payload::from_pem(PEM).unwrap();
    let outcome = swap(&client, &name, None, &payload, "ab").await;
    assert!(matches!(outcome, Err(Error::NotInUse { .. })));
    assert_eq!(fake.lines().len(), 4);
}
