//! A source that fails, hangs, panics or is away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ambassador_kit::router::{Options, router};
use ambassador_kit::source::Health;
use http::{Method, StatusCode, header};
use tokio_util::task::TaskTracker;

use crate::asking::{Answer, app, get, send};
use crate::sources::{Log, Mood, Shelf, Unruly};

fn refused(answer: &Answer, code: u16, reason: &str) {
    let said = answer.status();
    assert_eq!((answer.status.as_u16(), said.code, said.reason.as_str()), (code, code, reason), "{said:?}");
    assert_eq!(answer.headers.get(header::CONTENT_TYPE).expect("a type"), "application/json");
}

fn retry_after(answer: &Answer) -> &str {
    answer.headers.get(header::RETRY_AFTER).expect("Retry-After").to_str().expect("a number")
}

const READS: [&str; 6] =
    ["/v1/items", "/api/v1/items?limit=5", "/items/", "/v1/withheld", "/v1/withheld?limit=1", "/items/some-name"];

#[tokio::test]
async fn what_cannot_be_seen_is_503_and_never_an_empty_list() {
    let unruly = Unruly::new(Mood::Calm, Mood::Calm);
    let app = app(&unruly);
    let down = [Health::Starting, Health::Lost { why: "the root is gone".into() }];
    for health in down {
        unruly.health.send_replace(health.clone());
        for path in READS {
            let answer = get(&app, path).await;
            refused(&answer, 503, "ServiceUnavailable");
            assert!(retry_after(&answer).parse::<u64>().expect("seconds") >= 1);
        }
        refused(&send(&app, Method::DELETE, "/items/some-name").await, 503, "ServiceUnavailable");
        assert_eq!(send(&app, Method::HEAD, "/items").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get(&app, "/v1").await.status, StatusCode::OK, "who is speaking is always known");
    }
    assert!(get(&app, "/items").await.status().message.contains("the root is gone"));
    unruly.health.send_replace(Health::Stale { why: "for a minute".into() });
    assert_eq!(get(&app, "/items").await.names().len(), 3, "what was last seen");
}

#[tokio::test]
async fn while_a_log_is_indexed_its_pages_are_served_and_its_whole_is_not() {
    let log = Log::with(100_000);
    let app = app(&log);
    log.health.send_replace(Health::Indexing { why: "40 %".into() });
    assert_eq!(get(&app, "/items?limit=5").await.names().len(), 5);
    refused(&get(&app, "/items").await, 503, "ServiceUnavailable");
}

#[tokio::test]
async fn errors_become_statuses_without_internals() {
    for (mood, code, reason) in [
        (Mood::Away(1_500), 503, "ServiceUnavailable"),
        (Mood::Leak, 500, "InternalError"),
        (Mood::Panic, 500, "InternalError"),
        (Mood::Hang, 504, "Timeout"),
    ] {
        let unruly = Unruly::new(mood, mood);
        let app = app(&unruly);
        for path in READS {
            let answer = get(&app, path).await;
            refused(&answer, code, reason);
            assert!(!answer.body().contains("hunter2") && !answer.body().contains("told to"), "{answer:?}");
            if mood == Mood::Away(1_500) {
                assert_eq!(retry_after(&answer), "2", "rounded up");
            }
        }
        refused(&send(&app, Method::DELETE, "/items/some-name").await, code, reason);
    }
}

#[tokio::test]
async fn a_list_that_fails_half_way_is_cut_off_and_never_closed() {
    for mood in [Mood::Away(1), Mood::Leak, Mood::Hang, Mood::Partial] {
        let unruly = Unruly::new(Mood::Calm, mood);
        for path in ["/v1/items", "/v1/withheld"] {
            let answer = get(&app(&unruly), path).await;
            assert_eq!((answer.status, answer.body), (StatusCode::OK, None), "{mood:?} {path}");
        }
    }
    // Said to be incomplete from the start, it may turn out better.
    let unruly = Unruly::new(Mood::Partial, Mood::Calm);
    let list = get(&app(&unruly), "/v1/items").await.list();
    assert_eq!((list.metadata.complete, list.items.len()), (false, 3));
}

#[tokio::test]
async fn a_list_is_cut_off_when_its_source_is_lost_meanwhile() {
    use futures_util::StreamExt;
    use tower::ServiceExt;

    let unruly = Unruly::new(Mood::Calm, Mood::Calm);
    let request = http::Request::get("/items").body(axum::body::Body::empty()).expect("a request");
    let response = app(&unruly).oneshot(request).await.expect("infallible");
    let mut chunks = response.into_body().into_data_stream();
    chunks.next().await.expect("a chunk").expect("the first page");
    unruly.health.send_replace(Health::Lost { why: "gone".into() });
    assert!(chunks.next().await.expect("an end").is_err());
}

#[tokio::test]
async fn a_settlement_that_has_begun_runs_to_its_end() {
    let unruly = Unruly::new(Mood::Calm, Mood::Calm);
    let settling = TaskTracker::new();
    let options = Options { deadline: Duration::from_millis(50), settling: settling.clone(), ..Options::default() };
    let app = router(Arc::clone(&unruly), options);
    refused(&send(&app, Method::DELETE, "/items/slow").await, 504, "Timeout");
    assert_eq!((unruly.settled.load(Ordering::SeqCst), settling.len()), (0, 1));
    unruly.permits.add_permits(1);
    settling.close();
    settling.wait().await;
    assert_eq!(unruly.settled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_not_offered_says_what_is() {
    let shelf = Shelf::with(1);
    let app = app(&shelf);
    let answer = send(&app, Method::POST, "/v1/items/x").await;
    refused(&answer, 405, "MethodNotAllowed");
    assert_eq!(answer.headers[header::ALLOW], "GET, HEAD, DELETE");
    let answer = send(&app, Method::DELETE, "/v1/items").await;
    refused(&answer, 405, "MethodNotAllowed");
    assert_eq!(answer.headers[header::ALLOW], "GET, HEAD");
    refused(&get(&app, "/v1/item").await, 404, "NotFound");
}

#[tokio::test]
async fn who_is_speaking_is_said_in_full() {
    let shelf = Shelf::with(1);
    let answer = get(&app(&shelf), "/v1/").await;
    let want = format!(
        r#"{{"kind":"Source","apiVersion":"v1","ambassador":"test-ambassador","version":"0.0.0","sourceId":"test","order":"age","incarnation":"{}","capabilities":{{"paging":true,"watch":true,"withheld":true,"settle":"exact"}}}}"#,
        shelf.catalog.incarnation()
    );
    assert_eq!(answer.body().trim_end(), want);
}
