//! What a child may use at the most: resource limits, set by `prlimit(2)` on the running child.

use std::io;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// What a child, and each of its descendants by itself, may use at the most; nothing is limited unless said.
///
/// They are set when the child has just been started, since nothing may run between fork and exec: what it does in its first
/// moments is not held back, what it holds then counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of private writable memory (`RLIMIT_DATA`): heap, buffers and stacks of threads. Asking for more fails with
    /// `ENOMEM`. Mapped files and reserved addresses do not count.
    pub memory: Option<u64>,
    /// Bytes of each file it writes (`RLIMIT_FSIZE`): beyond that SIGXFSZ, or `EFBIG` where that is ignored.
    pub file: Option<u64>,
}

impl Limits {
    /// Sets them for a child that runs, or has ended and is not reaped.
    pub(crate) fn set(self, pid: Pid) -> io::Result<()> {
        for (resource, limit) in [(Resource::Data, self.memory), (Resource::Fsize, self.file)] {
            let Some(limit) = limit else { continue };
            // Raising what somebody has set for us takes a privilege; and theirs is the smaller one then.
            let limit = getrlimit(resource).maximum.map_or(limit, |most| most.min(limit));
            prlimit(Some(pid), resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
        }
        Ok(())
    }
}
