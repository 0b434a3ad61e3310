//! A line in the log every 5 seconds, of what takes longer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

const EVERY: Duration = Duration::from_secs(5);

/// How far transfers are that belong together.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    uri: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bytes: u64,
    of: Option<u64>,
    told: Instant,
}

impl Progress {
    /// `what` is `fetching` or `publishing`, `uri` what goes over the wire, `of` how much that is, where known.
    pub(crate) fn new(what: &'static str, uri: String, of: Option<u64>) -> Self {
        Self { what, uri, state: Mutex::new(State { bytes: 0, of, told: Instant::now() }) }
    }

    /// It begins anew, and has so many bytes now.
    pub(crate) fn restart(&self, of: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.bytes, state.of) = (0, of);
    }

    /// So many bytes more are done.
    pub(crate) fn add(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes;
        if state.told.elapsed() < EVERY {
            return;
        }
        state.told = Instant::now();
        info!(uri = self.uri, bytes = state.bytes, of = state.of, "{}", self.what);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn take(&self) -> String {
            let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            String::from_utf8(lines).expect("it is text")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_told_of_every_five_seconds() {
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _here = tracing::subscriber::set_default(lines);
        let progress = Progress::new("fetching", "https://good.test/a".to_owned(), Some(10));
        progress.add(4);
        assert_eq!(log.take(), "", "what takes less is not told of");
        tokio::time::advance(EVERY).await;
        progress.add(1);
        progress.add(1);
        let told = log.take();
        assert!(told.contains(r#"fetching uri="https://good.test/a" bytes=5 of=10"#), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        progress.restart(None);
        tokio::time::advance(EVERY).await;
        progress.add(2);
        assert!(log.take().contains("bytes=2"));
    }
}
