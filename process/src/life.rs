//! One process that is not to be confused with another of the same pid.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::table::{self, Row};

/// How often a process is looked at on kernels without pidfds (before 5.3) and in sandboxes that forbid them.
const WITHOUT_PIDFD: Duration = Duration::from_millis(10);

#[expect(unsafe_code, reason = "AsyncFd has no safe constructor any more")]
fn open(pid: Pid) -> Option<AsyncFd<OwnedFd>> {
    let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // SAFETY: an OwnedFd is open and stands for the same file until it is dropped, and here the AsyncFd owns it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok()
}

/// A process, held by a pidfd where the kernel has them.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) pid: Pid,
    /// `None` for a child that is not reaped yet, whose pid is its own until then.
    pub(crate) start: Option<u64>,
    fd: Option<AsyncFd<OwnedFd>>,
}

impl Life {
    /// The process of this row; `None` when it has ended since.
    pub(crate) fn of(row: &Row) -> Option<Self> {
        let pid = row.id()?;
        let life = Self { pid, start: Some(row.start), fd: open(pid) };
        // The pid may have passed to another process between the reading of the row and the opening.
        life.row().is_some_and(|row| !row.ended).then_some(life)
    }

    /// A child of this process that nobody else reaps.
    pub(crate) fn child(pid: Pid) -> Self {
        Self { pid, start: None, fd: open(pid) }
    }

    fn row(&self) -> Option<Row> {
        table::row(self.pid.as_raw_nonzero().get()).filter(|row| self.start.is_none_or(|start| row.start == start))
    }

    /// Sends a signal; to one that has ended, nothing happens.
    pub(crate) fn signal(&self, signal: Signal) {
        let sent = match &self.fd {
            Some(fd) => pidfd_send_signal(fd, signal),
            None if self.row().is_some() => kill_process(self.pid, signal),
            None => return,
        };
        if let Err(error) = sent
            && error != rustix::io::Errno::SRCH
        {
            tracing::debug!(pid = %self.pid, ?signal, %error, "cannot signal");
        }
    }

    /// Resolves when it has ended, reaped or not.
    pub(crate) async fn ended(&self) {
        if let Some(fd) = &self.fd
            && fd.readable().await.is_ok()
        {
            return;
        }
        while self.row().is_some_and(|row| !row.ended) {
            tokio::time::sleep(WITHOUT_PIDFD).await;
        }
    }
}
