//! The process table, as `/proc` shows it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;

/// A kernel thread, in the flags of `/proc/PID/stat` (`PF_KTHREAD` in `include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// How often, and how long apart, a process within execve is looked at again: for a second, which one that has to wait for a
/// processor or for its program's pages may need.
const EXEC_LOOKS: usize = 2_000;
const EXEC_PAUSE: Duration = Duration::from_micros(500);

/// How often the list of pids is made anew. Where that is not enough the machine does nothing but fork, and what is looked
/// for is found by the look after.
const ROUNDS: usize = 100;

/// One process, as it was when it was read. Pid and start time together name it for ever: pids come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// Clock ticks since boot.
    pub(crate) start: u64,
    /// Ended and not yet reaped.
    pub(crate) ended: bool,
    kernel: bool,
    threads: u64,
}

/// Every process of this pid namespace, and none missed that one of them has forked meanwhile.
///
/// The kernel hands out a list of pids, and they are read one by one: a process that forks after the list was made and ends
/// before it is read would hide its child. So the list is made again until it holds nobody new.
pub(crate) fn rows() -> io::Result<Vec<Row>> {
    let mut all = Vec::new();
    let mut looked_at = HashSet::new();
    for _ in 0..ROUNDS {
        let new: Vec<i32> = pids()?.into_iter().filter(|pid| looked_at.insert(*pid)).collect();
        if new.is_empty() {
            break;
        }
        all.extend(new.into_iter().filter_map(row).filter(|row| !row.kernel));
    }
    Ok(all)
}

fn pids() -> io::Result<Vec<i32>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        all.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(all)
}

/// One process; `None` when there is none of this pid.
pub(crate) fn row(pid: i32) -> Option<Row> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields of `proc_pid_stat(5)`, counted behind the last parenthesis, since a program's name may hold anything.
fn fields(stat: &[u8]) -> Option<Vec<&str>> {
    let name_end = stat.iter().rposition(|b| *b == b')')?;
    Some(std::str::from_utf8(stat.get(name_end + 1..)?).ok()?.split_ascii_whitespace().collect())
}

fn parse(pid: i32, stat: &[u8]) -> Option<Row> {
    let fields = fields(stat)?;
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let id = |at: usize| fields.get(at)?.parse::<i32>().ok();
    let threads = number(17)?;
    Some(Row {
        pid,
        parent: id(1)?,
        group: id(2)?,
        session: id(3)?,
        kernel: number(6)? & KERNEL_THREAD != 0,
        threads,
        start: number(19)?,
        // A process whose first thread has ended looks like a zombie while its other threads run on.
        ended: matches!(*fields.first()?, "Z" | "X" | "x") && threads <= 1,
    })
}

/// An environment in one system call: behind the first the process may execute another program, and what follows of the
/// one that was opened would be missing. Empty when it cannot be read.
fn read_at_once(environ: &Path) -> Vec<u8> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let read = File::open(environ).and_then(|mut file| file.read(&mut buffer)).unwrap_or(0);
        if read < buffer.len() {
            buffer.truncate(read);
            return buffer;
        }
        buffer.resize(buffer.len() * 4, 0);
    }
}

impl Row {
    /// The pid as system calls want it.
    pub(crate) fn id(&self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }

    /// Whether it was started with `NAME=VALUE` in its environment. Not so for a process of another user, which nobody
    /// here may read or kill, nor for one that shows our environment still since its own is yet to come.
    pub(crate) fn carries(&self, assignment: &[u8]) -> bool {
        !self.is_being_spawned() && self.environment().split(|b| *b == 0).any(|one| one == assignment)
    }

    fn environment(&self) -> Vec<u8> {
        let path = format!("/proc/{}/environ", self.pid);
        let environment = read_at_once(Path::new(&path));
        if !environment.is_empty() || self.ended {
            return environment;
        }
        if self.threads > 1
            && let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid))
        {
            let of = |task: fs::DirEntry| read_at_once(&task.path().join("environ"));
            return tasks.flatten().map(of).find(|environment| !environment.is_empty()).unwrap_or_default();
        }
        // Within execve there is no environment yet, and where the process executes one program after another it may be
        // there each time. One that truly has none says so twice of the same program.
        let mut said = None;
        for _ in 0..EXEC_LOOKS {
            match self.environment_bounds() {
                None => break,
                Some((start, end)) if start != 0 && start == end && said.replace(start) == Some(start) => break,
                Some(_) => std::thread::sleep(EXEC_PAUSE),
            }
            let environment = read_at_once(Path::new(&path));
            if !environment.is_empty() {
                return environment;
            }
        }
        Vec::new()
    }

    /// Where in its memory the environment begins and ends; both 0 within execve, and random in each program.
    fn environment_bounds(&self) -> Option<(u64, u64)> {
        let stat = fs::read(format!("/proc/{}/stat", self.pid)).ok()?;
        let fields = fields(&stat)?;
        let number = |at: usize| fields.get(at)?.parse().ok();
        (!matches!(*fields.first()?, "Z" | "X" | "x")).then_some((number(47)?, number(48)?))
    }

    /// Whether it is a child of ours that has not executed its program yet: it runs ours, in our memory. It has copies of
    /// every descriptor we have open until then, whatever they are about.
    pub(crate) fn is_being_spawned(&self) -> bool {
        let program = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).ok();
        let me = std::process::id().cast_signed();
        // Where the kernel has put it tells our memory from that of another process of the same program.
        let is_ours = || row(me).is_some_and(|me| me.environment_bounds() == self.environment_bounds());
        self.parent == me && program(self.pid) == program(me) && is_ours()
    }

    /// Whether it has the file at `path` open, by the name it was opened under. No descriptor is followed: a stat on a
    /// dead network file system would hang.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        if self.is_being_spawned() {
            return false;
        }
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else { return false };
        descriptors.flatten().filter_map(|one| fs::read_link(one.path()).ok()).any(|target| {
            let target = target.as_os_str().as_bytes();
            target.strip_suffix(b" (deleted)").unwrap_or(target) == path.as_os_str().as_bytes()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_fields_is_no_trap() {
        let stat = b"42 (a) Z 1 1) S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 0 777 1 2";
        let row = parse(42, stat).expect("parses");
        assert_eq!((row.parent, row.group, row.session, row.start, row.threads), (7, 8, 9, 777, 3));
        assert!(!row.ended && !row.kernel);
    }

    #[test]
    fn a_dead_first_thread_is_not_a_dead_process() {
        let zombie = |threads: u32| format!("42 (a) Z 7 8 9 0 -1 0 1 2 3 4 5 6 7 8 20 0 {threads} 0 777 1 2");
        assert!(parse(42, zombie(1).as_bytes()).expect("parses").ended);
        assert!(!parse(42, zombie(2).as_bytes()).expect("parses").ended);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let me = i32::try_from(std::process::id()).expect("a pid");
        let row = rows().expect("reads").into_iter().find(|row| row.pid == me).expect("is there");
        assert!(!row.ended && row.parent > 0);
    }
}
