//! Stores that go away and come back, stand still, tell another time, or let us do less than we ask: nothing that was listed vanishes by
//! it, and what is wrong is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use ambassador_kit::source::{Health, Source};
use longshore_tests::source::names;
use longshore_tests::{Ambassador, Watched, until};
use serde_json::json;
use test_servers::aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use test_servers::{S3Server, Server, Spoil};

use crate::program::{command, serving};
use crate::served::{Bucket, item, small_pages, withheld_as};

const COUNT: usize = 30;

/// Has the store go and come back beneath a running ambassador.
async fn survives(mut server: S3Server, go: impl FnOnce(&mut S3Server), come: impl FnOnce(&mut S3Server)) {
    let bucket = Bucket::new(&server).await;
    bucket.fill(COUNT).await;
    let flags = ["--bucket", &bucket.name, "--poll", "50ms", "--reconcile", "50ms", "--stall-after", "3s"];
    let program = serving(&bucket, &flags).await;
    let before = program.holds(COUNT).await;
    program.ready(200).await;
    let watched = Watched::start(&program);
    go(&mut server);
    program.ready(503).await;
    until("no list", async || (program.ask("/v1/items").await?.0 == 503).then_some(())).await;
    let (status, _) = program.ask(&format!("/v1/items/{}", before[0])).await.expect("an answer");
    assert_eq!(status, 503, "what cannot be seen is not said to be gone");
    come(&mut server);
    program.ready(200).await;
    assert_eq!(program.holds(COUNT).await, before, "the names are what they were");
    let lists = watched.end().await;
    assert!(lists.iter().all(|list| list.names == COUNT), "{lists:?}");
}

/// The time so many seconds from now, as a header has it.
pub(crate) fn http_date(ahead: i64) -> String {
    let now = DateTime::from(SystemTime::now()).secs();
    DateTime::from_secs(now + ahead).fmt(DateTimeFormat::HttpDate).expect("a date")
}

mod needs_s3_servers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_is_killed_and_comes_back_has_lost_nothing() {
        tokio::join!(
            survives(S3Server::minio(), S3Server::kill, S3Server::restart),
            survives(S3Server::versity(), S3Server::kill, S3Server::restart),
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_stands_still_and_goes_on_has_lost_nothing() {
        tokio::join!(
            survives(S3Server::minio(), |server| server.pause(), |server| server.resume()),
            survives(S3Server::versity(), |server| server.pause(), |server| server.resume()),
        );
    }

    #[tokio::test]
    async fn a_page_that_never_comes_is_given_up_and_asked_for_again() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.fill(250).await;
        let proxy = bucket.through_proxy().await;
        proxy.spoil(|seen| small_pages(seen, 100));
        let source = bucket.served(&["--stall-after", "3s", "--list-concurrency", "1"]).await;
        let before = names(&source).await;
        assert_eq!(before.len(), 250);
        let mut health = source.health();
        let (_never, held) = tokio::sync::watch::channel(false);
        let stalled = Arc::new(AtomicBool::new(false));
        proxy.spoil({
            let stalled = Arc::clone(&stalled);
            move |seen| {
                let middle = seen.query.contains("continuation-token");
                let first = middle && !stalled.swap(true, Ordering::Relaxed);
                if first { Some(Spoil::Hold(held.clone())) } else { small_pages(seen, 100) }
            }
        });
        let lost = health.wait_for(|health| matches!(health, Health::Lost { why } if why.contains("not answered")));
        lost.await.expect("the source lives");
        assert_eq!(names(&source).await, before, "what was read is kept");
        bucket.put("in/zz", "new").await;
        health.wait_for(|health| *health == Health::Live).await.expect("it is back");
        until("what is new", async || (names(&source).await.len() == 251).then_some(())).await;
        assert_eq!(names(&source).await[..250], before);
    }

    #[tokio::test]
    async fn a_store_that_is_given_up_is_quoted_as_it_spoke_last() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.put("a", "a").await;
        let proxy = bucket.through_proxy().await;
        let slow = "<Error><Code>SlowDown</Code><Message>reduce your request rate</Message></Error>";
        proxy.spoil(|_| Some(Spoil::Answer(503, slow.to_owned())));
        // Shorter than any request is tried.
        let settings = |flags: &[&str]| bucket.settings(&[&["--stall-after", "2s"], flags].concat());
        let held = s3_ambassador::S3Source::open(settings(&[]), &mut Default::default());
        let paged = s3_ambassador::PagedSource::open(settings(&["--names", "raw"]), &mut Default::default());
        for mut health in [held.health(), paged.health()] {
            // On a slow machine it may be given up before it has spoken at all; then it is asked again.
            let spoke = |health: &Health| matches!(health, Health::Lost { why } if why.contains("SlowDown"));
            let lost = tokio::time::timeout(Duration::from_secs(120), health.wait_for(spoke)).await;
            let lost = lost.expect("it is quoted").expect("the source lives");
            let Health::Lost { why } = &*lost else { panic!("{lost:?}") };
            for says in ["--stall-after", &format!("s3://{}/", bucket.name)] {
                assert!(why.contains(says), "{says}: {why}");
            }
        }
    }

    #[tokio::test]
    async fn ages_are_by_the_stores_clock_and_a_clock_too_far_off_is_said() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.put("a", "a").await;
        let proxy = bucket.through_proxy().await;
        // No further off than signatures allow: those are by the true time here.
        proxy.spoil(|_| Some(Spoil::SetHeader("date", http_date(600))));
        let source = bucket.served(&["--min-age", "5m"]).await;
        assert_eq!(item(&source, "a").await.data["key"], "a", "ten minutes old where it lies");
        proxy.spoil(|_| Some(Spoil::SetHeader("date", http_date(-600))));
        let source = bucket.served(&["--min-age", "1ms"]).await;
        assert!(withheld_as(&source, "a", "too-young").await.pending);
        let skewed = "<Error><Code>RequestTimeTooSkewed</Code><Message>the difference is too large</Message></Error>";
        proxy.spoil(|_| Some(Spoil::Answer(403, skewed.to_owned())));
        let source = s3_ambassador::S3Source::open(bucket.settings(&[]), &mut Default::default());
        let mut health = source.health();
        let lost = health.wait_for(|health| matches!(health, Health::Lost { why } if why.contains("clock")));
        lost.await.expect("it says what to look at");
        proxy.spoil(|_| None);
        health.wait_for(|health| *health == Health::Live).await.expect("it goes on by itself");
        assert_eq!(names(&source).await.len(), 1);
    }

    #[tokio::test]
    async fn who_may_see_only_part_is_told_what_it_cannot_see() {
        let server = S3Server::shared_minio();
        let bucket = Bucket::new(server).await;
        for key in ["in/ok/a", "in/secret/b"] {
            bucket.put(key, "x").await;
        }
        let (all, inside) = (format!("arn:aws:s3:::{}", bucket.name), format!("arn:aws:s3:::{}/in/ok/*", bucket.name));
        let limited = |prefixes: &[&str]| {
            server.assume(
                &json!({"Version": "2012-10-17", "Statement": [
                    {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": all, "Condition": {"StringLike": {"s3:prefix": prefixes}}},
                    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": inside},
                ]})
                .to_string(),
            )
        };
        let start = async |prefix: &str, env: &[(String, String)]| {
            let mut command = command(&bucket, &["--bucket", &bucket.name, "--prefix", prefix, "--poll", "100ms"]);
            Ambassador::start({
                command.envs(env.iter().cloned());
                command
            })
            .await
        };
        let env = limited(&["in/ok/*"]);
        let allowed = start("in/ok/", &env).await;
        let name = allowed.holds(1).await.remove(0);
        assert_eq!(allowed.ask(&format!("/v1/items/{name}")).await.expect("an answer").0, 200);
        for prefix in ["in/", "in/secret/"] {
            let refused = start(prefix, &env).await;
            let (status, said) = until("it is lost", async || {
                let (status, said) = refused.ask("/v1/items").await?;
                said.to_string().contains("AccessDenied").then_some((status, said.to_string()))
            })
            .await;
            assert_eq!(status, 503, "never a shorter list: {said}");
            assert!(said.contains(&format!("cannot list s3://{}/{prefix}", bucket.name)), "{said}");
            assert_eq!(refused.probe("/readyz").await.expect("an answer").0, 503);
        }
        // What may be listed and not read is no reason to call it gone.
        let lists = start("in/", &limited(&["in/*"])).await;
        let mut answers = Vec::new();
        for name in lists.holds(2).await {
            let (status, said) = lists.ask(&format!("/v1/items/{name}")).await.expect("an answer");
            answers.push((status, said.to_string()));
        }
        answers.sort();
        assert_eq!((answers[0].0, answers[1].0), (200, 503), "{answers:?}");
        assert!(answers[1].1.contains("in/secret/b: AccessDenied"), "{answers:?}");
    }
}
