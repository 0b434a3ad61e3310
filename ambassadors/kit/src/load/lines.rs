//! Lines, read ahead by a thread of its own, since nobody can interrupt who waits for a pipe.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use sidecar::Failure;

use super::Stuck;

/// A line without its end.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    pub(super) text: Vec<u8>,
    /// Where the next one begins in the file.
    pub(super) end: u64,
}

/// Lines, or why there is no next one.
type Batch = Result<Vec<Line>, Stuck>;

/// How many bytes a line may have, and what makes that more.
type Longest = (usize, &'static str);

/// About how many bytes are handed over at once; so many batches wait.
const BATCH: usize = 256 << 10;
const BATCHES: usize = 4;

/// The lines of a file.
#[derive(Debug)]
pub(super) struct Lines {
    batches: Receiver<Batch>,
    batch: std::vec::IntoIter<Line>,
}

impl Lines {
    /// Of a file that stands behind its first `lines`, which take `bytes`. None may have more than `longest`.
    pub(super) fn of(
        file: impl Read + Send + 'static,
        lines: u64,
        bytes: u64,
        longest: Longest,
    ) -> std::io::Result<Self> {
        let (to, batches) = sync_channel(BATCHES);
        std::thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || read(BufReader::with_capacity(BATCH, file), lines, bytes, longest, &to))?;
        Ok(Self { batches, batch: Vec::new().into_iter() })
    }

    /// The next one.
    ///
    /// # Errors
    /// `Timeout` when there is none yet, `Disconnected` when there are no more.
    pub(super) fn next(&mut self, wait: Duration) -> Result<Result<Line, Stuck>, RecvTimeoutError> {
        loop {
            if let Some(line) = self.batch.next() {
                return Ok(Ok(line));
            }
            match self.batches.recv_timeout(wait)? {
                Ok(batch) => self.batch = batch.into_iter(),
                Err(stuck) => return Ok(Err(stuck)),
            }
        }
    }
}

fn read<F: Read>(mut file: BufReader<F>, mut number: u64, mut end: u64, longest: Longest, to: &SyncSender<Batch>) {
    let (longest, see) = longest;
    let (mut batch, mut size) = (Vec::new(), 0);
    let why = loop {
        // What is whole is handed over before more is waited for.
        if size > 0 && (size >= BATCH || !file.buffer().contains(&b'\n')) {
            if to.send(Ok(std::mem::take(&mut batch))).is_err() {
                return;
            }
            size = 0;
        }
        number += 1;
        let mut text = Vec::new();
        match (&mut file).take(longest as u64 + 2).read_until(b'\n', &mut text) {
            Ok(0) => return drop(to.send(Ok(batch))),
            Ok(read) => end += read as u64,
            Err(error) => break Failure::new(66, anyhow::Error::from(error).context("read the next line")),
        }
        if text.last() == Some(&b'\n') {
            text.pop();
            text.pop_if(|last| *last == b'\r');
        }
        if text.len() > longest {
            break Failure::new(65, anyhow::anyhow!("it has more than {longest} bytes (see {see})"));
        }
        size += text.len() + std::mem::size_of::<Line>();
        batch.push(Line { number, text, end });
    };
    // An error of the receiver is that it is gone, and then nobody wants to know.
    let _ = to.send(Ok(batch)).and_then(|()| to.send(Err(Stuck { number, why })));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &'static [u8], longest: usize) -> (Vec<(u64, String, u64)>, Option<u64>) {
        let mut lines = Lines::of(text, 0, 0, (longest, "")).expect("a thread");
        let mut found = Vec::new();
        loop {
            match lines.next(Duration::from_secs(60)) {
                Ok(Ok(line)) => found.push((line.number, String::from_utf8(line.text).expect("text"), line.end)),
                Ok(Err(stuck)) => return (found, Some(stuck.number)),
                Err(RecvTimeoutError::Disconnected) => return (found, None),
                Err(RecvTimeoutError::Timeout) => panic!("nothing came"),
            }
        }
    }

    #[test]
    fn every_line_comes_with_its_end_also_the_last_without_one() {
        let line = |number, text: &str, end| (number, text.to_owned(), end);
        assert_eq!(all(b"a\r\n\nbc", 9), (vec![line(1, "a", 3), line(2, "", 4), line(3, "bc", 6)], None));
        assert_eq!(all(b"", 9), (vec![], None));
    }

    #[test]
    fn a_line_that_is_too_long_is_named_after_those_before_it() {
        assert_eq!(all(b"a\nbcdefg\nh\n", 5), (vec![(1, "a".to_owned(), 2)], Some(2)));
        assert_eq!(all(b"abcde\n", 5).1, None);
    }
}
