//! The marker: written once, whatever the network and other workers do.

use std::sync::atomic::{AtomicUsize, Ordering};

use storage::{Claim, Committed, Error, Standing};
use storage_s3::PublishMode;
use test_servers::{S3Server, Spoil};

use super::super::{BOTH, World, claim, is_marker_put, is_output_put, published};

on_both!(
    a_lost_reply_is_read_back,
    a_conflict_is_judged_by_what_stands,
    a_conflict_that_is_none_is_tried_again,
    a_store_that_ignores_conditions_is_no_liar,
    a_write_that_is_refused_says_so,
);

/// Loses the answer to the first `times` requests that are like this, whatever they did.
fn lose(worker: &super::super::Worker, like: fn(&test_servers::Seen) -> bool, times: usize) {
    let lost = AtomicUsize::new(0);
    worker
        .proxy
        .spoil(move |seen| (like(seen) && lost.fetch_add(1, Ordering::Relaxed) < times).then_some(Spoil::LoseReply));
}

async fn a_lost_reply_is_read_back(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        for (revision, like) in [is_marker_put, is_output_put].into_iter().enumerate() {
            lose(&worker, like, 1);
            let own = Claim { revision: revision as u64, ..claim("a", "1", "n") };
            published(worker.publish(own, &["x", "y"], &format!("content {revision}")).await);
            assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await.len()), (0, 0), "{mode:?}");
        }
        assert!(worker.proxy.seen().iter().filter(|seen| is_marker_put(seen)).count() > 2, "it was asked again");
    }
}

async fn a_conflict_is_judged_by_what_stands(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let (worker, other) = (world.worker(mode).await, world.worker(mode).await);
        let at = |key, revision, version: &str| Claim { revision, ..claim(key, version, "m") };
        // What the other commits in the instant before our marker is written, and what becomes of ours.
        let meanwhile = async |ours: Claim, others: Claim| {
            let mut held = worker.hold(is_marker_put);
            let place = ours.place.clone();
            let publishing = worker.publish(ours, &["x"], "ours");
            let interfering = async {
                held.come().await;
                published(other.publish(Claim { place, ..others }, &["x"], "the other's").await);
                held.release();
            };
            tokio::join!(publishing, interfering).0
        };
        let already = meanwhile(at("a", 0, "1"), at("a", 0, "1")).await;
        assert!(matches!(already, Ok(Committed::Already(marker)) if marker.attempt == "m"), "{mode:?}");
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await.len()), (0, 0), "{mode:?}");

        let outranked = meanwhile(at("a", 1, "1"), at("a", 2, "1")).await;
        assert!(matches!(outranked, Ok(Committed::Superseded { revision: 2 })), "{mode:?}: {outranked:?}");
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await.len()), (0, 0), "{mode:?}");

        let busy = meanwhile(at("a", 2, "2"), at("a", 2, "3")).await;
        assert!(matches!(busy, Err(Error::Busy(_))), "{mode:?}: versions have no order: {busy:?}");
        published(worker.publish(at("a", 2, "2"), &["x"], "ours").await);
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await.len()), (0, 0), "{mode:?}");

        if mode == PublishMode::InPlace {
            // There, another item finds what was uploaded, and goes no further.
            continue;
        }
        let taken = meanwhile(at("b", 0, "1"), at("c", 0, "1")).await;
        assert!(matches!(taken, Err(Error::Taken(_))), "{mode:?}: {taken:?}");
    }
}

async fn a_conflict_that_is_none_is_tried_again(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let answered = AtomicUsize::new(0);
        worker.proxy.spoil(move |seen| {
            let xml = "<Error><Code>ConditionalRequestConflict</Code><Message>m</Message></Error>";
            let first = is_marker_put(seen) && answered.fetch_add(1, Ordering::Relaxed) == 0;
            first.then(|| Spoil::Answer(409, xml.to_owned()))
        });
        published(worker.publish(claim("a", "1", "n"), &["x"], "x").await);
        assert_eq!(world.untrue("a").await, [""; 0]);
    }
}

async fn a_store_that_ignores_conditions_is_no_liar(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let (worker, other) = (world.worker(mode).await, world.worker(mode).await);
        let held = std::sync::Arc::new(tokio::sync::watch::Sender::new(false));
        let (come, mut came) = tokio::sync::watch::channel(false);
        other.proxy.spoil(|_| Some(Spoil::DropHeader("if-none-match")));
        // Both write the marker of a place that was free when they looked, ours second.
        let release = std::sync::Arc::clone(&held);
        worker.proxy.spoil(move |seen| {
            if is_marker_put(seen) && !come.send_replace(true) {
                return Some(Spoil::Hold(release.subscribe()));
            }
            Some(Spoil::DropHeader("if-none-match"))
        });
        let publishing = worker.publish(claim("a", "1", "ours"), &["x"], "ours");
        let interfering = async {
            came.wait_for(|come| *come).await.expect("the marker is written");
            published(other.publish(claim("a", "1", "other"), &["x"], "the other's").await);
            held.send_replace(true);
        };
        let (committed, ()) = tokio::join!(publishing, interfering);
        assert!(matches!(committed, Ok(Committed::Published(_) | Committed::Already(_))), "{mode:?}: {committed:?}");
        // Whatever a reader meets is told from what it should be, and the next run of the item makes it good.
        let next = claim("a", "1", "next");
        match worker.outputs.look(&next).await.expect("looks") {
            Standing::Published(_) => {}
            Standing::Replaceable => {
                published(worker.publish(next, &["x"], "next").await);
            }
            other => panic!("{mode:?}: {other:?}"),
        }
        assert_eq!(world.untrue("a").await, [""; 0], "{mode:?}");
    }
}

async fn a_write_that_is_refused_says_so(server: &'static S3Server) {
    let denied = || Spoil::Answer(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_owned());
    for mode in BOTH {
        for like in [is_marker_put, is_output_put] {
            let world = World::new(server).await;
            let worker = world.worker(mode).await;
            worker.proxy.spoil(move |seen| like(seen).then(denied));
            let refused = worker.publish(claim("a", "1", "n"), &["x", "y"], "x").await;
            assert!(matches!(refused, Err(Error::Forbidden(_))), "{mode:?}: {refused:?}");
            worker.proxy.spoil(|_| None);
            assert_eq!(worker.outputs.look(&claim("a", "1", "n")).await.expect("looks"), Standing::Free, "{mode:?}");
            published(worker.publish(claim("a", "1", "n"), &["z"], "z").await);
            assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await.len()), (0, 0), "{mode:?}");
        }
    }
}
