//! What real HAProxys answered (`scripts/capture-runtime`).

use std::fs;

use super::StorePath;

pub(super) const SERIES: [&str; 4] = ["2.6", "3.0", "3.2", "3.4"];

/// The reply kept as `testdata/runtime/SERIES/NAME.txt`.
pub(super) fn captured(series: &str, name: &str) -> Vec<u8> {
    let root = env!("CARGO_MANIFEST_DIR");
    let file = format!("{root}/testdata/runtime/{series}/{name}.txt");
    fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A path of the captures.
pub(super) fn path(file: &str) -> StorePath {
    format!("/etc/haproxy/{file}").parse().unwrap()
}
