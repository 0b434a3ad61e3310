//! Sources that promise little, are busy, or mean ill: the suite judges the first two fairly, and gets away from the third.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambassador_kit::conformance::{self, NoAnswer, Outcome, PROMISES, Plan, Suite, Verdict};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http::{Method, StatusCode, header};
use tokio::time::Instant;
use tower::ServiceExt;

use super::{broken, plan, shown, worlds};
use crate::sources::Shelf;

fn kept(verdicts: &[Verdict]) -> Vec<&'static str> {
    verdicts.iter().filter(|one| one.outcome == Outcome::Kept).map(|one| one.promise).collect()
}

fn json(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[tokio::test]
async fn the_least_a_source_can_be_is_enough() {
    // The book's own answers, under the path of its sample manager.
    let app = Router::new().fallback(|request: Request| async move {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/items") => json(r#"{"items":["a","b c"]}"#),
            (&Method::GET, "/items/a" | "/items/b%20c") => json(r#"{"data":{"uri":"https://host/a"}}"#),
            (&Method::GET, _) => StatusCode::NOT_FOUND.into_response(),
            _ => StatusCode::NOT_IMPLEMENTED.into_response(),
        }
    });
    let verdicts = conformance::run(app, plan("")).await;
    conformance::assert_kept(&verdicts);
    let least = [
        "list",
        "list.once",
        "list.order",
        "list.reading",
        "list.parameters",
        "item",
        "item.data",
        "item.unknown",
        "body.json",
    ];
    assert_eq!(kept(&verdicts), least, "{}", shown(&verdicts));
}

/// A catalog in which something comes and something goes each time anything is asked.
fn busy() -> Router {
    let shelf = Shelf::with(100);
    let app = worlds::serve(&shelf);
    let asked = Arc::new(AtomicU64::new(0));
    Router::new().fallback(move |request: Request| {
        let (app, shelf, asked) = (app.clone(), Arc::clone(&shelf), Arc::clone(&asked));
        async move {
            let n = asked.fetch_add(1, Ordering::Relaxed);
            shelf.put(&format!("file {}.mp4", 100 + n), 1);
            shelf.catalog.forget(format!("file {n}.mp4").as_bytes());
            app.oneshot(request).await.expect("infallible")
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_busy_source_is_not_called_a_liar() {
    let verdicts = conformance::run(busy(), plan("")).await;
    assert!(broken(&verdicts).is_empty(), "{}", shown(&verdicts));
    assert!(kept(&verdicts).len() > 25, "{}", shown(&verdicts));
}

#[tokio::test(start_paused = true)]
async fn without_leave_nothing_is_sent_that_could_write() {
    let methods = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    for (world, settle) in [(worlds::shelf(), false), (worlds::log(), false), (worlds::shelf(), true)] {
        let seen = Arc::clone(&methods);
        let app = Router::new().fallback(move |request: Request| {
            seen.lock().expect("a set").insert(request.method().to_string());
            let world = world.clone();
            async move { world.oneshot(request).await.expect("infallible") }
        });
        conformance::assert_kept(&conformance::run(app, Plan { settle, ..Plan::default() }).await);
        let methods = std::mem::take(&mut *methods.lock().expect("a set"));
        let methods: Vec<&str> = methods.iter().map(String::as_str).collect();
        if settle {
            assert!(methods.contains(&"DELETE"), "{methods:?}");
        } else {
            assert_eq!(methods, ["GET", "HEAD", "X-CONTRACT-CHECK"]);
        }
    }
}

/// How a promise of a source stands, in a word and why.
async fn outcome(app: Router, plan: Plan, name: &str) -> Outcome {
    let suite = Suite::meet(app, plan).await.expect("it answers");
    suite.ask(PROMISES.iter().find(|promise| promise.name == name).expect("a promise")).await.outcome
}

fn untested(outcome: &Outcome, why: &str) {
    assert!(matches!(outcome, Outcome::NotOffered(said) if said.contains(why)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_judged_by_the_changes_it_tells() {
    // Nothing changes, and nothing may be changed.
    untested(&outcome(worlds::shelf(), Plan::default(), "watch.continues").await, "did not change");
    // A change in each second is awaited, in a list of which only the beginning is looked at too.
    for most in [20, 2_000] {
        let shelf = Shelf::with(40);
        let app = worlds::serve(&shelf);
        let changes = tokio::spawn(async move {
            for n in 0_u64.. {
                tokio::time::sleep(Duration::from_secs(1)).await;
                shelf.put(&format!("later {n}.mp4"), 1);
                shelf.catalog.forget(format!("file {n}.mp4").as_bytes());
            }
        });
        let plan = Plan { most, ..Plan::default() };
        assert_eq!(outcome(app.clone(), plan.clone(), "watch.continues").await, Outcome::Kept);
        // Nor is it ever silent.
        untested(&outcome(app, plan, "watch.bookmark").await, "never silent");
        changes.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_long_list_so_much_is_judged_as_can_be_seen() {
    let plan = Plan { most: 20, settle: true, ..Plan::default() };
    let told = outcome(super::saboteurs::numbers_alone(), plan.clone(), "watch.continues").await;
    assert!(matches!(told, Outcome::Broken(_)), "{told:?}");
    assert_eq!(outcome(worlds::shelf(), plan, "watch.continues").await, Outcome::Kept);
    let plan = Plan { most: 20, ..Plan::default() };
    untested(&outcome(super::saboteurs::restless(), plan, "list.version").await, "further on");
}

/// A shelf of forty from which something is taken by whatever it is asked.
fn taken(by: fn(&Request, &Shelf)) -> Router {
    let shelf = Shelf::with(40);
    let app = worlds::serve(&shelf);
    Router::new().fallback(move |request: Request| {
        let (app, shelf) = (app.clone(), Arc::clone(&shelf));
        async move {
            let (head, body) = request.into_parts();
            let asked = Request::from_parts(head.clone(), Body::empty());
            let response = app.oneshot(Request::from_parts(head, body)).await.expect("infallible");
            by(&asked, &shelf);
            response
        }
    })
}

#[tokio::test(start_paused = true)]
async fn two_moments_of_a_busy_source_are_not_compared() {
    let app = taken(|asked, shelf| {
        let is_item = asked.uri().path().starts_with("/v1/items/");
        if let Some(name) =
            shelf.catalog.page(None, 1).items.first().filter(|_| asked.method() == Method::HEAD && is_item)
        {
            let entry = shelf.catalog.find(name).expect("it is listed");
            shelf.catalog.forget(&entry.key);
        }
    });
    untested(&outcome(app, Plan::default(), "list.head").await, "quieter");
    // It is no longer worth packing when it is asked for packed.
    let app = taken(|asked, shelf| {
        if lists(asked) {
            for n in 1..40 {
                shelf.catalog.forget(format!("file {n}.mp4").as_bytes());
            }
        }
    });
    untested(&outcome(app, Plan::default(), "gzip").await, "smaller");
}

#[tokio::test(start_paused = true)]
async fn the_list_is_found_where_it_is_whatever_is_said_elsewhere() {
    for elsewhere in [400, 401, 403, 405, 500] {
        let app = Router::new().fallback(move |request: Request| async move {
            match request.uri().path() {
                "/items" => json(r#"{"items":["a"]}"#),
                "/items/a" => json(r#"{"data":{}}"#),
                path if path.starts_with("/items/") => StatusCode::NOT_FOUND.into_response(),
                _ => StatusCode::from_u16(elsewhere).expect("a status").into_response(),
            }
        });
        let verdicts = conformance::run(app, plan("")).await;
        let broken: Vec<_> = broken(&verdicts).into_iter().collect();
        // That it is the source which fails is no way of not saying who it is.
        assert_eq!(broken, if elsewhere == 500 { vec!["about"] } else { vec![] }, "{elsewhere}:{}", shown(&verdicts));
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_more_patience_than_there_is_time_is_left() {
    for seconds in ["60", "18446744073709551615"] {
        let app = Router::new().fallback(move || async move {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, seconds)], "").into_response()
        });
        let no_answer = Suite::meet(app, Plan::default()).await.expect_err("nothing to ask");
        assert!(matches!(no_answer, NoAnswer::Unavailable(_)), "{no_answer}");
    }
}

type Mischief = fn(&Request) -> Option<Response>;

/// A source of which one answer means ill.
fn ill(mischief: Mischief) -> Router {
    let app = worlds::shelf();
    Router::new().fallback(move |request: Request| {
        let app = app.clone();
        async move {
            match mischief(&request) {
                Some(response) => response,
                None => app.oneshot(request).await.expect("infallible"),
            }
        }
    })
}

fn endless(head: &'static str, more: &'static [u8], every: Duration) -> Response {
    let more = stream::repeat(Bytes::from_static(more)).then(move |chunk| async move {
        // Also a stream that never waits lets others run.
        if every.is_zero() {
            tokio::task::yield_now().await
        } else {
            tokio::time::sleep(every).await
        }
        chunk
    });
    let chunks = stream::once(async move { Bytes::from_static(head.as_bytes()) }).chain(more);
    let kind = if head.contains("BOOKMARK") { "application/x-ndjson" } else { "application/json" };
    let body = Body::from_stream(chunks.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

const LIST: &str = r#"{"kind":"ItemList","apiVersion":"v1","metadata":{"complete":true},"items":["#;
const MEGABYTE: &[u8] = &[b' '; 1 << 20];

fn lists(request: &Request) -> bool {
    request.method() == Method::GET && request.uri().path() == "/v1/items" && request.uri().query().is_none()
}

/// What is wrong, and where it shows.
const MISCHIEF: [(&str, &str, Mischief); 8] = [
    ("a list of white space without end", "list", |asked| {
        lists(asked).then(|| endless(LIST, MEGABYTE, Duration::ZERO))
    }),
    ("a name without end", "list", |asked| {
        lists(asked).then(|| endless(r#"{"items":["x"#, &[b'x'; 1 << 20], Duration::ZERO))
    }),
    ("a list that drips", "list", |asked| lists(asked).then(|| endless(LIST, b" ", Duration::from_secs(7)))),
    ("a list that never begins", "list", |asked| lists(asked).then(|| endless("", b"", Duration::from_secs(3_600)))),
    ("an item without end", "item", |asked| {
        asked.uri().path().contains("file").then(|| endless("{", MEGABYTE, Duration::ZERO))
    }),
    ("pages without end", "page.remaining", |asked| {
        let query = asked.uri().query().unwrap_or_default();
        let page = r#"{"kind":"ItemList","apiVersion":"v1","metadata":{"complete":true,"remainingItemCount":"#;
        let n = query.len();
        query.contains("limit=7").then(|| {
            let body = format!(r#"{page}9,"continue":"{}"}},"items":["a{n}"]}}"#, "x".repeat(n % 500));
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        })
    }),
    ("a line without end", "watch.start", |asked| {
        let watches = asked.uri().query().is_some_and(|query| query.contains("watch"));
        watches.then(|| endless(r#"{"type":"BOOKMARK","#, &[b' '; 10_000], Duration::ZERO))
    }),
    ("a watch that drips", "watch.start", |asked| {
        let watches = asked.uri().query().is_some_and(|query| query.contains("watch"));
        watches.then(|| endless("{\"type\":\"NOT A BOOKMARK\",\"x\":0}\n", b"\n", Duration::from_secs(9)))
    }),
];

#[tokio::test(start_paused = true)]
async fn nobody_keeps_the_suite_for_ever() {
    for (what, name, mischief) in MISCHIEF {
        let suite = Suite::meet(ill(mischief), Plan::default()).await.expect("it answers");
        let begun = Instant::now();
        let promise = PROMISES.iter().find(|promise| promise.name == name).expect("a promise");
        let verdict = suite.ask(promise).await;
        assert!(matches!(verdict.outcome, Outcome::Broken(_)), "{what}: {verdict}");
        assert!(begun.elapsed() <= Duration::from_secs(320), "{what} took {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_packed_into_little_is_unpacked_in_part() {
    // Sixty-four megabytes of white space in a list, in some kilobytes of gzip.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, LIST.as_bytes()).expect("into memory");
    for _ in 0..64 {
        std::io::Write::write_all(&mut packed, MEGABYTE).expect("into memory");
    }
    let packed = Bytes::from(packed.finish().expect("into memory"));
    let app = worlds::shelf();
    let app = Router::new().fallback(move |request: Request| {
        let (app, packed) = (app.clone(), packed.clone());
        async move {
            if request.headers().contains_key(header::ACCEPT_ENCODING) {
                let kinds = [(header::CONTENT_TYPE, "application/json"), (header::CONTENT_ENCODING, "gzip")];
                return (kinds, packed).into_response();
            }
            app.oneshot(request).await.expect("infallible")
        }
    });
    let verdicts = conformance::run(app, plan("")).await;
    assert_eq!(broken(&verdicts).into_iter().collect::<Vec<_>>(), ["gzip"], "{}", shown(&verdicts));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_told_from_who_breaks_a_promise() {
    let always = |code: u16| {
        Router::new().fallback(move || async move { StatusCode::from_u16(code).expect("a status").into_response() })
    };
    let hung = Router::new().fallback(std::future::pending::<Response>);
    let begun = Instant::now();
    for (app, want) in
        [(always(404), "none of"), (always(503), "cannot be seen"), (always(401), "token"), (hung, "nothing answers")]
    {
        let no_answer: NoAnswer = Suite::meet(app.clone(), Plan::default()).await.expect_err("nothing to ask");
        assert!(no_answer.to_string().contains(want), "{no_answer}");
        assert_eq!(broken(&conformance::run(app, Plan::default()).await).len(), PROMISES.len());
    }
    assert!(begun.elapsed() < Duration::from_secs(300));
    // One that is not ready yet is waited for.
    let late = Instant::now() + Duration::from_secs(12);
    let shelf = worlds::shelf();
    let app = Router::new().fallback(move |request: Request| {
        let shelf = shelf.clone();
        async move {
            if Instant::now() < late {
                return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "").into_response();
            }
            shelf.oneshot(request).await.expect("infallible")
        }
    });
    assert!(Suite::meet(app, Plan::default()).await.is_ok());
}
