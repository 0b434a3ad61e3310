use super::*;

mod needs_s3_servers {
    use std::collections::{BTreeMap, HashMap};
    use std::time::Duration;

    use bytes::Bytes;
    use test_servers::{Proxy, S3Server, Spoil};

    use super::*;
    use crate::{Patience, S3, S3Args, TransferArgs};

    const MIB: usize = 1 << 20;

    async fn bucket(server: &S3Server, url: &str) -> Bucket {
        let args = S3Args { s3_endpoint_url: Some(url.to_owned()), ..S3Args::default() };
        let s3 = S3::with_keys(args, TransferArgs::default(), server.access_key(), server.secret_key());
        let patience = Patience { total: Duration::from_secs(20), answer: Duration::from_secs(20) };
        s3.with_patience(patience).bucket(&server.bucket().await)
    }

    async fn put(bucket: &Bucket, key: &str, content: &Bytes) -> String {
        let metadata = HashMap::from([("owner".to_owned(), "me".to_owned())]);
        match bucket.put(key, content.clone(), &Condition::Always, &metadata).await {
            Ok(Written::Yes { etag, .. }) => etag,
            other => panic!("{other:?}"),
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
            let no_marks = HashMap::new();
            let by = |to: &'static str| bucket.copy_by(from, to, &Condition::Absent, &no_marks, MIB as u64, 5 << 20);
            let copied = by("copy").await.expect("an answer");
            assert!(matches!(copied, Copied::Yes { .. }), "{copied:?}");
            let (copy, _) = bucket.read("copy", content.len()).await.expect("it is there");
            assert!(copy == content, "the parts are in their places");
            let head = bucket.head("copy", None).await.expect("it is there");
            assert_eq!(head.metadata.get("owner").map(String::as_str), Some("me"));
            assert_eq!(bucket.tags("copy", None).await.expect("its tags"), tags);
            assert_eq!(by("copy").await.expect("an answer"), Copied::Conflict);
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
        let copied = bucket.copy_by(from, "copy", &Condition::Always, &HashMap::new(), MIB as u64, 5 << 20).await;
        assert!(matches!(copied, Err(Error::Forbidden(_))), "{copied:?}");
        assert_eq!(bucket.list_uploads("copy").await.expect("an answer"), []);
        assert!(matches!(bucket.head("copy", None).await, Err(Error::NotFound(_))));
    }

    #[tokio::test]
    async fn what_is_replaced_while_it_is_copied_is_not_mixed() {
        let server = S3Server::shared_minio();
        let proxy = Proxy::before(&server.url()).await;
        let bucket = bucket(server, &proxy.url()).await;
        let etag = put(&bucket, "key", &Bytes::from(vec![7; 11 * MIB])).await;
        let (go, held) = tokio::sync::watch::channel(false);
        proxy.spoil(move |seen| seen.query.contains("partNumber=2").then(|| Spoil::Hold(held.clone())));
        let from = Origin { key: "key", which: Which::Etag(&etag) };
        let no_marks = HashMap::new();
        let copy = bucket.copy_by(from, "copy", &Condition::Always, &no_marks, MIB as u64, 5 << 20);
        let replace = async {
            let is_held = || proxy.seen().iter().any(|seen| seen.query.contains("partNumber=2"));
            while !is_held() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            put(&bucket, "key", &Bytes::from(vec![8; 11 * MIB])).await;
            go.send(true).expect("somebody waits");
        };
        let (copied, ()) = tokio::join!(copy, replace);
        assert_eq!(copied.expect("an answer"), Copied::Changed);
        assert_eq!(bucket.list_uploads("copy").await.expect("an answer"), []);
    }
}
