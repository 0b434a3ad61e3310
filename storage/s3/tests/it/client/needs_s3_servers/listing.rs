//! Listings, whatever the keys are.

use aws_sdk_s3::primitives::ByteStream;
use storage_s3::{Bucket, ListQuery};
use test_servers::{Proxy, S3Server};

use super::super::{s3, s3_at};
use super::stores;

async fn filled(server: &S3Server, keys: &[String]) -> Bucket {
    let name = server.bucket().await;
    for key in keys {
        let put = server.client().put_object().bucket(&name).key(key).body(ByteStream::from_static(b"x")).send().await;
        put.unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
    }
    s3(server).bucket(&name)
}

async fn all(bucket: &Bucket, query: ListQuery) -> Vec<String> {
    let (mut keys, mut query) = (Vec::new(), query);
    loop {
        let page = bucket.list(&query).await.expect("a page");
        keys.extend(page.objects.into_iter().map(|object| object.key));
        match page.next {
            Some(token) => query.token = Some(token),
            None => return keys,
        }
    }
}

fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// What both stores take.
fn awkward() -> Vec<String> {
    let mut keys =
        owned(&["a b", "a+b", "a%20b", "a%2Bb", "été/ä", "q?x=1&y#z", "日本/語", "tab\there", "'\"<>&", "~!*()"]);
    // 1,024 bytes, each component as long as a file system allows.
    keys.push(["x".repeat(204), "y".repeat(204), "z".repeat(204), "v".repeat(204), "w".repeat(204)].join("/"));
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn keys_come_back_as_they_were_put_in_pages_of_any_size() {
    for server in stores() {
        let keys = awkward();
        assert_eq!(keys.iter().map(String::len).max(), Some(1024));
        let bucket = filled(server, &keys).await;
        for max in [1, 3, 1000] {
            assert_eq!(all(&bucket, ListQuery { max: Some(max), ..ListQuery::default() }).await, keys, "{max}");
        }
        for key in &keys {
            let found = all(&bucket, ListQuery { prefix: key.clone(), ..ListQuery::default() }).await;
            assert_eq!(found, std::slice::from_ref(key));
            assert_eq!(bucket.head(key, None).await.expect("it is there").size, 1, "{key:?}");
            let after = all(&bucket, ListQuery { start_after: Some(key.clone()), ..ListQuery::default() }).await;
            let rest: Vec<_> = keys.iter().filter(|other| *other > key).cloned().collect();
            assert_eq!(after, rest, "after {key:?}");
        }
    }
}

#[tokio::test]
async fn slashes_and_dots_are_sent_as_they_are() {
    // MinIO and Versity lie over file systems: they take `/lead` for `lead`, and refuse or clean the rest. What is ours to do is
    // not to touch it.
    let server = S3Server::shared_minio();
    let name = server.bucket().await;
    let proxy = Proxy::before(&server.url()).await;
    let bucket = s3_at(&proxy.url(), server).bucket(&name);
    for key in ["/lead", "//twice", "a//b", "a/b/", "a/../b", "./a", ".."] {
        drop(bucket.head(key, None).await);
        let sent = proxy.seen().pop().expect("it was asked");
        assert_eq!(sent.path, format!("/{name}/{key}"));
        drop(bucket.list(&ListQuery { prefix: key.to_owned(), ..ListQuery::default() }).await);
        let sent = proxy.seen().pop().expect("it was asked");
        assert!(sent.query.ends_with(&format!("prefix={}", key.replace('/', "%2F"))), "{}", sent.query);
    }
}

#[tokio::test]
async fn control_characters_survive_xml_that_cannot_hold_them() {
    // Versity keeps them too, but lists them as they are, in XML that is none.
    let keys = owned(&["bell\u{7}", "line\nfeed", "one\u{1}"]);
    let bucket = filled(S3Server::shared_minio(), &keys).await;
    assert_eq!(all(&bucket, ListQuery::default()).await, keys);
    for key in &keys {
        assert_eq!(bucket.head(key, None).await.expect("it is there").size, 1, "{key:?}");
    }
}

#[tokio::test]
async fn a_delimiter_groups_and_a_last_page_may_be_empty() {
    for server in stores() {
        let keys = owned(&["a/1", "a/2", "b", "c d/1", "e"]);
        let bucket = filled(server, &keys).await;
        let query = ListQuery { delimiter: Some("/".to_owned()), ..ListQuery::default() };
        let page = bucket.list(&query).await.expect("a page");
        assert_eq!(page.prefixes, ["a/", "c d/"]);
        assert_eq!(page.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["b", "e"]);
        assert_eq!(page.next, None);
        let below = bucket.list(&ListQuery { prefix: "c d/".to_owned(), ..query }).await.expect("a page");
        assert_eq!(below.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["c d/1"]);
        let none = bucket.list(&ListQuery { prefix: "zzz".to_owned(), ..ListQuery::default() }).await.expect("a page");
        assert!(none.objects.is_empty() && none.next.is_none());
    }
}
