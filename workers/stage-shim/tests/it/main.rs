//! The program, with a test in the place of the multi-worker.

#[expect(dead_code, reason = "more tests use it in the commits that follow")]
mod tools;
mod work;
