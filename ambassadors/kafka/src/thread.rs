//! Threads without which nothing that is answered would be so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use tracing::error;

/// Starts one. A defect that ends it ends the process: a list that nobody keeps is a lie. Whoever supervises the process starts it anew, and
/// nothing is lost.
///
/// # Panics
/// Where the system gives no thread.
pub(crate) fn start(name: &'static str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let run = move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            error!(thread = name, "a defect ended a thread that all depends on: aborting");
            std::process::abort();
        }
    };
    Builder::new().name(name.to_owned()).spawn(run).expect("the system gives a thread")
}
