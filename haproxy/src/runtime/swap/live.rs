//! `swap` against every real HAProxy found.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs, thread};

use tempfile::TempDir;

use super::*;
use crate::runtime::Address;

#[tokio::test]
#[ignore = "needs HAProxy and openssl; run with --ignored"]
async fn replaces_adds_and_leaves_nothing_behind() {
    for binary in binaries() {
        let haproxy = Haproxy::start(&binary);
        haproxy.replaces_and_adds().await;
        haproxy.keeps_the_old_when_the_new_is_rejected().await;
        haproxy.leaves_a_large_bundle_to_those_who_take_it().await;
        haproxy.swaps_across_a_reload().await;
    }
}

fn binaries() -> Vec<PathBuf> {
    let tools = env::var_os("SPOACME_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools"),
        PathBuf::from,
    );
    let series = fs::read_dir(tools.join("haproxy")).into_iter().flatten();
    let private = series.map(|entry| entry.unwrap().path().join("haproxy"));
    let mut found: Vec<_> = private
        .chain([PathBuf::from("/usr/sbin/haproxy")])
        .collect();
    found.retain(|path| path.is_file());
    assert!(!found.is_empty(), "no HAProxy found");
    found
}

/// A master and its worker, with a directory of certificates.
struct Haproxy {
    root: TempDir,
    process: Child,
    client: Client,
}

/// A certificate with its key.
struct Bundle {
    pem: String,
    sha1: String,
}

impl Haproxy {
    fn start(binary: &Path) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().display().to_string();
        fs::create_dir(root.path().join("live")).unwrap();
        let old = Bundle::make(root.path(), "old.example");
        fs::write(root.path().join("live/a.pem"), old.pem).unwrap();
        let configuration = format!(
            "global\n stats socket {dir}/admin.sock level admin\n\
             defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
             frontend tls\n bind unix@{dir}/tls.sock ssl crt {dir}/live/\n"
        );
        fs::write(root.path().join("haproxy.cfg"), configuration).unwrap();
        let process = Command::new(binary)
            .args(["-W", "-f", &format!("{dir}/haproxy.cfg")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let socket = root.path().join("admin.sock");
        wait_until(|| UnixStream::connect(&socket).is_ok());
        Self {
            root,
            process,
            client: Client::new(Address::Unix(socket)),
        }
    }

    async fn replaces_and_adds(&self) {
        let new = self.bundle("a.example");
        let swapped = self.swap("a.pem", &new).await.unwrap();
        assert!(!swapped.added);
        assert_eq!(self.served("a.example"), new.sha1);
        let added = self.bundle("b.example");
        assert!(self.swap("b.pem", &added).await.unwrap().added);
        assert_eq!(self.served("b.example"), added.sha1);
        assert_eq!(self.served("a.example"), new.sha1);
    }

    async fn keeps_the_old_when_the_new_is_rejected(&self) {
        let before = self.served("a.example");
        let mut mixed = self.bundle("a.example");
        let (certificate, _) = mixed.pem.split_once("-----BEGIN PRIVATE").unwrap();
        let other = self.bundle("other.example");
        let (_, key) = other.pem.split_once("-----BEGIN PRIVATE").unwrap();
        mixed.pem = format!("{certificate}-----BEGIN PRIVATE{key}");
        for file in ["a.pem", "c.pem"] {
            let error = self.swap(file, &mixed).await.unwrap_err();
            assert!(error.is_refusal(), "{error}");
        }
        let left = self.client.certificates().await.unwrap();
        assert_eq!(left.transaction, None);
        assert!(!left.names.contains(&self.path("c.pem").to_string()));
        assert_eq!(self.served("a.example"), before);
    }

    async fn leaves_a_large_bundle_to_those_who_take_it(&self) {
        let mut large = self.bundle("large.example");
        let chain = self.bundle("chain.example").pem;
        let (chain, _) = chain.split_once("-----BEGIN PRIVATE").unwrap();
        large.pem.push_str(&chain.repeat(40));
        let outcome = self.swap("large.pem", &large).await;
        let version = self.client.show_info().await.unwrap().version;
        if version.numbers() < (3, 4, 0) {
            assert!(matches!(outcome, Err(Error::TooLarge { .. })));
        } else {
            assert!(outcome.unwrap().added);
            assert_eq!(self.served("large.example"), large.sha1);
        }
    }

    async fn swaps_across_a_reload(&self) {
        let before = self.client.show_info().await.unwrap().pid;
        let pid = self.process.id().to_string();
        let reload = Command::new("kill").args(["-USR2", &pid]).status();
        assert!(reload.unwrap().success());
        // Until the new worker is there, what is swapped in is lost again.
        let mut swapped = before;
        for _ in 0..100 {
            let new = self.bundle("a.example");
            swapped = self.swap("a.pem", &new).await.unwrap().pid;
            if swapped != before {
                assert_eq!(self.served("a.example"), new.sha1);
                break;
            }
        }
        assert_ne!(swapped, before);
    }

    async fn swap(&self, file: &str, bundle: &Bundle) -> Result<Swapped, Error> {
        let payload = Payload::from_pem(&bundle.pem).unwrap();
        let (name, list) = (self.path(file), self.path(""));
        swap(&self.client, &name, &list, &payload, &bundle.sha1).await
    }

    fn path(&self, file: &str) -> StorePath {
        let path = format!("{}/live/{file}", self.root.path().display());
        path.trim_end_matches('/').parse().unwrap()
    }

    fn bundle(&self, host: &str) -> Bundle {
        Bundle::make(self.root.path(), host)
    }

    /// The SHA-1 of what a client gets for this name.
    fn served(&self, host: &str) -> String {
        let socket = self.root.path().join("tls.sock");
        let output = Command::new("openssl")
            .args(["s_client", "-servername", host, "-unix"])
            .arg(socket)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let certificate = self.root.path().join("served.pem");
        fs::write(&certificate, output.stdout).unwrap();
        sha1(&certificate)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // The master takes its worker with it.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.process.wait();
    }
}

impl Bundle {
    /// Self-signed, for one name.
    fn make(directory: &Path, host: &str) -> Self {
        let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "9"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-subj", &format!("/CN={host}")])
            .args(["-addext", &format!("subjectAltName=DNS:{host}")])
            .args([Path::new("-keyout"), &key, Path::new("-out"), &certificate])
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let parts = [&certificate, &key].map(|file| fs::read_to_string(file).unwrap());
        Self {
            pem: parts.concat(),
            sha1: sha1(&certificate),
        }
    }
}

fn sha1(certificate: &Path) -> String {
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha1", "-in"])
        .arg(certificate)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, hex) = text.trim().split_once('=').unwrap();
    hex.replace(':', "")
}

fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("waited for 10 s");
}
