//! Who may ask, where that is not everybody.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ambassador_kit::Guard;
use ambassador_kit::router::{Options, router};
use axum::Router;
use http::{HeaderName, Method, StatusCode, header};
use tempfile::TempDir;

use crate::asking::{Answer, send, send_with};
use crate::sources::{Mood, Shelf, Unruly};

const TOKEN: &str = "q7w3k5xvn2r4c";

/// A directory with a token in it.
fn token() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("token"), TOKEN).expect("written");
    dir
}

fn guarded<S: ambassador_kit::Source>(source: &Arc<S>, dir: &TempDir) -> Router {
    let guard = Guard::open(&dir.path().join("token")).expect("a token");
    router(Arc::clone(source), Options { guard: Some(Arc::new(guard)), ..Options::default() })
}

async fn showing(app: &Router, method: Method, path: &str, token: &str) -> Answer {
    let shown: (HeaderName, &str) = (header::AUTHORIZATION, &format!("Bearer {token}"));
    send_with(app, method, path, &[shown]).await
}

#[tokio::test]
async fn without_the_token_nothing_is_said_of_anything() {
    let (dir, shelf) = (token(), Shelf::with(3));
    let app = guarded(&shelf, &dir);
    let name = shelf.put("film.mp4", 1);
    let mut said = Vec::new();
    for path in [
        "/v1",
        "/v1/items",
        "/items?limit=2",
        "/api/v1/items?watch=true",
        "/v1/items?limit=nonsense",
        "/v1/withheld",
        "/v1/nothing",
        "/items/a%00b",
        &format!("/v1/items/{name}"),
        "/items/never-listed",
    ] {
        for method in [Method::GET, Method::HEAD, Method::DELETE, Method::POST] {
            let mut answers = vec![send(&app, method.clone(), path).await];
            answers.push(showing(&app, method.clone(), path, "another").await);
            answers.push(showing(&app, method.clone(), path, "").await);
            for answer in answers {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer");
                if method == Method::GET {
                    assert_eq!(answer.status().reason, "Unauthorized");
                    said.push(answer.body().to_owned());
                }
            }
        }
    }
    said.dedup();
    assert_eq!(said.len(), 1, "whatever is asked: {said:?}");
    assert!(shelf.catalog.find(&name).is_ok(), "nothing was settled");

    assert_eq!(showing(&app, Method::GET, "/v1/items", TOKEN).await.names().len(), 4);
    assert_eq!(showing(&app, Method::GET, "/v1/nothing", TOKEN).await.status, StatusCode::NOT_FOUND);
    assert_eq!(showing(&app, Method::DELETE, &format!("/items/{name}"), TOKEN).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn the_source_is_not_asked_for_strangers() {
    let (dir, unruly) = (token(), Unruly::new(Mood::Panic, Mood::Panic));
    let app = guarded(&unruly, &dir);
    assert_eq!(send(&app, Method::GET, "/v1/items").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(unruly.settled.load(Ordering::SeqCst), 0);
    assert_eq!(showing(&app, Method::GET, "/v1/items", TOKEN).await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn another_token_in_the_file_is_the_token_from_then_on() {
    let (dir, shelf) = (token(), Shelf::with(1));
    let app = guarded(&shelf, &dir);
    assert_eq!(showing(&app, Method::GET, "/v1", TOKEN).await.status, StatusCode::OK);
    fs::write(dir.path().join("token"), "q7w3k5xvn2r4d\n").expect("written");
    assert_eq!(showing(&app, Method::GET, "/v1", TOKEN).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(showing(&app, Method::GET, "/v1", "q7w3k5xvn2r4d").await.status, StatusCode::OK);
}
