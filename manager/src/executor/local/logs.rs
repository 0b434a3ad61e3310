//! What attempts wrote: its last lines while they are there, and what outlives them.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use sidecar::cli::value::duration;
use tracing::{debug, warn};

/// The two streams, the more telling one first.
const STREAMS: [&str; 2] = ["stderr.log", "stdout.log"];
/// How much of a log is read for its last lines, and how many of those are kept.
const TAIL_BYTES: u64 = 8 << 10;
const TAIL_LINES: usize = 20;
/// The most bytes of one log that outlive an attempt: its last.
const KEPT_BYTES: u64 = 1 << 20;

/// How much of what attempts wrote outlives them: `1000` (logs), `7d` (age), `1000,7d` (whichever comes first), or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepLogs {
    /// At most so many attempts.
    pub count: usize,
    /// Not longer than this.
    pub age: Option<Duration>,
}

impl Default for KeepLogs {
    fn default() -> Self {
        Self { count: 1000, age: None }
    }
}

/// A `--keep-logs` that says nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither a number of attempts (1000), an age (7d), both (1000,7d) nor none")]
pub struct InvalidKeepLogs(String);

impl FromStr for KeepLogs {
    type Err = InvalidKeepLogs;

    fn from_str(text: &str) -> Result<Self, InvalidKeepLogs> {
        if text == "none" {
            return Ok(Self { count: 0, age: None });
        }
        let (mut count, mut age) = (None, None);
        for part in text.split(',').map(str::trim) {
            if let (Ok(number), None) = (part.parse(), count) {
                count = Some(number);
            } else if let (Ok(most), None) = (duration(part), age) {
                age = Some(most);
            } else {
                return Err(InvalidKeepLogs(text.to_owned()));
            }
        }
        Ok(Self { count: count.unwrap_or(usize::MAX), age })
    }
}

/// Where logs are kept.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    dir: PathBuf,
    keep: KeepLogs,
    /// How many attempts have been added since the last look at all of them.
    added: Arc<AtomicUsize>,
}

impl Logs {
    pub(super) fn open(dir: &Path, keep: KeepLogs) -> io::Result<Self> {
        let logs = Self { dir: dir.to_owned(), keep, added: Arc::default() };
        logs.prune()?;
        Ok(logs)
    }

    /// Takes over what the attempt in `from` wrote. What cannot be kept is no reason not to go on.
    pub(super) fn keep(&self, from: &Path, id: &str) {
        if self.keep.count == 0 {
            return;
        }
        for stream in STREAMS {
            if let Err(error) = take_over(&from.join(stream), &self.dir.join(format!("{id}.{stream}"))) {
                warn!(attempt = id, stream, %error, "cannot keep a log");
            }
        }
        // Looking through all of them each time would cost more than the attempts.
        if self.added.fetch_add(1, Ordering::Relaxed) >= self.keep.count.min(1000) / 10
            && let Err(error) = self.prune()
        {
            warn!(path = %self.dir.display(), %error, "cannot clear away old logs");
        }
    }

    /// Removes what is too old or too much.
    fn prune(&self) -> io::Result<()> {
        self.added.store(0, Ordering::Relaxed);
        let mut all: Vec<(SystemTime, String)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if STREAMS.iter().any(|stream| name.ends_with(stream))
                && let Ok(modified) = entry.metadata().and_then(|found| found.modified())
            {
                all.push((modified, name));
            }
        }
        all.sort_by(|a, b| b.cmp(a));
        let attempt = |name: &str| name.rsplit_once(".std").map_or(name.to_owned(), |(id, _)| id.to_owned());
        let mut kept = std::collections::HashSet::new();
        for (modified, name) in all {
            let old = self.keep.age.is_some_and(|age| modified.elapsed().is_ok_and(|passed| passed > age));
            let id = attempt(&name);
            if !old && (kept.contains(&id) || kept.len() < self.keep.count) {
                kept.insert(id);
            } else {
                debug!(log = name, "an old log is removed");
                fs::remove_file(self.dir.join(name))?;
            }
        }
        Ok(())
    }
}

fn take_over(from: &Path, to: &Path) -> io::Result<()> {
    let size = match from.symlink_metadata() {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if size == 0 {
        return Ok(());
    }
    if size <= KEPT_BYTES {
        return fs::rename(from, to);
    }
    let mut source = File::open(from)?;
    source.seek(SeekFrom::End(-i64::try_from(KEPT_BYTES).unwrap_or(i64::MAX)))?;
    let part = to.with_extension("part");
    io::copy(&mut source, &mut File::create(&part)?)?;
    fs::rename(part, to)
}

/// The last lines of what the attempt in `dir` wrote to stderr, or to stdout where that is empty: for people, without
/// anything that could move their terminal's cursor.
pub(super) fn tail(dir: &Path) -> String {
    STREAMS.iter().map(|stream| last_lines(&dir.join(stream))).find(|text| !text.is_empty()).unwrap_or_default()
}

fn last_lines(path: &Path) -> String {
    if path.symlink_metadata().is_ok_and(|found| found.len() == 0) {
        return String::new();
    }
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = VecDeque::with_capacity(TAIL_LINES);
    for line in text.lines().map(printable).filter(|line| !line.is_empty()) {
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    Vec::from(lines).join("\n")
}

/// A line without control characters and escape sequences. A progress bar that redraws itself by carriage returns
/// leaves its last state.
fn printable(line: &str) -> String {
    let line = line.trim_end().rsplit('\r').next().unwrap_or_default();
    let mut clean = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // A control sequence (ECMA-48 §5.4): up to its final byte.
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\t' => clean.push(' '),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_logs_reads_what_it_says() {
        let keep = |text: &str| text.parse::<KeepLogs>();
        assert_eq!(keep("none").expect("reads"), KeepLogs { count: 0, age: None });
        assert_eq!(keep("5").expect("reads"), KeepLogs { count: 5, age: None });
        let week = Some(Duration::from_secs(7 * 86_400));
        assert_eq!(keep("7d").expect("reads"), KeepLogs { count: usize::MAX, age: week });
        assert_eq!(keep("5,7d").expect("reads"), KeepLogs { count: 5, age: week });
        for nonsense in ["", "x", "5,6", "1d,1d", "-1"] {
            assert!(keep(nonsense).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn the_tail_is_short_clean_and_of_the_stream_that_speaks() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(tail(dir.path()), "");
        fs::write(dir.path().join("stdout.log"), "fine\n").expect("written");
        fs::write(dir.path().join("stderr.log"), "").expect("written");
        assert_eq!(tail(dir.path()), "fine");
        let noise = b"10%\r50%\r\x1b[31mred\x1b[0m \xff\x07\tend\r\n\n";
        fs::write(dir.path().join("stderr.log"), noise).expect("written");
        assert_eq!(tail(dir.path()), "red \u{fffd} end");
        let many: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
        fs::write(dir.path().join("stderr.log"), many).expect("written");
        let tail = tail(dir.path());
        assert!(tail.ends_with("line 99999") && tail.lines().count() == TAIL_LINES, "{tail}");
    }

    #[test]
    fn logs_are_kept_by_number_and_cut() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(&from).expect("made");
        fs::create_dir_all(&to).expect("made");
        let logs = Logs::open(&to, KeepLogs { count: 2, age: None }).expect("opens");
        for n in 0..5 {
            let size = if n == 4 { (KEPT_BYTES + 5) as usize } else { 3 };
            fs::write(from.join("stderr.log"), "x".repeat(size)).expect("written");
            fs::write(from.join("stdout.log"), "").expect("written");
            logs.keep(&from, &format!("id-{n}"));
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(n);
            let kept = File::open(to.join(format!("id-{n}.stderr.log"))).expect("kept");
            kept.set_modified(at).expect("dated");
        }
        logs.prune().expect("prunes");
        let mut left: Vec<_> = fs::read_dir(&to).expect("lists").flatten().map(|e| e.file_name()).collect();
        left.sort();
        assert_eq!(left, ["id-3.stderr.log", "id-4.stderr.log"]);
        assert_eq!(fs::metadata(to.join("id-4.stderr.log")).expect("kept").len(), KEPT_BYTES);
        Logs::open(&to, KeepLogs { count: 9, age: Some(Duration::from_secs(1)) }).expect("opens");
        assert_eq!(fs::read_dir(&to).expect("lists").count(), 0);
    }
}
