//! Being told that the other side has written something: each side hangs a bell, a pipe with a name, in its own directory, and
//! whoever writes a message for it rings, by a byte. The byte is a hint that makes it fast, a look behind it the truth: there are
//! volumes on which no pipe can be made, walls that no byte gets through, and sides that do not ring.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, fchmod, fstat, mkfifoat, openat};
use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep_until};

use crate::files::about;
use crate::root;

/// The first look for which nobody has rung. Each that follows waits twice as long: what was written and not rung for is found late
/// in proportion to how long it was waited for.
const FIRST: Duration = Duration::from_millis(10);
/// The longest between two looks where nobody can ring, or who should has not done so yet.
const FAST: Duration = Duration::from_millis(50);
/// The longest between two looks otherwise.
const SLOW: Duration = Duration::from_secs(2);

/// How many times one may ring without a pause, far more than there is ever to say at once, and how often then: who rings without
/// end keeps nobody from anything else.
const BURST: u32 = 500;
const EVERY: Duration = Duration::from_millis(2);

/// Whoever may write to the directories beside ours may ring; nobody but we can hear.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::WGRP).union(Mode::WOTH);

/// A bell of one's own. Whoever waits looks for itself each time that it is woken: once too often, never too seldom.
#[derive(Debug)]
pub struct Bell {
    pipe: Option<Receiver>,
    /// Whether somebody is there who should ring.
    is_expected: bool,
    has_rung: bool,
    /// From the last look to the one after it, if nobody rings, and when that is due.
    pause: Duration,
    due: Instant,
    /// From when on it is heard again: in the past by as much as may still be rung without a pause.
    heard_from: Instant,
}

impl Bell {
    /// Hangs a bell in `side`, a directory of one's own, in place of one that an earlier life has left: before one says there that
    /// one lives, so that whoever reads it can ring. Where none can be had one looks more often. To be called within a runtime that
    /// has I/O and time enabled.
    pub fn hang(side: &Path) -> Self {
        let pipe = hang(side).inspect_err(|error| {
            tracing::debug!(side = %side.display(), %error, "no bell can be hung here: looking more often");
        });
        let due = Instant::now() + FIRST;
        Self { pipe: pipe.ok(), is_expected: false, has_rung: false, pause: FIRST, due, heard_from: a_burst_ago() }
    }

    /// Somebody is there who should ring: until it is known that he can, one looks often.
    pub fn expect(&mut self) {
        self.is_expected = true;
        self.pause = FIRST;
        self.due = self.due.min(Instant::now() + FIRST);
    }

    /// Resolves when a message may have appeared since it resolved last. May be dropped and called again without missing anything.
    pub async fn rung(&mut self) {
        tokio::select! {
            biased;
            () = heard(self.pipe.as_ref(), self.heard_from) => {
                self.has_rung = true;
                self.pause = FIRST;
                self.heard_from = self.heard_from.max(a_burst_ago()) + EVERY;
            }
            () = sleep_until(self.due) => {
                let is_mute = self.pipe.is_none() || (self.is_expected && !self.has_rung);
                self.pause = (self.pause * 2).min(if is_mute { FAST } else { SLOW });
            }
        }
        self.due = Instant::now() + self.pause;
    }
}

/// Tells whoever lives in the directory `side` that something was written for it. Where there is no bell, nobody who hears it, or
/// something else in its place, nothing happens.
pub fn ring(side: &Path) {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(bell) = openat(CWD, root::bell(side), flags, Mode::empty()) else { return };
    if is_fifo(&bell) {
        // Where it is full, who lives there is about to look.
        let _ = rustix::io::write(&bell, b"!");
    }
}

fn hang(side: &Path) -> io::Result<Receiver> {
    let (path, temporary) = (root::bell(side), side.join(".bell.tmp"));
    let make = || {
        match mkfifoat(CWD, &temporary, MODE) {
            Err(Errno::EXIST) => {
                fs::remove_file(&temporary)?;
                mkfifoat(CWD, &temporary, MODE)
            }
            made => made,
        }?;
        // To be written to by ourselves too: otherwise it would end with each who rings.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let bell = openat(CWD, &temporary, flags, Mode::empty())?;
        // The umask has had a word.
        fchmod(&bell, MODE)?;
        let pipe = Receiver::from_owned_fd(bell)?;
        fs::rename(&temporary, &path)?;
        Ok(pipe)
    };
    make().map_err(|error: io::Error| {
        let _ = fs::remove_file(&temporary);
        about(&error, "make", &path)
    })
}

/// Resolves when one has rung, and not before `from`. What was rung until then is one ring.
async fn heard(pipe: Option<&Receiver>, from: Instant) {
    let Some(pipe) = pipe else { return std::future::pending().await };
    let mut bytes = [0; 4096];
    let mut is_rung = false;
    while !is_rung {
        if pipe.readable().await.is_err() {
            // The runtime ends.
            return std::future::pending().await;
        }
        sleep_until(from).await;
        // As much as fits into a pipe, and no more: it may be filled meanwhile.
        for _ in 0..16 {
            if pipe.try_read(&mut bytes).is_err() {
                break;
            }
            is_rung = true;
        }
    }
}

fn a_burst_ago() -> Instant {
    let now = Instant::now();
    // A clock that has only begun.
    now.checked_sub(EVERY * BURST).unwrap_or(now)
}

fn is_fifo(file: impl AsFd) -> bool {
    fstat(file).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo)
}

#[cfg(test)]
mod tests;
