//! Several runs of one item at once, one of them stopped for as long as it likes.

use std::sync::Arc;

use storage::{Claim, Committed, Error, Standing};
use storage_s3::PublishMode;
use test_servers::S3Server;

use super::super::{BOTH, World, claim, is_marker_put, is_output_put, published};

on_both!(
    of_many_at_one_place_one_publishes,
    one_stopped_amid_its_uploads_changes_nothing,
    one_stopped_before_its_marker_changes_nothing,
    what_a_marker_names_is_not_touched_in_attempts,
    what_is_overwritten_in_place_is_noticed_and_made_good,
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
