//! The certificates that HAProxy loads: many that are only there, and a few
//! hot ones that are swapped.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rcgen::{Certificate, CertificateParams, KeyPair};
use spoacme_haproxy::runtime::{Payload, StorePath};
use spoacme_tests::stage::Stage;

/// A name whose certificate is swapped.
#[derive(Debug)]
pub(super) struct Hot {
    pub(super) name: String,
    /// What HAProxy calls it.
    pub(super) path: StorePath,
    file: PathBuf,
}

/// A certificate with its key, as it is loaded.
#[derive(Debug)]
pub(super) struct Bundle {
    pem: String,
    pub(super) payload: Payload,
    pub(super) sha1: String,
    pub(super) der: Vec<u8>,
}

/// How many names are hot.
const HOT: usize = 8;

/// Fills the stage's directory with `count` certificates, and returns the hot
/// ones among them, at generation 0.
pub(super) fn fill(stage: &Stage, count: usize) -> Result<Vec<Hot>, String> {
    let directory = stage.path("live");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    // One key for all that never change: nobody looks at them.
    let key = new_key()?;
    for index in 0..count.saturating_sub(HOT) {
        let name = format!("name-{index:05}.test");
        let pem = pem(&sign(&name, 0, &key)?, &key);
        fs::write(directory.join(format!("{name}.pem")), pem).map_err(|error| error.to_string())?;
    }
    (0..HOT)
        .map(|index| Hot::new(&directory, format!("hot-{index}.test")))
        .collect()
}

impl Hot {
    fn new(directory: &Path, name: String) -> Result<Self, String> {
        let file = directory.join(format!("{name}.pem"));
        let path = file.display().to_string().parse();
        let hot = Self {
            name,
            path: path.map_err(|error| format!("{}: {error}", file.display()))?,
            file,
        };
        hot.write(&hot.bundle(0)?)?;
        Ok(hot)
    }

    /// A bundle with a key of its own and `generation` as its serial number.
    pub(super) fn bundle(&self, generation: u64) -> Result<Bundle, String> {
        let key = new_key()?;
        let certificate = sign(&self.name, generation, &key)?;
        let pem = pem(&certificate, &key);
        let payload = Payload::from_pem(&pem).map_err(|error| error.to_string())?;
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der());
        let sha1 = sha1.as_ref().iter().map(|byte| format!("{byte:02X}"));
        Ok(Bundle {
            pem,
            payload,
            sha1: sha1.collect(),
            der: certificate.der().to_vec(),
        })
    }

    /// Puts a bundle where the next reload finds it.
    pub(super) fn write(&self, bundle: &Bundle) -> Result<(), String> {
        // HAProxy passes over names that begin with a dot.
        let temporary = self.file.with_file_name(format!(".{}.new", self.name));
        fs::write(&temporary, &bundle.pem)
            .and_then(|()| fs::rename(&temporary, &self.file))
            .map_err(|error| format!("{}: {error}", self.file.display()))
    }
}

fn new_key() -> Result<KeyPair, String> {
    KeyPair::generate().map_err(|error| error.to_string())
}

fn sign(name: &str, generation: u64, key: &KeyPair) -> Result<Certificate, String> {
    let signed = CertificateParams::new([name.to_owned()]).and_then(|mut params| {
        params.serial_number = Some(generation.into());
        params.self_signed(key)
    });
    signed.map_err(|error| format!("{name}: {error}"))
}

fn pem(certificate: &Certificate, key: &KeyPair) -> String {
    certificate.pem() + &key.serialize_pem()
}
