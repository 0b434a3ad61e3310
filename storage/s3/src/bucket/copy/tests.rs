use super::*;

mod needs_s3_servers {
    use std::collections::{BTreeMap, HashMap};
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use bytes::Bytes;
    use test_servers::{Proxy, S3Server, Seen, Spoil};

    use super::*;
    use crate::{ListQuery, Patience, S3, S3Args, TransferArgs};

    const MIB: usize = 1 << 20;

    /// Longer than any machine stands still, and than anything is held back here.
    const LONG: Patience = Patience { total: Duration::from_secs(300), answer: Duration::from_secs(300) };

    fn s3(server: &S3Server, url: &str) -> S3 {
        let args = S3Args { s3_endpoint_url: Some(url.to_owned()), ..S3Args::default() };
        let s3 = S3::with_keys(args, TransferArgs::default(), server.access_key(), server.secret_key());
        s3.with_patience(LONG)
    }

    async fn bucket(server: &S3Server, url: &str) -> Bucket {
        s3(server, url).bucket(&server.bucket().await)
    }

    async fn put(bucket: &Bucket, key: &str, content: &Bytes) -> String {
        let metadata = HashMap::from([("owner".to_owned(), "me".to_owned())]);
        match bucket.put(key, content.clone(), &Condition::Always, &metadata).await {
            Ok(Written::Yes { etag, .. }) => etag,
            other => panic!("{other:?}"),
        }
    }

    /// What a test calls large is copied in parts; whoever has a note is taken for dead at once.
    const HASTY: How = How { at_once: MIB as u64, part: 5 << 20, lease: Duration::ZERO };

    /// Copies what a test calls large to `copy`.
    async fn in_parts(bucket: &Bucket, from: Origin<'_>, condition: &Condition) -> Result<Copied, Error> {
        copied(bucket, from, condition, HASTY.lease).await
    }

    async fn copied(
        bucket: &Bucket,
        from: Origin<'_>,
        condition: &Condition,
        lease: Duration,
    ) -> Result<Copied, Error> {
        let to = Destination { key: "copy", condition, marks: &HashMap::new(), notes: "done/" };
        Box::pin(bucket.copy_by(from, to, How { lease, ..HASTY })).await
    }

    async fn notes(bucket: &Bucket) -> Vec<String> {
        let query = ListQuery { prefix: "done/".to_owned(), ..ListQuery::default() };
        bucket.list(&query).await.expect("an answer").objects.into_iter().map(|note| note.key).collect()
    }

    fn is_second(seen: &Seen) -> bool {
        seen.query.contains("partNumber=2")
    }

    /// Waits until the second part has come by, after so many requests.
    async fn until_held(proxy: &Proxy, after: usize) {
        while !proxy.seen().iter().skip(after).any(is_second) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the note has just been renewed: it is good for long yet, however slow the machine is.
    async fn until_renewed(bucket: &Bucket, lease: Duration) {
        let key = notes(bucket).await.remove(0);
        loop {
            let head = bucket.head(&key, None).await.expect("the note is there");
            let age = bucket.s3().now().duration_since(head.last_modified.expect("a date").0).unwrap_or_default();
            if age < lease / 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// An upload to `copy` that somebody begins.
    async fn begin(server: &S3Server, bucket: &Bucket) -> String {
        let begun = server.client().create_multipart_upload().bucket(bucket.name()).key("copy").send().await;
        begun.expect("begun").upload_id().expect("an id").to_owned()
    }

    async fn open(bucket: &Bucket) -> Vec<String> {
        bucket.list_uploads("copy").await.expect("an answer").into_iter().map(|upload| upload.id).collect()
    }

    #[tokio::test]
    async fn what_a_killed_copy_leaves_open_is_aborted_by_the_next_and_nothing_else() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let proxy = Proxy::before(&server.url()).await;
            let bucket = bucket(server, &proxy.url()).await;
            let content = Bytes::from(vec![7; 11 * MIB]);
            let etag = put(&bucket, "key", &content).await;
            let strangers = begin(server, &bucket).await;
            // Uploads and notes are dated by the second.
            let begun = bucket.list_uploads("copy").await.expect("an answer").remove(0).initiated.expect("a date").0;
            while bucket.s3().now() < begun + Duration::from_secs(2) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Its renewals too: one that reaches the store later is of somebody who is not dead.
            let go = stopped(&proxy);
            let from = Origin { key: "key", which: Which::Etag(&etag) };
            let killed = tokio::select! {
                copied = in_parts(&bucket, from, &Condition::Absent) => panic!("{copied:?}"),
                () = until_held(&proxy, 0) => open(&bucket).await,
            };
            assert_eq!((killed.len(), notes(&bucket).await.len()), (2, 1), "theirs, and what the killed one has begun");

            // What the killed one had still asked for reaches the store while the next is at work.
            let (late, next) = (std::sync::OnceLock::new(), tokio::sync::watch::channel(false));
            let (release, held) = next;
            let seen = proxy.seen().len();
            proxy.spoil(move |seen| is_second(seen).then(|| Spoil::Hold(held.clone())));
            let meanwhile = async {
                until_held(&proxy, seen).await;
                // Not before it is done, when there would be as much again.
                assert!(
                    proxy.seen().iter().skip(seen).any(|seen| seen.method == "DELETE"),
                    "what was left is ended first"
                );
                late.set(begin(server, &bucket).await).expect("once");
                release.send(true).expect("somebody waits");
            };
            let (copied, ()) = tokio::join!(in_parts(&bucket, from, &Condition::Absent), meanwhile);
            assert!(matches!(copied.expect("an answer"), Copied::Yes { .. }));
            assert_eq!(open(&bucket).await, [strangers], "theirs was begun before: {late:?}");
            assert_eq!(notes(&bucket).await, [""; 0]);
            assert!(bucket.read("copy", content.len()).await.expect("it is there").0 == content);
            drop(go);
        }
    }

    /// Holds the second part of a copy, and every renewal of its note, until it is told otherwise.
    fn stopped(proxy: &Proxy) -> tokio::sync::watch::Sender<bool> {
        let (go, held) = tokio::sync::watch::channel(false);
        // What is put before an upload is begun takes the note of a dead one over.
        let begun = std::sync::atomic::AtomicBool::new(false);
        proxy.spoil(move |seen| {
            begun.fetch_or(seen.method == "POST" && seen.query.contains("uploads"), Ordering::SeqCst);
            let puts = seen.method == "PUT" && seen.path.contains("/copy.") && seen.header("if-match").is_some();
            ((puts && begun.load(Ordering::SeqCst)) || is_second(seen)).then(|| Spoil::Hold(held.clone()))
        });
        go
    }

    #[tokio::test]
    async fn of_two_that_copy_to_one_key_one_does_and_the_other_comes_again() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let (one, other) = (Proxy::before(&server.url()).await, Proxy::before(&server.url()).await);
            let bucket_one = bucket(server, &one.url()).await;
            let bucket_other = s3(server, &other.url()).bucket(bucket_one.name());
            let content = Bytes::from(vec![7; 11 * MIB]);
            let etag = put(&bucket_one, "key", &content).await;
            let from = Origin { key: "key", which: Which::Etag(&etag) };

            // While one renews its note, nobody touches what it has begun.
            let (go, held) = tokio::sync::watch::channel(false);
            one.spoil(move |seen| is_second(seen).then(|| Spoil::Hold(held.clone())));
            let lease = Duration::from_secs(6);
            let first = copied(&bucket_one, from, &Condition::Absent, lease);
            let second = async {
                until_held(&one, 0).await;
                let (begun, since) = (open(&bucket_other).await, std::time::Instant::now());
                // For longer than a lease lasts.
                let mut is_longer = false;
                while !is_longer {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    is_longer = since.elapsed() > lease + Duration::from_secs(1);
                    until_renewed(&bucket_other, lease).await;
                    let refused = copied(&bucket_other, from, &Condition::Absent, lease).await;
                    let Err(Error::Busy(why)) = refused else { panic!("{refused:?}") };
                    assert!(why.contains("/copy") && why.contains("done/.longshore/copy."), "{why}");
                }
                assert_eq!((open(&bucket_other).await, begun.len()), (begun, 1));
                go.send(true).expect("somebody waits");
            };
            let (whole, ()) = tokio::join!(Box::pin(first), Box::pin(second));
            assert!(matches!(whole, Ok(Copied::Yes { .. })), "{whole:?}");
            assert_eq!((open(&bucket_other).await, notes(&bucket_other).await), (Vec::new(), Vec::new()));
            bucket_one.delete("copy", Which::Current).await.expect("deleted");

            // One that is stopped for longer is taken for dead. When it goes on, it harms nobody.
            let lease = Duration::from_secs(4);
            for dies_first in [false, true] {
                if dies_first {
                    // It comes after one that was killed, and so has something of others to look for.
                    let (seen, _go) = (one.seen().len(), stopped(&one));
                    tokio::select! {
                        copied = copied(&bucket_one, from, &Condition::Absent, lease) => panic!("{copied:?}"),
                        () = until_held(&one, seen) => {}
                    }
                }
                let (seen, go) = (one.seen().len(), stopped(&one));
                let has_begun = || one.seen().iter().skip(seen).any(is_second);
                let (go_on, held) = tokio::sync::watch::channel(false);
                other.spoil(move |seen| is_second(seen).then(|| Spoil::Hold(held.clone())));
                let first = async {
                    let stopped = loop {
                        match copied(&bucket_one, from, &Condition::Absent, lease).await {
                            Err(Error::Busy(_)) if !has_begun() => tokio::time::sleep(Duration::from_millis(100)).await,
                            other => break other,
                        }
                    };
                    assert!(!matches!(stopped, Ok(Copied::Yes { .. })), "{stopped:?}");
                    go_on.send(true).expect("somebody waits");
                };
                let before = other.seen().len();
                let second = async {
                    while !has_begun() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    let whole = loop {
                        match copied(&bucket_other, from, &Condition::Absent, lease).await {
                            Err(Error::Busy(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                            other => break other,
                        }
                    };
                    assert!(matches!(whole, Ok(Copied::Yes { .. })), "{whole:?}");
                };
                let meanwhile = async {
                    until_held(&other, before).await;
                    go.send(true).expect("somebody waits");
                };
                tokio::join!(Box::pin(first), Box::pin(second), Box::pin(meanwhile));
                assert!(bucket_one.read("copy", content.len()).await.expect("it is there").0 == content);
                let left = (open(&bucket_one).await, notes(&bucket_one).await);
                assert_eq!(left, (Vec::new(), Vec::new()), "{dies_first}");
                bucket_one.delete("copy", Which::Current).await.expect("deleted");
            }
        }
    }

    #[tokio::test]
    async fn a_reply_that_is_lost_when_a_copy_begins_leaves_a_note_of_it() {
        let server = S3Server::shared_minio();
        let proxy = Proxy::before(&server.url()).await;
        let bucket = bucket(server, &proxy.url()).await;
        let etag = put(&bucket, "key", &Bytes::from(vec![7; 11 * MIB])).await;
        let from = Origin { key: "key", which: Which::Etag(&etag) };
        proxy.spoil(|seen| (seen.method == "POST" && seen.query.contains("uploads")).then_some(Spoil::LoseReply));
        let patience = Patience { total: Duration::from_millis(1), ..LONG };
        let hasty = bucket.s3().clone().with_patience(patience).bucket(bucket.name());
        let lost = in_parts(&hasty, from, &Condition::Absent).await;
        assert!(matches!(lost, Err(Error::Unavailable { .. })), "{lost:?}");
        assert!(!open(&bucket).await.is_empty() && notes(&bucket).await.len() == 1);
        proxy.spoil(|_| None);
        in_parts(&bucket, from, &Condition::Absent).await.expect("copied");
        assert_eq!((open(&bucket).await, notes(&bucket).await), (Vec::new(), Vec::new()));
    }

    /// The rights of docs/s3.md for `--on-settle move:done/` suffice to find and end what a killed copy has left, too.
    #[tokio::test]
    async fn the_rights_of_the_page_suffice_for_a_copy_in_parts() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/s3.md")).expect("docs/s3.md");
        let statements = |name: &str| -> Vec<serde_json::Value> {
            let (_, rest) = page.split_once(&format!("<!-- policy: {name} -->")).expect("the policy");
            let (_, rest) = rest.split_once("```json\n").expect("its document");
            let document: serde_json::Value =
                serde_json::from_str(rest.split_once("```").expect("its end").0).expect("JSON");
            document.get("Statement").and_then(|all| all.as_array()).expect("statements").clone()
        };
        let server = S3Server::shared_minio();
        let root = bucket(server, &server.url()).await;
        let all = [statements("ambassador"), statements("settle-move")].concat();
        let copies = async |statements: &[serde_json::Value]| {
            let policy = serde_json::json!({"Version": "2012-10-17", "Statement": statements}).to_string();
            let role = server.assume(&policy.replace(":::videos", &format!(":::{}", root.name())));
            let of = |n: usize| role.get(n).expect("it is told").1.clone();
            let args = S3Args { s3_endpoint_url: Some(server.url()), ..S3Args::default() };
            let keys = aws_credential_types::Credentials::new(of(0), of(1), Some(of(2)), None, "test");
            let role = S3::of(args, Some(keys), TransferArgs::default(), Patience::AMBASSADOR).bucket(root.name());
            let etag = put(&root, "incoming/key", &Bytes::from(vec![7; 11 * MIB])).await;
            // As one that was killed leaves it.
            let note = format!("done/.longshore/copy.{}", contract::name::hash(&[b"done/copy"]));
            put(&root, &note, &Bytes::new()).await;
            let begun = server.client().create_multipart_upload().bucket(root.name()).key("done/copy").send().await;
            begun.expect("begun");
            let from = Origin { key: "incoming/key", which: Which::Etag(&etag) };
            let marks = HashMap::new();
            let to = Destination { key: "done/copy", condition: &Condition::Always, marks: &marks, notes: "done/" };
            role.copy_by(from, to, HASTY).await.expect("copied");
            let left = root.list_uploads("done/copy").await.expect("an answer");
            for upload in &left {
                root.abort_upload(&upload.key, &upload.id).await.expect("aborted");
            }
            (left.len(), notes(&root).await.iter().filter(|key| **key == note).count())
        };
        assert_eq!(copies(&all).await, (0, 0), "all that the page says");
        for action in ["s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads"] {
            let mut less = all.clone();
            let mut taken = false;
            for actions in less.iter_mut().filter_map(|statement| statement.get_mut("Action")) {
                if actions == action {
                    (*actions, taken) = ("s3:GetBucketLocation".into(), true);
                } else if let Some(actions) = actions.as_array_mut() {
                    let before = actions.len();
                    actions.retain(|allowed| allowed != action);
                    taken |= actions.len() < before;
                }
            }
            assert!(taken, "the page has {action}");
            assert_eq!(
                copies(&less).await,
                (1, 1),
                "without {action} it is copied, and what was open stays, with its note"
            );
        }
    }

    #[tokio::test]
    async fn what_is_too_large_for_one_request_is_copied_in_parts_with_all_it_has() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = bucket(server, &server.url()).await;
            let content: Bytes = (0..11 * MIB).map(|n| u8::try_from(n % 251).expect("it is less")).collect();
            let etag = put(&bucket, "a + b", &content).await;
            let tags = BTreeMap::from([("state".to_owned(), "a+b c".to_owned())]);
            bucket.set_tags("a + b", Which::Current, &tags).await.expect("tagged");
            let from = Origin { key: "a + b", which: Which::Etag(&etag) };
            let copied = in_parts(&bucket, from, &Condition::Absent).await.expect("an answer");
            assert!(matches!(copied, Copied::Yes { .. }), "{copied:?}");
            let (copy, _) = bucket.read("copy", content.len()).await.expect("it is there");
            assert!(copy == content, "the parts are in their places");
            let head = bucket.head("copy", None).await.expect("it is there");
            assert_eq!(head.metadata.get("owner").map(String::as_str), Some("me"));
            assert_eq!(bucket.tags("copy", None).await.expect("its tags"), tags);
            let again = in_parts(&bucket, from, &Condition::Absent).await;
            assert_eq!(again.expect("an answer"), Copied::Conflict);
            assert_eq!(notes(&bucket).await, [""; 0]);
        }
    }

    #[tokio::test]
    async fn a_copy_in_parts_that_fails_leaves_nothing_open() {
        let server = S3Server::shared_minio();
        let proxy = Proxy::before(&server.url()).await;
        let bucket = bucket(server, &proxy.url()).await;
        let content = Bytes::from(vec![7; 11 * MIB]);
        let etag = put(&bucket, "key", &content).await;
        proxy.spoil(|seen| {
            let denied = "<Error><Code>AccessDenied</Code></Error>".to_owned();
            (seen.method == "PUT" && seen.query.contains("partNumber=2")).then_some(Spoil::Answer(403, denied))
        });
        let from = Origin { key: "key", which: Which::Etag(&etag) };
        let copied = in_parts(&bucket, from, &Condition::Always).await;
        assert!(matches!(copied, Err(Error::Forbidden(_))), "{copied:?}");
        assert_eq!(bucket.list_uploads("copy").await.expect("an answer"), []);
        assert_eq!(notes(&bucket).await, [""; 0]);
        assert!(matches!(bucket.head("copy", None).await, Err(Error::NotFound(_))));
    }

    #[tokio::test]
    async fn what_is_replaced_while_it_is_copied_is_not_mixed() {
        let server = S3Server::shared_minio();
        let proxy = Proxy::before(&server.url()).await;
        let bucket = bucket(server, &proxy.url()).await;
        let etag = put(&bucket, "key", &Bytes::from(vec![7; 11 * MIB])).await;
        let (go, held) = tokio::sync::watch::channel(false);
        proxy.spoil(move |seen| is_second(seen).then(|| Spoil::Hold(held.clone())));
        let from = Origin { key: "key", which: Which::Etag(&etag) };
        let copy = in_parts(&bucket, from, &Condition::Always);
        let replace = async {
            until_held(&proxy, 0).await;
            put(&bucket, "key", &Bytes::from(vec![8; 11 * MIB])).await;
            go.send(true).expect("somebody waits");
        };
        let (copied, ()) = tokio::join!(copy, replace);
        assert_eq!(copied.expect("an answer"), Copied::Changed);
        assert_eq!(bucket.list_uploads("copy").await.expect("an answer"), []);
    }
}
