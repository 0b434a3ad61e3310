//! Stores that are slow, resetting, stopped or away, and what is asked of them meanwhile.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use storage::Error;
use storage_s3::{Condition, ListQuery, Patience};
use test_servers::{Proxy, S3Server, Seen, Server, Spoil};

use super::super::{LONG, s3_at, said};

const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

#[tokio::test]
async fn a_storm_over_many_requests_at_once_exhausts_nobodys_retries() {
    let server = S3Server::shared_minio();
    let name = server.bucket().await;
    let proxy = Proxy::before(&server.url()).await;
    // Three refusals for each of 60 keys: the SDK's own allowance ends after 35 to 100.
    let refused: Mutex<HashMap<String, u32>> = Mutex::default();
    proxy.spoil(move |seen| {
        let mut refused = refused.lock().expect("no rule panics");
        let times = refused.entry(seen.path.clone()).or_default();
        *times += 1;
        (*times <= 3).then(|| Spoil::Answer(503, SLOW_DOWN.to_owned()))
    });
    let bucket = s3_at(&proxy.url(), server).bucket(&name);
    let puts = (0..60).map(|n| {
        let bucket = bucket.clone();
        async move { bucket.put(&format!("key-{n}"), Bytes::from("x"), &Condition::Absent, &HashMap::new()).await }
    });
    for put in futures_util::future::join_all(puts).await {
        assert!(put.is_ok(), "{put:?}");
    }
    // A store that is busy itself says so, too.
    assert!(proxy.seen().len() >= 60 * 4, "{}", proxy.seen().len());
}

#[tokio::test]
async fn resets_and_lost_replies_are_asked_again() {
    let server = S3Server::shared_versity();
    let name = server.bucket().await;
    let proxy = Proxy::before(&server.url()).await;
    proxy.spoil(|seen| match seen.n {
        1 | 2 => Some(Spoil::ResetBefore),
        3 => Some(Spoil::LoseReply),
        _ => None,
    });
    let bucket = s3_at(&proxy.url(), server).bucket(&name);
    let put = bucket.put("key", Bytes::from("x"), &Condition::Always, &HashMap::new()).await;
    assert!(put.is_ok(), "{put:?}");
    assert_eq!(proxy.seen().len(), 4);
}

#[tokio::test]
async fn a_store_that_stays_slow_is_given_up_by_the_clock_and_the_last_word_is_told() {
    let server = S3Server::shared_minio();
    let proxy = Proxy::before(&server.url()).await;
    proxy.spoil(|_| Some(Spoil::Answer(503, SLOW_DOWN.to_owned())));
    let patience = Patience { total: Duration::from_millis(500), ..LONG };
    let bucket = s3_at(&proxy.url(), server).with_patience(patience).bucket("bucket");
    let error = bucket.list(&ListQuery::default()).await.expect_err("it never answers");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(said(&error).contains("given up after") && said(&error).contains("SlowDown"), "{}", said(&error));
}

#[tokio::test]
async fn a_store_that_is_stopped_and_goes_on_again_has_cost_time_only() {
    let server = S3Server::minio();
    let name = server.bucket().await;
    let proxy = Proxy::before(&server.url()).await;
    // In earnest an attempt waits for a minute: here for a second, so that it is made again and again.
    let patience = Patience { answer: Duration::from_secs(1), ..LONG };
    let bucket = s3_at(&proxy.url(), &server).with_patience(patience).bucket(&name);
    bucket.list(&ListQuery::default()).await.expect("it answers");
    server.pause();
    // Its threads may still answer for a moment: asked again until one request met the standstill.
    let (over, mut is_over) = tokio::sync::watch::channel(false);
    let asked = tokio::spawn(async move {
        while !*is_over.borrow_and_update() {
            bucket.list(&ListQuery::default()).await?;
        }
        bucket.list(&ListQuery::default()).await
    });
    until(&proxy, |seen| {
        seen.iter().any(|seen| seen.header("amz-sdk-request").is_some_and(|of| of.contains("attempt=3")))
    })
    .await;
    over.send(true).expect("somebody asks");
    server.resume();
    let listed = asked.await.expect("no panic");
    assert!(listed.is_ok(), "{listed:?}");
}

#[tokio::test]
async fn a_store_that_is_killed_and_started_again_has_cost_time_only() {
    let mut server = S3Server::versity();
    let name = server.bucket().await;
    let proxy = Proxy::before(&server.url()).await;
    let bucket = s3_at(&proxy.url(), &server).bucket(&name);
    server.kill();
    let asked = tokio::spawn(async move { bucket.list(&ListQuery::default()).await });
    until(&proxy, |seen| seen.len() >= 3).await;
    let restarted = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let _server = restarted.await.expect("it starts again");
    let listed = asked.await.expect("no panic");
    assert!(listed.is_ok(), "{listed:?}");
}

async fn until(proxy: &Proxy, enough: impl Fn(&[Seen]) -> bool + Send + Sync) {
    let waiting = async {
        while !enough(&proxy.seen()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG.total, waiting).await.expect("it is asked again");
}
