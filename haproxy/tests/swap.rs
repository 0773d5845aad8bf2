//! Dialogues of a swap, with HAProxy's Runtime API played by a script.
#![cfg(feature = "client")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use spoacme_haproxy::runtime::{Address, Client, Error, Payload, StorePath, Swapped, swap};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SHA1: &str = "F8E4E8740F28A79302E48E6C2C4A1A9A22F85728";
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

const INFO: Line = (
    "show info",
    "Version: 2.6.12-1+deb12u4\nNbthread: 2\nPid: 7\nUptime_sec: 9\nStopping: 0\n",
);
const INFO_OF_ANOTHER: Line = (
    "show info",
    "Version: 2.6.12-1+deb12u4\nNbthread: 2\nPid: 8\nUptime_sec: 1\nStopping: 0\n",
);
const IDLE: Line = ("show ssl cert", "# filename\n/live/a.pem\n");
const OPEN: Line = (
    "show ssl cert",
    "# transaction\n*/live/a.pem\n# filename\n/live/a.pem\n",
);
const OLD: Line = (
    "show ssl cert /live/a.pem",
    "Filename: /live/a.pem\nStatus: Used\nSHA1 FingerPrint: 00\n",
);
const ABSENT: Line = (
    "show ssl cert /live/a.pem",
    "Can't display the certificate: Not found or the certificate is a bundle!\n",
);
const SET: Line = (
    "set ssl cert /live/a.pem <<",
    "Transaction created for certificate /live/a.pem!\n",
);
const COMMIT: Line = (
    "commit ssl cert /live/a.pem",
    "Committing /live/a.pem.\nSuccess!\n",
);
const ABORT: Line = (
    "abort ssl cert /live/a.pem",
    "Transaction aborted for certificate '/live/a.pem'!\n",
);
const NEW: Line = (
    "new ssl cert /live/a.pem",
    "New empty certificate store '/live/a.pem'!\n",
);
const LIST: Line = ("show ssl crt-list -n /live", "# /live\n/live/b.pem:0\n");
const ADD: Line = (
    "add ssl crt-list /live /live/a.pem",
    "Inserting certificate '/live/a.pem' in crt-list '/live'.\nSuccess!\n",
);
const DELETE: Line = (
    "del ssl cert /live/a.pem",
    "Certificate '/live/a.pem' deleted!\n",
);
const DONE: Line = (
    "show ssl cert /live/a.pem",
    "Filename: /live/a.pem\nStatus: Used\nSHA1 FingerPrint: F8E4E8740F28A79302E48E6C2C4A1A9A22F85728\n",
);

/// A command, and what HAProxy says to it, without the empty line at the end.
type Line = (&'static str, &'static str);

/// Swaps against a HAProxy that expects exactly these commands.
async fn perform(script: &[Line]) -> Result<Swapped, Error> {
    perform_with(script, PEM).await
}

async fn perform_with(script: &[Line], pem: &str) -> Result<Swapped, Error> {
    let directory = tempfile::tempdir().unwrap();
    let (address, haproxy) = play(&directory, script.to_vec());
    let path = |text: &str| StorePath::try_from(text.to_owned()).unwrap();
    let payload = Payload::from_pem(pem).unwrap();
    let client = Client::new(address);
    let outcome = swap(
        &client,
        &path("/live/a.pem"),
        &path("/live"),
        &payload,
        SHA1,
    )
    .await;
    let played = timeout(Duration::from_secs(5), haproxy).await;
    played
        .expect("the whole script is played")
        .unwrap()
        .unwrap();
    outcome
}

/// Plays HAProxy. Ends when the script does; fails at a command out of turn.
fn play(directory: &TempDir, script: Vec<Line>) -> (Address, JoinHandle<Result<(), String>>) {
    let path = directory.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let play = async move {
        for (expected, reply) in script {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut command = Vec::new();
            let wanted = if expected.ends_with("<<") {
                "\n\n"
            } else {
                "\n"
            };
            while !command.ends_with(wanted.as_bytes()) {
                assert_ne!(stream.read_buf(&mut command).await.unwrap(), 0);
            }
            let text = String::from_utf8(command).unwrap();
            let line = text.lines().next().unwrap_or_default();
            if line != expected {
                return Err(format!("{line:?} instead of {expected:?}"));
            }
            if !reply.is_empty() {
                let whole = format!("{reply}\n");
                stream.write_all(whole.as_bytes()).await.unwrap();
            }
        }
        Ok(())
    };
    (Address::Unix(path), tokio::spawn(play))
}

#[tokio::test]
async fn a_known_certificate_is_replaced() {
    let swapped = perform(&[INFO, IDLE, OLD, SET, COMMIT, DONE, INFO])
        .await
        .unwrap();
    assert_eq!(
        swapped,
        Swapped {
            pid: 7,
            added: false
        }
    );
}

#[tokio::test]
async fn an_unknown_certificate_is_made_and_added() {
    let script = [INFO, IDLE, ABSENT, NEW, SET, COMMIT, LIST, ADD, DONE, INFO];
    assert_eq!(
        perform(&script).await.unwrap(),
        Swapped {
            pid: 7,
            added: true
        }
    );
}

#[tokio::test]
async fn a_transaction_that_a_crash_left_is_aborted_first() {
    perform(&[INFO, OPEN, ABORT, IDLE, OLD, SET, COMMIT, DONE, INFO])
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_foreign_transaction_is_waited_for_and_never_touched() {
    const FOREIGN: Line = (
        "show ssl cert",
        "# transaction\n*/live/b.pem\n# filename\n/live/b.pem\n",
    );
    let waited = [INFO, FOREIGN, FOREIGN, IDLE, OLD, SET, COMMIT, DONE, INFO];
    perform(&waited).await.unwrap();
    let mut script = vec![INFO];
    script.extend([FOREIGN; 26]);
    script.push(INFO);
    let error = perform(&script).await.unwrap_err();
    assert!(
        matches!(&error, Error::ForeignTransaction { name } if name == "/live/b.pem"),
        "{error}"
    );
}

/// HAProxy 2.6: somebody began a transaction in between, and ours went into it.
#[tokio::test]
async fn loading_into_a_foreign_transaction_is_no_success() {
    const CROSSED: Line = (
        "set ssl cert /live/a.pem <<",
        "Transaction updated for certificate /live/b.pem!\n",
    );
    const NOT_OURS: Line = (
        "abort ssl cert /live/a.pem",
        "The ongoing transaction is about '/live/b.pem' but you are trying to abort a transaction for '/live/a.pem'\n",
    );
    let error = perform(&[INFO, IDLE, OLD, CROSSED, NOT_OURS, INFO])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Overwrote { name } if name == "/live/b.pem"),
        "{error}"
    );
}

#[tokio::test]
async fn a_refused_commit_is_aborted_and_told() {
    const REFUSED: Line = (
        "commit ssl cert /live/a.pem",
        "inconsistencies between private key and certificate loaded\nCan't commit /live/a.pem!\n",
    );
    let error = perform(&[INFO, IDLE, OLD, SET, REFUSED, ABORT, INFO])
        .await
        .unwrap_err();
    assert!(
        error.is_refusal() && error.to_string().contains("inconsistencies"),
        "{error}"
    );
    let script = [INFO, IDLE, ABSENT, NEW, SET, REFUSED, ABORT, DELETE, INFO];
    assert!(perform(&script).await.unwrap_err().is_refusal());
}

#[tokio::test]
async fn a_reload_in_the_middle_begins_again() {
    const GONE: Line = (
        "commit ssl cert /live/a.pem",
        "No ongoing transaction! !\nCan't commit /live/a.pem!\n",
    );
    const NOTHING_TO_ABORT: Line = ("abort ssl cert /live/a.pem", "No ongoing transaction!\n");
    const DONE_THERE: Line = DONE;
    let lost = [
        INFO,
        IDLE,
        OLD,
        SET,
        GONE,
        NOTHING_TO_ABORT,
        INFO_OF_ANOTHER,
        INFO_OF_ANOTHER,
        IDLE,
        OLD,
        SET,
        COMMIT,
        DONE_THERE,
        INFO_OF_ANOTHER,
    ];
    assert_eq!(perform(&lost).await.unwrap().pid, 8);
    let late = [
        INFO,
        IDLE,
        OLD,
        SET,
        COMMIT,
        DONE,
        INFO_OF_ANOTHER,
        INFO_OF_ANOTHER,
        IDLE,
        OLD,
        SET,
        COMMIT,
        DONE,
        INFO_OF_ANOTHER,
    ];
    assert_eq!(perform(&late).await.unwrap().pid, 8);
}

#[tokio::test]
async fn success_without_the_certificate_in_use_is_no_success() {
    let error = perform(&[INFO, IDLE, OLD, SET, COMMIT, OLD, ABORT, INFO])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotInUse { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn busy_is_waited_for() {
    const BUSY: Line = (
        "set ssl cert /live/a.pem <<",
        "Can't update the certificate!\nOperations on certificates are currently locked!\n",
    );
    perform(&[INFO, IDLE, OLD, BUSY, BUSY, SET, COMMIT, DONE, INFO])
        .await
        .unwrap();
}

#[tokio::test]
async fn no_answer_is_no_success_and_tried_again() {
    const CUT: Line = ("set ssl cert /live/a.pem <<", "");
    let lost = [INFO, IDLE, OLD, CUT, ABORT, INFO];
    let error = perform(&lost.repeat(5)).await.unwrap_err();
    assert!(
        matches!(error, Error::Empty { .. }) && error.is_transient(),
        "{error}"
    );
    let done = [INFO, IDLE, OLD, SET, COMMIT, DONE, INFO];
    perform(&[lost.as_slice(), &done].concat()).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_never_sent() {
    let line = "A".repeat(64) + "\n";
    let pem = PEM.replace("MIIB\n", &line.repeat(260));
    let error = perform_with(&[INFO], &pem).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                limit: Some(16_320),
                ..
            }
        ),
        "{error}"
    );
    const INFO_3_4: Line = (
        "show info",
        "Version: 3.4.7-1\nNbthread: 2\nPid: 7\nUptime_sec: 9\nStopping: 0\n",
    );
    perform_with(&[INFO_3_4, IDLE, OLD, SET, COMMIT, DONE, INFO_3_4], &pem)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_socket_without_admin_level_says_so() {
    const DENIED: Line = ("set ssl cert /live/a.pem <<", "Permission denied\n");
    const DENIED_TOO: Line = ("abort ssl cert /live/a.pem", "Permission denied\n");
    let error = perform(&[INFO, IDLE, OLD, DENIED, DENIED_TOO, INFO])
        .await
        .unwrap_err();
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("level admin")),
        "{error}"
    );
}
