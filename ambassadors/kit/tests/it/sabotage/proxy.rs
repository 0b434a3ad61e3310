//! What stands before a source that keeps its promises, and spoils what it says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use contract::wire::Status;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// An answer that was read whole.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// What a proxy remembers from one request to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Requests so far.
    pub(super) asked: usize,
    pub(super) text: Option<String>,
}

type Instead = fn(&Parts, &mut Memory) -> Option<Whole>;
type Spoil = fn(&Parts, &mut Memory, Whole) -> Whole;
type Lines = fn(&Parts, usize, Value) -> Vec<Value>;

/// Passes everything on as it is, until told otherwise.
pub(super) struct Proxy {
    app: Router,
    request: fn(&mut Parts),
    instead: Instead,
    spoil: Spoil,
    lines: Lines,
    packs: fn(bool) -> bool,
}

impl Proxy {
    pub(super) fn over(app: Router) -> Self {
        Self {
            app,
            request: |_| {},
            instead: |_, _| None,
            spoil: |_, _, whole| whole,
            lines: |_, _, line| vec![line],
            packs: |wanted| wanted,
        }
    }

    /// Changes what the source is asked.
    pub(super) fn request(self, request: fn(&mut Parts)) -> Self {
        Self { request, ..self }
    }

    /// Answers in the place of the source, which never hears of it.
    pub(super) fn instead(self, instead: Instead) -> Self {
        Self { instead, ..self }
    }

    /// Changes what the source answers.
    pub(super) fn spoil(self, spoil: Spoil) -> Self {
        Self { spoil, ..self }
    }

    /// Changes each line of a watch, of which the number within the watch is told, into others.
    pub(super) fn lines(self, lines: Lines) -> Self {
        Self { lines, ..self }
    }

    /// Decides whether a list is compressed, given whether that is wanted.
    pub(super) fn packs(self, packs: fn(bool) -> bool) -> Self {
        Self { packs, ..self }
    }

    pub(super) fn router(self) -> Router {
        let (proxy, memory) = (Arc::new(self), Arc::new(Mutex::new(Memory::default())));
        Router::new().fallback(move |request: Request| {
            let (proxy, memory) = (Arc::clone(&proxy), Arc::clone(&memory));
            async move { proxy.answer(request, &memory).await }
        })
    }

    async fn answer(&self, request: Request, memory: &Mutex<Memory>) -> Response {
        let (mut asked, body) = request.into_parts();
        let instead = {
            let mut memory = memory.lock().expect("a memory");
            memory.asked += 1;
            (self.instead)(&asked, &mut memory)
        };
        if let Some(instead) = instead {
            return instead.into_response();
        }
        // What is spoiled must be read first.
        let packed = asked.headers.remove(header::ACCEPT_ENCODING).is_some();
        (self.request)(&mut asked);
        let request = Request::from_parts(asked.clone(), body);
        let response = self.app.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        if parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-ndjson") {
            return Response::from_parts(parts, watched(body, asked, self.lines));
        }
        let body = body.collect().await.expect("whole").to_bytes().to_vec();
        let body = String::from_utf8(body).expect("UTF-8");
        let whole = Whole { status: parts.status, headers: parts.headers, body };
        let mut whole = (self.spoil)(&asked, &mut memory.lock().expect("a memory"), whole);
        if (self.packs)(packed) && asked.method == Method::GET && whole.status == StatusCode::OK {
            whole.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(whole.body.as_bytes()).expect("into memory");
            let mut response = whole.into_response();
            *response.body_mut() = Body::from(encoder.finish().expect("into memory"));
            return response;
        }
        whole.into_response()
    }
}

/// The lines of a watch, each made into others.
fn watched(body: Body, asked: Parts, lines: Lines) -> Body {
    struct Reading {
        chunks: axum::body::BodyDataStream,
        rest: Vec<u8>,
        number: usize,
        ready: VecDeque<Bytes>,
    }
    let reading = Reading { chunks: body.into_data_stream(), rest: Vec::new(), number: 0, ready: VecDeque::new() };
    Body::from_stream(stream::unfold((reading, asked), move |(mut reading, asked)| async move {
        loop {
            if let Some(line) = reading.ready.pop_front() {
                return Some((Ok::<_, Infallible>(line), (reading, asked)));
            }
            reading.rest.extend_from_slice(&reading.chunks.next().await?.expect("not cut off"));
            while let Some(end) = reading.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = reading.rest.drain(..=end).collect();
                let line = serde_json::from_slice(&line).expect("a line of JSON");
                let made = lines(&asked, reading.number, line);
                reading.ready.extend(made.iter().map(|line| Bytes::from(format!("{line}\n"))));
                reading.number += 1;
            }
        }
    }))
}

impl Whole {
    /// A list of no items, or whatever else is JSON.
    pub(super) fn json(status: StatusCode, body: impl Into<String>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { status, headers, body: body.into() }
    }

    /// An error as the contract has it.
    pub(super) fn refusal(code: u16, reason: &str) -> Self {
        let status = StatusCode::from_u16(code).expect("a status");
        let body = serde_json::to_string(&Status::failure(code, reason, "sabotaged")).expect("JSON");
        Self::json(status, body)
    }

    /// 204 or 304.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: String::new() }
    }

    pub(super) fn replace(self, what: &str, by: &str) -> Self {
        Self { body: self.body.replace(what, by), ..self }
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header"));
        self
    }

    pub(super) fn without(mut self, name: HeaderName) -> Self {
        self.headers.remove(name);
        self
    }

    /// Its JSON changed; an error is left alone.
    pub(super) fn edit(self, edit: impl FnOnce(&mut Value)) -> Self {
        if !self.status.is_success() || self.body.is_empty() {
            return self;
        }
        let mut json = serde_json::from_str(&self.body).expect("JSON");
        edit(&mut json);
        Self { body: json.to_string(), ..self }
    }

    /// Its items changed.
    pub(super) fn items(self, edit: impl FnOnce(&mut Vec<Value>)) -> Self {
        self.edit(|json| edit(json.get_mut("items").and_then(Value::as_array_mut).expect("items")))
    }

    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        // The length may be another by now.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    }
}

/// What was asked, for those who spoil it.
pub(super) trait Asked {
    /// One of the lists of items, whole or paged, under any path; no watch.
    fn lists(&self) -> bool;
    /// The whole list of items.
    fn lists_all(&self) -> bool;
    fn query(&self) -> &str;
    fn has(&self, query: &str) -> bool;
    fn deletes(&self) -> bool;
    /// A name that nobody lists.
    fn of_never_listed(&self) -> bool;
    /// Asks something else.
    fn rewrite(&mut self, what: &str, by: &str);
}

impl Asked for Parts {
    fn lists(&self) -> bool {
        self.method == Method::GET && self.uri.path().trim_end_matches('/').ends_with("items") && !self.has("watch")
    }

    fn lists_all(&self) -> bool {
        self.lists() && !self.has("limit") && !self.has("continue")
    }

    fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    fn has(&self, query: &str) -> bool {
        self.query().contains(query)
    }

    fn deletes(&self) -> bool {
        self.method == Method::DELETE
    }

    fn of_never_listed(&self) -> bool {
        self.uri.path().replace("%2D", "-").contains("never-listed")
    }

    fn rewrite(&mut self, what: &str, by: &str) {
        self.uri = self.uri.to_string().replace(what, by).parse().expect("a URI");
    }
}
