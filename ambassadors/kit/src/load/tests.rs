use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use sidecar::{Failure, Shutdown};

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    load: LoadArgs,
    #[arg(long)]
    check: bool,
}

/// A destination that keeps what it is given, and confirms it in another order.
#[derive(Clone, Default)]
struct Heap(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    kept: Vec<(u64, Entry)>,
    unconfirmed: Vec<u64>,
    /// It takes so many before some are confirmed.
    room: usize,
    /// Lines that are refused once they were sent, as they are told.
    refused: Vec<u64>,
    /// No line after this is ever confirmed.
    last: Option<u64>,
    drain: Option<Shutdown>,
    /// A folder on a disk that is filled before anything is confirmed.
    fill: Option<PathBuf>,
}

impl Heap {
    fn with(change: impl FnOnce(&mut Inner)) -> Self {
        let heap = Self::default();
        let mut inner = heap.0.lock().expect("nobody panics");
        inner.room = 3;
        change(&mut inner);
        drop(inner);
        heap
    }

    fn values(&self) -> Vec<String> {
        let inner = self.0.lock().expect("nobody panics");
        let text = |entry: &Entry| String::from_utf8(entry.value.clone().expect("a value")).expect("text");
        inner.kept.iter().map(|(_, entry)| text(entry)).collect()
    }
}

impl Publisher for Heap {
    fn destination(&self) -> String {
        "heap of mine".to_owned()
    }

    fn identity(&self) -> String {
        "1".to_owned()
    }

    fn longest(&self) -> (usize, &'static str) {
        (20, "--shelf")
    }

    fn send(&mut self, number: u64, entry: &Entry) -> Result<bool, Failure> {
        let mut inner = self.0.lock().expect("nobody panics");
        if inner.unconfirmed.len() >= inner.room {
            return Ok(false);
        }
        inner.unconfirmed.push(number);
        inner.kept.push((number, entry.clone()));
        Ok(true)
    }

    fn confirmed(&mut self, wait: Duration, lines: &mut Vec<u64>) -> Result<(), Stuck> {
        let mut inner = self.0.lock().expect("nobody panics");
        if wait.is_zero() {
            return Ok(());
        }
        if let Some(shutdown) = inner.drain.take() {
            shutdown.drain();
            return Ok(());
        }
        if let Some(folder) = inner.fill.take() {
            fill(&folder);
        }
        let refused = inner.refused.iter().position(|number| inner.unconfirmed.contains(number));
        let refused = refused.map(|at| inner.refused.remove(at));
        inner.unconfirmed.retain(|number| Some(*number) != refused);
        let last = inner.last.unwrap_or(u64::MAX);
        let (mut confirmed, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut inner.unconfirmed)
            .into_iter()
            .partition(|number| *number <= last && !inner.refused.contains(number));
        inner.unconfirmed = rest;
        confirmed.reverse();
        // Once and never again, whatever became of others.
        lines.extend(confirmed);
        let stuck = |number| Stuck { number, why: Failure::new(65, anyhow::anyhow!("it is refused")) };
        refused.map_or(Ok(()), |number| Err(stuck(number)))
    }
}

/// Writes until nothing more fits.
fn fill(folder: &Path) {
    let mut file = std::fs::File::create(folder.join("full")).expect("a file");
    while file.write_all(&[0; 4_096]).is_ok() {}
}

fn load(heap: &Heap, file: &Path, flags: &[&str]) -> Result<String, Failure> {
    load_until(heap, file, flags, &Shutdown::new(Duration::ZERO))
}

fn load_until(heap: &Heap, file: &Path, flags: &[&str], shutdown: &Shutdown) -> Result<String, Failure> {
    let flags = ["test", "--load", file.to_str().expect("text")].into_iter().chain(flags.iter().copied());
    let Flags { load, .. } = Flags::try_parse_from(flags).expect("flags");
    Loader::open(&load, || Ok(heap.clone()))?.run(shutdown)
}

fn lines(folder: &Path, lines: &[&str]) -> PathBuf {
    let path = folder.join("lines");
    std::fs::write(&path, lines.join("\n")).expect("a file");
    path
}

#[test]
fn lines_are_offered_until_there_is_room_and_come_once_each_in_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = lines(folder.path(), &["a\tone", "", "b\ttwo", "c\tthree", "d\tfour"]);
    let heap = Heap::with(|_| {});
    let said = load(&heap, &file, &["--load-key", "tab", "--load-header", "from=me"]).expect("is loaded");
    assert_eq!(said, "5 lines are loaded into heap of mine");
    assert_eq!(heap.values(), ["one", "two", "three", "four"]);
    let (number, last) = heap.0.lock().expect("nobody panics").kept.pop().expect("the last");
    assert_eq!((number, last.key, last.headers), (5, Some(b"d".to_vec()), vec![("from".into(), Some(b"me".to_vec()))]));
    let again = load(&Heap::default(), &file, &["--load-key", "tab"]).expect("is loaded");
    assert!(again.starts_with(&said) && again.contains("were so before, as"), "{again}");
}

/// Line 6 is told of first, and line 3, which is refused too, then; those after are never heard of again.
#[test]
fn of_lines_that_are_stuck_the_first_counts_and_none_after_it_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = lines(folder.path(), &["one", "two", "three", "four", "five", "six", "seven"]);
    let heap = Heap::with(|heap| (heap.room, heap.refused, heap.last) = (9, vec![6, 3], Some(4)));
    let failure = load(&heap, &file, &[]).expect_err("is refused");
    assert_eq!(failure.code(), 65);
    assert_eq!(failure.to_string(), "line 3: it is refused; 2 lines are loaded; run it again to go on there");
    let heap = Heap::with(|_| {});
    load(&heap, &file, &[]).expect("is loaded");
    assert_eq!(heap.values(), ["three", "four", "five", "six", "seven"]);
}

#[test]
fn told_to_end_it_waits_for_no_room_but_for_what_is_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = lines(folder.path(), &["one", "two", "three", "four", "five", "six"]);
    let shutdown = Shutdown::new(Duration::from_secs(3_600));
    let heap = Heap::with(|heap| heap.drain = Some(shutdown.clone()));
    let failure = load_until(&heap, &file, &[], &shutdown).expect_err("has ended");
    assert_eq!(failure.code(), 69);
    assert_eq!(failure.to_string(), "ended when 3 lines were loaded; run it again to go on there");
    assert_eq!(load(&heap, &file, &[]).expect("is loaded"), "6 lines are loaded into heap of mine");
    assert_eq!(heap.values(), ["one", "two", "three", "four", "five", "six"]);
}

#[test]
fn a_line_that_can_be_no_message_is_named_with_what_would_make_it_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = lines(folder.path(), &["one", "a line that is too long"]);
    let failure = load(&Heap::with(|_| {}), &file, &[]).expect_err("is too long");
    assert_eq!(failure.code(), 65);
    let says = "line 2: it has more than 20 bytes (see --shelf); 1 lines are loaded; run it again to go on there";
    assert_eq!(failure.to_string(), says);
}

#[test]
fn whoever_is_away_is_waited_for_and_nobody_else_is() {
    let shutdown = Shutdown::new(Duration::ZERO);
    let tries = |patience, answers: &[Option<u8>], shutdown: &Shutdown| {
        let mut left = answers.iter();
        let open = || match left.next().expect("it does not ask again") {
            None => Ok(()),
            Some(code) => Err(Failure::new(*code, anyhow::anyhow!("no answer"))),
        };
        let opened = in_time(open, patience, shutdown).map_err(|failure| failure.code());
        (opened, left.count())
    };
    let hour = Duration::from_secs(3_600);
    assert_eq!(tries(hour, &[Some(69), Some(69), None], &shutdown), (Ok(()), 0));
    assert_eq!(tries(hour, &[Some(69), Some(77), None], &shutdown), (Err(77), 1));
    assert_eq!(tries(Duration::ZERO, &[Some(69), None], &shutdown), (Err(69), 1), "not for longer than that");
    shutdown.drain();
    assert_eq!(tries(hour, &[Some(69), None], &shutdown), (Err(69), 1), "and not when it is told to end");
}

mod needs_mount {
    use super::*;

    /// A file system of a few pages; unmounted when dropped.
    struct Small(tempfile::TempDir);

    impl Small {
        fn mount() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let mounted =
                Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder.path()).output();
            let mounted = mounted.expect("mount runs");
            assert!(mounted.status.success(), "mounting a small file system needs root: {mounted:?}");
            Self(folder)
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
        }
    }

    /// Of few lines what is confirmed is written down at the end, of many meanwhile.
    #[test]
    fn a_disk_that_is_full_is_said_to_be_that_of_the_state_and_nothing_is_lost() {
        for count in [6, 6_000] {
            let (folder, small) = (tempfile::tempdir().expect("a folder"), Small::mount());
            let all: Vec<_> = (1..=count).map(|n| n.to_string()).collect();
            let file = lines(folder.path(), &all.iter().map(String::as_str).collect::<Vec<_>>());
            let state = small.0.path().join("state");
            let flags = ["--load-state", state.to_str().expect("text")];
            let heap = Heap::with(|heap| heap.fill = Some(small.0.path().to_owned()));
            let failure = load(&heap, &file, &flags).expect_err("the disk is full");
            assert_eq!(failure.code(), 73);
            let said = format!("{failure:#}");
            assert!(said.contains("--load-state") && said.contains("No space left"), "{said}");
            let sent = heap.values().len();
            assert_eq!(sent < count, count > 3_000, "{sent} of {count} were sent");

            // Of a disk that is full from the beginning nothing is sent that could not be remembered.
            let failure = load(&heap, &file, &flags).expect_err("the disk is still full");
            assert_eq!((failure.code(), heap.values().len()), (73, sent));

            std::fs::remove_file(small.0.path().join("full")).expect("removed");
            assert_eq!(
                load(&heap, &file, &flags).expect("is loaded"),
                format!("{count} lines are loaded into heap of mine")
            );
            let values: std::collections::BTreeSet<_> = heap.values().into_iter().collect();
            assert_eq!(values, all.into_iter().collect(), "none is lost");
            assert_eq!(small.0.path().read_dir().expect("a folder").count(), 1, "nothing but the state is left");
        }
    }
}
