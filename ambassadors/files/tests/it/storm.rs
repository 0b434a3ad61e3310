//! Folders that never come to rest, are deeper than any path, or larger than any other.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, mkdirat, openat};

use crate::ambassador::{Ambassador, until, until_every};

/// A thread that does something again and again until it is told to stop.
struct Busy {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    fn start(mut act: impl FnMut(u64) + Send + 'static) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                act(counted.fetch_add(1, Ordering::Relaxed));
            }
        });
        Self { stop, rounds, thread: Some(thread) }
    }

    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("joined once").join();
        assert!(std::thread::panicking() || ended.is_ok(), "what it did failed");
    }
}

/// Every file in the folder, by its path from there.
fn tree(root: &Path, dir: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tree(root, &path, into);
        } else {
            into.insert(path.strip_prefix(root).expect("below it").to_str().expect("text").to_owned());
        }
    }
}

async fn keys(ambassador: &Ambassador) -> BTreeSet<String> {
    ambassador.items().await.into_iter().map(|(_, data)| data["key"].as_str().expect("a key").to_owned()).collect()
}

#[tokio::test]
async fn a_storm_of_renames_leaves_every_file_listed_once_under_the_name_it_has() {
    // By events and scans; by events alone, but for those that were lost; by scans alone.
    let ways: [&[&str]; 3] = [&["--rescan", "50ms"], &["--rescan", "1h"], &["--rescan", "50ms", "--no-inotify"]];
    let tests = ways.map(|way| async move {
        // In memory: nobody waits for a disk.
        let root = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let at = |path: &str| root.path().join(path);
        for dir in ["still", "storm", "turns"] {
            fs::create_dir(at(dir)).expect("made");
            for n in 0..40 {
                fs::write(at(dir).join(format!("{n}.mp4")), format!("{dir} {n}")).expect("written");
            }
        }
        let ambassador = Ambassador::start(root.path(), &[&["--stable-for", "0s"], way].concat()).await;
        let names = ambassador.listed(120).await;
        let still: Vec<String> = {
            let items = ambassador.items().await;
            items
                .into_iter()
                .filter(|(_, data)| data["key"].as_str().is_some_and(|key| key.starts_with("still/")))
                .map(|(name, _)| name)
                .collect()
        };
        let files = {
            let root = root.path().to_owned();
            // In, out, over another, and into a directory that was not there before.
            Busy::start(move |n| {
                let (one, dir) = (root.join(format!("storm/{}.mp4", n % 40)), root.join(format!("new-{}", n % 3)));
                fs::rename(&one, root.join("away.mp4")).expect("renamed");
                fs::create_dir(&dir).expect("made");
                fs::rename(root.join("away.mp4"), dir.join("in.mp4")).expect("renamed");
                fs::write(root.join("over.mp4"), "x").expect("written");
                fs::rename(dir.join("in.mp4"), root.join("over.mp4")).expect("renamed over another");
                fs::remove_dir(&dir).expect("removed");
                fs::rename(root.join("over.mp4"), &one).expect("renamed");
            })
        };
        let directories = {
            let root = root.path().to_owned();
            Busy::start(move |_| {
                fs::rename(root.join("turns"), root.join("turned")).expect("renamed");
                fs::rename(root.join("turned"), root.join("storm/turned")).expect("renamed");
                fs::rename(root.join("storm/turned"), root.join("turns")).expect("renamed");
            })
        };
        until("a storm", async || {
            let answer = ambassador.list().await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let list = answer.json();
            let items = list["items"].as_array().expect("items");
            let listed: BTreeSet<&str> = items.iter().filter_map(serde_json::Value::as_str).collect();
            assert_eq!(listed.len(), items.len(), "a name is listed twice");
            let missed: Vec<_> = still.iter().filter(|name| !listed.contains(name.as_str())).collect();
            assert!(missed.is_empty(), "what nobody touched went missing: {missed:?}");
            let scanned = way.contains(&"1h") || ambassador.scans().await >= 20;
            (scanned && files.rounds() >= 3_000 && directories.rounds() >= 3_000).then_some(())
        })
        .await;
        drop((files, directories));
        let mut want = BTreeSet::new();
        tree(root.path(), root.path(), &mut want);
        assert_eq!(want.len(), 120);
        until(&format!("every file once, with {way:?}"), async || {
            let now = ambassador.names().await;
            (now.len() == want.len() && keys(&ambassador).await == want).then_some(())
        })
        .await;
        let now: BTreeSet<String> = ambassador.names().await.into_iter().collect();
        assert_eq!(now, names.into_iter().collect(), "each under the name it had before");
        until("a complete list", async || ambassador.is_complete().await.then_some(())).await;
    });
    futures_util::future::join_all(tests).await;
}

/// A directory below `dir`, open.
fn descend(dir: impl AsFd, name: &str) -> OwnedFd {
    mkdirat(&dir, name, Mode::RWXU).expect("made");
    openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("opens")
}

fn put(dir: impl AsFd, name: &str) {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::RUSR | Mode::WUSR).expect("created");
    rustix::io::write(file, b"x").expect("written");
}

/// A tree that std cannot remove: it is deeper than there are descriptors.
struct Deep(tempfile::TempDir);

impl Drop for Deep {
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(self.0.path().join("d")).status();
    }
}

#[tokio::test]
async fn a_tree_ten_thousand_levels_deep_is_listed_as_far_as_any_program_can_open_it() {
    const LEVELS: usize = 10_000;
    let root = Deep(tempfile::tempdir_in("/dev/shm").expect("a directory"));
    let top = root.0.path();
    let mut dir = openat(CWD, top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("opens");
    for _ in 0..LEVELS {
        put(&dir, "f.mp4");
        dir = descend(&dir, "d");
    }
    // Path and root make 4,095 bytes at most.
    let longest = 4_095 - top.as_os_str().len() - 1;
    let want = (0..LEVELS).filter(|level| level * "d/".len() + "f.mp4".len() <= longest).count();
    let ambassador = Ambassador::start(top, &["--stable-for", "0s", "--rescan", "1s"]).await;
    let names = ambassador.listed(want).await;
    assert!(ambassador.is_complete().await, "a rule is no failure");
    let deepest = "d/".repeat(want - 1) + "f.mp4";
    until("the deepest one", async || {
        let item = ambassador.ask("GET", &format!("/v1/items/{}", names[names.len() - 1])).await;
        Some(item).filter(|item| item.status == 200 && item.json()["data"]["key"] == deepest.as_str())
    })
    .await;
    let path = top.join(&deepest);
    assert_eq!(fs::read(&path).expect("any program can open it"), b"x");
    let withheld = ambassador.ask("GET", "/v1/withheld").await;
    assert!(withheld.text.contains("too-deep") && withheld.text.contains("4,095"), "{}", &withheld.text[..1000]);
    let shallow = Ambassador::start(top, &["--stable-for", "0s", "--max-depth", "5"]).await;
    shallow.listed(5).await;
}

mod needs_mount {
    use super::*;

    /// What the process has taken at most, in megabytes.
    fn peak(pid: u32) -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_000
    }

    /// A million links to one file, in one directory of a file system in memory.
    #[tokio::test]
    async fn a_directory_of_a_million_entries_is_listed_whole_while_everything_answers() {
        const FILES: usize = 1_000_000;
        let dir = tempfile::tempdir().expect("a directory");
        let script = r#"mount -t tmpfs -o nr_inodes=0 none "$1" && shift && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(dir.path()).arg(crate::ambassador::PROGRAM);
        let ambassador =
            Ambassador::spawn(command, &dir.path().join("root"), &["--stable-for", "0s", "--rescan", "1s"]).await;
        let mounted = format!("/proc/{}/root{}", ambassador.pid(), dir.path().display());
        let making = tokio::task::spawn_blocking(move || {
            let mount = openat(CWD, mounted, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("opens");
            let dir = descend(&mount, "making");
            put(&mount, "one");
            for n in 0..FILES {
                linkat(&mount, "one", &dir, format!("{n:06}.mp4"), AtFlags::empty()).expect("linked");
            }
            rustix::fs::renameat(&mount, "making", &mount, "root").expect("renamed");
        });
        making.await.expect("made");
        let pause = Duration::from_millis(200);
        until_every(pause, "all of them", async || {
            assert_eq!(ambassador.probe("/livez").await.status, 200);
            let list = ambassador.ask("GET", "/v1/items?limit=1").await;
            assert!([200, 503].contains(&list.status), "{}", list.text);
            let seen = list.status == 200 && list.json()["metadata"]["remainingItemCount"] == FILES - 1;
            seen.then_some(())
        })
        .await;
        let list = ambassador.list().await;
        assert_eq!(list.status, 200);
        let (_, items) = list.text.split_once(r#""items":["#).expect("items");
        assert_eq!(items.bytes().filter(|byte| *byte == b',').count(), FILES - 1);
        // And while it is read again.
        let scans = ambassador.scans().await;
        until_every(pause, "another scan", async || {
            assert_eq!((ambassador.probe("/livez").await.status, ambassador.probe("/readyz").await.status), (200, 200));
            (ambassador.scans().await > scans).then_some(())
        })
        .await;
        assert!(peak(ambassador.pid()) < 400, "it took {} MB", peak(ambassador.pid()));
    }
}
