//! A source over HTTP that lists, marks its lists, tells what changes, and breaks off in every way a test wants.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// What a watch answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watches {
    /// Lines, as they are told.
    #[default]
    Told,
    /// This status.
    Refused(u16),
    /// The list, as a server that knows no parameters.
    Ignored,
}

/// How often each thing was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) about: u64,
    /// Lists, by probes too.
    pub(crate) lists: u64,
    /// Of these, the ones that had not changed.
    pub(crate) unchanged: u64,
    pub(crate) watches: u64,
    pub(crate) refused: u64,
}

#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) incarnation: String,
    pub(crate) names: BTreeSet<String>,
    /// Name and whether it was added; the revision is the length.
    log: Vec<(String, bool)>,
    /// Whether GET /v1 offers watching.
    pub(crate) offers: bool,
    pub(crate) watches: Watches,
    /// Whether the list can be seen.
    pub(crate) blind: bool,
    pub(crate) token: Option<String>,
    pub(crate) asked: Asked,
    watchers: Vec<UnboundedSender<Result<Bytes, io::Error>>>,
}

/// The source, until it is dropped.
#[derive(Debug)]
pub(crate) struct Teller {
    shelf: Arc<Mutex<Shelf>>,
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shelf {
    fn version(&self) -> String {
        format!("{}.{}", self.incarnation, self.log.len())
    }

    fn line(&self, kind: &str, name: Option<&str>, revision: usize) -> String {
        let version = format!("{}.{revision}", self.incarnation);
        let event = match name {
            Some(name) => json!({"type": kind, "item": name, "resourceVersion": version}),
            None => json!({"type": kind, "resourceVersion": version}),
        };
        format!("{event}\n")
    }

    fn change(&mut self, name: &str, added: bool) -> String {
        match added {
            true => self.names.insert(name.to_owned()),
            false => self.names.remove(name),
        };
        self.log.push((name.to_owned(), added));
        self.line(if added { "ADDED" } else { "REMOVED" }, Some(name), self.log.len())
    }

    fn add(&mut self, name: &str) -> String {
        self.change(name, true)
    }

    /// Tells everybody who watches.
    pub(crate) fn say(&mut self, lines: impl Into<String>) {
        let lines = Bytes::from(lines.into());
        self.watchers.retain(|watcher| watcher.send(Ok(lines.clone())).is_ok());
    }

    pub(crate) fn watchers(&mut self) -> usize {
        self.watchers.retain(|watcher| !watcher.is_closed());
        self.watchers.len()
    }

    /// Ends every watch as if it were over.
    pub(crate) fn end(&mut self) {
        self.watchers.clear();
    }

    /// Breaks the connections of every watch.
    pub(crate) fn cut(&mut self) {
        for watcher in self.watchers.drain(..) {
            let _ = watcher.send(Err(io::ErrorKind::ConnectionReset.into()));
        }
    }

    /// Lists what is new, and tells of it in one piece.
    pub(crate) fn list(&mut self, names: &[&str]) {
        let lines: String = names.iter().map(|name| self.add(name)).collect();
        self.say(lines);
    }

    /// Lists what is new, and tells nobody.
    pub(crate) fn list_silently(&mut self, names: &[&str]) {
        names.iter().for_each(|name| drop(self.add(name)));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let line = self.change(name, false);
        self.say(line);
    }

    /// Comes back as another, with the same items.
    pub(crate) fn restart(&mut self, incarnation: &str) {
        self.end();
        self.incarnation = incarnation.to_owned();
        self.log.clear();
    }

    fn watch(&mut self, since: Option<&str>) -> Response {
        self.asked.watches += 1;
        match self.watches {
            Watches::Refused(status) => {
                return StatusCode::from_u16(status).expect("a status").into_response();
            }
            Watches::Ignored => return self.page(),
            Watches::Told => {}
        }
        let told = since.and_then(|since| since.strip_prefix(&format!("{}.", self.incarnation))?.parse::<usize>().ok());
        let Some(missed) = told.and_then(|told| self.log.get(told..)) else { return StatusCode::GONE.into_response() };
        let told = self.log.len() - missed.len();
        let kind = |added: bool| if added { "ADDED" } else { "REMOVED" };
        let mut lines: String = missed
            .iter()
            .zip(told + 1..)
            .map(|((name, added), revision)| self.line(kind(*added), Some(name), revision))
            .collect();
        lines.push_str(&self.line("BOOKMARK", None, self.log.len()));
        let (sender, told): (_, UnboundedReceiver<_>) = unbounded_channel();
        let _ = sender.send(Ok(lines.into()));
        self.watchers.push(sender);
        let told = stream::unfold(told, |mut told| async move { Some((told.recv().await?, told)) });
        ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(told)).into_response()
    }

    fn page(&self) -> Response {
        let list = json!({"metadata": {"complete": true, "resourceVersion": self.version()}, "items": self.names});
        ([(header::ETAG, format!("\"{}\"", self.version()))], axum::Json(list)).into_response()
    }

    fn answer(&mut self, request: &Request) -> Response {
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let wanted = self.token.as_ref().map(|token| format!("Bearer {token}"));
        if wanted.is_some() && shown != wanted.as_deref() {
            self.asked.refused += 1;
            return StatusCode::UNAUTHORIZED.into_response();
        }
        if request.method() != Method::GET {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        let query: BTreeMap<_, _> =
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
        match request.uri().path() {
            "/v1" => {
                self.asked.about += 1;
                axum::Json(json!({
                    "kind": "Source", "apiVersion": "v1", "ambassador": "test", "version": "0", "sourceId": "", "order": "age",
                    "incarnation": self.incarnation, "capabilities": {"watch": self.offers},
                }))
                .into_response()
            }
            "/v1/items" if query.contains_key("watch") => self.watch(query.get("resourceVersion").map(String::as_str)),
            "/v1/items" if self.blind => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            "/v1/items" => {
                self.asked.lists += 1;
                let known = request.headers().get(header::IF_NONE_MATCH).and_then(|mark| mark.to_str().ok());
                if known == Some(&format!("\"{}\"", self.version())) {
                    self.asked.unchanged += 1;
                    return StatusCode::NOT_MODIFIED.into_response();
                }
                self.page()
            }
            path => match path.strip_prefix("/v1/items/") {
                Some(name) if self.names.contains(name) => axum::Json(json!({"data": {"key": name}})).into_response(),
                Some(_) => StatusCode::GONE.into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
        }
    }
}

impl Teller {
    /// Serves a source that lists these.
    pub(crate) async fn new(names: &[&str]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let (shelf, app) = Self::app(names);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap_or_default() });
        Self { shelf, address, task }
    }

    fn app(names: &[&str]) -> (Arc<Mutex<Shelf>>, Router) {
        let mut shelf = Shelf {
            incarnation: "a".into(),
            names: BTreeSet::new(),
            log: vec![],
            offers: true,
            watches: Watches::default(),
            blind: false,
            token: None,
            asked: Asked::default(),
            watchers: vec![],
        };
        shelf.list_silently(names);
        let shelf = Arc::new(Mutex::new(shelf));
        let served = Arc::clone(&shelf);
        let app = Router::new().fallback(move |request: Request| {
            let mut shelf = served.lock().expect("no panic while held");
            let response = shelf.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        (shelf, app)
    }

    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("no panic while held")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
