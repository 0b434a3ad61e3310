//! Whoever answers in a store's place: what is said of them, and how often they are asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use storage::Error;
use storage_s3::{Condition, ListQuery};

use super::{LONG, NONE, anybody, said};
use crate::teller::{Teller, Told};

const PAGE: &str = "content-type: text/html\r\n";

async fn list(teller: &Teller) -> Error {
    let listed = anybody(&teller.url(), LONG).bucket("bucket").list(&ListQuery::default()).await;
    listed.expect_err("that is no store")
}

fn always(told: Told) -> Teller {
    Teller::new(move |_| told.clone())
}

fn error(status: u16, code: &str, headers: &'static str) -> Told {
    (status, headers, format!("<Error><Code>{code}</Code><Message>m</Message></Error>"))
}

#[tokio::test]
async fn a_web_page_is_no_answer_and_is_asked_for_once() {
    for (status, headers, what) in [
        (200, PAGE, "a web page"),
        (404, PAGE, "a web page"),
        (302, "location: https://login.example/\r\ncontent-type: text/html\r\n", "redirects to https://login.example/"),
        (404, "content-type: application/json\r\n", "what is no S3"),
        (200, "content-type: application/json\r\n", "what is no S3"),
    ] {
        let teller = always((status, headers, "<html>Hello</html>".to_owned()));
        let error = list(&teller).await;
        assert!(matches!(&error, Error::Unsupported(text) if text.contains(what)), "{status} {headers}: {error:?}");
        assert_eq!(teller.asked().len(), 1, "{status} {headers}");
    }
}

#[tokio::test]
async fn a_web_page_is_no_proof_that_something_was_written_or_is_there() {
    let teller = always((200, PAGE, "<html>Hello</html>".to_owned()));
    let bucket = anybody(&teller.url(), LONG).bucket("bucket");
    let put = bucket.put("key", Bytes::from("x"), &Condition::Always, &HashMap::new()).await;
    assert!(matches!(put, Err(Error::Unsupported(_))), "{put:?}");
    let head = bucket.head("key", None).await;
    assert!(matches!(head, Err(Error::Unsupported(_))), "{head:?}");
}

#[tokio::test]
async fn the_page_of_a_gateway_that_is_down_is_asked_for_again() {
    let count = AtomicUsize::new(0);
    let teller = Teller::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => (502, PAGE, "<html>Bad gateway</html>".to_owned()),
        1 => (429, "", String::new()),
        _ => (200, "", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".to_owned()),
    });
    let listed = anybody(&teller.url(), LONG).bucket("bucket").list(&ListQuery::default()).await;
    assert!(listed.is_ok(), "{listed:?}");
    assert_eq!(teller.asked().len(), 3);
}

#[tokio::test]
async fn what_is_refused_for_good_is_asked_once() {
    for (status, code) in [
        (400, "InvalidArgument"),
        (403, "AccessDenied"),
        (403, "SignatureDoesNotMatch"),
        (403, "InvalidAccessKeyId"),
        (404, "NoSuchBucket"),
        (404, "NoSuchKey"),
        (405, "MethodNotAllowed"),
        (409, "OperationAborted"),
        (412, "PreconditionFailed"),
        (400, "ExpiredToken"),
        (501, "NotImplemented"),
    ] {
        let teller = always(error(status, code, ""));
        let error = list(&teller).await;
        assert!(said(&error).contains(code), "{error:?}");
        assert_eq!(teller.asked().len(), 1, "{status} {code}");
    }
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    let expired = list(&always(error(400, "ExpiredToken", ""))).await;
    assert!(matches!(expired, Error::Unavailable { .. }) && said(&expired).contains("have expired"), "{expired:?}");
    let unknown = list(&always(error(403, "InvalidAccessKeyId", ""))).await;
    assert!(matches!(&unknown, Error::Forbidden(text) if text.contains("of this endpoint")), "{unknown:?}");
    for told in [
        error(301, "PermanentRedirect", "x-amz-bucket-region: eu-west-1\r\n"),
        error(400, "AuthorizationHeaderMalformed", "x-amz-bucket-region: eu-west-1\r\n"),
        (400, "x-amz-bucket-region: eu-west-1\r\n", String::new()),
    ] {
        let elsewhere = list(&always(told)).await;
        assert!(
            matches!(&elsewhere, Error::Unsupported(text) if text.contains("--s3-region eu-west-1")),
            "{elsewhere:?}"
        );
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_by_the_stores() {
    // Signed by our clock it is refused; what is signed an hour later is taken.
    let teller = Teller::new(|asked| {
        let date = asked
            .head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("x-amz-date: ").map(str::to_owned));
        match date.is_some_and(|date| date.starts_with("20990101t0")) {
            true => (200, "", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".to_owned()),
            false => error(403, "RequestTimeTooSkewed", "date: Thu, 01 Jan 2099 00:00:00 GMT\r\n"),
        }
    });
    let s3 = anybody(&teller.url(), LONG);
    let listed = s3.bucket("bucket").list(&ListQuery::default()).await;
    assert!(listed.is_ok(), "{listed:?} after {:?}", teller.asked());
    assert_eq!(teller.asked().len(), 2);
    // And what we compare with the store's times is compared by its clock too.
    let in_2098 = SystemTime::UNIX_EPOCH + Duration::from_secs(4_039_372_800);
    assert!(s3.now() > in_2098, "{:?}", s3.now());
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_named() {
    for url in ["http://127.0.0.1:1", "http://nowhere.invalid:9000"] {
        let listed = anybody(url, NONE).bucket("bucket").list(&ListQuery::default()).await;
        let error = listed.expect_err("nobody is there");
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(said(&error).contains("given up after"), "{}", said(&error));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_said_to_be_none() {
    for url in ["minio:9000", "127.0.0.1:9000", "ftp://x", ""] {
        let error = anybody(url, NONE).identity().await.expect_err("it is no URL");
        assert!(matches!(&error, Error::Unsupported(text) if text.contains("--s3-endpoint-url")), "{error:?}");
    }
}

const WHOLE: &str = "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>\
    <Contents><Key>a</Key><Size>1</Size><ETag>e</ETag></Contents><Contents><Key>b</Key><Size>1</Size><ETag>e</ETag></Contents>\
    </ListBucketResult>";

#[tokio::test]
async fn a_listing_that_ends_in_its_midst_is_asked_for_again() {
    let ends: Vec<_> = WHOLE.match_indices('>').map(|(at, _)| at + 1).filter(|at| *at < WHOLE.len()).collect();
    let count = AtomicUsize::new(0);
    let teller = Teller::new(move |_| {
        let body = ends.get(count.fetch_add(8, Ordering::Relaxed)).map_or(WHOLE, |at| &WHOLE[..*at]);
        (200, "content-type: application/xml\r\n", body.to_owned())
    });
    let page =
        anybody(&teller.url(), LONG).bucket("bucket").list(&ListQuery::default()).await.expect("told in the end");
    assert_eq!(page.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let cut = always((200, "", WHOLE[..WHOLE.find("</Contents>").expect("some") + 11].to_owned()));
    let error = anybody(&cut.url(), NONE).bucket("bucket").list(&ListQuery::default()).await.expect_err("cut short");
    assert!(matches!(error, Error::Unavailable { .. }) && said(&error).contains("ends in its midst"), "{error:?}");
}

#[tokio::test]
async fn a_listing_that_does_not_say_where_it_goes_on_is_not_all_there_is() {
    for more in [
        "",
        "<IsTruncated>true</IsTruncated>",
        "<IsTruncated>true</IsTruncated><NextContinuationToken/><NextKeyMarker/>",
    ] {
        let of = |root: &str| always((200, "", format!("<{root}>{more}</{root}>")));
        let teller = of("ListBucketResult");
        let listed = anybody(&teller.url(), NONE).bucket("bucket").list(&ListQuery::default()).await;
        assert!(matches!(listed, Err(Error::Unavailable { .. })), "{more}: {listed:?}");
        let teller = of("ListVersionsResult");
        let listed = anybody(&teller.url(), NONE).bucket("bucket").list_versions(&ListQuery::default()).await;
        assert!(matches!(listed, Err(Error::Unavailable { .. })), "{more}: {listed:?}");
        let teller = of("ListMultipartUploadsResult");
        let listed = anybody(&teller.url(), NONE).bucket("bucket").list_uploads("").await;
        assert!(matches!(listed, Err(Error::Unavailable { .. })), "{more}: {listed:?}");
    }
}
