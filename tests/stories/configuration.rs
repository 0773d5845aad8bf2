//! The shipped configuration.

use spoacme_tests::haproxy::{Haproxy, Release};
use spoacme_tests::pebble::Options;
use spoacme_tests::stage::Stage;
use spoacme_tests::wait::ensure;

use crate::Story;

pub(crate) const STORIES: &[Story] = &[("shipped configuration loads without a warning", loads)];

fn loads(release: &Release) -> Result<(), String> {
    let stage = Stage::new(release)?;
    let pebble = stage.pebble(&Options::default())?;
    // It needs a certificate to load: the placeholder.
    let daemon = stage.manager(&pebble, &["example.test"])?.run()?;
    spoacme_tests::wait::until("the placeholder", || {
        std::fs::metadata(stage.path("live/example.test.pem"))
    })?;
    let said = Haproxy::check(&stage)?;
    ensure(said.is_empty(), format!("it says: {said}"))?;
    daemon.stop()
}
