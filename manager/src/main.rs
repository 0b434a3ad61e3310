//! Runs one worker per item of a source.
fn main() {}
