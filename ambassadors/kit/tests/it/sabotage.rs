//! Each promise is broken once, so that no check of the suite can pass whatever it is shown.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use ambassador_kit::conformance::{self, Outcome, Plan};
use ambassador_kit::router::{Options, router};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::sources::{Log, Shelf};

/// Makes an answer wrong, or leaves it alone. Shown the request and whether an item was read before.
type Tamper = fn(&Parts, bool, Answer) -> Answer;

struct Answer {
    status: StatusCode,
    allow: Option<header::HeaderValue>,
    body: String,
}

impl Answer {
    fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn replace(self, what: &str, by: &str) -> Self {
        Self { body: self.body.replacen(what, by, 1), ..self }
    }

    /// The first name of a list left out.
    fn shortened(self) -> Self {
        if !self.status.is_success() {
            return self;
        }
        let mut list: serde_json::Value = serde_json::from_str(&self.body).expect("a list");
        list.get_mut("items").and_then(|items| items.as_array_mut()).expect("items").remove(0);
        Self { body: list.to_string(), ..self }
    }
}

fn lists(asked: &Parts) -> bool {
    asked.method == Method::GET && asked.uri.path().trim_end_matches('/').ends_with("items")
}

fn query(asked: &Parts) -> &str {
    asked.uri.query().unwrap_or_default()
}

fn of_never_listed(asked: &Parts) -> bool {
    asked.uri.path().contains("never%2Dlisted") || asked.uri.path().contains("never-listed")
}

fn deletes(asked: &Parts) -> bool {
    asked.method == Method::DELETE && asked.uri.path().starts_with("/v1/items/")
}

const BREAKS: [(&str, Tamper); 20] = [
    ("about", |_, _, answer| answer.replace("\"Source\"", "\"Sauce\"")),
    ("list", |_, _, answer| answer.replace("\"ItemList\"", "\"List\"")),
    (
        "list",
        |asked, _, answer| if lists(asked) { answer.replace("\"complete\":true", "\"complete\":1") } else { answer },
    ),
    ("list.once", |asked, _, answer| {
        if !lists(asked) || !answer.status.is_success() {
            return answer;
        }
        let mut list: serde_json::Value = serde_json::from_str(&answer.body).expect("a list");
        let items = list.get_mut("items").and_then(|items| items.as_array_mut()).expect("items");
        items.extend(items.first().cloned());
        Answer { body: list.to_string(), ..answer }
    }),
    ("list.aliases", |asked, _, answer| if asked.uri.path() == "/items/" { answer.shortened() } else { answer }),
    (
        "list.head",
        |asked, _, answer| {
            if asked.method == Method::HEAD { answer.with(StatusCode::METHOD_NOT_ALLOWED) } else { answer }
        },
    ),
    ("list.reading", |asked, read, answer| if lists(asked) && read { answer.shortened() } else { answer }),
    (
        "page.joined",
        |asked, _, answer| {
            if lists(asked) && query(asked).contains("continue=") { answer.shortened() } else { answer }
        },
    ),
    ("page.limit", |asked, _, answer| if query(asked) == "limit=0" { answer.with(StatusCode::OK) } else { answer }),
    (
        "page.token",
        |asked, _, answer| {
            if query(asked).ends_with("continue=x") { answer.with(StatusCode::GONE) } else { answer }
        },
    ),
    ("withheld", |_, _, answer| answer.replace("\"hidden\"", "\"\"")),
    ("item", |_, _, answer| answer.replace("{\"name\":\"", "{\"name\":\"another-")),
    ("item.unknown", |asked, _, answer| if of_never_listed(asked) { answer.with(StatusCode::GONE) } else { answer }),
    (
        "item.bad-name",
        |_, _, answer| {
            if answer.body.contains("item name") { answer.with(StatusCode::NOT_FOUND) } else { answer }
        },
    ),
    (
        "error.path",
        |asked, _, answer| {
            if asked.uri.path() == "/v2/items" { Answer { body: String::new(), ..answer } } else { answer }
        },
    ),
    ("error.method", |_, _, answer| Answer { allow: None, ..answer }),
    ("settle.refused", |asked, _, answer| if deletes(asked) { answer.with(StatusCode::NO_CONTENT) } else { answer }),
    (
        "settle.outcome",
        |asked, _, answer| {
            if query(asked) == "outcome=perhaps" { answer.with(StatusCode::NO_CONTENT) } else { answer }
        },
    ),
    (
        "settle.any",
        |asked, _, answer| {
            if deletes(asked) && of_never_listed(asked) { answer.with(StatusCode::NOT_FOUND) } else { answer }
        },
    ),
    // Such a source only says that it settles: see `pretended`.
    ("settle.done", |_, _, answer| answer),
];

/// Whether a request is answered without its source ever hearing of it.
fn pretended(promise: &str, asked: &Parts) -> bool {
    promise == "settle.done" && deletes(asked) && query(asked).is_empty()
}

fn sabotaged(app: Router, promise: &'static str, tamper: Tamper) -> Router {
    let read = std::sync::Arc::new(AtomicBool::new(false));
    Router::new().fallback(move |request: Request| {
        let (app, read) = (app.clone(), std::sync::Arc::clone(&read));
        async move {
            let (asked, body) = request.into_parts();
            if pretended(promise, &asked) {
                return StatusCode::NO_CONTENT.into_response();
            }
            let request = Request::from_parts(asked.clone(), body);
            let (parts, body) = app.oneshot(request).await.expect("infallible").into_parts();
            let body = body.collect().await.expect("whole").to_bytes();
            let answer = Answer {
                status: parts.status,
                allow: parts.headers.get(header::ALLOW).cloned(),
                body: String::from_utf8(body.to_vec()).expect("UTF-8"),
            };
            let was_read = read.load(Ordering::SeqCst);
            read.fetch_or(asked.uri.path().starts_with("/v1/items/f"), Ordering::SeqCst);
            let answer = tamper(&asked, was_read, answer);
            let mut response = Response::new(Body::from(answer.body));
            *response.status_mut() = answer.status;
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            if let Some(allow) = answer.allow {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            response
        }
    })
}

#[tokio::test]
async fn every_check_notices_when_its_promise_is_broken() {
    let mut tried = BTreeSet::new();
    let mut all = BTreeSet::new();
    for (promise, tamper) in BREAKS {
        let app = if promise == "settle.refused" {
            router(Log::with(100), Options::default())
        } else {
            router(Shelf::with(30), Options::default())
        };
        let plan = Plan { settle: true, ..Plan::default() };
        let verdicts = conformance::run(sabotaged(app, promise, tamper), plan).await;
        let verdict = verdicts.iter().find(|verdict| verdict.promise == promise).expect("it is asked for");
        assert!(matches!(verdict.outcome, Outcome::Broken(_)), "{verdict}");
        tried.insert(promise);
        all.extend(verdicts.iter().map(|verdict| verdict.promise));
    }
    assert_eq!(tried, all, "every promise is broken once");
}

#[test]
#[should_panic(expected = "BROKEN       item: they differ")]
fn a_broken_promise_fails_the_test_that_asks() {
    let verdict = |promise, outcome| conformance::Verdict { promise, says: "they differ", outcome };
    conformance::assert_kept(&[
        verdict("list", Outcome::Kept),
        verdict("about", Outcome::NotOffered("GET /v1 is 404")),
        verdict("item", Outcome::Broken("a is b".into())),
    ]);
}
