//! The child itself: spawned, signalled and reaped.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::child::Exit;
use crate::life::Life;
use crate::nursery::{self, Nursery, nursery, nursery_at_once};

/// How long somebody who is writing the program's file is waited for, in all half a second: on a busy machine, a thread that is
/// between fork and exec may be kept waiting itself.
const BUSY_RETRIES: [u64; 8] = [1, 3, 8, 16, 32, 64, 128, 256];

/// The child itself. Until it is reaped, its pid and so its group's id cannot pass to anybody else.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) life: Life,
    reaped: bool,
    outlives_us: bool,
}

/// What is known of a child once it is reaped.
#[derive(Debug)]
pub(crate) struct Reaped {
    pub(crate) exit: Exit,
    /// The kernel's `ru_maxrss`, in bytes.
    resident: u64,
}

/// The kernel counts by CPU, and does not add up exactly each time it looks.
const INEXACT: u64 = 1 << 20;

impl Reaped {
    /// The most memory that it, or a descendant that it waited for, has held; `None` where that cannot be told.
    ///
    /// A child that was not forked begins in our memory, and at its exec Linux enters into its account what **we** had held by
    /// then (`setmax_mm_hiwater_rss` in `exec_mmap`, `fs/exec.c`): only what is more than that is its own.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        (self.resident > own_peak()? + INEXACT).then_some(self.resident)
    }
}

/// The most memory that this program has held so far, in bytes; without what was entered at its own exec.
fn own_peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(most.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

impl Leader {
    pub(crate) fn spawn(command: &mut Command, outlives_us: bool) -> io::Result<Self> {
        let mut retries = BUSY_RETRIES.into_iter();
        loop {
            match nursery::spawn(command) {
                Ok(pid) => return Ok(Self { life: Life::child(pid), reaped: false, outlives_us }),
                // Another thread that is between fork and exec holds a copy of every descriptor, for a moment also of
                // one by which the program was just written.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => match retries.next() {
                    Some(millis) => std::thread::sleep(Duration::from_millis(millis)),
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn signal_group(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.life.pid, signal) {
            tracing::debug!(group = %self.life.pid, ?signal, %error, "cannot signal the group");
        }
    }

    /// Reaps it, once it has ended, if nothing of it can be left; otherwise it stays a zombie.
    pub(crate) fn reap_alone(&mut self, nursery: &mut Nursery) -> Option<io::Result<Reaped>> {
        nursery.has_leaders_only().then(|| self.reap_from(nursery))
    }

    pub(crate) fn reap(&mut self) -> io::Result<Reaped> {
        self.reap_from(&mut nursery())
    }

    /// Under the nursery's lock, so that a new child with the same pid cannot be entered in between.
    fn reap_from(&mut self, nursery: &mut Nursery) -> io::Result<Reaped> {
        nursery.leaders.remove(&self.life.pid.as_raw_nonzero().get());
        self.reaped = true;
        reap(self.life.pid)
    }
}

/// Waits for a child that has ended, with what it used: rustix knows the one without the other.
fn reap(pid: Pid) -> io::Result<Reaped> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live values of the types that wait4(2) writes. All zeroes is a value of that struct of
    // integers, whatever the kernel has written of it.
    #[expect(unsafe_code, reason = "no safe binding of wait4 says what a child used")]
    let (reaped, usage) = unsafe {
        (libc::wait4(pid.as_raw_nonzero().get(), &raw mut status, 0, usage.as_mut_ptr()), usage.assume_init())
    };
    if reaped < 0 {
        return Err(io::Error::last_os_error());
    }
    let exit = if libc::WIFEXITED(status) {
        Exit::Code(u8::try_from(libc::WEXITSTATUS(status) & 0xff).unwrap_or(u8::MAX))
    } else if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        return Err(io::Error::other("a child ended neither by itself nor by a signal"));
    };
    Ok(Reaped { exit, resident: u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024 })
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        if !self.outlives_us {
            self.signal_group(Signal::KILL);
        }
        // Nothing is waited for where a runtime may be ending. A pid that stays entered is of a zombie of ours, and nobody
        // else's.
        if let Some(mut nursery) = nursery_at_once() {
            nursery.leaders.remove(&self.life.pid.as_raw_nonzero().get());
        }
    }
}
