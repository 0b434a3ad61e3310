//! The proxy passes everything on as it came, and spoils exactly what it was told to.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use test_servers::{Proxy, S3Server, Seen, Spoil};

/// A client through `proxy` that tries once, and a bucket with an object of `size` bytes.
async fn through(server: &S3Server, proxy: &Proxy, size: usize) -> (Client, String) {
    let bucket = server.bucket().await;
    let put = server.client().put_object().bucket(&bucket).key("k").body(ByteStream::from(body(size)));
    put.send().await.expect("put");
    let config = server.client().config().to_builder();
    let config = config.endpoint_url(proxy.url()).retry_config(RetryConfig::disabled()).build();
    (Client::from_conf(config), bucket)
}

fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 % 251) as u8).collect()
}

async fn got(client: &Client, bucket: &str) -> Result<Vec<u8>, String> {
    let answer = client.get_object().bucket(bucket).key("k").send().await.map_err(|error| format!("{error:?}"))?;
    answer.body.collect().await.map(|all| all.into_bytes().to_vec()).map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn what_is_not_spoilt_passes_as_it_is() {
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let proxy = Proxy::before(&server.url()).await;
        let (client, bucket) = through(server, &proxy, 0).await;
        let key = "a b+c/é/x?y=1&z";
        let large = body(9 << 20);
        for sent in [Vec::new(), b"small".to_vec(), large] {
            let put = client.put_object().bucket(&bucket).key(key).body(ByteStream::from(sent.clone()));
            put.send().await.expect("put");
            let answer = client.get_object().bucket(&bucket).key(key).send().await.expect("get");
            assert!(answer.body.collect().await.expect("the body").into_bytes() == sent, "other bytes");
        }
        let head = client.head_object().bucket(&bucket).key(key).send().await.expect("head");
        assert_eq!(head.content_length(), Some(9 << 20));
        let missing = client.get_object().bucket(&bucket).key("none").send().await.expect_err("not there");
        assert_eq!(missing.code(), Some("NoSuchKey"));
        assert_eq!(client.list_objects_v2().bucket(&bucket).send().await.expect("list").key_count(), Some(2));
        let seen = proxy.seen();
        assert_eq!(seen.iter().map(|seen| seen.n).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
        let first = seen.first().expect("the first put");
        assert_eq!((first.method.as_str(), first.header("content-length")), ("PUT", Some("0")));
        assert!(first.path.starts_with(&format!("/{bucket}/a%20b%2Bc/")), "{}", first.path);
    }
}

#[tokio::test]
async fn an_answer_stands_in_for_the_server() {
    let server = S3Server::shared_minio();
    let proxy = Proxy::before(&server.url()).await;
    let (client, bucket) = through(server, &proxy, 10).await;
    let slow = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    proxy.spoil(move |seen| (seen.n < 3).then(|| Spoil::Answer(503, slow.to_owned())));
    let put = |size| client.put_object().bucket(&bucket).key("new").body(ByteStream::from(body(size))).send();
    assert_eq!(put(3).await.expect_err("spoilt").code(), Some("SlowDown"));
    assert_eq!(put(9 << 20).await.expect_err("spoilt").code(), Some("SlowDown"));
    assert!(server.client().head_object().bucket(&bucket).key("new").send().await.is_err(), "the server was asked");
    put(3).await.expect("the third is passed on");
}

#[tokio::test]
async fn connections_are_reset_before_and_within_an_answer() {
    let server = S3Server::shared_minio();
    let proxy = Proxy::before(&server.url()).await;
    let (client, bucket) = through(server, &proxy, 3 << 20).await;
    proxy.spoil(|_| Some(Spoil::ResetBefore));
    let error = client.get_object().bucket(&bucket).key("k").send().await.expect_err("reset");
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");

    proxy.spoil(|_| Some(Spoil::ResetAfterBytes(1 << 20)));
    let mut answer = client.get_object().bucket(&bucket).key("k").send().await.expect("the head comes");
    let mut come = 0;
    let error = loop {
        match answer.body.next().await {
            Some(Ok(bytes)) => come += bytes.len(),
            Some(Err(error)) => break format!("{error:?}"),
            None => panic!("the body ended in an orderly way"),
        }
    };
    assert!(error.contains("reset"), "{error}");
    assert_eq!(come, 1 << 20);
}

#[tokio::test]
async fn a_truncated_body_ends_in_an_orderly_way() {
    let server = S3Server::shared_minio();
    let proxy = Proxy::before(&server.url()).await;
    let (client, bucket) = through(server, &proxy, 3 << 20).await;
    proxy.spoil(|_| Some(Spoil::TruncateAfter(1000)));
    let error = got(&client, &bucket).await.expect_err("truncated");
    assert!(!error.contains("reset"), "{error}");
    proxy.spoil(|_| None);
    assert_eq!(got(&client, &bucket).await.expect("whole").len(), 3 << 20);
}

#[tokio::test]
async fn a_lost_reply_is_to_something_done() {
    let server = S3Server::shared_minio();
    let proxy = Proxy::before(&server.url()).await;
    let (client, bucket) = through(server, &proxy, 0).await;
    proxy.spoil(|seen: &Seen| (seen.method == "PUT").then_some(Spoil::LoseReply));
    let put = client.put_object().bucket(&bucket).key("lost").body(ByteStream::from_static(b"x"));
    assert!(matches!(put.send().await, Err(SdkError::DispatchFailure(_))), "an answer came");
    server.client().head_object().bucket(&bucket).key("lost").send().await.expect("the server has done it");
}

#[tokio::test]
async fn a_dropped_header_is_one_the_store_does_not_know() {
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let proxy = Proxy::before(&server.url()).await;
        let (client, bucket) = through(server, &proxy, 1).await;
        let put = || {
            let put = client.put_object().bucket(&bucket).key("k").body(ByteStream::from_static(b"over"));
            put.if_none_match("*").send()
        };
        assert_eq!(put().await.expect_err("it is there").code(), Some("PreconditionFailed"));
        proxy.spoil(|_| Some(Spoil::DropHeader("if-none-match")));
        put().await.expect("the store does not know the condition");
        assert_eq!(got(&client, &bucket).await.expect("the object"), b"over");
    }
}

#[tokio::test]
async fn a_store_can_have_small_pages() {
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let proxy = Proxy::before(&server.url()).await;
        let (client, bucket) = through(server, &proxy, 5).await;
        for key in ["a", "b c", "d"] {
            client.put_object().bucket(&bucket).key(key).send().await.expect("written");
        }
        proxy.spoil(|_| Some(Spoil::Query("max-keys", "2".to_owned())));
        let page = client.list_objects_v2().bucket(&bucket).prefix("").max_keys(1_000).send().await.expect("a page");
        assert_eq!((page.contents().len(), page.is_truncated()), (2, Some(true)));
        let rest = client.list_objects_v2().bucket(&bucket).start_after("b c").send().await.expect("a page");
        assert!(rest.contents().iter().any(|object| object.key() == Some("d")), "{rest:?}");
    }
}

#[tokio::test]
async fn what_is_held_waits_and_what_is_delayed_comes_late() {
    let server = S3Server::shared_minio();
    let proxy = Proxy::before(&server.url()).await;
    let (client, bucket) = through(server, &proxy, 5).await;
    let (open, held) = tokio::sync::watch::channel(false);
    proxy.spoil(move |_| Some(Spoil::Hold(held.clone())));
    let asked = tokio::spawn({
        let (client, bucket) = (client.clone(), bucket.clone());
        async move { got(&client, &bucket).await }
    });
    while proxy.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!asked.is_finished(), "a held request was answered");
    open.send(true).expect("the proxy listens");
    assert_eq!(asked.await.expect("no panic").expect("an answer").len(), 5);

    proxy.spoil(|_| Some(Spoil::Delay(Duration::from_millis(300))));
    let begun = std::time::Instant::now();
    got(&client, &bucket).await.expect("an answer");
    assert!(begun.elapsed() >= Duration::from_millis(300), "it came too early");
}
