//! The children of this process, and the proof that one of them has left nothing behind.
//!
//! Looking through the whole process table costs milliseconds on a busy machine, and nearly every child leaves nothing. The
//! kernel can say so in microseconds. This process is a child subreaper: whoever loses a parent among its descendants
//! becomes its child. So once a child has ended, whatever descends from it hangs below another child of this process, one
//! that is not known; and where there is no unknown child, nothing can be left.
//!
//! The kernel keeps the children of a process by thread, in `/proc/self/task/TID/children`: with the thread that spawned
//! them, and orphans with the first thread that is alive (`find_alive_thread` in `kernel/exit.c`), which is the main one.
//! The children of a thread that ends pass to the main one too. Therefore the lists of all threads that have ever spawned
//! are read, and the main thread's last. Such a list leaves nobody out as long as nobody in it is reaped meanwhile: reaping
//! and reading are done under one lock.
//!
//! Spawning is not: an exec may hang for as long as the program's file system does, and nobody else's end may wait for that.
//! The threads that are spawning are noted instead. The last child in the list of such a thread may be the one that it is
//! making, which is known by running our own program in our own memory still, after the list was read: so it was not reaped
//! meanwhile either, as one is whose exec fails.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};

use rustix::process::{Pid, getpid, set_child_subreaper};
use rustix::thread::gettid;

use crate::table;

/// From how many threads that have spawned on it is worth looking which of them are gone.
const MANY: usize = 64;

static NURSERY: LazyLock<Mutex<Nursery>> = LazyLock::new(|| Mutex::new(Nursery::new()));

thread_local! {
    static IS_NOTED: Cell<bool> = const { Cell::new(false) };
}

/// Whoever holds it is the only one who reaps children, apart from those that could not be executed.
pub(crate) fn nursery() -> MutexGuard<'static, Nursery> {
    NURSERY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, unless that would have to be waited for.
pub(crate) fn nursery_at_once() -> Option<MutexGuard<'static, Nursery>> {
    match NURSERY.try_lock() {
        Ok(nursery) => Some(nursery),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Spawns, and enters the child. What hangs meanwhile is this thread alone.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Pid> {
    nursery().begin_spawn();
    let spawned = command.spawn();
    nursery().end_spawn(spawned.map(|child| Pid::from_child(&child)))
}

#[derive(Debug)]
pub(crate) struct Nursery {
    /// The children of this process that are waited for by their own supervisors, by pid.
    pub(crate) leaders: HashSet<i32>,
    /// The threads that are about to spawn, are spawning, or have spawned and not entered the child yet. Such a child may
    /// have ended already, and is left for its supervisor to reap: it is in its own group and in our session, so that
    /// nobody takes it for an orphan.
    spawning: HashSet<i32>,
    /// `None` where orphans are not ours, or the kernel does not keep such lists (`CONFIG_PROC_CHILDREN`).
    lists: Option<Lists>,
}

#[derive(Debug)]
struct Lists {
    main: File,
    /// By the id of their thread, which may be gone.
    threads: Vec<(i32, File)>,
}

impl Nursery {
    /// Makes this process the parent of what its children leave behind.
    fn new() -> Self {
        let adopts = set_child_subreaper(Some(getpid()));
        if let Err(error) = adopts {
            tracing::warn!(%error, "cannot become a child subreaper: orphans of children may stay behind");
        }
        let main = File::open(format!("/proc/self/task/{}/children", getpid()));
        let lists = adopts.ok().and(main.ok()).map(|main| Lists { main, threads: Vec::new() });
        Self { leaders: HashSet::new(), spawning: HashSet::new(), lists }
    }

    /// Whether there may be a child that is not entered yet.
    pub(crate) fn is_spawning(&self) -> bool {
        !self.spawning.is_empty()
    }

    fn begin_spawn(&mut self) {
        self.note_thread();
        self.spawning.insert(own_tid());
    }

    fn end_spawn(&mut self, spawned: io::Result<Pid>) -> io::Result<Pid> {
        self.spawning.remove(&own_tid());
        if let Ok(pid) = &spawned {
            self.leaders.insert(pid.as_raw_nonzero().get());
        }
        spawned
    }

    /// To be called before this thread spawns.
    fn note_thread(&mut self) {
        if IS_NOTED.get() {
            return;
        }
        let Some(lists) = &mut self.lists else { return };
        if lists.threads.len() >= MANY {
            lists.threads.retain(|(tid, _)| Path::new(&format!("/proc/self/task/{tid}")).exists());
        }
        match File::open("/proc/thread-self/children") {
            Ok(list) => lists.threads.push((own_tid(), list)),
            Err(_) => self.lists = None,
        }
        IS_NOTED.set(true);
    }

    /// Whether this process has no child, living or to be reaped, but those that are waited for or just being spawned: what
    /// has ended of those has then left nothing at all. False also where that cannot be known.
    pub(crate) fn has_leaders_only(&self) -> bool {
        let Some(Lists { main, threads }) = &self.lists else { return false };
        let own = |(tid, list): &(i32, File)| self.knows_all(list, self.spawning.contains(tid));
        threads.iter().all(own) && self.knows_all(main, false)
    }

    /// Children that are not waited for, where an orphan would be among them; nobody where that cannot be known.
    pub(crate) fn others(&self) -> Vec<i32> {
        let all = self.lists.as_ref().and_then(|lists| children(&lists.main).ok()).unwrap_or_default();
        all.into_iter().filter(|pid| !self.leaders.contains(pid)).collect()
    }

    /// Whether nobody is in a thread's list but who is entered and, where that thread `spawns`, the one it is making. In
    /// the main thread's list orphans appear at any time, and no exception is made.
    fn knows_all(&self, list: &File, spawns: bool) -> bool {
        let Ok(pids) = children(list) else { return false };
        let mut unknown = pids.iter().filter(|pid| !self.leaders.contains(pid));
        let unborn = |pid: &i32| spawns && table::row(*pid).is_some_and(|row| row.is_being_spawned());
        unknown.next().is_none_or(unborn) && unknown.next().is_none()
    }
}

fn own_tid() -> i32 {
    gettid().as_raw_nonzero().get()
}

fn children(list: &File) -> io::Result<Vec<i32>> {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match list.read_at(&mut buffer, text.len() as u64)? {
            0 => break,
            read => text.extend(buffer.iter().take(read)),
        }
    }
    let parsed = std::str::from_utf8(&text).ok().map(|text| text.split_ascii_whitespace().map(str::parse).collect());
    parsed.and_then(Result::ok).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn fresh() -> Nursery {
        IS_NOTED.set(false);
        let mut nursery = Nursery::new();
        nursery.note_thread();
        nursery
    }

    #[test]
    fn a_child_that_nobody_waits_for_is_met_until_it_is_reaped() {
        let mut nursery = fresh();
        assert!(nursery.lists.is_some(), "this kernel has CONFIG_PROC_CHILDREN");
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().expect("starts");
        assert!(!nursery.has_leaders_only(), "it lives");
        nursery.leaders.insert(child.id().cast_signed());
        let own = |nursery: &Nursery| children(&nursery.lists.as_ref().expect("there").threads[0].1).expect("reads");
        assert_eq!(own(&nursery), [child.id().cast_signed()]);
        drop(child.stdin.take());
        assert!(child.wait().expect("ends").success());
        assert_eq!(own(&nursery), []);
    }

    #[test]
    fn children_of_a_thread_that_has_ended_are_met() {
        let spawned = std::thread::spawn(|| {
            let nursery = fresh();
            (Command::new("/bin/cat").stdin(Stdio::piped()).spawn().expect("starts"), nursery)
        });
        let (mut child, mut nursery) = spawned.join().expect("spawns");
        assert!(!nursery.has_leaders_only());
        // Who joins a thread is told before that has let go of its children.
        let own = |nursery: &Nursery| children(&nursery.lists.as_ref().expect("there").threads[0].1).expect("reads");
        let begun = std::time::Instant::now();
        while !own(&nursery).is_empty() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(180), "it keeps them");
            std::thread::yield_now();
        }
        assert!(!nursery.has_leaders_only());
        nursery.lists = None;
        assert!(!nursery.has_leaders_only(), "what cannot be known proves nothing");
        drop(child.stdin.take());
        child.wait().expect("ends");
    }

    #[test]
    fn a_list_longer_than_a_page_is_read_to_its_end() {
        let nursery = fresh();
        let mut all: Vec<_> = (0..900)
            .map(|_| Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts"))
            .collect();
        let mut pids: Vec<_> = all.iter().map(|child| child.id().cast_signed()).collect();
        let mut listed = children(&nursery.lists.as_ref().expect("there").threads[0].1).expect("reads");
        pids.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, pids);
        for child in &mut all {
            drop(child.stdin.take());
            child.wait().expect("ends");
        }
    }
}
