//! Certificates as the manager leaves them once they are served.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use spoacme_tests::stage::Stage;

/// Fills the stage's store, and the directory that HAProxy loads, with `count`
/// certificates. Returns their files.
pub(super) fn plant(stage: &Stage, count: usize) -> Result<Vec<PathBuf>, String> {
    let authority = Authority::new()?;
    let names = Vec::from_iter((0..count).map(|index| format!("name-{index:05}.test")));
    let live = stage.path("live");
    make(&live)?;
    let mut files = Vec::new();
    for name in &names {
        let file = live.join(format!("{name}.pem"));
        let generation = stage.path("state/certs").join(name).join("1");
        let chain = authority.issue(name)?;
        keep(&generation, &file, &chain, &authority.key.serialize_pem())?;
        files.push(file);
    }
    make(&stage.path("state/desired"))?;
    let wanted = names
        .iter()
        .map(|name| json!({ "name": name, "names": [name] }));
    let wanted = json!({ "certificates": wanted.collect::<Vec<_>>() });
    write(&stage.path("state/desired/certificates.json"), &wanted)?;
    Ok(files)
}

/// Who signs, and the key of all that is signed: nobody looks at keys.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    key: KeyPair,
}

/// A certificate with what the manager knows of it.
struct Chain {
    pem: String,
    leaf: Value,
}

impl Authority {
    fn new() -> Result<Self, String> {
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, NAME);
        let own = KeyPair::generate().map_err(|error| error.to_string())?;
        let signed = params.self_signed(&own);
        Ok(Self {
            pem: signed.map_err(|error| error.to_string())?.pem(),
            issuer: Issuer::new(params, own),
            key,
        })
    }

    fn issue(&self, name: &str) -> Result<Chain, String> {
        let signed = CertificateParams::new([name.to_owned()]).and_then(|mut params| {
            params.not_before = date_time_ymd(BEGIN, 1, 1);
            params.not_after = date_time_ymd(END, 1, 1);
            params.signed_by(&self.key, &self.issuer)
        });
        let signed = signed.map_err(|error| format!("{name}: {error}"))?;
        let leaf = json!({
            "names": [name],
            "not_before": format!("{BEGIN}-01-01T00:00:00Z"),
            "not_after": format!("{END}-01-01T00:00:00Z"),
            "serial": hex(&SHA256, name.as_bytes()),
            "sha1": hex(&SHA1_FOR_LEGACY_USE_ONLY, signed.der()).to_uppercase(),
            "sha256": hex(&SHA256, signed.der()),
            "issuer": format!("CN={NAME}"),
            "self_signed": false,
        });
        Ok(Chain {
            pem: signed.pem() + &self.pem,
            leaf,
        })
    }
}

const NAME: &str = "spoacme's benchmark";

/// Years: the end of nothing is near.
const BEGIN: i32 = 2020;
const END: i32 = 2120;

/// A generation that is deployed, and the file that HAProxy loads of it.
fn keep(generation: &Path, file: &Path, chain: &Chain, key: &str) -> Result<(), String> {
    let pem = format!("{}{key}", chain.pem);
    let meta = json!({
        "leaf": chain.leaf,
        "issued": format!("{BEGIN}-01-01T00:00:00Z"),
        "directory": "https://ca.invalid/directory",
        "state": { "is": "deployed", "at": format!("{BEGIN}-01-01T00:00:01Z") },
        "pem_sha256": hex(&SHA256, pem.as_bytes()),
    });
    make(generation)?;
    write(&generation.join("key.pem"), &key)?;
    write(&generation.join("chain.pem"), &chain.pem)?;
    write(&generation.join("meta.json"), &format!("{meta:#}\n"))?;
    write(file, &pem)
}

fn hex(algorithm: &'static Algorithm, bytes: &[u8]) -> String {
    let digest = digest(algorithm, bytes);
    let bytes = digest.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn make(directory: &Path) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))
}

fn write(path: &Path, text: &impl ToString) -> Result<(), String> {
    fs::write(path, text.to_string()).map_err(|error| format!("{}: {error}", path.display()))
}
