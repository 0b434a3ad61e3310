//! What can be asked of a bucket.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use bytes::Bytes;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use storage::Error;
use storage_s3::{Bucket, Condition, Copied, Deleted, Destination, Origin, Tagged, Versioning, Which, Written};
use test_servers::{Proxy, S3Server};

use super::super::{s3, s3_at};
use super::stores;

async fn put(bucket: &Bucket, key: &str, content: &'static str, condition: &Condition) -> Option<String> {
    let metadata = HashMap::from([("owner".to_owned(), "me".to_owned())]);
    match bucket.put(key, Bytes::from(content), condition, &metadata).await.expect("the store answers") {
        Written::Yes { etag, .. } => Some(etag),
        Written::Conflict => None,
    }
}

async fn content(bucket: &Bucket, key: &str) -> String {
    let (bytes, _) = bucket.read(key, 1000).await.expect("it is there");
    String::from_utf8(bytes.to_vec()).expect("it is text")
}

async fn fresh(server: &S3Server) -> Bucket {
    s3(server).bucket(&server.bucket().await)
}

async fn keep_versions(server: &S3Server, bucket: &Bucket) {
    let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let set = server.client().put_bucket_versioning().bucket(bucket.name()).versioning_configuration(on).send().await;
    set.expect("the bucket keeps versions");
}

#[tokio::test]
async fn a_put_holds_its_condition_and_carries_its_proof() {
    for server in stores() {
        let name = server.bucket().await;
        let proxy = Proxy::before(&server.url()).await;
        let bucket = s3_at(&proxy.url(), server).bucket(&name);
        let first = put(&bucket, "key", "one", &Condition::Absent).await.expect("nothing was there");
        assert_eq!(put(&bucket, "key", "two", &Condition::Absent).await, None);
        let second = put(&bucket, "key", "two", &Condition::Is(first.clone())).await.expect("it was that");
        assert_eq!(put(&bucket, "key", "three", &Condition::Is(first)).await, None);
        assert_eq!(put(&bucket, "none", "three", &Condition::Is(second.clone())).await, None);
        assert_eq!(content(&bucket, "key").await, "two");
        for seen in proxy.seen().iter().filter(|seen| seen.method == "PUT") {
            assert!(seen.header("content-md5").is_some() && seen.header("x-amz-checksum-sha256").is_some(), "{seen:?}");
        }
        // The store does look at it.
        let damaged = server.client().put_object().bucket(&name).key("damaged").content_md5(BASE64.encode(&[0; 16]));
        assert!(damaged.body(ByteStream::from_static(b"x")).send().await.is_err());

        let head = bucket.head("key", None).await.expect("it is there");
        assert_eq!((head.size, head.etag, head.metadata.get("owner").map(String::as_str)), (3, second, Some("me")));
        let sha256 = BASE64.encode(&Sha256::digest(b"two"));
        assert_eq!((head.checksums.sha256, head.checksums.whole), (Some(sha256), true));
    }
}

#[tokio::test]
async fn a_delete_takes_what_is_meant_and_nothing_else() {
    for server in stores() {
        let bucket = fresh(server).await;
        let first = put(&bucket, "key", "one", &Condition::Always).await.expect("written");
        let second = put(&bucket, "key", "two", &Condition::Always).await.expect("written");
        assert_eq!(bucket.delete("key", Which::Etag(&first)).await.expect("an answer"), Deleted::Changed);
        assert_eq!(content(&bucket, "key").await, "two");
        assert!(matches!(bucket.delete("key", Which::Etag(&second)).await.expect("an answer"), Deleted::Yes { .. }));
        assert!(matches!(bucket.head("key", None).await, Err(Error::NotFound(_))));
        let again = bucket.delete("key", Which::Etag(&second)).await.expect("an answer");
        assert_eq!(again, Deleted::Yes { exact: true });
        assert_eq!(bucket.delete("key", Which::Current).await.expect("an answer"), Deleted::Yes { exact: false });
    }
}

#[tokio::test]
async fn a_version_is_deleted_exactly() {
    for server in stores() {
        let bucket = fresh(server).await;
        assert_eq!(bucket.versioning().await.expect("an answer"), Versioning::Never);
        keep_versions(server, &bucket).await;
        assert_eq!(bucket.versioning().await.expect("an answer"), Versioning::Enabled);
        // To find that out something would have to be written, and would stay.
        assert!(!bucket.deletes_if_match("").await.expect("an answer"));
        let versions = server.client().list_object_versions().bucket(bucket.name()).send().await.expect("listed");
        assert!(versions.versions().is_empty() && versions.delete_markers().is_empty(), "{versions:?}");
        put(&bucket, "key", "one", &Condition::Always).await;
        let first = bucket.head("key", None).await.expect("it is there").version_id.expect("a version");
        put(&bucket, "key", "two", &Condition::Always).await;
        let deleted = bucket.delete("key", Which::Version(&first)).await.expect("an answer");
        assert_eq!(deleted, Deleted::Yes { exact: true });
        assert_eq!(content(&bucket, "key").await, "two");
        assert!(matches!(bucket.head("key", Some(&first)).await, Err(Error::NotFound(_))));
    }
}

#[tokio::test]
async fn a_copy_is_of_what_is_meant_with_all_it_has() {
    for server in stores() {
        let bucket = fresh(server).await;
        let (from, to) = ("in/a + b/é%20.txt", "done/a + b/é%20.txt");
        let etag = put(&bucket, from, "one", &Condition::Always).await.expect("written");
        let tags = BTreeMap::from([("state".to_owned(), "a+b c".to_owned())]);
        bucket.set_tags(from, Which::Current, &tags).await.expect("tagged");
        let origin = |etag| Origin { key: from, which: Which::Etag(etag) };
        let (no_marks, condition) = (HashMap::new(), Condition::Absent);
        let there = Destination { key: to, condition: &condition, marks: &no_marks, notes: "done/" };
        let stale = bucket.copy(origin("0123"), there).await.expect("an answer");
        assert_eq!(stale, Copied::Changed);
        let copied = bucket.copy(origin(&etag), there).await.expect("an answer");
        assert!(matches!(copied, Copied::Yes { .. }), "{copied:?}");
        assert_eq!(content(&bucket, to).await, "one");
        let head = bucket.head(to, None).await.expect("it is there");
        assert_eq!(head.metadata.get("owner").map(String::as_str), Some("me"));
        assert_eq!(bucket.tags(to, None).await.expect("its tags"), tags);
        let taken = bucket.copy(origin(&etag), there).await.expect("an answer");
        assert_eq!(taken, Copied::Conflict);
        let over = Destination { condition: &Condition::Always, ..there };
        let none = bucket.copy(Origin { key: "none", which: Which::Current }, over).await;
        assert!(matches!(none, Err(Error::NotFound(_))), "{none:?}");
    }
}

#[tokio::test]
async fn tags_are_added_to_those_that_are_there() {
    for server in stores() {
        let bucket = fresh(server).await;
        let etag = put(&bucket, "key", "one", &Condition::Always).await.expect("written");
        let tag = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        bucket.set_tags("key", Which::Current, &tag("a", "1")).await.expect("tagged");
        let tagged = bucket.set_tags("key", Which::Etag(&etag), &tag("b", "2")).await.expect("tagged");
        assert_eq!(tagged, Tagged::Yes { exact: false });
        let both = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        assert_eq!(bucket.tags("key", None).await.expect("its tags"), both);
        let changed = bucket.set_tags("key", Which::Etag("0123"), &tag("c", "3")).await.expect("an answer");
        assert_eq!(changed, Tagged::Changed);
        assert_eq!(bucket.tags("key", None).await.expect("its tags"), both);
        for n in 2..10 {
            bucket.set_tags("key", Which::Current, &tag(&format!("n{n}"), "")).await.expect("tagged");
        }
        // One of the ten may have another value, and there is no eleventh: in our words, whatever the store's are.
        bucket.set_tags("key", Which::Current, &tag("a", "2")).await.expect("tagged");
        let refused = bucket.set_tags("key", Which::Current, &tag("c", "3")).await;
        assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("has 10 tags already")), "{refused:?}");
        assert_eq!(bucket.tags("key", None).await.expect("its tags").len(), 10);
    }
}

#[tokio::test]
async fn open_uploads_are_found_and_aborted() {
    for server in stores() {
        let bucket = fresh(server).await;
        let begun = server.client().create_multipart_upload().bucket(bucket.name()).key("a b/c+d").send().await;
        let id = begun.expect("an upload").upload_id.expect("it has a name");
        let found = bucket.list_uploads("a b/c+d").await.expect("an answer");
        assert_eq!(
            found.iter().map(|upload| (upload.key.as_str(), &upload.id)).collect::<Vec<_>>(),
            [("a b/c+d", &id)]
        );
        bucket.abort_upload("a b/c+d", &id).await.expect("aborted");
        assert_eq!(bucket.list_uploads("a b/c+d").await.expect("an answer"), []);
        bucket.abort_upload("a b/c+d", &id).await.expect("what is over is over");
    }
}

/// One request, as somebody without credentials makes it.
fn plain(method: &str, url: &str, headers: &BTreeMap<String, String>, body: &str) -> String {
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("a path");
    let mut stream = std::net::TcpStream::connect(host).expect("the store listens");
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    write!(stream, "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[tokio::test]
async fn signed_urls_need_nothing_else() {
    for server in stores() {
        let bucket = fresh(server).await;
        let life = Duration::from_secs(3600);
        let write = bucket.presign_put("a + é", &Condition::Absent, life).await.expect("signed");
        let headers: BTreeMap<_, _> = write.headers.clone();
        assert!(headers.get("if-none-match").is_some_and(|value| value == "*"), "{write:?}");
        let written = plain("PUT", &write.url, &headers, "one");
        assert!(written.starts_with("HTTP/1.1 200"), "{written}");
        let again = plain("PUT", &write.url, &headers, "two");
        assert!(again.starts_with("HTTP/1.1 412"), "{again}");
        let before = contract::Timestamp::now();
        let read = bucket.presign_get("a + é", None, life).await.expect("signed");
        let (expires, after) = (read.expires.expect("these keys live on"), contract::Timestamp::now());
        assert!(expires > before && expires.0 <= after.0 + life + Duration::from_secs(60), "{read:?}");
        let got = plain("GET", &read.url, &BTreeMap::new(), "");
        assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("one"), "{got}");
        let long = bucket.presign_get("key", None, Duration::from_secs(8 * 24 * 3600)).await;
        assert!(matches!(long, Err(Error::Invalid(_))), "{long:?}");
    }
}
