//! The directory of one attempt, and how it is made, read and given up.
//!
//! ```text
//! <state>/attempts/<id>/item.json    what WORK_ITEM_FILE names, 0600
//!                       lock         flocked from before the spawn to the end; the child's stdin
//!                       report.json  the worker's, written by rename
//!                       exit         the attempt's id and the exit code a live manager saw
//!                       stdout.log stderr.log
//!                       tmp/         the child's TMPDIR
//! <state>/spare/<random>/            one that is being made, or waits for the next attempt
//! <state>/trash/<id>/                forgotten, about to be removed
//! <state>/logs/<id>.stderr.log       what is kept of it
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use contract::{Report, TraceContext, exit};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use sidecar::{fault, tree};
use tracing::warn;

use super::logs::{self, KeepLogs, Logs};
use super::spare::Spares;
use crate::executor::{AttemptId, Ended};

/// The largest report that is read, in bytes.
const REPORT_CAP: u64 = 8 << 20;
/// The largest item, where only its trace is wanted.
const ITEM_CAP: u64 = 8 << 20;

/// The state directory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    attempts: PathBuf,
    trash: PathBuf,
    spares: Spares,
    logs: Logs,
}

/// One attempt's directory.
#[derive(Clone, Debug)]
pub(super) struct AttemptDir(pub(super) PathBuf);

/// What a spawn needs.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Locked, for reading only: what reads it finds nothing.
    pub(super) lock: OwnedFd,
    pub(super) stdout: File,
    pub(super) stderr: File,
}

/// A lock file somebody may hold.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Place {
    /// Makes the directories, and removes what a former manager had begun to remove.
    pub(super) fn open(state: &Path, keep: KeepLogs) -> io::Result<Self> {
        let attempts = make_dir(&state.join("attempts"))?;
        let trash = make_dir(&state.join("trash"))?;
        let spares = Spares::open(make_dir(&state.join("spare"))?)?;
        let logs = Logs::open(&make_dir(&state.join("logs"))?, keep)?;
        let place = Self { attempts, trash, spares, logs };
        place.empty_trash()?;
        Ok(place)
    }

    /// The attempts that have a directory.
    pub(super) fn attempts(&self) -> io::Result<Vec<AttemptId>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.attempts)? {
            let entry = entry?;
            match entry.file_name().into_string() {
                Ok(name) if entry.file_type()?.is_dir() && is_plain(&name) => all.push(AttemptId(name)),
                _ => warn!(path = %entry.path().display(), "this is no attempt of ours and is left alone"),
            }
        }
        all.sort();
        Ok(all)
    }

    pub(super) fn attempt(&self, id: &AttemptId) -> AttemptDir {
        AttemptDir(self.attempts.join(&id.0))
    }

    /// Makes the directory of a new attempt, its lock taken.
    pub(super) fn prepare(&self, id: &AttemptId, data: &str) -> io::Result<Prepared> {
        if !is_plain(&id.0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{:?} is no attempt id", id.0)));
        }
        fault::point("executor.prepare.before")?;
        self.spares.prepare(&self.attempt(id), data)
    }

    /// The lock of an attempt that was there before. A directory without one is of an attempt that was never spawned: it
    /// goes away.
    pub(super) fn lock_left(&self, id: &AttemptId) -> io::Result<Option<Lock>> {
        if !is_plain(&id.0) {
            return Ok(None);
        }
        let dir = self.attempt(id);
        let opened = File::open(dir.lock()).or_else(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => tree::loosen(&dir.0).and_then(|()| File::open(dir.lock())),
            _ => Err(error),
        });
        match opened {
            Ok(file) => Ok(Some(Lock(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.abandon(id);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether nobody holds an attempt's lock now.
    pub(super) fn is_free(&self, id: &AttemptId) -> io::Result<bool> {
        Ok(self.lock_left(id)?.is_none_or(|lock| lock.is_free_now()))
    }

    /// The trace that its item says it is part of.
    pub(super) fn trace(&self, id: &AttemptId) -> Option<TraceContext> {
        let item = is_plain(&id.0).then(|| self.attempt(id).item())?;
        let data = serde_json::from_slice(&read_capped(&item, ITEM_CAP).ok()?).ok()?;
        TraceContext::of_data(&data)
    }

    /// Removes the directory of an attempt that was not spawned.
    pub(super) fn abandon(&self, id: &AttemptId) {
        match self.discard(id) {
            Ok(discarded) => discarded.remove(),
            Err(error) => warn!(attempt = id.0, %error, "cannot clear away an attempt that was not started"),
        }
    }

    /// Clears away what an attempt left, or keeps its directory for the next where the attempt is known to be `gone`: a
    /// process that is left would read the next item by a directory it is in, and write to that attempt's logs.
    pub(super) fn forget(&self, id: &AttemptId, gone: bool) -> io::Result<()> {
        fault::point("executor.forget.before")?;
        self.logs.keep(&self.attempt(id).0, &id.0);
        let spare = gone && self.spares.take_over(&self.attempt(id)).unwrap_or(false);
        let discarded = if spare { Discarded(None) } else { self.discard(id)? };
        fault::point("executor.forget.after")?;
        discarded.remove();
        fault::point("executor.remove.after")
    }

    /// Takes the directory of an attempt out of sight, in one step.
    fn discard(&self, id: &AttemptId) -> io::Result<Discarded> {
        // Unique, since an attempt that was not spawned may come back under the same id.
        let (from, away) = (self.attempt(id).0, self.trash.join(format!("{}.{:016x}", id.0, fastrand::u64(..))));
        let renamed = fs::rename(&from, &away).or_else(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => tree::loosen(&from).and_then(|()| fs::rename(&from, &away)),
            _ => Err(error),
        });
        match renamed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Discarded(None)),
            renamed => renamed.map(|()| Discarded(Some(away))),
        }
    }

    /// Removes what a former manager had discarded.
    fn empty_trash(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.trash)? {
            Discarded(Some(entry?.path())).remove();
        }
        Ok(())
    }

    /// How an attempt ended of which nothing runs any more: by the exit code that was seen, now or by the manager before,
    /// which its report explains; by its report alone where nobody saw. `None`: neither.
    pub(super) fn ended(&self, id: &AttemptId, seen: Option<u8>) -> io::Result<Option<Ended>> {
        let dir = self.attempt(id);
        if let Some(seen) = seen
            && let Err(error) = dir.write_exit(id, seen)
        {
            // A plain command is then run again if this manager dies before it has recorded the end.
            warn!(attempt = id.0, %error, "cannot note an exit code");
        }
        let seen = seen.or_else(|| dir.read_exit(id));
        let report = dir.read_report(id).filter(|report| explains(report, seen));
        let exit = report.as_ref().map(|report| report.exit_code).or(seen);
        let log_tail = logs::tail(&dir.0);
        Ok(exit.map(|exit| Ended { exit, report: report.map(Box::new), log_tail }))
    }
}

/// Whether a report is of the process that ended so. One that was killed may have done and said everything before; one that
/// ended by itself with another code is another: a command around the worker, which has the last word.
fn explains(report: &Report, seen: Option<u8>) -> bool {
    seen.is_none_or(|seen| seen == report.exit_code || seen > exit::SIGNAL_BASE)
}

/// A directory nobody looks at any more.
#[derive(Debug)]
pub(super) struct Discarded(Option<PathBuf>);

impl Discarded {
    /// Removes it, as far as that is possible; the rest is tried again when the next manager starts.
    pub(super) fn remove(self) {
        if let Some(path) = self.0
            && let Err(error) = tree::remove(&path)
        {
            warn!(path = %path.display(), %error, "cannot remove what an attempt left behind");
        }
    }
}

impl AttemptDir {
    pub(super) fn item(&self) -> PathBuf {
        self.0.join("item.json")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(super) fn report(&self) -> PathBuf {
        self.0.join("report.json")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.0.join("tmp")
    }

    /// The report, when it is this attempt's and whole.
    fn read_report(&self, id: &AttemptId) -> Option<Report> {
        let path = self.report();
        let read = || -> io::Result<Report> {
            let bytes = read_capped(&path, REPORT_CAP)?;
            let report: Report = serde_json::from_slice(&bytes)?;
            if report.attempt != id.0 {
                return Err(io::Error::other(format!("it is of another attempt, {:?}", report.attempt)));
            }
            Ok(report)
        };
        match read() {
            Ok(report) => Some(report),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!(attempt = id.0, %error, "a report is not used");
                None
            }
        }
    }

    /// In one write, over what an earlier attempt in this directory may have there: its id tells them apart.
    fn write_exit(&self, id: &AttemptId, exit: u8) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(self.0.join("exit"), flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all_at(format!("{} {exit}\n", id.0).as_bytes(), 0)
    }

    fn read_exit(&self, id: &AttemptId) -> Option<u8> {
        let text = read_capped(&self.0.join("exit"), 512).ok()?;
        let (said, exit) = std::str::from_utf8(&text).ok()?.lines().next()?.split_once(' ')?;
        (said == id.0).then(|| exit.parse().ok())?
    }
}

impl Lock {
    /// Whether nobody holds it now.
    fn is_free_now(&self) -> bool {
        let free = flock(&self.0, FlockOperation::NonBlockingLockExclusive).is_ok();
        if free {
            let _ = flock(&self.0, FlockOperation::Unlock);
        }
        free
    }

    /// Resolves when nobody holds it: a thread of its own waits in the kernel, so that it is known at once and no runtime
    /// has to wait for the thread.
    pub(super) async fn freed(self) -> io::Result<()> {
        if self.is_free_now() {
            return Ok(());
        }
        let (done, seen) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("attempt-lock".to_owned()).stack_size(64 << 10).spawn(move || {
            let locked = loop {
                match flock(&self.0, FlockOperation::LockExclusive) {
                    Err(rustix::io::Errno::INTR) => {}
                    other => break other,
                }
            };
            drop(self);
            let _ = done.send(locked.map_err(io::Error::from));
        })?;
        seen.await.map_err(io::Error::other)?
    }
}

/// Whether this is one path component, and not hidden.
fn is_plain(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 200
        && !id.starts_with('.')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn make_dir(path: &Path) -> io::Result<PathBuf> {
    fs::DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(|error| naming(path, &error))?;
    path.canonicalize()
}

fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn read_capped(path: &Path, cap: u64) -> io::Result<Vec<u8>> {
    // Not blocking: the attempt may have put a pipe there.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(cap + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > cap {
        return Err(io::Error::other(format!("it is larger than the {cap} bytes that are read")));
    }
    Ok(bytes)
}
