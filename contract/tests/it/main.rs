//! The client against a real server that does everything a server can do wrong.

mod watching;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::ItemName;
use contract::client::{Client, ClientError, Limits};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

/// What was asked, as `GET /v1/items?limit=2`.
type Asked = Arc<Mutex<Vec<String>>>;

struct Server {
    base: Url,
    asked: Asked,
}

impl Server {
    /// Answers every request with what `answer` makes of its method and path.
    async fn new(answer: impl Fn(&Method, &str) -> Response + Clone + Send + Sync + 'static) -> Self {
        let asked = Asked::default();
        let noted = Arc::clone(&asked);
        let app = Router::new().fallback(move |request: Request| {
            let what = format!("{} {}", request.method(), request.uri());
            noted.lock().expect("not poisoned").push(what);
            let response = answer(request.method(), &request.uri().to_string());
            async move { response }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = base(listener.local_addr().expect("is bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, asked }
    }

    async fn client(&self) -> Result<Client, ClientError> {
        Client::connect(&self.base.clone().into(), limits()).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

fn base(address: SocketAddr) -> Url {
    format!("http://{address}").parse().expect("a URL")
}

/// Longer than any machine takes, so that only what never comes is given up.
fn limits() -> Limits {
    let long = Duration::from_secs(60);
    Limits { deadline: long, watch_idle: long, list_bytes: 1 << 20, item_bytes: 1 << 10 }
}

/// For who is waited for in vain.
fn hasty() -> Limits {
    let short = Duration::from_millis(500);
    Limits { deadline: short, watch_idle: short, ..limits() }
}

fn json(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn name(text: &str) -> ItemName {
    text.parse().expect("a name")
}

/// A client of a server that serves the list at our path and everything else as `rest` says.
async fn beside_the_list(rest: impl Fn(&Method, &str) -> Response + Clone + Send + Sync + 'static) -> (Server, Client) {
    let server = Server::new(move |method, path| match path {
        "/v1/items" => json(r#"{"items":["a"]}"#),
        _ => rest(method, path),
    })
    .await;
    let client = server.client().await.expect("lists");
    (server, client)
}

#[tokio::test]
async fn each_of_the_three_paths_is_found() {
    for path in ["/v1/items", "/api/v1/items", "/items"] {
        let server = Server::new(move |_, asked| match asked {
            asked if asked == path => json(r#"{"kind":"ItemList","apiVersion":"v1","metadata":{},"items":["a","b"]}"#),
            _ => StatusCode::NOT_FOUND.into_response(),
        })
        .await;
        let client = server.client().await.expect("is found");
        assert_eq!(client.items_url().path(), path);
        let list = client.list(None, None).await.expect("lists");
        assert_eq!((list.items.len(), list.metadata.complete), (2, true));
        assert_eq!(server.asked().last().map(String::as_str), Some(format!("GET {path}").as_str()), "without a query");
    }
}

#[tokio::test]
async fn a_list_may_be_named_itself() {
    let server = Server::new(|_, path| match path {
        "/queue/work" => json(r#"{"items":["a"]}"#),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let client =
        Client::connect(&server.base.join("/queue/work/").expect("a URL").into(), limits()).await.expect("lists");
    client.list(None, None).await.expect("lists");
    assert_eq!(client.about().await.expect("is not asked"), None);
    assert_eq!(server.asked(), ["GET /queue/work", "GET /queue/work"], "nothing beside the list is asked for");
}

#[tokio::test]
async fn a_server_without_any_of_the_paths_is_no_source() {
    let server = Server::new(|_, _| (StatusCode::NOT_FOUND, "nothing here").into_response()).await;
    let error = server.client().await.expect_err("lists nothing");
    assert!(matches!(&error, ClientError::NotFound { .. }), "{error:?}");
    assert!(error.to_string().contains("nothing here"), "{error}");
    assert!(error.to_string().contains("/v1/items, /api/v1/items, /items"), "{error}");
}

#[tokio::test]
async fn a_server_that_refuses_paths_it_does_not_know_is_asked_for_the_others() {
    for status in [400, 403, 404, 405, 501] {
        let status = StatusCode::from_u16(status).expect("a status");
        let server = Server::new(move |_, path| match path {
            "/items" => json(r#"{"items":["a"]}"#),
            _ => status.into_response(),
        })
        .await;
        assert_eq!(server.client().await.expect("is found").items_url().path(), "/items", "{status}");
    }
}

#[tokio::test]
async fn a_source_that_is_not_ready_is_not_looked_for_behind_another_path() {
    for status in [500, 503, 429] {
        let status = StatusCode::from_u16(status).expect("a status");
        let server = Server::new(move |_, path| match path {
            "/v1/items" => status.into_response(),
            _ => json(r#"{"items":[]}"#),
        })
        .await;
        let error = server.client().await.expect_err("is not ready");
        assert!(matches!(&error, ClientError::Unavailable { .. }), "{error:?}");
        assert_eq!(server.asked(), ["GET /v1/items"]);
    }
}

#[tokio::test]
async fn a_failing_server_is_unavailable_and_says_when_to_come_back() {
    for status in [500, 502, 503, 429, 408] {
        let status = StatusCode::from_u16(status).expect("a status");
        let body = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"x","message":"root is gone","code":503}"#;
        let server = Server::new(move |_, _| (status, [(header::RETRY_AFTER, "7")], body).into_response()).await;
        let error = server.client().await.expect_err("fails");
        let ClientError::Unavailable { retry_after, message, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*retry_after, Some(Duration::from_secs(7)));
        assert!(message.contains("root is gone"), "{message}");
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    // No connection gets port 1 by itself, and nobody is given it.
    let base = base(([127, 0, 0, 1], 1).into());
    let error = Client::connect(&base.into(), limits()).await.expect_err("nobody is there");
    assert!(matches!(&error, ClientError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "the cause is told: {error}");
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_broken_and_shown() {
    let bodies = [
        ("<html>Sign in</html>", "Sign in"),
        ("", "EOF"),
        ("{\"items\":", "EOF"),
        ("[]", "invalid"),
        ("{\"names\":[]}", "items"),
        ("{\"items\":[\"\"]}", "empty"),
        ("{\"items\":[\"a\\u0000\"]}", "control"),
        ("{\"items\":[1]}", "invalid"),
        ("{\"items\":[]} trailing", "trailing"),
    ];
    for (body, says) in bodies {
        let server = Server::new(move |_, _| body.into_response()).await;
        let error = server.client().await.expect("answers").list(None, None).await.expect_err(body);
        assert!(matches!(&error, ClientError::Broken { .. }), "{body}: {error:?}");
        assert!(error.to_string().contains(says), "{body}: {error}");
    }
    let server = Server::new(|_, _| [0xff_u8, 0xfe, b'\n', 27].into_response()).await;
    let error = server.client().await.expect("answers").list(None, None).await.expect_err("is not text");
    assert!(!error.to_string().contains('\u{1b}'), "no control character reaches a terminal: {error:?}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_whether_it_says_how_long_it_is_or_not() {
    let announced = Server::new(|_, _| Body::from(vec![b' '; 100 << 20]).into_response()).await;
    let endless = Server::new(|_, _| {
        let chunks = futures_util::stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b' '; 64 << 10])));
        Body::from_stream(chunks).into_response()
    })
    .await;
    for server in [announced, endless] {
        let client = server.client().await.expect("answers");
        let error = client.list(None, None).await.expect_err("is too large");
        assert!(matches!(&error, ClientError::Broken { .. }), "{error:?}");
        assert!(error.to_string().contains("larger than the 1048576 bytes"), "{error}");
    }
}

#[tokio::test]
async fn an_error_with_an_endless_body_is_still_that_error() {
    let server = Server::new(|_, _| {
        let chunks = futures_util::stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 64 << 10])));
        (StatusCode::SERVICE_UNAVAILABLE, Body::from_stream(chunks)).into_response()
    })
    .await;
    let error = server.client().await.expect_err("fails");
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_or_never_ends_is_unavailable() {
    // It accepts, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = base(silent.local_addr().expect("is bound"));
    let error = Client::connect(&base.clone().into(), hasty()).await.expect_err("never answers");
    assert!(matches!(&error, ClientError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("no answer in time"), "{error}");

    let slow = Server::new(|_, _| {
        let begun = futures_util::stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"{\"items\":[")) });
        Body::from_stream(begun.chain(futures_util::stream::pending())).into_response()
    })
    .await;
    // The first answer is awaited, however slow the machine; the rest of it never comes.
    let client = loop {
        if let Ok(client) = Client::connect(&slow.base.clone().into(), hasty()).await {
            break client;
        }
    };
    let error = client.list(None, None).await.expect_err("never ends");
    assert!(matches!(&error, ClientError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn half_a_list_is_no_list() {
    // Valid JSON would be there already if the length were not believed.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = base(listener.local_addr().expect("is bound"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"items\":[]}").await;
        }
    });
    let client = Client::connect(&base.clone().into(), limits()).await.expect("answers");
    let error = client.list(None, None).await.expect_err("is cut off");
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::new(|_, path| match path {
        "/elsewhere" => json(r#"{"items":["a"]}"#),
        _ => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
    })
    .await;
    let error = server.client().await.expect_err("is somewhere else");
    assert!(matches!(&error, ClientError::Broken { .. }), "{error:?}");
    assert!(error.to_string().contains("302"), "{error}");
    assert!(!server.asked().contains(&"GET /elsewhere".to_owned()));
}

#[tokio::test]
async fn a_success_that_is_not_200_is_no_list() {
    let server = Server::new(|_, _| StatusCode::NO_CONTENT.into_response()).await;
    let error = server.client().await.expect("answers").list(None, None).await.expect_err("has no list");
    assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn any_name_a_list_may_hold_is_asked_for_by_itself() {
    let names = ["My Video.MP4", "a/b", "../../etc/passwd", "a?b#c", "100%", "é", "%2e%2e", "a\\b", "$(rm -rf)", "..."];
    for text in names {
        let (server, client) = beside_the_list(|_, _| json(r#"{"data":{"uri":"file:///a"}}"#)).await;
        client.item(&name(text)).await.expect(text);
        let asked = server.asked().pop().expect("was asked");
        let path = asked.strip_prefix("GET /v1/items/").unwrap_or_else(|| panic!("{text}: {asked}"));
        assert!(!path.contains('/'), "one segment: {asked}");
        let decoded = contract::item::decode_path(path);
        assert_eq!(decoded, text.as_bytes(), "{asked}");
    }
}

#[tokio::test]
async fn a_name_that_no_url_can_hold_is_never_taken_for_the_list() {
    let (server, client) = beside_the_list(|_, _| json(r#"{"data":{}}"#)).await;
    let before = server.asked().len();
    for text in [".", ".."] {
        let error = client.item(&name(text)).await.expect_err("cannot be asked for");
        assert!(matches!(&error, ClientError::Broken { .. }), "{error:?}");
        client.settle(&name(text), None).await.expect_err("nor deleted");
    }
    assert_eq!(server.asked().len(), before, "nothing was sent");
}

#[tokio::test]
async fn an_item_must_be_the_one_that_was_asked_for() {
    let (_server, client) = beside_the_list(|_, path| match path {
        "/v1/items/a" => json(r#"{"kind":"Item","apiVersion":"v1","metadata":{"name":"a"},"data":{"n":1}}"#),
        "/v1/items/other" => json(r#"{"metadata":{"name":"a"},"data":{}}"#),
        "/v1/items/text" => json(r#"{"data":"text"}"#),
        "/v1/items/large" => Body::from(vec![b' '; 2 << 10]).into_response(),
        "/v1/items/gone" => StatusCode::GONE.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    assert_eq!(client.item(&name("a")).await.expect("is there").data["n"], 1);
    for (text, says) in [("other", "was given a"), ("text", "contract"), ("large", "1024")] {
        let error = client.item(&name(text)).await.expect_err(text);
        assert!(matches!(&error, ClientError::Broken { .. }) && error.to_string().contains(says), "{text}: {error}");
    }
    assert!(matches!(client.item(&name("gone")).await, Err(ClientError::Gone { .. })));
    assert!(matches!(client.item(&name("none")).await, Err(ClientError::NotFound { .. })));
}

#[tokio::test]
async fn settling_says_what_became_of_the_item() {
    let (server, client) = beside_the_list(|method, path| match (method, path) {
        (&Method::DELETE, path) if path.starts_with("/v1/items/a") => StatusCode::NO_CONTENT.into_response(),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    })
    .await;
    client.settle(&name("a"), None).await.expect("is settled");
    client.settle(&name("a"), Some("exit 65: bad & ugly")).await.expect("is settled");
    let asked = server.asked();
    let asked: Vec<_> = asked.iter().filter(|line| line.starts_with("DELETE")).collect();
    assert_eq!(asked, ["DELETE /v1/items/a", "DELETE /v1/items/a?outcome=failed&reason=exit+65%3A+bad+%26+ugly"]);
    assert!(matches!(client.settle(&name("b"), None).await, Err(ClientError::Unsupported { .. })));
}

#[tokio::test]
async fn pages_are_asked_for_by_limit_and_token() {
    let server = Server::new(|_, path| match path {
        "/v1/items" => StatusCode::OK.into_response(),
        "/v1/items?limit=2&continue=a%2Bb%26c" => StatusCode::GONE.into_response(),
        "/v1/items?limit=2" => json(r#"{"metadata":{"complete":false,"continue":"a+b&c","backlog":3},"items":["a"]}"#),
        _ => StatusCode::BAD_REQUEST.into_response(),
    })
    .await;
    let client = server.client().await.expect("answers");
    let page = client.list(Some(2), None).await.expect("a page");
    assert_eq!((page.metadata.complete, page.metadata.backlog), (false, Some(3)));
    let next = client.list(Some(2), page.metadata.continue_token.as_deref()).await;
    assert!(matches!(next, Err(ClientError::Gone { .. })), "{next:?}");
}

#[tokio::test]
async fn a_page_that_is_followed_by_itself_is_no_page() {
    let server = Server::new(|_, path| match path {
        "/v1/items" => StatusCode::OK.into_response(),
        _ => json(r#"{"kind":"Any","apiVersion":"v1","metadata":{"complete":true,"continue":"again"},"items":[]}"#),
    })
    .await;
    let client = server.client().await.expect("answers");
    assert!(client.list(Some(2), None).await.is_ok());
    let (list, withheld) = (client.list(None, Some("again")).await, client.withheld(None, Some("again")).await);
    let errors = [list.expect_err("is the same"), withheld.expect_err("is the same")];
    for error in errors {
        assert!(matches!(&error, ClientError::Broken { message, .. } if message.contains("no end")), "{error:?}");
    }
}

#[tokio::test]
async fn a_source_that_does_not_introduce_itself_is_a_source_all_the_same() {
    let (_server, client) = beside_the_list(|_, _| StatusCode::NOT_FOUND.into_response()).await;
    assert_eq!(client.about().await.expect("answers"), None);
    assert_eq!(client.withheld(None, None).await.expect("answers"), None);
    let (_server, client) = beside_the_list(|_, _| "<html>".into_response()).await;
    assert!(matches!(client.about().await, Err(ClientError::Broken { .. })));
}
