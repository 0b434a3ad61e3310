//! Publications: all or nothing, one at a time, and what is left when they end otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use contract::marker::MarkedItem;
use contract::{ItemName, Key, MARKER_FILE};
use rustix::fs::{FlockOperation, flock};
use storage::{BoxFuture, Claim, Committed, Draft, Error, Outputs, Place, Standing, Stores, Uri};

fn outputs(root: &Path) -> Box<dyn Outputs> {
    Stores::default().outputs(&Uri::File(root.to_owned())).expect("file: is known")
}

fn claim(key: &str, version: &str, attempt: &str) -> Claim {
    let item = MarkedItem {
        name: ItemName::derive(b"", key.as_bytes(), version.as_bytes()),
        key: Key::new(key.as_bytes()),
        source: None,
        version: version.to_owned(),
    };
    Claim {
        place: Place::new(key.as_bytes()).expect("a place"),
        item,
        revision: 0,
        attempt: attempt.to_owned(),
        number: 1,
        uploads: BTreeMap::new(),
    }
}

async fn publish(outputs: &dyn Outputs, claim: Claim, content: &str) -> Result<Committed, Error> {
    let publication = outputs.begin(claim, Path::new("unused")).await?;
    fs::write(publication.dir().join("file"), content).expect("written");
    publication.commit(Draft::default(), &|| Box::pin(async { Ok(()) })).await
}

fn staged(root: &Path) -> usize {
    fs::read_dir(root.join(".longshore")).expect("lists").flatten().filter(|entry| entry.path().is_dir()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_one_place_one_publishes() {
    let dir = tempfile::tempdir().expect("a directory");
    let outputs: Arc<dyn Outputs> = Arc::from(outputs(dir.path()));
    let runs: Vec<_> = (0..24)
        .map(|n| {
            let outputs = Arc::clone(&outputs);
            tokio::spawn(
                async move { publish(outputs.as_ref(), claim("a/b", "1", &format!("n{n}")), &n.to_string()).await },
            )
        })
        .collect();
    let mut published = 0;
    for run in runs {
        match run.await.expect("no panic").expect("committed") {
            Committed::Published(_) => published += 1,
            Committed::Already(marker) => assert_eq!(marker.item.key.to_string(), "a/b"),
            other @ Committed::Superseded { .. } => panic!("{other:?}"),
        }
    }
    assert_eq!(published, 1);
    assert_eq!(staged(dir.path()), 0);
    let Standing::Published(marker) = outputs.look(&claim("a/b", "1", "x")).await.expect("looks") else {
        panic!("it stands")
    };
    let content = fs::read_to_string(dir.path().join("a/b/file")).expect("is there");
    assert_eq!(format!("n{content}"), marker.attempt, "content and marker are of one attempt");
}

#[tokio::test]
async fn the_input_is_verified_under_the_roots_lock_and_refusal_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let outputs = outputs(dir.path());
    let publication = outputs.begin(claim("a", "1", "n"), Path::new("unused")).await.expect("begun");
    fs::write(publication.dir().join("file"), "x").expect("written");
    let lock = dir.path().join(".longshore/lock");
    let verify = || -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let file = fs::File::open(&lock).expect("the lock is there");
            assert!(flock(&file, FlockOperation::NonBlockingLockShared).is_err(), "somebody else could commit now");
            Err(Error::Changed { uri: "u".into(), wanted: "1".into(), found: "2".into() })
        })
    };
    let refused = publication.commit(Draft::default(), &verify).await;
    assert!(matches!(refused, Err(Error::Changed { .. })), "{refused:?}");
    assert!(!dir.path().join("a").exists());
    assert_eq!(staged(dir.path()), 0);
    publish(outputs.as_ref(), claim("a", "2", "n"), "y").await.expect("the lock was given back");
}

#[tokio::test]
async fn a_publication_that_is_dropped_was_never_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let outputs = outputs(dir.path());
    let publication = outputs.begin(claim("deep/a", "1", "n"), Path::new("unused")).await.expect("begun");
    fs::write(publication.dir().join("file"), "x").expect("written");
    assert_eq!(staged(dir.path()), 1);
    outputs.sweep().await.expect("swept");
    assert_eq!(staged(dir.path()), 1, "the living are not swept");
    drop(publication);
    assert_eq!(staged(dir.path()), 0);
    assert!(!dir.path().join("deep").exists());
}

#[tokio::test]
async fn the_dead_are_swept_and_what_they_moved_aside_is_put_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let outputs = outputs(dir.path());
    publish(outputs.as_ref(), claim("d/a", "1", "n"), "old").await.expect("published");
    let area = dir.path().join(".longshore");
    let dead = |name: &str, note: &[u8]| {
        fs::create_dir_all(area.join(name).join("old")).expect("directories");
        fs::write(area.join(name).join("lock"), "").expect("a lock that nobody holds");
        fs::write(area.join(name).join("place"), note).expect("a note");
    };
    fs::create_dir_all(area.join("no-lock.x/out/deep/er")).expect("one killed while it was made");
    // Its place is free: put back. A place that is taken again: not needed any more.
    dead("aside.x", b"d/a");
    fs::remove_dir(area.join("aside.x/old")).expect("removed");
    fs::rename(dir.path().join("d/a"), area.join("aside.x/old")).expect("moved aside");
    outputs.sweep().await.expect("swept");
    assert_eq!(fs::read_to_string(dir.path().join("d/a/file")).expect("put back"), "old");
    assert_eq!(staged(dir.path()), 0);

    dead("late.x", b"d/a");
    outputs.sweep().await.expect("swept");
    assert_eq!(fs::read_to_string(dir.path().join("d/a/file")).expect("is there"), "old");
    assert_eq!(staged(dir.path()), 0);

    // A note that leads out is nobody's: nothing is touched, and nothing else is kept from being done.
    dead("forged.x", b"../../escaped");
    outputs.sweep().await.expect("one that cannot be judged stops nobody");
    assert_eq!(staged(dir.path()), 1);
    assert!(area.join("forged.x/old").exists());
    publish(outputs.as_ref(), claim("b", "1", "n"), "new").await.expect("published");
}

#[tokio::test]
async fn what_stands_is_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let outputs = outputs(dir.path());
    let look = async |claim: &Claim| outputs.look(claim).await;
    assert_eq!(look(&claim("a", "1", "n")).await.expect("looks"), Standing::Free);
    let committed = publish(outputs.as_ref(), Claim { revision: 3, ..claim("a", "1", "n") }, "x").await;
    let Committed::Published(marker) = committed.expect("committed") else { panic!("not published") };
    let at = |revision, version| Claim { revision, ..claim("a", version, "m") };
    assert_eq!(look(&at(3, "1")).await.expect("looks"), Standing::Published(marker));
    assert_eq!(look(&at(3, "2")).await.expect("looks"), Standing::Replaceable);
    assert_eq!(look(&at(4, "1")).await.expect("looks"), Standing::Replaceable);
    assert_eq!(look(&at(2, "1")).await.expect("looks"), Standing::Superseded { revision: 3 });
    let other = Claim { item: claim("b", "1", "n").item, ..at(3, "1") };
    assert!(matches!(look(&other).await, Err(Error::Taken(_))));

    // A marker that names what lies elsewhere does not stand for a whole output.
    let path = dir.path().join("a").join(MARKER_FILE);
    let json = fs::read_to_string(&path).expect("is there").replace("\"file\"", "\"../a/file\"");
    fs::write(&path, json).expect("written");
    assert_eq!(look(&at(3, "1")).await.expect("looks"), Standing::Replaceable);
}

#[tokio::test]
async fn what_looks_taken_is_looked_at_again_when_nobody_is_replacing_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let outputs: Arc<dyn Outputs> = Arc::from(outputs(dir.path()));
    publish(outputs.as_ref(), claim("a", "1", "n"), "x").await.expect("published");
    let marker = dir.path().join("a").join(MARKER_FILE);
    let kept = fs::read(&marker).expect("is there");

    // As another worker that has replaced an output and removes the old one, marker first.
    let lock = fs::File::options().write(true).open(dir.path().join(".longshore/lock")).expect("the lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    fs::remove_file(&marker).expect("removed");
    let looking = tokio::spawn({
        let outputs = Arc::clone(&outputs);
        async move { outputs.look(&claim("a", "1", "m")).await }
    });
    let inode = format!(":{} ", std::os::unix::fs::MetadataExt::ino(&lock.metadata().expect("has an inode")));
    let waits = || {
        let locks = fs::read_to_string("/proc/locks").expect("Linux lists its locks");
        locks.lines().any(|line| line.contains("->") && line.contains(&inode))
    };
    let begun = std::time::Instant::now();
    while !waits() {
        assert!(!looking.is_finished(), "it did not wait for the lock");
        assert!(begun.elapsed().as_secs() < 300, "nobody waits for the lock");
        tokio::task::yield_now().await;
    }
    fs::write(&marker, kept).expect("put back");
    drop(lock);
    let seen = looking.await.expect("no panic").expect("nothing is taken");
    assert!(matches!(seen, Standing::Published(_)), "{seen:?}");
}
