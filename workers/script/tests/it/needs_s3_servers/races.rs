//! Several workers at one place, and ones that sleep through what the others do.

use contract::{Marker, Outcome};
use rustix::process::Signal;
use test_servers::{S3Server, Seen, Spoil};
use tokio::sync::watch;

use super::remote::{MODES, Remote};
use super::trouble::{key_of, proxy};
use crate::world::{Ended, Running, sha256, until};

/// What every run writes: the same name with another content, and a name of its own.
const OWN: &str = r#"echo "$LONGSHORE_ATTEMPT_ID" > "$OUTPUT_DIR/who"; cp "$INPUT_FILE" "$OUTPUT_DIR/copy"
    echo > "$OUTPUT_DIR/$LONGSHORE_ATTEMPT_ID""#;

/// The marker names one attempt's output and nothing else.
fn assert_of_one(remote: &Remote, key: &str) -> Marker {
    let marker = remote.published(key);
    assert_eq!(remote.read(key, "who").trim(), marker.attempt);
    assert_eq!(marker.outputs.len(), 3, "{marker:?}");
    marker
}

#[test]
fn of_two_workers_at_one_item_one_publishes_round_after_round() {
    for (server, mode) in [
        (S3Server::shared_minio(), "in-place"),
        (S3Server::shared_minio(), "attempts"),
        (S3Server::shared_versity(), "in-place"),
        (S3Server::shared_versity(), "attempts"),
    ] {
        let remote = Remote::on(server);
        for round in 0..8 {
            let key = format!("k{round}");
            let item = remote.item(&key, "x");
            // Each waits until both have begun, so that none finds the item published before it runs.
            let root = remote.world.root().display();
            let body = format!(
                "touch {root}/{key}-$LONGSHORE_ATTEMPT_ID; while [ $(ls {root}/{key}-* | wc -l) -lt 2 ]; do sleep 0.01; done; {OWN}"
            );
            let worker = |n: u32| {
                let worker = remote.worker(item.clone(), &body).args(["--publish", mode]);
                worker.env("LONGSHORE_ATTEMPT_ID", format!("n-{n}")).env("ATTEMPT", n.to_string()).start()
            };
            let ended: Vec<Ended> = [worker(1), worker(2)].into_iter().map(Running::wait).collect();
            let outcomes: Vec<_> = ended.iter().map(|one| one.report().outcome).collect();
            let marker = assert_of_one(&remote, &key);
            for one in &ended {
                let ours = one.report().attempt == marker.attempt;
                match one.report().outcome {
                    // In place, the one may write over what the other has just published, and publish it anew.
                    Outcome::Published => assert!(ours || mode == "in-place", "{mode} {outcomes:?}"),
                    Outcome::AlreadyPublished => assert!(!ours, "{mode} {outcomes:?}"),
                    // And who always finds the other's objects under its own names gives way.
                    other => assert!(!ours && one.code == Some(75), "{mode} {other:?} {}", one.stderr),
                }
            }
            assert!(outcomes.contains(&Outcome::Published), "{mode} {outcomes:?}");
        }
        remote.assert_clean();
    }
}

#[test]
fn of_two_items_that_share_a_place_one_has_it_and_the_other_is_refused() {
    for mode in MODES {
        let remote = Remote::on_minio();
        let items = [("a.mov", "of the one"), ("a.mp4", "of the other")];
        for round in 0..6 {
            // Both are past their first look when the first publishes.
            let root = remote.world.root().display();
            let body = format!(
                r#"touch {root}/{round}-$LONGSHORE_ATTEMPT_ID; while [ $(ls {root}/{round}-* | wc -l) -lt 2 ]; do sleep 0.01; done; {OWN}"#
            );
            let start = |(key, content): (&str, &str)| {
                let script = remote.world.script(&body);
                let output = format!("{}{round}/{{stem}}/", remote.bucket.uri("out/"));
                let worker = remote.bare(remote.item(key, content)).arg("--output").arg(output);
                worker
                    .args(["--publish", mode])
                    .env("LONGSHORE_ATTEMPT_ID", key.replace('.', "-"))
                    .script(script)
                    .start()
            };
            let ended = items.map(start).map(Running::wait);
            let marker = assert_of_one(&remote, &format!("{round}/a"));
            for ((key, content), one) in items.into_iter().zip(&ended) {
                if marker.item.key.to_string() == key {
                    one.expect(0, "Published");
                    assert_eq!(remote.read(&format!("{round}/a"), "copy"), content, "{mode}");
                } else {
                    one.expect(73, "OutputTaken");
                }
            }
        }
        remote.assert_clean();
    }
}

/// Starts a worker that stops itself after its nth upload, and waits until it sleeps.
fn asleep(remote: &Remote, item: std::path::PathBuf, mode: &str, fault: &str) -> Running {
    asleep_as("zombie", remote, item, mode, fault)
}

fn asleep_as(attempt: &str, remote: &Remote, item: std::path::PathBuf, mode: &str, fault: &str) -> Running {
    let zombie = remote.worker(item, OWN).args(["--publish", mode]);
    let zombie = zombie.env("LONGSHORE_ATTEMPT_ID", attempt).env("LONGSHORE_FAULT", format!("{fault}=stop")).start();
    until("the worker has stopped itself", || zombie.is_stopped());
    zombie
}

const MOMENTS: [&str; 4] =
    ["worker.upload.before", "worker.upload.after", "worker.upload.after#3", "worker.commit.before"];

#[test]
fn a_zombie_that_wakes_up_after_the_commit_changes_nothing_anyone_reads() {
    for moment in MOMENTS {
        let remote = Remote::on_minio();
        let item = remote.item("a", "x");
        let zombie = asleep(&remote, item.clone(), "attempts", moment);
        let second =
            remote.worker(item, OWN).args(["--publish", "attempts"]).env("LONGSHORE_ATTEMPT_ID", "second").run();
        second.expect(0, "Published");
        let marker = assert_of_one(&remote, "a");
        zombie.signal(Signal::CONT);
        let ended = zombie.wait();
        assert_eq!(ended.expect(0, "AlreadyPublished").outcome, Outcome::AlreadyPublished, "{moment}");
        assert_eq!(assert_of_one(&remote, "a"), marker, "{moment}");
        remote.assert_clean();
    }
}

#[test]
fn who_wrote_over_what_another_was_about_to_name_makes_it_whole_again() {
    let remote = Remote::on_minio();
    let item = remote.item("a", "x");
    // Each has seen that all at the place is its own, the second since it wrote over what is the first's.
    let first = asleep_as("first", &remote, item.clone(), "in-place", "worker.commit.before");
    let second = asleep_as("second", &remote, item, "in-place", "worker.commit.before");
    first.signal(Signal::CONT);
    first.wait().expect(0, "Published");
    second.signal(Signal::CONT);
    second.wait().expect(0, "Published");
    assert_of_one(&remote, "a");
    remote.assert_clean();
}

#[test]
fn a_zombie_of_an_old_version_changes_nothing() {
    for mode in MODES {
        let remote = Remote::on_minio();
        let old = remote.item("a", "old");
        let zombie = asleep(&remote, old.clone(), mode, "worker.commit.before");
        let item = remote.item("a", "newer");
        let second = remote.worker(item, OWN).args(["--publish", mode]).env("LONGSHORE_ATTEMPT_ID", "second").run();
        second.expect(0, "Published");
        zombie.signal(Signal::CONT);
        // It had looked at its input before: what it is told is that somebody else was faster.
        zombie.wait().expect(75, "Busy");
        assert_eq!(remote.read("a", "copy"), "newer", "{mode}");
        assert_eq!(assert_of_one(&remote, "a").attempt, "second");
        remote.worker(old, OWN).args(["--publish", mode]).run().expect(0, "Superseded");
        assert_eq!(assert_of_one(&remote, "a").attempt, "second");
        remote.assert_clean();
    }
}

#[test]
fn a_zombie_of_a_lower_revision_changes_nothing() {
    for mode in MODES {
        let remote = Remote::on_minio();
        let item = remote.item("a", "x");
        let zombie = asleep(&remote, item.clone(), mode, "worker.commit.before");
        let second = remote.worker(item, OWN).args(["--publish", mode, "--revision", "1"]);
        second.env("LONGSHORE_ATTEMPT_ID", "second").run().expect(0, "Published");
        zombie.signal(Signal::CONT);
        zombie.wait().expect(0, "Superseded");
        assert_eq!(assert_of_one(&remote, "a").attempt, "second");
        remote.assert_clean();
    }
}

#[test]
fn a_zombie_in_the_midst_of_a_large_upload_changes_nothing_anyone_reads() {
    let server = S3Server::shared_minio();
    let proxy = proxy(server);
    let (go, gone) = watch::channel(false);
    let is_part = |seen: &Seen| seen.query.contains("partNumber");
    proxy.spoil(move |seen| is_part(seen).then(|| Spoil::Hold(gone.clone())));
    let remote = Remote::on(server);
    let item = remote.item("a", vec![b'x'; 20 * 1024 * 1024]);
    let worker = |attempt: &str| {
        remote.worker(item.clone(), OWN).args(["--publish", "attempts"]).env("LONGSHORE_ATTEMPT_ID", attempt)
    };
    let zombie = worker("zombie").env("AWS_ENDPOINT_URL", proxy.url()).start();
    until("it uploads a part", || proxy.seen().iter().any(is_part));
    zombie.signal(Signal::STOP);
    until("it is stopped", || zombie.is_stopped());
    worker("second").run().expect(0, "Published");
    let marker = assert_of_one(&remote, "a");
    drop(go);
    zombie.signal(Signal::CONT);
    let woken = zombie.wait();
    assert!(matches!(woken.code, Some(0 | 75)), "{:?} {}", woken.code, woken.stderr);
    assert_eq!(assert_of_one(&remote, "a"), marker);
    assert_eq!(marker.attempt, "second");
    // What is left of either goes with the next run at the latest.
    worker("third").run().expect(0, "AlreadyPublished");
    let keys = proxy.seen().into_iter().filter(is_part).map(|seen| key_of(&seen)).collect::<Vec<_>>();
    assert_eq!(remote.bucket.open_uploads(keys), Vec::<String>::new(), "uploads are left");
    remote.assert_clean();
}

/// The uploads in parts that are open to a key, by the store's names for them.
fn open_uploads(remote: &Remote, key: &str) -> Vec<String> {
    remote.bucket.with(async |client| {
        let listed = client.list_multipart_uploads().bucket(remote.bucket.name()).prefix(key).send().await;
        let listed = listed.expect("the uploads are listed");
        listed.uploads().iter().filter_map(|upload| upload.upload_id().map(str::to_owned)).collect()
    })
}

/// When an object was written, in seconds by the store's clock.
fn written_at(remote: &Remote, key: &str) -> i64 {
    remote.bucket.with(async |client| {
        let head = client.head_object().bucket(remote.bucket.name()).key(key).send().await.expect("it is there");
        head.last_modified().expect("a time").secs()
    })
}

#[test]
fn who_ends_the_uploads_of_the_dead_in_place_spares_one_that_is_alive() {
    let server = S3Server::shared_minio();
    let mut remote = Remote::on(server);
    let item = remote.item("a", vec![b'x'; 20 * 1024 * 1024]);
    let script = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/large""#;
    let is_part = |seen: &Seen| seen.query.contains("partNumber");
    let uploading = |remote: &mut Remote, revision: &str| {
        let proxy = proxy(server);
        let (go, gone) = watch::channel(false);
        proxy.spoil(move |seen| is_part(seen).then(|| Spoil::Hold(gone.clone())));
        remote.lead_to(&proxy.url());
        let worker = remote.worker(item.clone(), script).args(["--revision", revision]).start();
        remote.lead_to(&server.url());
        until("it uploads a part", || proxy.seen().iter().any(is_part));
        (worker, proxy, go)
    };
    // One dies over its upload. Another publishes, and dies before it clears away what that has left.
    let (first, _proxy, _go) = uploading(&mut remote, "0");
    first.signal(Signal::KILL);
    first.wait();
    let dead = open_uploads(&remote, "out/a/large");
    let second = remote.worker(item.clone(), script).env("LONGSHORE_FAULT", "worker.commit.after=kill").run();
    assert_eq!(second.signal, Some(9), "{}", second.stderr);
    let marker = remote.published("a");
    assert_eq!((dead.len(), open_uploads(&remote, "out/a/large")), (1, dead));

    // A third sets out from what was published, to the same name. Stores tell the time of an object in whole seconds.
    let committed = written_at(&remote, "out/a/_SUCCESS.json");
    until("it is seconds later by the store's clock", || {
        remote.bucket.put("clock", "tick");
        written_at(&remote, "clock") >= committed + 2
    });
    let (third, proxy, go) = uploading(&mut remote, "1");
    let both = open_uploads(&remote, "out/a/large");
    assert_eq!(both.len(), 2);

    // Whoever looks next clears away, and knows the one from the other.
    remote.worker(item.clone(), script).run().expect(0, "AlreadyPublished");
    let left = open_uploads(&remote, "out/a/large");
    assert_eq!(left.len(), 1, "of {both:?} there are {left:?}");
    assert_eq!(remote.published("a"), marker);
    drop(go);
    third.wait().expect(0, "Published");
    let begun = proxy.seen().iter().filter(|seen| seen.method == "POST" && seen.query.starts_with("uploads")).count();
    assert_eq!((begun, remote.published("a").revision), (1, 1), "it went on with the upload that it had begun");
    assert_eq!(open_uploads(&remote, "out/a/large"), Vec::<String>::new());
    remote.assert_clean();
}

/// Reads an item's output as a reader does who holds it against the marker: whatever passes is of the attempt that the marker names.
fn read_checking(remote: &Remote, key: &str) {
    let place = format!("out/{key}");
    let Some(json) = remote.bucket.get(&format!("{place}/{}", contract::MARKER_FILE)) else { return };
    let marker: Marker = serde_json::from_slice(&json).expect("a marker is whole");
    for output in &marker.outputs {
        let Some(content) = remote.bucket.get(&format!("{place}/{}", output.path)) else { continue };
        let is_as_named = (content.len() as u64, sha256(&content)) == (output.size, output.sha256.clone());
        if is_as_named && output.path == "who" {
            assert_eq!(String::from_utf8_lossy(&content).trim(), marker.attempt);
        }
    }
}

#[test]
fn in_place_readers_who_check_are_never_deceived() {
    for moment in MOMENTS {
        let remote = Remote::on_minio();
        let item = remote.item("a", "x");
        let zombie = asleep(&remote, item.clone(), "in-place", moment);
        remote.worker(item.clone(), OWN).env("LONGSHORE_ATTEMPT_ID", "second").run();
        zombie.signal(Signal::CONT);
        // While both write, as a reader who checks: what the marker names is what it says, or is seen not to be.
        while !zombie.is_over() {
            read_checking(&remote, "a");
        }
        let woken = zombie.wait();
        read_checking(&remote, "a");
        assert!(matches!(woken.code, Some(0 | 75)), "{moment}: {:?} {}", woken.code, woken.stderr);
        // Whatever the two made of it, the marker says what is there, or that it is not; and the next run makes it whole.
        remote.worker(item, OWN).run().report();
        assert_of_one(&remote, "a");
        remote.assert_clean();
    }
}
