//! Whether an input still is what was fetched.

use storage::{Error, Object};

use crate::server::{Asked, Reply, Server, Tls, answer};
use crate::world::{PATIENT, args, fetch, local_names, object, store};

type Headers = &'static [(&'static str, &'static str)];

/// Fetches `at` from a server that answers its first GET with `then`, and every question after it as `now` does; gives what
/// looking again says, and the methods that were used to look.
async fn looked(
    at: &str,
    version: Option<&str>,
    then: Headers,
    now: fn(&Asked) -> Vec<u8>,
) -> (Result<(), Error>, Vec<String>) {
    let tls = Tls::new();
    let server = Server::start(&tls, move |asked| match asked.n {
        0 => Reply::Answer(answer(200, then, b"0123456789")),
        _ => Reply::Answer(now(asked)),
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), PATIENT);
    let object =
        Object { version: version.map(str::to_owned), ..object(&format!("https://good.test:{}{at}", server.port())) };
    let input = fetch(&store, &object, dir.path()).await.expect("fetched");
    let looked = input.verify().await;
    (looked, server.asked().iter().skip(1).map(|asked| asked.method.clone()).collect())
}

/// An answer to HEAD: a length, and no body.
fn head(headers: &[(&str, &str)]) -> Vec<u8> {
    answer(200, &[headers, &[("content-length", "10")]].concat(), b"")
}

#[tokio::test]
async fn what_is_the_same_passes() {
    let (result, methods) = looked("/a", Some("v1"), &[("etag", "\"v1\"")], |_| head(&[("etag", "\"v1\"")])).await;
    result.expect("nothing changed");
    assert_eq!(methods, ["HEAD"]);
}

#[tokio::test]
async fn what_was_replaced_is_told_to_an_item_that_named_it_and_tried_again_for_one_that_did_not() {
    let (result, _) = looked("/a", Some("v1"), &[("etag", "\"v1\"")], |_| head(&[("etag", "\"v2\"")])).await;
    assert!(matches!(result, Err(Error::Changed { .. })), "{result:?}");
    let (result, _) = looked("/a", None, &[("etag", "\"v1\"")], |_| head(&[("etag", "\"v2\"")])).await;
    assert!(matches!(result, Err(Error::Busy(_))), "{result:?}");
    let (result, _) = looked("/a", Some("10-1700000000000000000"), &[("last-modified", "Sun")], |_| {
        head(&[("last-modified", "Mon")])
    })
    .await;
    assert!(matches!(result, Err(Error::Busy(_))), "{result:?}");
    let (result, _) = looked("/a", None, &[], |_| answer(200, &[("content-length", "11")], b"")).await;
    assert!(matches!(result, Err(Error::Busy(_))), "{result:?}");
    let (result, _) = looked("/a", None, &[("etag", "\"v1\"")], |_| answer(404, &[], b"")).await;
    assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
}

#[tokio::test]
async fn what_says_nothing_of_its_version_passes() {
    let (result, _) = looked("/a", Some("v1"), &[], |_| head(&[])).await;
    result.expect("nobody can tell");
}

/// A signature for GET is none for HEAD.
fn signed(asked: &Asked) -> Vec<u8> {
    if asked.method == "HEAD" {
        return answer(403, &[], b"");
    }
    assert_eq!(asked.header("range"), Some("bytes=0-0"));
    answer(206, &[("etag", "\"v1\""), ("content-range", "bytes 0-0/10")], b"0")
}

#[tokio::test]
async fn a_url_that_is_signed_for_get_is_looked_at_by_get() {
    let (result, methods) = looked("/a?X-Amz-Signature=s3cret", Some("v1"), &[("etag", "\"v1\"")], signed).await;
    result.expect("nothing changed");
    assert_eq!(methods, ["GET"]);
    let (result, methods) = looked("/a?token=s3cret", Some("v1"), &[("etag", "\"v1\"")], signed).await;
    result.expect("nothing changed");
    assert_eq!(methods, ["HEAD", "GET"]);
}

#[tokio::test]
async fn work_that_outlives_its_url_is_published_all_the_same() {
    let expired =
        |_: &Asked| answer(403, &[], b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>");
    let (result, _) = looked("/a?X-Amz-Signature=s3cret", Some("v1"), &[("etag", "\"v1\"")], expired).await;
    result.expect("nobody can tell any more");
    let denied =
        |_: &Asked| answer(403, &[], b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
    let (result, _) = looked("/a?X-Amz-Signature=s3cret", Some("v1"), &[("etag", "\"v1\"")], denied).await;
    assert!(matches!(result, Err(Error::Forbidden(_))), "{result:?}");
}
