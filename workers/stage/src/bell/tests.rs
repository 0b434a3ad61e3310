use std::fs::File;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

/// A directory with a bell in it, and how many looks one takes of it, by the clock of these tests: it moves when nobody has anything
/// to do, and by itself alone.
struct Side {
    dir: tempfile::TempDir,
    bell: Bell,
}

impl Side {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let bell = Bell::hang(dir.path());
        Self { dir, bell }
    }

    /// On a volume that has no pipes.
    fn without_pipe() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root::bell(dir.path()).join("in the way")).expect("made");
        let bell = Bell::hang(dir.path());
        Self { dir, bell }
    }

    fn ring(&self) {
        ring(self.dir.path());
    }

    /// How long one waits until one looks.
    async fn wait(&mut self) -> Duration {
        let begun = Instant::now();
        self.bell.rung().await;
        begun.elapsed()
    }

    /// How often one looks in `time`.
    async fn looks(&mut self, time: Duration) -> u32 {
        let (begun, mut looks) = (Instant::now(), 0);
        while begun.elapsed() < time {
            self.bell.rung().await;
            looks += 1;
        }
        looks
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_rung_for_looks_at_once_and_once() {
    let mut side = Side::new();
    for _ in 0..20 {
        side.ring();
        side.ring();
        assert_eq!(side.wait().await, Duration::ZERO);
        assert_eq!(side.wait().await, FIRST, "both were one");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_missed_by_whoever_waits_for_something_else_too() {
    let mut side = Side::new();
    let first = {
        let mut waiting = std::pin::pin!(side.bell.rung());
        tokio::select! {
            biased;
            () = &mut waiting => true,
            () = tokio::task::yield_now() => false,
        }
    };
    assert!(!first);
    side.ring();
    assert_eq!(side.wait().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_hears_a_bell_looks_seldom_and_who_has_heard_none_often() {
    let minute = Duration::from_secs(60);
    let mut side = Side::new();
    let idle = side.looks(minute).await;
    assert!((30..50).contains(&idle), "nobody is there who should ring: {idle}");
    side.bell.expect();
    let doubting = side.looks(minute).await;
    assert!((1200..1210).contains(&doubting), "somebody is, and has not: {doubting}");
    side.ring();
    assert_eq!(side.wait().await, Duration::ZERO);
    let trusting = side.looks(minute).await;
    assert!((30..50).contains(&trusting), "he has: {trusting}");
    let mut mute = Side::without_pipe();
    let often = mute.looks(minute).await;
    assert!((1200..1210).contains(&often), "nobody can: {often}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_rung_for_is_late_in_proportion() {
    let mut side = Side::new();
    side.bell.expect();
    side.ring();
    side.bell.rung().await;
    // A stage that does not ring, beside one that does.
    let begun = Instant::now();
    let mut last = Duration::ZERO;
    while last < SLOW * 4 {
        side.bell.rung().await;
        let now = begun.elapsed();
        assert!(now - last <= last.clamp(FIRST, SLOW) * 2, "{last:?} {now:?}");
        last = now;
    }
}

#[tokio::test(start_paused = true)]
async fn who_rings_without_end_keeps_nobody_busy() {
    let mut side = Side::new();
    let mut looks = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        side.ring();
        side.bell.rung().await;
        looks += 1;
    }
    assert!((BURST..=BURST + 1_000 / 2 + 1).contains(&looks), "{looks}");
    tokio::time::advance(EVERY * BURST).await;
    side.bell.rung().await;
    side.ring();
    assert_eq!(side.wait().await, Duration::ZERO, "and it is heard again at once after a pause");
}

#[tokio::test(start_paused = true)]
async fn a_bell_that_is_full_rings_and_is_emptied() {
    let mut side = Side::new();
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    let pipe = openat(CWD, root::bell(side.dir.path()), flags, Mode::empty()).expect("opens");
    while rustix::io::write(&pipe, &[0; 4096]).is_ok() {}
    side.ring();
    assert_eq!(side.wait().await, Duration::ZERO);
    assert_eq!(side.wait().await, FIRST);
}

#[tokio::test]
async fn everybody_may_ring_and_only_its_owner_hears() {
    let side = Side::new();
    let found = root::bell(side.dir.path()).symlink_metadata().expect("is there");
    assert!(found.file_type().is_fifo());
    assert_eq!(found.permissions().mode() & 0o7777, 0o622);
    assert_eq!(side.dir.path().read_dir().expect("lists").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_life_hangs_a_bell_of_its_own() {
    let mut old = Side::new();
    // Its predecessor died as it hung one, or somebody laid a trap.
    symlink("/dev/full", old.dir.path().join(".bell.tmp")).expect("linked");
    let mut new = Bell::hang(old.dir.path());
    assert!(new.pipe.is_some());
    old.ring();
    let begun = Instant::now();
    new.rung().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(old.wait().await, FIRST);
}

#[tokio::test]
async fn what_stands_in_a_bells_place_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (bell, other) = (root::bell(dir.path()), dir.path().join("other"));
    let content = |path: &PathBuf| fs::read(path).expect("reads");
    ring(dir.path());
    assert!(!bell.exists(), "nothing is made");
    fs::write(&bell, "text").expect("written");
    ring(dir.path());
    assert_eq!(content(&bell), b"text");
    fs::rename(&bell, &other).expect("renamed");
    symlink(&other, &bell).expect("linked");
    ring(dir.path());
    assert_eq!(content(&other), b"text");
    fs::remove_file(&bell).expect("removed");
    // One that nobody has open, and one that a link leads to.
    mkfifoat(CWD, &bell, MODE).expect("made");
    ring(dir.path());
    let reader = File::from(openat(CWD, &bell, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).expect("opens"));
    fs::rename(&bell, dir.path().join("fifo")).expect("renamed");
    symlink("fifo", &bell).expect("linked");
    ring(dir.path());
    let error = rustix::io::read(&reader, &mut [0; 1]).expect_err("nobody has rung");
    assert_eq!(error, Errno::AGAIN);
}
