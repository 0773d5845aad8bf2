//! Asking HAProxy for all certificates, with the manager's client.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use spoacme_haproxy::runtime::{Address, Client, Details, Error, StorePath};
use spoacme_tests::wait::ensure;
use tokio::runtime::Runtime;

/// Asks one HAProxy for all of its certificates.
pub(super) struct Inquirer {
    client: Client,
    names: Vec<StorePath>,
    runtime: Runtime,
}

impl Inquirer {
    /// Asks for `files` at `socket`.
    pub(super) fn new(socket: PathBuf, files: &[PathBuf]) -> Result<Self, String> {
        let names = files.iter().map(|file| file.display().to_string().parse());
        let names = names.collect::<Result<_, _>>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Self {
            client: Client::new(Address::Unix(socket)),
            names: names.map_err(|error| format!("{error}"))?,
            runtime: runtime.map_err(|error| error.to_string())?,
        })
    }

    /// A hundred on a line, as a pass does.
    pub(super) fn at_once(&self) -> Result<Duration, String> {
        self.time(self.client.certificates_named(&self.names))
    }

    /// One after the other, with a connection for each.
    pub(super) fn one_by_one(&self) -> Result<Duration, String> {
        self.time(async {
            let mut found = Vec::with_capacity(self.names.len());
            for name in &self.names {
                found.push(self.client.certificate(name).await?);
            }
            Ok(found)
        })
    }

    /// How long it takes to find that all are used.
    fn time(
        &self,
        asking: impl Future<Output = Result<Vec<Option<Details>>, Error>>,
    ) -> Result<Duration, String> {
        let begun = Instant::now();
        let found = self.runtime.block_on(asking);
        let found = found.map_err(|error| error.to_string())?;
        let is_used = |found: &Option<Details>| found.as_ref().is_some_and(Details::is_used);
        ensure(found.iter().all(is_used), "not all are used")?;
        Ok(begun.elapsed())
    }
}
