//! What a refusal means for whoever met it, where a store says little or something of its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use storage::Error;
use storage_s3::{Condition, ListQuery, Patience};

use super::{NONE, anybody, said};
use crate::teller::{Asked, Teller, Told};

fn refused(status: u16, code: &str, message: &str) -> Told {
    (status, "", format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
}

async fn head(tell: impl Fn(&Asked) -> Told + Send + Sync + 'static) -> Error {
    let teller = Teller::new(tell);
    anybody(&teller.url(), NONE).bucket("bucket").head("key", None).await.expect_err("it is refused")
}

#[tokio::test]
async fn why_a_head_is_refused_is_learnt_by_a_get() {
    let error = head(|_| refused(400, "ExpiredToken", "m")).await;
    assert!(matches!(&error, Error::Unavailable { .. }) && said(&error).contains("have expired"), "{error:?}");
    let error = head(|_| refused(400, "InvalidArgument", "Invalid version id specified")).await;
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let error = head(|_| refused(403, "InvalidAccessKeyId", "m")).await;
    assert!(matches!(&error, Error::Forbidden(text) if text.contains("does not know the access key")), "{error:?}");
    let error = head(|_| refused(403, "AccessDenied", "m")).await;
    assert!(matches!(&error, Error::Forbidden(text) if text.contains("it needs s3:GetObject")), "{error:?}");
    let at_home = "x-amz-bucket-region: us-east-1\r\n";
    let error = head(move |_| (400, at_home, String::new())).await;
    assert!(matches!(error, Error::Unavailable { .. }), "nobody says why, and it is no other region: {error:?}");
    let elsewhere = "x-amz-bucket-region: eu-west-1\r\n";
    let error = head(move |_| (400, elsewhere, String::new())).await;
    assert!(matches!(&error, Error::Unsupported(text) if text.contains("eu-west-1")), "{error:?}");
    // A HEAD is refused for a moment.
    let teller = Teller::new(|asked| match asked.method.as_str() {
        "HEAD" => (400, "", String::new()),
        _ => (200, "etag: \"e\"\r\n", "x".to_owned()),
    });
    let error = anybody(&teller.url(), NONE).bucket("bucket").head("key", None).await.expect_err("still refused");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(teller.asked().len(), 3);
}

#[tokio::test]
async fn what_is_no_fault_of_an_item_is_none() {
    for (status, code) in [
        (400, "BadDigest"),
        (400, "IncompleteBody"),
        (400, "RequestTimeout"),
        (403, "QuotaExceeded"),
        (507, "QuotaExceeded"),
        (507, "XMinioStorageFull"),
        (400, "XMinioAdminBucketQuotaExceeded"),
        (400, "InvalidStorageClass"),
        (418, "WhoKnows"),
    ] {
        let teller = Teller::new(move |_| refused(status, code, "m"));
        let bucket = anybody(&teller.url(), NONE).bucket("bucket");
        let put = bucket.put("key", Bytes::from("x"), &Condition::Always, &HashMap::new()).await;
        assert!(matches!(put, Err(Error::Unavailable { .. })), "{status} {code}: {put:?}");
    }
    let teller = Teller::new(|_| refused(400, "KeyTooLongError", "m"));
    let listed = anybody(&teller.url(), NONE).bucket("bucket").list(&ListQuery::default()).await;
    assert!(matches!(listed, Err(Error::Invalid(_))), "{listed:?}");
}

#[tokio::test]
async fn a_body_that_did_not_reach_the_store_is_sent_again() {
    let count = AtomicUsize::new(0);
    let teller = Teller::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => refused(400, "IncompleteBody", "You did not provide the number of bytes"),
        _ => (200, "etag: \"e\"\r\n", String::new()),
    });
    let bucket = anybody(&teller.url(), Patience::WORKER).bucket("bucket");
    let put = bucket.put("key", Bytes::from("x"), &Condition::Always, &HashMap::new()).await;
    put.expect("it is written in the end");
    assert_eq!(teller.asked().iter().map(|put| put.body.as_str()).collect::<Vec<_>>(), ["x", "x", "x"]);
}

#[tokio::test]
async fn a_store_that_refuses_a_sha256_is_written_to_without_one() {
    let teller = Teller::new(|asked| match asked.head.to_ascii_lowercase().contains("x-amz-checksum-sha256") {
        true => refused(501, "NotImplemented", "The header x-amz-checksum-sha256 is not implemented"),
        false => (200, "etag: \"e\"\r\n", String::new()),
    });
    let bucket = anybody(&teller.url(), NONE).bucket("bucket");
    for _ in 0..2 {
        let put = bucket.put("key", Bytes::from("x"), &Condition::Absent, &HashMap::new()).await;
        put.expect("it is written all the same");
    }
    let asked = teller.asked();
    assert_eq!(asked.len(), 3, "and not refused twice");
    for put in asked {
        let head = put.head.to_ascii_lowercase();
        assert!(head.contains("content-md5") && head.contains("if-none-match") && put.body == "x", "{head}");
    }
}

#[tokio::test]
async fn a_small_object_is_read_again_when_it_breaks_off_and_never_beyond_its_limit() {
    let count = AtomicUsize::new(0);
    let teller = Teller::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        // The length that holds is the first.
        0 | 1 => (200, "etag: \"e\"\r\ncontent-length: 9\r\nx-was-", "cut".to_owned()),
        _ => (200, "etag: \"e\"\r\n", "all of it".to_owned()),
    });
    let bucket = anybody(&teller.url(), NONE).bucket("bucket");
    let (bytes, etag) = bucket.read("key", 9).await.expect("it comes in the end");
    assert_eq!((&*bytes, etag.as_str()), (&b"all of it"[..], "e"));
    assert_eq!(teller.asked().len(), 3);
    // A body without a length ends with its connection.
    let endless = Teller::new(|_| (200, "etag: \"e\"\r\nx-no-", "more than that".to_owned()));
    let error = anybody(&endless.url(), NONE).bucket("bucket").read("key", 9).await.expect_err("it is too long");
    assert!(matches!(&error, Error::Invalid(text) if text.contains("more than 9 bytes")), "{error:?}");
}

#[tokio::test]
async fn an_endpoint_with_a_password_is_refused_and_not_repeated() {
    for url in ["http://bob:s3cr3t@127.0.0.1:9000", "https://bob:s3cr3t@minio", "bob:s3cr3t@minio"] {
        let error = anybody(url, NONE).identity().await.expect_err("it is refused");
        assert!(matches!(&error, Error::Unsupported(text) if text.contains("AWS_ACCESS_KEY_ID")), "{error:?}");
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    }
}
