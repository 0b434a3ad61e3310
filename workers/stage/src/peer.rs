//! The other side's life, as it can be seen from here.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};
use serde::Deserialize;
use tokio::sync::watch;

use crate::files::{self, open_regular};
use crate::life::{HEARTBEAT, STACK};
use crate::protocol::{Hello, VERSION};
use crate::{Boot, root};

/// How many looks in a row must have seen the same number before its writer is dead. They are counted and not timed: whoever
/// looks may itself be stopped for as long as you like.
const SILENT_LOOKS: u32 = 5;

/// The quickest and the slowest that somebody may say that his heart beats.
const INTERVALS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(10)];

/// Who lives in the other side's directory `dir`; `None` as long as nobody has said so.
///
/// # Errors
/// When what stands there is no greeting, and [`io::ErrorKind::Unsupported`] when it is one of another version of the protocol.
pub fn hello(dir: &Path) -> io::Result<Option<Hello>> {
    #[derive(Deserialize)]
    struct Spoken {
        protocol: u32,
    }
    let path = root::hello(dir);
    let Some(bytes) = files::bytes(&path)? else { return Ok(None) };
    let Spoken { protocol } = files::parse(&bytes, &path)?;
    if protocol != VERSION {
        let message = format!(
            "{} speaks version {protocol} of the protocol, and this program version {VERSION}: take multi-worker and stage-shim \
             from one release",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    files::parse(&bytes, &path).map(Some)
}

/// What the heart of the side in `dir` has written last; `None` where that cannot be seen.
pub fn heartbeat(dir: &Path) -> Option<Vec<u8>> {
    files::bytes(&root::heartbeat(dir)).ok().flatten()
}

/// By what it is known that somebody lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is not known yet whether he does.
    None,
    /// He holds his lock, and it can be seen from here: its fall is known at once.
    Lock,
    /// His lock cannot be seen from here, or he has none; his number grows.
    Heartbeat,
    /// He is dead.
    Fallen,
}

/// Somebody who lives, or did. Watched by a thread of its own, which blocks in the kernel: the fall of a lock needs no look.
#[derive(Clone, Debug)]
pub struct Peer {
    boot: Boot,
    sign: watch::Receiver<Sign>,
    traits: Arc<Traits>,
}

/// What remains true of somebody after his death.
#[derive(Debug, Default)]
struct Traits {
    lived: AtomicBool,
    fell_silent: AtomicBool,
}

impl Peer {
    /// Begins to watch who has said `hello` in `dir`. A lock that is held is seen at once, and for its fall alone there is a
    /// thread. When every clone of this is dropped, the thread ends; one that waits for a lock stays until that falls, and keeps
    /// no process from ending.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn watch(dir: &Path, hello: &Hello) -> io::Result<Self> {
        let (to, sign) = watch::channel(Sign::None);
        let [quickest, slowest] = INTERVALS;
        let said = Some(hello.heartbeat_ms).filter(|millis| *millis > 0).map_or(HEARTBEAT, Duration::from_millis);
        let traits = Arc::<Traits>::default();
        let (boot, interval) = (hello.boot.clone(), said.clamp(quickest, slowest));
        let watcher = Watcher { dir: dir.to_owned(), boot, interval, to, traits: Arc::clone(&traits) };
        let lock = watcher.held_lock();
        if lock.is_some() {
            watcher.lives_by(Sign::Lock);
        }
        thread::Builder::new().name("peer".into()).stack_size(STACK).spawn(move || watcher.run(lock))?;
        Ok(Self { boot: hello.boot.clone(), sign, traits })
    }

    /// Which life it is.
    pub fn boot(&self) -> &Boot {
        &self.boot
    }

    /// By what its life is known now.
    pub fn sign(&self) -> Sign {
        *self.sign.borrow()
    }

    /// Resolves once it is known whether it lives, with what that is known by.
    pub async fn known(&self) -> Sign {
        self.once(|sign| sign != Sign::None).await
    }

    /// Resolves once it is dead. What it wrote last was written by then: look once more before you judge.
    pub async fn fallen(&self) {
        self.once(|sign| sign == Sign::Fallen).await;
    }

    /// Whether it was ever seen to live, dead or not by now.
    pub fn lived(&self) -> bool {
        self.traits.lived.load(Ordering::Acquire)
    }

    /// Whether its death is no more than a silence: no lock fell, its heart stood still, and nobody has come after it. It may have
    /// been stopped, and go on as if nothing had happened.
    pub fn fell_silent(&self) -> bool {
        self.traits.fell_silent.load(Ordering::Acquire)
    }

    async fn once(&self, holds: fn(Sign) -> bool) -> Sign {
        let mut sign = self.sign.clone();
        let known = sign.wait_for(|sign| holds(*sign)).await.map(|sign| *sign);
        match known {
            Ok(sign) => sign,
            // A watcher that is gone without a word proves nothing.
            Err(_) => std::future::pending().await,
        }
    }
}

struct Watcher {
    dir: PathBuf,
    boot: Boot,
    interval: Duration,
    to: watch::Sender<Sign>,
    traits: Arc<Traits>,
}

impl Watcher {
    /// Returns once it is dead, which everybody knows then. `lock` is its own, if it is held.
    fn run(self, lock: Option<File>) {
        match lock {
            Some(lock) => {
                let fell = retry_on_intr(|| flock(&lock, FlockOperation::LockShared));
                if let Err(error) = fell {
                    tracing::warn!(boot = %self.boot, %error, "cannot wait for a lock: its holder's heartbeat has to do");
                    self.follow_heartbeat();
                }
            }
            None => self.follow_heartbeat(),
        }
        self.to.send_replace(Sign::Fallen);
    }

    fn lives_by(&self, sign: Sign) {
        self.traits.lived.store(true, Ordering::Release);
        self.to.send_replace(sign);
    }

    /// Its lock, if it can be seen from here that somebody holds it. One that seems free proves nothing yet: locks need not
    /// cross containers.
    fn held_lock(&self) -> Option<File> {
        let (file, _) = open_regular(&root::lock(&self.dir, &self.boot)).ok()??;
        (flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)).then_some(file)
    }

    /// Returns when it is dead, or nobody wants to know any more.
    fn follow_heartbeat(&self) {
        let (mut seen, mut silent) = (self.look(), 0);
        while silent < SILENT_LOOKS && !self.to.is_closed() && !self.is_succeeded(&seen) {
            thread::sleep(self.interval);
            match self.look() {
                // What cannot be seen proves nothing.
                Err(error) => tracing::debug!(boot = %self.boot, %error, "cannot see a heartbeat"),
                Ok(now) if matches!(&seen, Ok(before) if *before == now) => silent += 1,
                now => {
                    if seen.is_ok() && !self.is_succeeded(&now) && self.sign() == Sign::None {
                        self.lives_by(Sign::Heartbeat);
                    }
                    (seen, silent) = (now, 0);
                }
            }
        }
        self.traits.fell_silent.store(silent >= SILENT_LOOKS, Ordering::Release);
    }

    fn sign(&self) -> Sign {
        *self.to.borrow()
    }

    /// What is written there; nothing where nobody ever did.
    fn look(&self) -> io::Result<Vec<u8>> {
        files::bytes(&root::heartbeat(&self.dir)).map(Option::unwrap_or_default)
    }

    /// Whether another life has begun in its directory, which it does only after this one.
    fn is_succeeded(&self, heartbeat: &io::Result<Vec<u8>>) -> bool {
        let is_anothers = |line: &Vec<u8>| !line.is_empty() && !line.starts_with(self.boot.as_str().as_bytes());
        heartbeat.as_ref().is_ok_and(is_anothers)
            || matches!(hello(&self.dir), Ok(Some(hello)) if hello.boot != self.boot)
    }
}

#[cfg(test)]
mod tests;
