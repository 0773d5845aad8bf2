//! `spoacme-agent`.

fn main() {}
