//! `spoacme`.

fn main() {}
