//! `--load`: publishes one message a line, and counts a line once whoever keeps messages has confirmed it.

mod args;
mod line;
mod lines;
mod loader;
mod progress;
mod state;
#[cfg(test)]
mod tests;
mod window;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sidecar::{Failure, Shutdown};
use tokio::runtime::Handle;
use tracing::{info, warn};

pub use self::args::LoadArgs;
pub use self::line::Entry;
use self::loader::Loader;

/// What a failure's exit code is where it may pass (`EX_UNAVAILABLE`).
const AWAY: u8 = 69;
/// Between two attempts to find somebody to publish to.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is said that nobody is there yet.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Sends entries, and tells which of them are there to stay. It is made and called on a thread of its own, where waiting is allowed,
/// within the runtime of whoever called [`load`]: `Handle::current()` is that one. What it has to do between calls, it does by itself.
///
/// It outlives a restart of whoever it publishes to: what is not confirmed it keeps, and sends again. Of every line that was sent it tells
/// in the end, however long nobody answers.
pub trait Publisher: 'static {
    /// Of what: `topic videos`, `queue videos`; for people.
    fn destination(&self) -> String;
    /// By which a load that is resumed knows that it is the same destination still.
    fn identity(&self) -> String;
    /// Bytes of the longest line that could be a message, and for people what makes them more: `--property message.max.bytes=…`.
    fn longest(&self) -> (usize, &'static str);
    /// Sends the entry of line `number`; `Ok(false)`: there is no room now, and it is to be offered again once
    /// [`confirmed`](Self::confirmed) was asked.
    ///
    /// # Errors
    /// What keeps this line from being published: 65 where it is the line's fault.
    fn send(&mut self, number: u64, entry: &Entry) -> Result<bool, Failure>;
    /// Adds the lines that were confirmed since this was asked last, also where it fails; waits at most so long for the first. It is asked
    /// before every line, with nothing to wait for.
    ///
    /// # Errors
    /// [`Stuck`], told once: a line that was sent and is refused, or that nobody took for too long. Those before it are asked for still.
    fn confirmed(&mut self, wait: Duration, lines: &mut Vec<u64>) -> Result<(), Stuck>;
}

/// Why a line is not loaded.
#[derive(Debug)]
pub struct Stuck {
    /// Of the line, from 1.
    pub number: u64,
    /// What happened to it.
    pub why: Failure,
}

/// Loads what `args` says by the publisher that `open` makes, once it is known that there is something to load. Where that fails with 69 it is
/// called again, for [`LoadArgs::patience`]: a loader is often started together with the queue that it fills, or before it.
///
/// # Errors
/// Those of `open` and of the publisher. Exit 65 for a line that is none, 66 for a file that cannot be read, 69 when it was told to end,
/// 73 when the state cannot be written, 75 when somebody else loads the file, 78 when it was loaded elsewhere or the flags are wrong.
///
/// # Panics
/// Outside a runtime.
pub async fn load<P: Publisher>(
    args: LoadArgs,
    shutdown: Shutdown,
    mut open: impl FnMut() -> Result<P, Failure> + Send + 'static,
) -> Result<ExitCode, Failure> {
    let (told, end) = tokio::sync::oneshot::channel();
    let runtime = Handle::current();
    // A thread of its own: everything in it waits.
    std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        let _within = runtime.enter();
        let open = || in_time(&mut open, args.patience(), &shutdown);
        let _ = told.send(Loader::open(&args, open).and_then(|loader| loader.run(&shutdown)));
    })?;
    let said = end.await.map_err(|_| anyhow::anyhow!("the loader ended without a word"))??;
    writeln!(std::io::stdout(), "{said}")?;
    Ok(ExitCode::SUCCESS)
}

/// Asks again and again for what is away, at least once, and until it is told to end.
fn in_time<P>(
    mut open: impl FnMut() -> Result<P, Failure>,
    patience: Duration,
    shutdown: &Shutdown,
) -> Result<P, Failure> {
    let begun = Instant::now();
    let mut said: Option<Instant> = None;
    loop {
        let failure = match open() {
            Err(failure) if failure.code() == AWAY => failure,
            Ok(open) => {
                said.inspect(|_| info!("the wait is over: lines are loaded"));
                return Ok(open);
            }
            Err(failure) => return Err(failure),
        };
        if begun.elapsed() >= patience || shutdown.is_draining() {
            return Err(failure);
        }
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            warn!(error = %failure, at_most = ?patience, "nothing can be loaded yet, and that is waited for");
            said = Some(Instant::now());
        }
        std::thread::sleep(PAUSE);
    }
}
