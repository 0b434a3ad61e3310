//! Asking again for a list that may not have changed.

use axum::Router;
use contract::wire::ItemList;
use http::{Method, StatusCode, header};

use crate::asking::{Answer, app, get, send_with};
use crate::sources::{Log, Queue, Shelf};
use ambassador_kit::source::Health;

async fn again(app: &Router, path: &str, tag: &str) -> Answer {
    send_with(app, Method::GET, path, &[(header::IF_NONE_MATCH, tag)]).await
}

fn tag(answer: &Answer) -> Option<&str> {
    answer.headers.get(header::ETAG).map(|tag| tag.to_str().expect("ASCII"))
}

#[tokio::test]
async fn a_list_that_is_the_same_is_not_sent_again() {
    // In one piece, and in several.
    for count in [3, 5_000] {
        let shelf = Shelf::with(count);
        let app = app(&shelf);
        for path in ["/v1/items", "/items/", "/v1/items?limit=2"] {
            let list = get(&app, path).await;
            let known = tag(&list).expect("an ETag").to_owned();
            assert_eq!(known, format!("W/\"{}.{count}\"", shelf.catalog.incarnation()));
            assert_eq!(
                Some(known.as_str()),
                list.list().metadata.resource_version.map(|v| format!("W/\"{v}\"")).as_deref()
            );
            for asked in [known.as_str(), &known[2..], "*", &format!("\"x\", {known}")] {
                let answer = again(&app, path, asked).await;
                assert_eq!((answer.status, answer.bytes()), (StatusCode::NOT_MODIFIED, &b""[..]), "{path} {asked}");
                assert_eq!(tag(&answer), Some(known.as_str()));
                assert_eq!(answer.headers[header::VARY], "accept-encoding");
                assert!(!answer.headers.contains_key(header::CONTENT_TYPE));
            }
            let head = send_with(&app, Method::HEAD, path, &[(header::IF_NONE_MATCH, &known)]).await;
            assert_eq!(head.status, StatusCode::NOT_MODIFIED);
        }
    }
}

#[tokio::test]
async fn a_list_that_changed_is_sent_even_if_it_changed_back() {
    let shelf = Shelf::with(3);
    let app = app(&shelf);
    let known = tag(&get(&app, "/v1/items").await).expect("an ETag").to_owned();
    shelf.put("film.mp4", 1);
    let more = again(&app, "/v1/items", &known).await;
    assert_eq!((more.status, more.names().len()), (StatusCode::OK, 4));
    shelf.catalog.forget(b"film.mp4");
    let back = again(&app, "/v1/items", &known).await;
    assert_eq!((back.status, back.names().len()), (StatusCode::OK, 3));
    let newest = tag(&back).expect("an ETag");
    assert_ne!(newest, known);
    assert_eq!(again(&app, "/v1/items", newest).await.status, StatusCode::NOT_MODIFIED);
    // What is withheld has no revision, so it is always told.
    let withheld = again(&app, "/v1/withheld", "*").await;
    assert_eq!((withheld.status, tag(&withheld)), (StatusCode::OK, None));
}

#[tokio::test]
async fn a_list_that_is_not_all_there_is_is_never_unchanged() {
    let shelf = Shelf::with(5_000);
    let app = app(&shelf);
    let known = tag(&get(&app, "/v1/items").await).expect("an ETag").to_owned();
    shelf.catalog.set_complete(false);
    for asked in [known.as_str(), "*"] {
        for path in ["/v1/items", "/v1/items?limit=2"] {
            let answer = again(&app, path, asked).await;
            assert_eq!((answer.status, tag(&answer)), (StatusCode::OK, None), "{path}");
            let list: ItemList = serde_json::from_str(answer.body()).expect("an ItemList");
            assert!(!list.metadata.complete);
        }
    }
    shelf.catalog.set_complete(true);
    assert_eq!(again(&app, "/v1/items", &known).await.status, StatusCode::NOT_MODIFIED);
    shelf.health.send_replace(Health::Lost { why: "gone".into() });
    assert_eq!(again(&app, "/v1/items", &known).await.status, StatusCode::SERVICE_UNAVAILABLE, "lost is not unchanged");
}

#[tokio::test]
async fn where_a_token_begins_or_no_catalog_is_held_nothing_is_unchanged() {
    let shelf = Shelf::with(5);
    let kept = app(&shelf);
    let next = get(&kept, "/v1/items?limit=2").await.list().metadata.continue_token.expect("more");
    for path in [format!("/v1/items?limit=2&continue={next}"), format!("/v1/items?continue={next}")] {
        let answer = again(&kept, &path, "*").await;
        assert_eq!((answer.status, tag(&answer)), (StatusCode::OK, None), "{path}");
    }
    let (log, queue) = (Log::with(10), Queue::with(10, 2));
    for other in [app(&log), app(&queue)] {
        let answer = again(&other, "/v1/items", "*").await;
        assert_eq!((answer.status, tag(&answer)), (StatusCode::OK, None));
    }
}
