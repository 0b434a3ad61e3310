//! A life that others can see: a lock that falls with its holder, and a number that grows while it lives.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use sidecar::fault;

use crate::files::{self, about, open_regular};
use crate::protocol::{Hello, VERSION};
use crate::{Boot, root};

/// How often the number grows.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);

/// The prefix of lock files, before the boot.
const LOCK: &str = "lock.";

/// How long a predecessor's lock, whose holder may just be dying, is waited for.
const DYING: Duration = Duration::from_secs(1);

/// Stack of threads that do next to nothing, of which there may be a few hundred.
pub(crate) const STACK: usize = 256 << 10;

/// One life of an adapter or a shim, as long as this value lives. The kernel ends it with the process, whatever kills that.
#[derive(Debug)]
pub struct Life {
    dir: PathBuf,
    hello: Hello,
    /// The lock is ours as long as this is open; `None` where locks are not used.
    _lock: Option<File>,
    /// Hanging up ends the heartbeat.
    _heartbeat: mpsc::Sender<()>,
}

impl Life {
    /// Begins a life in `dir`, which must exist: takes the lock, has the number grow on a thread of its own, and then says so
    /// in `hello.json`. `program` is for people: `stage-shim 0.1.0`. Without `locks`, others have only the number.
    ///
    /// What a predecessor has left there otherwise should be cleared away before: see [`predecessors`].
    ///
    /// # Errors
    /// When the directory cannot be written to, or somebody lives there already ([`io::ErrorKind::ResourceBusy`]); the error
    /// names it.
    pub fn begin(dir: &Path, program: &str, locks: bool) -> io::Result<Self> {
        let life = Self::begin_quietly(dir, program, locks)?;
        life.greet()?;
        Ok(life)
    }

    /// The same, without a word: for who has more to prepare before others come. [`greet`](Self::greet) says it then.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_quietly(dir: &Path, program: &str, locks: bool) -> io::Result<Self> {
        Self::begin_with(dir, program, locks, HEARTBEAT)
    }

    pub(crate) fn begin_with(dir: &Path, program: &str, locks: bool, interval: Duration) -> io::Result<Self> {
        let boot = Boot::new();
        let old = predecessors(dir)?;
        for other in &old {
            refuse_living(dir, other)?;
        }
        let lock = if locks { lock(dir, &boot)? } else { None };
        let heartbeat = beat(dir, &boot, interval)?;
        for other in old {
            // Whoever waits for it has it open.
            let _ = fs::remove_file(root::lock(dir, &other));
        }
        let hello = Hello {
            protocol: VERSION,
            boot,
            program: program.to_owned(),
            heartbeat_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        };
        Ok(Self { dir: dir.to_owned(), hello, _lock: lock, _heartbeat: heartbeat })
    }

    /// Says that this life has begun.
    ///
    /// # Errors
    /// When the directory cannot be written to.
    pub fn greet(&self) -> io::Result<()> {
        fault::point("stage.hello.before")?;
        files::write(&root::hello(&self.dir), &self.hello)?;
        fault::point("stage.hello.after")
    }

    /// Which life this is.
    pub fn boot(&self) -> &Boot {
        &self.hello.boot
    }
}

/// The lives that have left a lock or a greeting in `dir`, living or dead: who begins a life there can end and clear away what
/// those have left.
///
/// # Errors
/// When the directory cannot be read.
pub fn predecessors(dir: &Path) -> io::Result<Vec<Boot>> {
    let mut all = Vec::new();
    for entry in dir.read_dir().map_err(|error| about(&error, "read", dir))? {
        let name = entry.map_err(|error| about(&error, "read", dir))?.file_name();
        let boot = name.to_str().and_then(|name| name.strip_prefix(LOCK)).map(|boot| Boot::try_from(boot.to_owned()));
        all.extend(boot.and_then(Result::ok));
    }
    // A greeting of another version, or one that was spoilt, is written over.
    if let Ok(Some(hello)) = files::read::<Hello>(&root::hello(dir))
        && !all.contains(&hello.boot)
    {
        all.push(hello.boot);
    }
    Ok(all)
}

/// Two that write the same directory would undo each other's work.
fn refuse_living(dir: &Path, other: &Boot) -> io::Result<()> {
    let Ok(Some((file, _))) = open_regular(&root::lock(dir, other)) else { return Ok(()) };
    let mut waited = Duration::ZERO;
    while flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK) {
        if waited >= DYING {
            let message = format!(
                "somebody lives in {} already ({other}): each stage, and the adapter, needs a directory of its own",
                dir.display()
            );
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        }
        let pause = Duration::from_millis(10);
        thread::sleep(pause);
        waited += pause;
    }
    Ok(())
}

/// Makes the lock under another name, so that whoever sees it sees it held. `None` where the file system has no locks.
fn lock(dir: &Path, boot: &Boot) -> io::Result<Option<File>> {
    let path = root::lock(dir, boot);
    let temporary = dir.join(format!(".{LOCK}{boot}"));
    let take = || {
        let file = create(&temporary)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => fs::rename(&temporary, &path).map(|()| Some(file)),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "no locks here: a heartbeat has to do");
                fs::remove_file(&temporary).map(|()| None)
            }
        }
    };
    take().map_err(|error| about(&error, "write", &path))
}

fn create(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o644);
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    Ok(file)
}

/// Has the number grow until the other end is dropped. It is written over in place, which takes no room of a full disk.
fn beat(dir: &Path, boot: &Boot, interval: Duration) -> io::Result<mpsc::Sender<()>> {
    let path = root::heartbeat(dir);
    let begin = || {
        let file = create(&path)?;
        file.write_all_at(pulse(boot, 0).as_bytes(), 0)?;
        file.set_len(pulse(boot, 0).len() as u64)?;
        Ok(file)
    };
    let file = begin().map_err(|error| about(&error, "write", &path))?;
    let (alive, hung_up) = mpsc::channel::<()>();
    let boot = boot.clone();
    let beats = move || {
        let mut number = 0;
        while hung_up.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            number += 1;
            if let Err(error) = file.write_all_at(pulse(&boot, number).as_bytes(), 0) {
                tracing::debug!(path = %path.display(), %error, "cannot write the heartbeat");
            }
        }
    };
    thread::Builder::new().name("heartbeat".into()).stack_size(STACK).spawn(beats)?;
    Ok(alive)
}

/// The line in `heartbeat`: whose it is, and the number, always of the same length.
fn pulse(boot: &Boot, number: u64) -> String {
    format!("{boot} {number:020}\n")
}
