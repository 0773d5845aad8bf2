//! Stories.

fn main() {}
