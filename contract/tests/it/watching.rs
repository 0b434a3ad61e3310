//! Watches, lists asked for again, sockets and tokens.

use axum::body::Bytes;
use axum::http::HeaderMap;
use contract::client::Endpoint;
use contract::wire::WatchEvent;
use futures_util::stream;

use super::*;

fn ndjson(chunks: Vec<&'static str>, endless: bool) -> Response {
    let chunks = stream::iter(chunks.into_iter().map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk))));
    let rest = if endless { stream::pending().left_stream() } else { stream::empty().right_stream() };
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(chunks.chain(rest))).into_response()
}

async fn watched(
    chunks: Vec<&'static str>,
    endless: bool,
    watch_idle: Duration,
) -> (Server, Vec<Result<WatchEvent, ClientError>>) {
    let (server, _) = beside_the_list(move |_, path| match path {
        "/v1/items?watch=true&resourceVersion=x.1" => ndjson(chunks.clone(), endless),
        _ => StatusCode::BAD_REQUEST.into_response(),
    })
    .await;
    let limits = Limits { watch_idle, ..limits() };
    let client = Client::connect(&server.base.clone().into(), limits).await.expect("answers");
    let watch = client.watch(Some("x.1")).await.expect("begins");
    let events = watch.into_stream().collect().await;
    (server, events)
}

fn added(item: &str, version: &str) -> WatchEvent {
    WatchEvent::Added { item: name(item), resource_version: version.into() }
}

#[tokio::test]
async fn events_come_whole_however_they_were_cut_and_unknown_ones_not_at_all() {
    let chunks = vec![
        "\n{\"type\":\"ADDED\",\"item\":\"a\",\"resourceVersion\":\"x.2\"}\n{\"type\":\"ADD",
        "ED\",\"item\":\"b\",\"resourceVersion\":\"x.3\"}",
        "\n{\"type\":\"TURNED\",\"item\":\"b\"}\n{\"type\":\"BOOKMARK\",\"resourceVersion\":\"x.3\"}\n{\"type\":\"REMO",
    ];
    let (_server, events) = watched(chunks, false, limits().watch_idle).await;
    let events: Vec<_> = events.into_iter().map(|event| event.expect("an event")).collect();
    // The half line at the end was never said.
    assert_eq!(events, [added("a", "x.2"), added("b", "x.3"), WatchEvent::Bookmark { resource_version: "x.3".into() }]);
}

#[tokio::test]
async fn a_watch_that_falls_silent_is_dead() {
    let line = "{\"type\":\"ADDED\",\"item\":\"a\",\"resourceVersion\":\"x.2\"}\n";
    let (_server, events) = watched(vec![line], true, hasty().watch_idle).await;
    assert!(
        matches!(events.last().expect("an end"), Err(ClientError::Unavailable { message, .. }) if message.contains("silent"))
    );
}

#[tokio::test]
async fn a_line_without_end_and_a_line_of_nonsense_end_the_watch() {
    let endless: &'static str = "x".repeat(70_000).leak();
    for chunks in [vec![endless], vec!["<html>\n", "{\"type\":\"BOOKMARK\",\"resourceVersion\":\"x.3\"}\n"]] {
        let (_server, events) = watched(chunks, true, limits().watch_idle).await;
        assert!(matches!(events[..], [Err(ClientError::Broken { .. })]), "{events:?}");
    }
}

#[tokio::test]
async fn who_cannot_watch_says_so_and_a_list_is_no_watch() {
    for (status, expected) in [(410, "Gone"), (501, "Unsupported"), (503, "Unavailable")] {
        let (_server, client) =
            beside_the_list(move |_, _| StatusCode::from_u16(status).expect("a status").into_response()).await;
        let error = client.watch(Some("x.1")).await.expect_err("is refused");
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    }
    let (_server, client) = beside_the_list(|_, _| json(r#"{"items":["a"]}"#)).await;
    assert!(matches!(client.watch(None).await, Err(ClientError::Broken { .. })));
}

#[tokio::test]
async fn a_list_that_has_not_changed_is_not_sent_again() {
    let app = Router::new().fallback(|request: Request| async move {
        match request.headers().get(header::IF_NONE_MATCH).map(|tag| tag.as_bytes()) {
            Some(b"\"x.1\"") => StatusCode::NOT_MODIFIED.into_response(),
            _ => ([(header::ETAG, "\"x.1\"")], json(r#"{"items":["a"]}"#)).into_response(),
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = base(listener.local_addr().expect("is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::connect(&base.into(), limits()).await.expect("lists");
    let (list, mark) = client.list_unless(Some(5), None).await.expect("answers").expect("a list");
    assert_eq!(list.items, [name("a")]);
    assert_eq!(client.list_unless(Some(5), mark.as_ref()).await.expect("answers"), None);
}

#[tokio::test]
async fn a_304_nobody_asked_for_is_no_list() {
    let (_server, client) = beside_the_list(|_, _| StatusCode::NOT_MODIFIED.into_response()).await;
    assert!(matches!(client.list_unless(Some(5), None).await, Err(ClientError::Broken { .. })));
}

#[tokio::test]
async fn a_socket_is_as_good_as_a_port_and_the_token_is_shown() {
    let dir = std::env::temp_dir().join(format!("longshore-contract-{}", std::process::id()));
    // What one of this id has left that was killed.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    let (socket, token) = (dir.join("items.sock"), dir.join("token"));
    let listener = tokio::net::UnixListener::bind(&socket).expect("binds");
    let app = Router::new().fallback(|headers: HeaderMap| async move {
        match headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()) {
            Some(b"Bearer open sesame") => json(r#"{"items":["a"]}"#),
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let endpoint: Endpoint = format!("unix:{}", socket.display()).parse().expect("an address");
    let refused = Client::connect(&endpoint, limits()).await.expect_err("without a token");
    assert!(matches!(&refused, ClientError::Unavailable { message, .. } if message.contains("401")), "{refused:?}");

    let endpoint = endpoint.with_token_file(Some(token.clone()));
    let missing = Client::connect(&endpoint, limits()).await.expect_err("the file is not there");
    assert!(matches!(&missing, ClientError::Broken { message, .. } if message.contains("token")), "{missing:?}");
    std::fs::write(&token, "open sesame\n").expect("written");
    let client = Client::connect(&endpoint, limits()).await.expect("is let in");
    assert_eq!(client.list(None, None).await.expect("lists").items, [name("a")]);
    assert!(!format!("{client:?}").contains("sesame"), "{client:?}");
    std::fs::remove_dir_all(&dir).expect("removed");
}
