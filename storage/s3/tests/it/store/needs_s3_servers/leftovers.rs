//! What killed runs leave, and who clears it away.

use std::time::Duration;

use storage::{Claim, Standing};
use storage_s3::PublishMode;
use test_servers::{S3Server, Spoil};

use super::super::{BOTH, LONG, World, claim, is_marker_put, published, write};

on_both!(
    what_a_killed_run_left_is_cleared_away_by_the_next,
    what_was_not_cleared_away_is_by_the_next_look,
    no_upload_stays_open_after_a_run_again,
    a_sweep_ends_what_is_old_and_ours_only,
    what_others_have_put_into_a_place_is_never_cleared_away,
    an_output_called_like_a_report_is_cleared_away_too,
);

/// A run of these files that is killed as it passes this request: its network is gone, and then it is. What it had written by
/// then is the last that is heard of it.
async fn killed(
    world: &World,
    mode: PublishMode,
    own: Claim,
    files: &[(&str, usize)],
    at: fn(&test_servers::Seen) -> bool,
) {
    let worker = world.worker(mode).await;
    let publication = worker.outputs.begin(own, worker.scratch.path()).await.expect("begun");
    for (name, size) in files {
        write(publication.dir(), name, &vec![9; *size]);
    }
    let mut held = worker.hold(at);
    let publishing = tokio::spawn(publication.commit(storage::Draft::default(), &|| Box::pin(async { Ok(()) })));
    held.come().await;
    worker.proxy.spoil(|_| Some(Spoil::ResetBefore));
    publishing.abort();
    drop(publishing.await);
    drop(worker);
}

async fn what_a_killed_run_left_is_cleared_away_by_the_next(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let own = claim("a", "1", "n");
        killed(&world, mode, own.clone(), &[("x", 3), ("y", 3), ("only-the-first", 3)], is_marker_put).await;
        assert_eq!((world.marker("a").await, world.unnamed("a").await.len()), (None, 3), "{mode:?}");
        // The next may be of the other mode too.
        for next in BOTH {
            let worker = world.worker(next).await;
            let own = Claim { revision: u64::from(next == PublishMode::Attempts), ..own.clone() };
            published(worker.publish(own, &["x", "y"], "whole").await);
            assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?} {next:?}");
        }
    }
}

async fn what_was_not_cleared_away_is_by_the_next_look(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let own = claim("a", "1", "n");
        killed(&world, mode, own.clone(), &[("left", 3)], is_marker_put).await;
        // Committed, and killed before anything else.
        let worker = world.worker(mode).await;
        let mut committing = worker.hold(is_marker_put);
        let mut publishing = Box::pin(worker.publish(own.clone(), &["x"], "x"));
        tokio::select! {
            _ = &mut publishing => panic!("the marker is not written yet"),
            () = committing.come() => {}
        }
        worker.proxy.spoil(|seen| (!is_marker_put(seen)).then_some(Spoil::ResetBefore));
        committing.release();
        tokio::select! {
            _ = &mut publishing => panic!("it cannot have cleared away anything"),
            () = async { while world.marker("a").await.is_none() { tokio::task::yield_now().await } } => {}
        }
        drop(publishing);
        assert_eq!(world.unnamed("a").await.len(), 1, "{mode:?}");
        let next = world.worker(mode).await;
        assert!(matches!(next.outputs.look(&own).await, Ok(Standing::Published(_))), "{mode:?}");
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?}");
    }
}

async fn no_upload_stays_open_after_a_run_again(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let own = claim("a", "1", "n");
        let is_part = |seen: &test_servers::Seen| seen.method == "PUT" && seen.query.contains("partNumber");
        killed(&world, mode, own.clone(), &[("small", 3), ("large", 40 << 20)], is_part).await;
        let note = world.unnamed("a").await.into_iter().find(|key| key.ends_with("/.longshore")).expect("a note");
        let large = match mode {
            PublishMode::InPlace => "out/a/large".to_owned(),
            PublishMode::Attempts => note.replace(".longshore", "large"),
        };
        assert_eq!(world.open_uploads(&large).await, 1, "{mode:?}: the test leaves nothing to clear away");
        let worker = world.worker(mode).await;
        published(worker.publish(own, &["small", "large"], "whole").await);
        assert_eq!(world.open_uploads(&large).await, 0, "{mode:?}");
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?}");
    }
}

/// A copy that the store made keeps the metadata of what it is a copy of; and the same item may have another place below this one.
async fn what_others_have_put_into_a_place_is_never_cleared_away(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let own = claim("a", "1", "n");
        let mut held = worker.hold(is_marker_put);
        let publishing = worker.publish(own.clone(), &["x"], "first");
        let meanwhile = async {
            held.come().await;
            let below = Claim { place: storage::Place::new(b"a/thumbs").expect("a place"), ..own.clone() };
            published(world.worker(mode).await.publish(below, &["t"], "thumb").await);
            held.release();
        };
        published(tokio::join!(publishing, meanwhile).0);
        let from = format!("{}/{}", world.bucket, world.keys("out/a/thumbs/").await.remove(0));
        for to in ["out/a/keep/x-kept", "out/a/thumbs/copy"] {
            world.client.copy_object().bucket(&world.bucket).key(to).copy_source(&from).send().await.expect("copied");
        }
        let named = world.marker("a").await.expect("it stands").outputs.remove(0).path;
        let from = format!("{}/out/a/{named}", world.bucket);
        let copy = world.client.copy_object().bucket(&world.bucket).key("out/a/keep/y-kept").copy_source(&from);
        copy.send().await.expect("copied");
        let kept = world.keys("out/a/keep/").await.len() + world.keys("out/a/thumbs/").await.len();
        assert_eq!(kept, 5, "{mode:?}");
        worker.outputs.look(&own).await.expect("looks");
        assert_eq!(world.keys("out/a/keep/").await.len() + world.keys("out/a/thumbs/").await.len(), kept, "{mode:?}");
        assert_eq!(world.untrue("a/thumbs").await, [""; 0], "{mode:?}");
        for key in world.keys("out/a/thumbs/").await {
            world.delete(&key).await;
        }
        published(worker.publish(Claim { revision: 1, ..own }, &["x"], "second").await);
        assert_eq!(world.keys("out/a/keep/").await.len(), 2, "{mode:?}");
    }
}

async fn an_output_called_like_a_report_is_cleared_away_too(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let own = claim("a", "1", "n");
        published(worker.publish(own.clone(), &["x", "sub/report.json"], "first").await);
        published(worker.publish(Claim { revision: 1, ..own }, &["x"], "second").await);
        assert_eq!(world.unnamed("a").await, [""; 0], "{mode:?}");
    }
}

async fn a_sweep_ends_what_is_old_and_ours_only(server: &'static S3Server) {
    let world = World::new(server).await;
    let worker = world.worker(PublishMode::Attempts).await;
    let begin = async |key: &str| {
        let begun = world.client.create_multipart_upload().bucket(&world.bucket).key(key).send().await.expect("begun");
        (key.to_owned(), begun.upload_id().expect("an id").to_owned())
    };
    let ours = begin("out/a/_attempts/1-n.abcdefgh.none/large").await;
    let young = begin("out/b/_attempts/1-n.abcdefgh.none/large").await;
    let strangers = begin("out/their/large").await;
    // As one that reached the store after the next run had committed and cleared away.
    let etag = world.put("out/c/_SUCCESS.json", b"{}").await;
    let late = begin("out/c/_attempts/1-n.abcdefgh.none/large").await;
    let base = super::super::sha256(etag.as_bytes());
    let living = begin(&format!("out/c/_attempts/2-n.abcdefgh.{}/large", base.get(..12).expect("it is longer"))).await;
    let day = |days: u64| {
        let at = std::time::SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
        String::from(contract::Timestamp(at))
    };
    let uploads: String = [(&ours, day(8)), (&young, day(6)), (&strangers, day(8)), (&late, day(0)), (&living, day(0))]
        .iter()
        .map(|((key, id), at)| {
            format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{at}</Initiated></Upload>")
        })
        .collect();
    let xml =
        format!("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>");
    worker.proxy.spoil(move |seen| {
        (seen.method == "GET" && seen.query.contains("uploads")).then(|| Spoil::Answer(200, xml.clone()))
    });
    // One in some looks.
    let looked = || worker.proxy.seen().iter().any(|seen| seen.method == "GET" && seen.query.contains("uploads"));
    while !looked() {
        worker.outputs.sweep().await.expect("swept");
    }
    for ((key, _), open) in [(&ours, 0), (&young, 1), (&strangers, 1), (&late, 0), (&living, 1)] {
        assert_eq!(world.open_uploads(key).await, open, "{key}");
    }
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_owned();
    worker.proxy.spoil(move |_| Some(Spoil::Answer(403, denied.clone())));
    let asked = worker.proxy.seen().len();
    while worker.proxy.seen().len() == asked {
        tokio::time::timeout(LONG, worker.outputs.sweep()).await.expect("in time").expect("nothing to fail for");
    }
}
