use std::fs;

use crate::Life;
use crate::files::write;

use super::*;

const PATIENCE: Duration = Duration::from_secs(180);
/// So that nobody has to wait long for five looks.
const QUICK: Duration = Duration::from_millis(30);

async fn in_time<T>(wait: impl Future<Output = T> + Send) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("in time")
}

fn life(dir: &Path, locks: bool) -> (Life, Hello) {
    life_of(dir, locks, QUICK)
}

fn life_of(dir: &Path, locks: bool, interval: Duration) -> (Life, Hello) {
    let life = Life::begin_with(dir, "a test", locks, interval).expect("begins");
    life.greet().expect("says so");
    let hello = hello(dir).expect("reads").expect("is there");
    assert_eq!((&hello.boot, u128::from(hello.heartbeat_ms)), (life.boot(), interval.as_millis()));
    (life, hello)
}

/// Looked at ten times more seldom than it beats: on a busy machine a heart may miss some looks' time, and lives.
fn seldom(hello: Hello) -> Hello {
    Hello { heartbeat_ms: hello.heartbeat_ms * 10, ..hello }
}

/// One that is over before its heart has beaten, which therefore cannot beat once more as one begins to look; with the greeting of
/// one whose heart beats quickly.
fn short_life(dir: &Path, locks: bool) -> Hello {
    let (life, hello) = life_of(dir, locks, Duration::from_secs(3600));
    drop(life);
    if locks {
        // A child that another test is just spawning may hold it for a moment longer.
        File::open(root::lock(dir, &hello.boot)).and_then(|lock| lock.lock_shared()).expect("falls");
    }
    Hello { heartbeat_ms: 30, ..hello }
}

#[tokio::test]
async fn a_lock_that_falls_is_known_by_all_who_wait_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (life, hello) = life(dir.path(), true);
    let peers = [(); 3].map(|()| Peer::watch(dir.path(), &hello).expect("watches"));
    for peer in &peers {
        assert_eq!(peer.sign(), Sign::Lock, "at once");
    }
    drop(life);
    for peer in &peers {
        in_time(peer.fallen()).await;
        assert!(peer.lived());
        // Whoever asks later knows it too.
        in_time(peer.clone().fallen()).await;
        assert_eq!(peer.sign(), Sign::Fallen);
    }
}

#[tokio::test]
async fn without_a_lock_the_number_tells_as_long_as_it_grows() {
    let dir = tempfile::tempdir().expect("a directory");
    let (life, hello) = life(dir.path(), false);
    let peer = Peer::watch(dir.path(), &seldom(hello)).expect("watches");
    assert_eq!(in_time(peer.known()).await, Sign::Heartbeat);
    drop(life);
    in_time(peer.fallen()).await;
}

/// As in a sandbox where a lock is held and cannot be seen to be.
#[tokio::test]
async fn a_lock_that_seems_free_proves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (life, hello) = life(dir.path(), false);
    fs::write(root::lock(dir.path(), &hello.boot), "").expect("written");
    let peer = Peer::watch(dir.path(), &seldom(hello)).expect("watches");
    assert_eq!(in_time(peer.known()).await, Sign::Heartbeat);
    drop(life);
    in_time(peer.fallen()).await;
}

#[tokio::test]
async fn who_was_dead_before_one_looked_is_dead() {
    let dir = tempfile::tempdir().expect("a directory");
    let hello = short_life(dir.path(), true);
    let peer = Peer::watch(dir.path(), &hello).expect("watches");
    assert_eq!(in_time(peer.known()).await, Sign::Fallen);
    assert!(!peer.lived(), "nobody saw it");
}

#[tokio::test]
async fn another_ones_number_is_no_sign_of_life() {
    let dir = tempfile::tempdir().expect("a directory");
    let hello = short_life(dir.path(), false);
    let peer = Peer::watch(dir.path(), &hello).expect("watches");
    let (_second, _) = life(dir.path(), true);
    assert_eq!(in_time(peer.known()).await, Sign::Fallen);
}

#[tokio::test]
async fn a_successor_is_the_death_of_who_was_there_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, hello) = life(dir.path(), false);
    let peer = Peer::watch(dir.path(), &seldom(hello.clone())).expect("watches");
    assert_eq!(in_time(peer.known()).await, Sign::Heartbeat);
    let other = Hello { boot: Boot::new(), ..hello };
    write(&root::hello(dir.path()), &other).expect("written");
    in_time(peer.fallen()).await;
    drop(first);
}

#[tokio::test]
async fn what_cannot_be_seen_proves_no_death() {
    let dir = tempfile::tempdir().expect("a directory");
    let (life, hello) = life(dir.path(), false);
    let heartbeat = root::heartbeat(dir.path());
    let aside = dir.path().join("aside");
    fs::rename(&heartbeat, &aside).expect("moved");
    // A pipe cannot be read as a file, for more looks than five.
    rustix::fs::mkfifoat(rustix::fs::CWD, &heartbeat, rustix::fs::Mode::RWXU).expect("made");
    let watcher = Peer::watch(dir.path(), &seldom(hello)).expect("watches");
    tokio::time::sleep(QUICK * 10 * 8).await;
    assert_eq!(watcher.sign(), Sign::None);
    fs::rename(&aside, &heartbeat).expect("moved");
    assert_eq!(in_time(watcher.known()).await, Sign::Heartbeat);
    drop(life);
    in_time(watcher.fallen()).await;
}

#[tokio::test]
async fn the_heart_beats_while_the_runtime_is_busy() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_life, hello) = life(dir.path(), false);
    let peer = Peer::watch(dir.path(), &seldom(hello)).expect("watches");
    // This is the only thread of this runtime.
    let begun = std::time::Instant::now();
    while peer.sign() != Sign::Heartbeat {
        assert!(begun.elapsed() < PATIENCE, "its heart does not beat");
        thread::sleep(QUICK);
    }
}

#[test]
fn another_version_is_told_from_nonsense() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(hello(dir.path()).expect("reads").is_none());
    let path = root::hello(dir.path());
    fs::write(&path, r#"{"protocol": 7, "all": "different"}"#).expect("written");
    assert_eq!(hello(dir.path()).expect_err("another").kind(), io::ErrorKind::Unsupported);
    fs::write(&path, r#"{"protocol": 1, "boot": "../x"}"#).expect("written");
    assert_eq!(hello(dir.path()).expect_err("nonsense").kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_life_begins_where_nobody_lives_and_clears_away_who_did() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, before) = life(dir.path(), true);
    let error = Life::begin(dir.path(), "another", true).expect_err("is taken");
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    let (second, after) = life(dir.path(), true);
    assert_ne!(before.boot, after.boot);
    let locks = dir.path().read_dir().expect("lists").flatten();
    let locks: Vec<_> =
        locks.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains("lock.")).collect();
    assert_eq!(locks, [format!("lock.{}", second.boot()).as_str()]);
    assert_eq!(crate::life::predecessors(dir.path()).expect("reads"), [second.boot().clone()]);
}
