//! What stands at a place, and what may not.

use std::fs;
use std::os::unix::fs::symlink;

use contract::Key;
use storage::{Claim, Committed, Draft, Error, Standing, Store};
use storage_s3::{PublishMode, S3, S3Args, S3Store, TransferArgs};
use test_servers::{S3Server, Spoil};

use super::super::{BOTH, World, claim, is_marker_put, published, write};

on_both!(
    an_output_is_what_its_marker_names,
    the_plain_case_costs_few_requests,
    what_stands_is_told_apart,
    outputs_do_not_nest,
    strangers_are_not_written_over,
    what_cannot_be_published_is_not,
    a_refused_input_leaves_nothing_visible,
    reports_lie_where_no_output_does,
    a_root_is_tried,
);

async fn an_output_is_what_its_marker_names(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let names = ["a b+c.txt", "d/é\u{1f600}/%41", "empty", "z"];
        let own = claim("films/é 1.mp4", "v", "n1");
        assert_eq!(worker.outputs.look(&own).await.expect("looks"), Standing::Free);
        let publication = worker.outputs.begin(own.clone(), worker.scratch.path()).await.expect("begun");
        for name in names {
            write(publication.dir(), name, name.as_bytes());
        }
        write(publication.dir(), "empty", b"");
        // In parts.
        write(publication.dir(), "large", &vec![7; 20 << 20]);
        fs::create_dir(publication.dir().join("nothing-in-it")).expect("a directory");
        let draft = Draft { result: Some(serde_json::json!({"faces": 3})), allow_empty: false };
        let committed = publication.commit(draft, &|| Box::pin(async { Ok(()) })).await;
        let marker = published(committed);
        assert_eq!(world.marker("films/é 1.mp4").await.as_ref(), Some(&*marker), "{mode:?}");
        assert_eq!(marker.outputs.len(), 5);
        assert_eq!(marker.result, Some(serde_json::json!({"faces": 3})));
        assert_eq!(world.untrue("films/é 1.mp4").await, [""; 0], "{mode:?}");
        assert_eq!(world.unnamed("films/é 1.mp4").await, [""; 0], "{mode:?}");
        let in_attempts = marker.outputs.iter().filter(|output| output.path.starts_with("_attempts/1-n1.")).count();
        assert_eq!(in_attempts, if mode == PublishMode::Attempts { 5 } else { 0 });
        assert_eq!(worker.outputs.look(&own).await.expect("looks"), Standing::Published(marker));
        assert_eq!(worker.outputs.uri(&own.place), format!("s3://{}/out/films/%C3%A9%201.mp4/", world.bucket));
        assert_eq!(fs::read_dir(worker.scratch.path()).expect("lists").count(), 0, "what was gathered is removed");
    }
}

/// What docs/s3.md says that an item costs, less its input.
async fn the_plain_case_costs_few_requests(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let own = claim("a/b", "1", "n");
        assert_eq!(worker.outputs.look(&own).await.expect("looks"), Standing::Free);
        published(worker.publish(own, &["x", "d/y"], "small").await);
        let seen = worker.proxy.seen();
        let count = |is: fn(&test_servers::Seen) -> bool| seen.iter().filter(|seen| is(seen)).count();
        let puts = count(|seen| seen.method == "PUT");
        let lists = count(|seen| seen.method == "GET" && seen.query.contains("list-type"));
        let looks = seen.len() - puts - lists;
        let most = match mode {
            PublishMode::InPlace => (3, 3, 5),
            PublishMode::Attempts => (3, 3, 6),
        };
        assert_eq!((puts, lists, looks), most, "{mode:?}: {seen:#?}");
    }
}

async fn what_stands_is_told_apart(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let at = |revision, version: &str| Claim { revision, ..claim("a", version, "m") };
        let look = async |claim: &Claim| worker.outputs.look(claim).await;
        let marker = published(worker.publish(at(3, "1"), &["x", "y"], "same size").await);
        assert_eq!(look(&at(3, "1")).await.expect("looks"), Standing::Published(marker.clone()));
        assert_eq!(look(&at(3, "2")).await.expect("looks"), Standing::Replaceable);
        assert_eq!(look(&at(4, "1")).await.expect("looks"), Standing::Replaceable);
        assert_eq!(look(&at(2, "1")).await.expect("looks"), Standing::Superseded { revision: 3 });
        let other = Claim { item: claim("b", "1", "n").item, ..at(3, "1") };
        assert!(matches!(look(&other).await, Err(Error::Taken(why)) if why.contains("of a, so b")), "{mode:?}");

        // Not as the marker says any more: other content of the same size, then gone.
        let path = &marker.outputs.first().expect("two outputs").path;
        let key = format!("out/a/{path}");
        let metadata = |sum: &str| std::collections::HashMap::from([("longshore-sha256".to_owned(), sum.to_owned())]);
        let overwrite = world.client.put_object().bucket(&world.bucket).key(&key);
        let overwrite = overwrite.set_metadata(Some(metadata(&"0".repeat(64)))).body(b"same size x".to_vec().into());
        overwrite.send().await.expect("overwritten");
        assert_eq!(look(&at(3, "1")).await.expect("looks"), Standing::Replaceable, "{mode:?}");
        world.delete(&key).await;
        assert_eq!(look(&at(3, "1")).await.expect("looks"), Standing::Replaceable, "{mode:?}");
        published(worker.publish(at(3, "1"), &["x"], "again").await);
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await.len()), (0, 0), "{mode:?}");

        world.put("out/a/_SUCCESS.json", b"{").await;
        assert!(
            matches!(look(&at(3, "1")).await, Err(Error::Taken(why)) if why.contains("cannot be read")),
            "{mode:?}"
        );
        let refused = worker.publish(at(3, "1"), &["x"], "no").await;
        assert!(matches!(refused, Err(Error::Taken(_))), "{refused:?}");
    }
}

async fn outputs_do_not_nest(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        published(worker.publish(claim("a/b", "1", "n"), &["x"], "x").await);
        for nested in ["a/b/c/d", "a"] {
            let refused = worker.outputs.look(&claim(nested, "1", "n")).await;
            assert!(matches!(refused, Err(Error::Taken(_))), "{mode:?} {nested}: {refused:?}");
            let refused = worker.publish(claim(nested, "1", "n"), &["x"], "x").await;
            assert!(matches!(refused, Err(Error::Taken(_))), "{mode:?} {nested}: {refused:?}");
        }
        for beside in ["a/b2", "a/c", "b"] {
            published(worker.publish(claim(beside, "1", "n"), &["x"], "x").await);
        }
        assert_eq!(world.untrue("a/b").await, [""; 0]);
    }
}

async fn strangers_are_not_written_over(server: &'static S3Server) {
    let world = World::new(server).await;
    let (in_place, attempts) = (world.worker(PublishMode::InPlace).await, world.worker(PublishMode::Attempts).await);
    world.put("out/a/notes.txt", b"precious").await;
    let refused = in_place.outputs.look(&claim("a", "1", "n")).await;
    assert!(matches!(&refused, Err(Error::Taken(why)) if why.contains("notes.txt")), "{refused:?}");
    published(attempts.publish(claim("a", "1", "n"), &["x"], "x").await);
    // The marker is this item's now, and the stranger's object a stranger's still.
    let refused = in_place.publish(claim("a", "2", "n"), &["notes.txt"], "mine").await;
    assert!(matches!(refused, Err(Error::Taken(_))), "{refused:?}");
    published(in_place.publish(claim("a", "2", "n"), &["x"], "x").await);
    assert_eq!(world.get("out/a/notes.txt").await.as_deref(), Some(&b"precious"[..]));
    assert_eq!(world.untrue("a").await, [""; 0]);

    // One that comes after the look is met by the put.
    let mut held = in_place.hold(super::super::is_output_put);
    let publishing = in_place.publish(claim("late", "1", "n"), &["x"], "mine");
    let interfering = async {
        held.come().await;
        world.put("out/late/x", b"precious").await;
        held.release();
    };
    let (refused, ()) = tokio::join!(publishing, interfering);
    assert!(matches!(refused, Err(Error::Taken(_))), "{refused:?}");
    assert_eq!(world.get("out/late/x").await.as_deref(), Some(&b"precious"[..]));
}

async fn what_cannot_be_published_is_not(server: &'static S3Server) {
    let world = World::new(server).await;
    for mode in BOTH {
        let worker = world.worker(mode).await;
        let refuse = async |make: &(dyn Fn(&std::path::Path) + Sync)| {
            let publication = worker.outputs.begin(claim("a", "1", "n"), worker.scratch.path()).await.expect("begun");
            make(publication.dir());
            match publication.commit(Draft::default(), &|| Box::pin(async { Ok(()) })).await {
                Err(Error::Unpublishable(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        refuse(&|_| ()).await;
        refuse(&|dir| symlink("/etc/passwd", dir.join("x")).expect("a link")).await;
        refuse(&|dir| write(dir, "d/_SUCCESS.json", b"{}")).await;
        refuse(&|dir| write(dir, "_attempts/x", b"")).await;
        assert_eq!(world.keys("out/").await, [""; 0]);
        let publication = worker.outputs.begin(claim("a", "1", "n"), worker.scratch.path()).await.expect("begun");
        let draft = Draft { result: None, allow_empty: true };
        let empty = published(publication.commit(draft, &|| Box::pin(async { Ok(()) })).await);
        assert_eq!(empty.outputs, []);
        world.delete("out/a/_SUCCESS.json").await;
    }
}

async fn a_refused_input_leaves_nothing_visible(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let publication = worker.outputs.begin(claim("a", "1", "n"), worker.scratch.path()).await.expect("begun");
        write(publication.dir(), "x", b"x");
        let verify = || -> storage::BoxFuture<'_, Result<(), Error>> {
            Box::pin(async {
                assert!(
                    !worker.proxy.seen().iter().any(is_marker_put),
                    "the marker is there before the input was looked at"
                );
                Err(Error::Changed { uri: "u".into(), wanted: "1".into(), found: "2".into() })
            })
        };
        let refused = publication.commit(Draft::default(), &verify).await;
        assert!(matches!(refused, Err(Error::Changed { .. })), "{mode:?}: {refused:?}");
        assert_eq!(world.marker("a").await, None, "{mode:?}");
        let left = world.keys("out/").await.len();
        assert_eq!(left, if mode == PublishMode::Attempts { 0 } else { 1 }, "{mode:?}");
        // What it left belongs to the item, and is no stranger's to its next run.
        published(worker.publish(claim("a", "2", "n"), &["y"], "y").await);
        assert_eq!((world.untrue("a").await.len(), world.unnamed("a").await), (0, Vec::new()), "{mode:?}");
    }
}

async fn reports_lie_where_no_output_does(server: &'static S3Server) {
    for mode in BOTH {
        let world = World::new(server).await;
        let worker = world.worker(mode).await;
        let second = Claim { number: 2, ..claim("a", "1", "n") };
        for account in ["{}", "{\"again\":1}"] {
            let at = worker.outputs.record(&second, account.as_bytes()).await.expect("recorded");
            assert_eq!(at, Some(format!("s3://{}/out/a/_attempts/2/report.json", world.bucket)));
        }
        assert_eq!(worker.outputs.look(&second).await.expect("looks"), Standing::Free, "a report takes no place");
        let other = Claim { item: claim("b", "1", "n").item, ..second.clone() };
        assert!(matches!(worker.outputs.record(&other, b"{}").await, Err(Error::Taken(_))));
        let third = Claim { number: 3, ..second };
        published(worker.publish(third.clone(), &["x"], "x").await);
        published(worker.publish(Claim { revision: 1, ..third }, &["x"], "y").await);
        let report = world.get("out/a/_attempts/2/report.json").await;
        assert_eq!(report.as_deref(), Some(&b"{\"again\":1}"[..]), "it outlives what comes after");
    }
}

async fn a_root_is_tried(server: &'static S3Server) {
    let world = World::new(server).await;
    let worker = world.worker(PublishMode::InPlace).await;
    assert_eq!(worker.outputs.check().await.expect("it can be used"), [""; 0]);
    assert_eq!(world.keys("").await, [""; 0], "nothing is left of it");
    for (header, says) in [("if-none-match", "ignores If-None-Match"), ("if-match", "ignores If-Match")] {
        worker.proxy.spoil(move |_| Some(Spoil::DropHeader(header)));
        let notes = worker.outputs.check().await.expect("it can be used");
        assert!(matches!(notes.as_slice(), [note] if note.contains(says)), "{header}: {notes:?}");
    }
    let denied = |seen: &test_servers::Seen, method: &str, query: &str| {
        let xml = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        (seen.method == method && seen.query.contains(query)).then(|| Spoil::Answer(403, xml.to_owned()))
    };
    for (method, query, says) in [("GET", "uploads", "lifecycle rule"), ("DELETE", "", "cannot be deleted")] {
        worker.proxy.spoil(move |seen| denied(seen, method, query));
        let notes = worker.outputs.check().await.expect("it can be used");
        assert!(matches!(notes.as_slice(), [note] if note.contains(says)), "{method}: {notes:?}");
    }
    worker.proxy.spoil(move |seen| denied(seen, "PUT", ""));
    assert!(matches!(worker.outputs.check().await, Err(Error::Forbidden(_))));
    let args = S3Args { s3_endpoint_url: Some(server.url()), ..S3Args::default() };
    let s3 = S3::with_keys(args, TransferArgs::default(), server.access_key(), server.secret_key());
    let nowhere = storage::Uri::parse("s3://no-such-bucket-here/out").expect("a URI");
    let nowhere = S3Store::new(s3, PublishMode::InPlace).outputs(&nowhere).expect("a root");
    assert!(matches!(nowhere.check().await, Err(Error::Unsupported(why)) if why.contains("no-such-bucket-here")));
}

#[tokio::test]
async fn an_item_with_the_longest_key_has_its_output() {
    let world = World::new(S3Server::shared_minio()).await;
    for mode in BOTH {
        let worker = world.worker(mode).await;
        let long = claim(&format!("{mode:?}"), "1", "n");
        let long = Claim {
            item: contract::marker::MarkedItem { key: Key::new("é".repeat(512).as_bytes()), ..long.item },
            ..long
        };
        published(worker.publish(long.clone(), &["x"], "x").await);
        let again = worker.publish(Claim { revision: 1, ..long }, &["x"], "y").await;
        assert!(matches!(again, Ok(Committed::Published(_))), "{again:?}");
    }
}
