//! Answers by gzip.

use std::io::{Read, Write};

use ambassador_kit::Source;
use axum::Router;
use axum::body::{Body, BodyDataStream};
use flate2::read::GzDecoder;
use futures_util::StreamExt;
use http::{Method, Request, StatusCode, header};
use tower::ServiceExt;

use crate::asking::{Answer, app, get, send_with};
use crate::sources::{Mood, Shelf, Unruly};

async fn asked<S: Source>(source: &std::sync::Arc<S>, method: Method, path: &str) -> Answer {
    send_with(&app(source), method, path, &[(header::ACCEPT_ENCODING, "br, gzip")]).await
}

fn is_gzip(answer: &Answer) -> bool {
    answer.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip")
}

async fn open(app: &Router) -> BodyDataStream {
    let request =
        Request::get("/v1/items").header(header::ACCEPT_ENCODING, "gzip").body(Body::empty()).expect("a request");
    let response = app.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    response.into_body().into_data_stream()
}

#[tokio::test]
async fn a_list_is_the_same_list_compressed() {
    let shelf = Shelf::with(5_000);
    let plain = get(&app(&shelf), "/v1/items").await;
    assert!(!is_gzip(&plain));
    let small = asked(&shelf, Method::GET, "/v1/items").await;
    assert!(is_gzip(&small) && small.bytes().len() < plain.bytes().len() * 2 / 3, "{}", small.bytes().len());
    let mut text = String::new();
    GzDecoder::new(small.bytes()).read_to_string(&mut text).expect("gzip");
    assert_eq!(text, plain.body());
    for answer in [&plain, &small] {
        assert_eq!(answer.headers[header::VARY], "accept-encoding");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
        assert!(answer.headers[header::ETAG].as_bytes().starts_with(b"W/"), "the bytes differ, the list does not");
    }
    assert_eq!(plain.headers[header::ETAG], small.headers[header::ETAG]);

    // Of a page the length is known before it is compressed, and no longer after.
    let page = asked(&shelf, Method::GET, "/v1/items?limit=1000").await;
    assert!(is_gzip(&page) && !page.headers.contains_key(header::CONTENT_LENGTH));
    let head = asked(&shelf, Method::HEAD, "/v1/items?limit=1000").await;
    assert!(is_gzip(&head) && !head.headers.contains_key(header::CONTENT_LENGTH));
    assert_eq!(head.bytes(), b"");
}

#[tokio::test]
async fn what_is_small_or_an_error_or_a_watch_is_not_compressed() {
    let shelf = Shelf::with(2);
    for path in ["/v1/items", "/v1", "/v1/withheld", "/v1/nothing"] {
        let answer = asked(&shelf, Method::GET, path).await;
        assert!(!is_gzip(&answer) && answer.body().starts_with('{'), "{path}");
    }
    let watch = asked(&shelf, Method::HEAD, "/v1/items?watch=true").await;
    assert!(watch.status == StatusCode::OK && !is_gzip(&watch));
}

#[tokio::test]
async fn what_is_there_is_sent_before_the_rest_is() {
    let unruly = Unruly::new(Mood::Calm, Mood::Hang);
    let mut chunks = open(&app(&unruly)).await;
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    // The second page never comes.
    let chunk = chunks.next().await.expect("a chunk").expect("of the first page");
    decoder.write_all(&chunk).expect("gzip");
    decoder.flush().expect("gzip");
    assert!(decoder.get_ref().ends_with(b"\"items\":[\"item-0\""), "{:?}", String::from_utf8_lossy(decoder.get_ref()));
}

#[tokio::test]
async fn a_list_that_breaks_off_is_no_whole_gzip() {
    let unruly = Unruly::new(Mood::Calm, Mood::Leak);
    let mut chunks = open(&app(&unruly)).await;
    let mut sent = Vec::new();
    let broken = loop {
        match chunks.next().await {
            Some(Ok(chunk)) => sent.extend_from_slice(&chunk),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken, "the connection is closed as if all were well");
    let end = GzDecoder::new(&*sent).read_to_end(&mut Vec::new());
    assert_eq!(end.map_err(|error| error.kind()), Err(std::io::ErrorKind::UnexpectedEof));
}
