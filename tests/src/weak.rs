//! A certificate that HAProxy refuses although nothing is wrong with its form.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::stage::Stage;

/// Plants a complete generation with a 1024-bit RSA key into the manager's
/// store: OpenSSL's default security level refuses it at `commit`.
///
/// # Errors
///
/// When it cannot be made.
pub fn plant_generation(stage: &Stage, name: &str, number: u64) -> Result<(), String> {
    let lineage = stage.path("state/certs").join(name);
    let directory = lineage.join(number.to_string());
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "90",
        ])
        .args([
            "-subj",
            "/CN=weak",
            "-addext",
            &format!("subjectAltName=DNS:{name}"),
        ])
        .arg("-keyout")
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(directory.join("chain.pem"))
        .output()
        .map_err(|error| format!("openssl: {error}"))?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned());
    }
    let previous = fs::read(lineage.join("1/meta.json")).map_err(|error| error.to_string())?;
    let mut meta: Value = serde_json::from_slice(&previous).map_err(|error| error.to_string())?;
    meta["state"] = json!({ "is": "issued" });
    meta["leaf"]["sha1"] = json!("0".repeat(40));
    fs::write(directory.join("meta.json"), meta.to_string()).map_err(|error| error.to_string())
}
