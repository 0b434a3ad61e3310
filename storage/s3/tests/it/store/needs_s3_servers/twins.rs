//! Several runs of one item at once, one of them stopped for as long as it likes.

use std::sync::Arc;
use std::time::Duration;

use contract::item::decode_path;
use storage::{Claim, Committed, Draft, Error, Standing};
use storage_s3::PublishMode;
use test_servers::{S3Server, Spoil};
use tokio::sync::watch;

use super::super::{BOTH, Held, LONG, Worker, World, claim, is_marker_put, is_output_put, published, write};

on_both!(
    of_many_at_one_place_one_publishes,
    one_stopped_amid_its_uploads_changes_nothing,
    one_stopped_before_its_marker_changes_nothing,
    what_a_marker_names_is_not_touched_in_attempts,
    what_is_overwritten_in_place_is_noticed_and_made_good,
    the_living_are_left_alone,
    what_is_taken_away_is_put_again,
    an_upload_that_was_aborted_begins_anew,
    an_upload_that_has_forgotten_what_it_was_begins_anew,
    what_a_newer_input_made_is_not_written_over,
    a_marker_of_what_is_gone_is_withdrawn,
    the_same_key_of_another_source_is_another_item,
    of_two_items_that_meet_at_one_place_one_has_it,
);

async fn of_many_at_one_place_one_publishes(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = Arc::new(world.worker(mode).await);
        let runs: Vec<_> = (0..8)
            .map(|n| {
                let worker = Arc::clone(&worker);
                let own = claim("a/b", "1", &format!("n{n}"));
                tokio::spawn(async move { worker.publish(own, &["x", "y"], &format!("n{n}")).await })
            })
            .collect();
        let (mut by, mut left) = (Vec::new(), 0);
        for run in runs {
            match run.await.expect("no panic") {
                Ok(Committed::Published(marker)) => by.push(marker.attempt),
                Ok(Committed::Already(_)) => {}
                // In place they stand in each other's way; a later attempt finds the item published.
                Err(Error::Busy(_)) if mode == PublishMode::InPlace => left += 1,
                other => panic!("{mode:?}: {other:?}"),
            }
        }
        assert!(left < 8, "{mode:?}: nobody published");
        assert!(mode == PublishMode::InPlace || by.len() == 1, "{mode:?}: {by:?}");
        let next = claim("a/b", "1", "next");
        if worker.outputs.look(&next).await.expect("looks") == Standing::Replaceable {
            assert_eq!(mode, PublishMode::InPlace);
            published(worker.publish(next, &["x", "y"], "next").await);
        }
        assert_eq!((world.untrue("a/b").await.len(), world.unnamed("a/b").await), (0, Vec::new()), "{mode:?}");
    }
}

async fn one_stopped_amid_its_uploads_changes_nothing(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let (stopped, other) = (world.worker(mode).await, world.worker(mode).await);
        let mut held = stopped.hold(|seen| is_output_put(seen) && seen.path.ends_with('y'));
        let publishing = stopped.publish(claim("a", "1", "stopped"), &["x", "y", "z"], "stopped");
        let interfering = async {
            held.come().await;
            let marker = published(other.publish(claim("a", "1", "other"), &["x", "y"], "the other's").await);
            assert_eq!(world.untrue("a").await, [""; 0], "{mode:?}");
            held.release();
            marker
        };
        let (committed, marker) = tokio::join!(publishing, interfering);
        assert_eq!(committed.expect("it is done"), Committed::Already(marker.clone()), "{mode:?}");
        assert_eq!(world.marker("a").await, Some(*marker));
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?}");
    }
}

async fn one_stopped_before_its_marker_changes_nothing(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let (stopped, other) = (world.worker(mode).await, world.worker(mode).await);
        let mut held = stopped.hold(is_marker_put);
        let publishing = stopped.publish(claim("a", "1", "stopped"), &["x", "y"], "stopped");
        let interfering = async {
            held.come().await;
            // Two commits: what the stopped one has uploaded is cleared away, and the marker is not even of its version.
            published(other.publish(claim("a", "1", "other"), &["x"], "the other's").await);
            assert_eq!(world.unnamed("a").await, [""; 0], "{mode:?}: nobody can name it any more");
            let marker = published(other.publish(claim("a", "2", "third"), &["x"], "the third's").await);
            held.release();
            marker
        };
        let (committed, marker) = tokio::join!(publishing, interfering);
        assert!(matches!(committed, Err(Error::Busy(_))), "{mode:?}: {committed:?}");
        assert_eq!(world.marker("a").await, Some(*marker));
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?}");
    }
}

/// Readers who follow a marker while others publish and clear away never meet other content than it names.
async fn what_a_marker_names_is_not_touched_in_attempts(server: &'static S3Server) {
    let world = World::new(server).await;
    let (first, second) = (world.worker(PublishMode::Attempts).await, world.worker(PublishMode::Attempts).await);
    let at = |revision| Claim { revision, ..claim("a", "1", "n") };
    published(first.publish(at(0), &["x", "y"], "zero").await);
    let mut held = second.hold(is_marker_put);
    let publishing = second.publish(at(1), &["x", "y"], "one");
    let reading = async {
        held.come().await;
        assert_eq!(world.untrue("a").await, [""; 0], "all of the next is uploaded, and the marker is not written");
        assert_eq!(world.marker("a").await.map(|marker| marker.revision), Some(0));
        held.release();
    };
    published(tokio::join!(publishing, reading).0);
    assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()));
}

async fn what_is_overwritten_in_place_is_noticed_and_made_good(server: &'static S3Server) {
    let world = World::new(server).await;
    let (first, second) = (world.worker(PublishMode::InPlace).await, world.worker(PublishMode::InPlace).await);
    let mut marker_held = first.hold(is_marker_put);
    let mut upload_held = second.hold(|seen| is_output_put(seen) && seen.path.ends_with('y'));
    let publishing = first.publish(claim("a", "1", "first"), &["x", "y"], "the first's");
    let interfering = async {
        marker_held.come().await;
        // The second writes over what the first has uploaded, and is stopped half-way; the first commits.
        let publishing = second.publish(claim("a", "1", "second"), &["x", "y"], "the second's");
        let releasing = async {
            upload_held.come().await;
            let x = b"the second's x".as_slice();
            while world.get("out/a/x").await.as_deref() != Some(x) {
                tokio::task::yield_now().await;
            }
            marker_held.release();
            while world.marker("a").await.is_none() {
                tokio::task::yield_now().await;
            }
            assert_eq!(world.untrue("a").await, ["x"], "whoever checks is not deceived");
            let seen = first.outputs.look(&claim("a", "1", "late")).await.expect("looks");
            assert_eq!(seen, Standing::Replaceable, "nor is a worker");
            upload_held.release();
        };
        tokio::join!(publishing, releasing).0
    };
    let (first, second) = tokio::join!(publishing, interfering);
    published(first);
    let second = published(second);
    assert_eq!(world.marker("a").await, Some(*second), "it made good what it had spoilt");
    assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()));
}

async fn the_living_are_left_alone(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let (living, other) = (world.worker(mode).await, world.worker(mode).await);
        let at = |revision| Claim { revision, ..claim("a", "1", "n") };
        published(other.publish(at(0), &["x"], "zero").await);
        let mut held = living.hold(is_marker_put);
        let publishing = living.publish(at(1), &["x", "new"], "one");
        let looking = async {
            held.come().await;
            let before = world.keys("out/a/").await;
            let seen = other.outputs.look(&at(0)).await.expect("looks");
            // In place its content is another already; by attempts it is whole, and whoever finds that clears away.
            assert_eq!(matches!(seen, Standing::Published(_)), mode == PublishMode::Attempts, "{mode:?}");
            assert_eq!(world.keys("out/a/").await, before, "{mode:?}: what a living run will name");
            held.release();
        };
        published(tokio::join!(publishing, looking).0);
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?}");
    }
}

/// Whoever deletes a marker by hand makes a base stand again that did not: then a look before the marker has to do.
async fn what_is_taken_away_is_put_again(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let (stopped, other) = (world.worker(mode).await, world.worker(mode).await);
        let mut held = stopped.hold(|seen| is_output_put(seen) && seen.path.ends_with('y'));
        let publishing = stopped.publish(claim("a", "1", "stopped"), &["x", "y"], "stopped");
        let interfering = async {
            held.come().await;
            while !world.keys("out/a/").await.iter().any(|key| key.ends_with("/x")) {
                tokio::task::yield_now().await;
            }
            published(other.publish(claim("a", "1", "other"), &["z"], "the other's").await);
            assert_eq!(world.unnamed("a").await, [""; 0], "{mode:?}");
            world.delete("out/a/_SUCCESS.json").await;
            held.release();
        };
        published(tokio::join!(publishing, interfering).0);
        assert_eq!(world.untrue("a").await, [""; 0], "{mode:?}");
    }
}

async fn an_upload_that_was_aborted_begins_anew(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let publication = worker.outputs.begin(claim("a", "1", "n"), worker.scratch.path()).await.expect("begun");
        write(publication.dir(), "large", &vec![7; 40 << 20]);
        let mut held = worker.hold(|seen| seen.method == "PUT" && seen.query.contains("partNumber=2"));
        let publishing = publication.commit(Draft::default(), &|| Box::pin(async { Ok(()) }));
        let interfering = async {
            held.come().await;
            let seen = worker.proxy.seen();
            let part = seen.iter().find(|seen| seen.query.contains("uploadId=")).expect("a part");
            let id = part.query.split('&').find_map(|pair| pair.strip_prefix("uploadId=")).expect("an id");
            let id = String::from_utf8(decode_path(id)).expect("UTF-8");
            let key = part.path.split_once("out/").map(|(_, key)| format!("out/{key}")).expect("a key");
            let key = String::from_utf8(decode_path(&key)).expect("UTF-8");
            let abort = world.client.abort_multipart_upload().bucket(&world.bucket).key(key).upload_id(id);
            abort.send().await.expect("aborted");
            held.release();
        };
        published(tokio::join!(publishing, interfering).0);
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?}");
    }
}

async fn an_upload_that_has_forgotten_what_it_was_begins_anew(server: &'static S3Server) {
    const FORGOTTEN: &str = "<Error><Code>InvalidRequest</Code><Message>The upload was created using the null checksum mode. The \
                             complete request must use the same checksum mode.</Message></Error>";
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let publication = worker.outputs.begin(claim("a", "1", "n"), worker.scratch.path()).await.expect("begun");
        write(publication.dir(), "large", &vec![7; 17 << 20]);
        let answered = std::sync::atomic::AtomicBool::new(false);
        worker.proxy.spoil(move |seen| {
            let completes = seen.method == "POST" && seen.query.contains("uploadId=");
            let first = completes && !answered.swap(true, std::sync::atomic::Ordering::Relaxed);
            first.then(|| Spoil::Answer(400, FORGOTTEN.to_owned()))
        });
        published(publication.commit(Draft::default(), &|| Box::pin(async { Ok(()) })).await);
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?}");
    }
}

async fn what_a_newer_input_made_is_not_written_over(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let (late, next) = (world.worker(mode).await, world.worker(mode).await);
        let old = claim("a", "1", "old");
        late.outputs.look(&old).await.expect("looks");
        let publication = late.outputs.begin(old, late.scratch.path()).await.expect("begun");
        write(publication.dir(), "x", b"of the old input");
        published(next.publish(claim("a", "2", "new"), &["x"], "new").await);
        let changed = || -> storage::BoxFuture<'_, Result<(), Error>> {
            Box::pin(async { Err(Error::Changed { uri: "u".into(), wanted: "1".into(), found: "2".into() }) })
        };
        let refused = publication.commit(Draft::default(), &changed).await;
        assert!(matches!(refused, Err(Error::Changed { .. })), "{mode:?}: {refused:?}");
        assert_eq!(world.marker("a").await.expect("it stands").item.version, "2");
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?}");
    }
}

/// A run stands still before its marker while another one commits, clears away what it had uploaded, and is deleted.
async fn a_marker_of_what_is_gone_is_withdrawn(server: &'static S3Server) {
    let world = World::new(server).await;
    let mode = PublishMode::Attempts;
    let (zombie, other) = (world.worker(mode).await, world.worker(mode).await);
    let mut held = zombie.hold(is_marker_put);
    let publishing = zombie.publish(claim("a", "1", "zombie"), &["x"], "x");
    let meanwhile = async {
        held.come().await;
        published(other.publish(claim("a", "1", "other"), &["x"], "x").await);
        world.delete("out/a/_SUCCESS.json").await;
        held.release();
    };
    let late = tokio::join!(publishing, meanwhile).0;
    assert!(matches!(late, Err(Error::Busy(_))), "{late:?}");
    assert_eq!(world.marker("a").await, None, "it names what is not there");
    published(other.publish(claim("a", "1", "again"), &["x"], "x").await);
    assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()));
}

async fn the_same_key_of_another_source_is_another_item(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let of = |source: Option<&str>| {
            let mut own = claim("a", "1", "n");
            own.item.source = source.map(str::to_owned);
            own
        };
        published(worker.publish(of(Some("s3://inn/a")), &["x"], "x").await);
        match worker.outputs.look(&of(Some("s3://in2/a"))).await {
            Err(Error::Taken(why)) => assert!(why.contains("s3://inn/a") && why.contains("s3://in2/a"), "{why}"),
            other => panic!("{mode:?}: {other:?}"),
        }
        for same in [None, Some("s3://inn/a")] {
            let stands = worker.outputs.look(&of(same)).await;
            assert!(matches!(stands, Ok(storage::Standing::Published(_))), "{mode:?}: {stands:?}");
        }
    }
}

/// Each has put first what the other needs too: were both refused for it, nobody would ever have the place.
async fn of_two_items_that_meet_at_one_place_one_has_it(server: &'static S3Server) {
    let world = World::new(server).await;
    let (one, other) = (world.worker(PublishMode::InPlace).await, world.worker(PublishMode::InPlace).await);
    let of = |key: &str| Claim { place: claim("p", "1", key).place, ..claim(key, "1", key) };
    // Nothing is put before both have looked at the place: who came later would go at once.
    let (both, looked) = watch::channel(false);
    let hold = |worker: &Worker, last: &'static str| {
        let ((release, held), (came, come), looked) = (watch::channel(false), watch::channel(false), looked.clone());
        worker.proxy.spoil(move |seen| {
            let is_last = is_output_put(seen) && seen.path.ends_with(last) && !came.send_replace(true);
            is_output_put(seen).then(|| Spoil::Hold(if is_last { held.clone() } else { looked.clone() }))
        });
        Held { release, come }
    };
    let (mut y, mut x) = (hold(&one, "/y"), hold(&other, "/x"));
    let meeting = async {
        tokio::join!(y.come(), x.come());
        both.send_replace(true);
        let crossed = async {
            while world.keys("out/p/").await.len() < 4 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, crossed).await.expect("each puts its others");
        y.release();
        x.release();
    };
    let (first, second, ()) = tokio::join!(
        one.publish(of("one"), &["x", "y", "only-one"], "one"),
        other.publish(of("other"), &["x", "y", "only-other"], "other"),
        meeting
    );
    let (refused, marker) = match (first, second) {
        (Ok(Committed::Published(marker)), refused) | (refused, Ok(Committed::Published(marker))) => (refused, marker),
        neither => panic!("nobody has the place: {neither:?}"),
    };
    assert!(matches!(refused, Err(Error::Taken(_))), "{refused:?}");
    assert_eq!(world.marker("p").await, Some(*marker));
    assert_eq!(
        (world.untrue("p").await.len(), world.unnamed("p").await),
        (0, Vec::new()),
        "and nothing of the other's"
    );
}
