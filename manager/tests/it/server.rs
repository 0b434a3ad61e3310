//! A little GET-only server of items, and of everything a server can do wrong.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

/// What the list answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// The list.
    #[default]
    Well,
    /// 500.
    Failing,
    /// 200 and no items, although there are some.
    Empty,
    /// 200, no items, and the word that not everything could be seen.
    Blind,
    /// 200 and half a JSON document.
    Babbling,
    /// 200 and no end.
    Endless,
    /// Nothing at all.
    Silent,
}

#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// Name and what `data` is.
    pub(crate) items: BTreeMap<String, serde_json::Value>,
    pub(crate) mood: Mood,
    /// Where the list is.
    pub(crate) path: &'static str,
    pub(crate) lists: u64,
    /// Requests that were not GET.
    pub(crate) others: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    shelf: Arc<Mutex<Shelf>>,
    address: SocketAddr,
}

impl Server {
    /// Serves so many items at a path, on a thread of its own.
    pub(crate) fn new(path: &'static str, items: usize) -> Self {
        let items = (0..items).map(|n| (format!("item-{n:02}"), serde_json::json!({ "n": n }))).collect();
        let shelf = Arc::new(Mutex::new(Shelf { items, path, ..Shelf::default() }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("can be set");
        let address = listener.local_addr().expect("is bound");
        let served = Arc::clone(&shelf);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let app = Router::new().fallback(move |request: Request| answer(Arc::clone(&served), request));
                let listener = tokio::net::TcpListener::from_std(listener).expect("is a listener");
                axum::serve(listener, app).await
            })
        });
        Self { shelf, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("no panic while held")
    }
}

async fn answer(shelf: Arc<Mutex<Shelf>>, request: Request) -> Response {
    let (mood, response) = {
        let mut shelf = shelf.lock().expect("no panic while held");
        let path = request.uri().path().to_owned();
        if request.method() != Method::GET {
            shelf.others.push(format!("{} {path}", request.method()));
        }
        // By the letter: a query is another path, as for a server written in ten lines.
        let listed = *request.uri() == *shelf.path;
        let item = path.strip_prefix(shelf.path).and_then(|rest| shelf.items.get(rest.strip_prefix('/')?));
        let response = match item {
            Some(data) => axum::Json(serde_json::json!({ "data": data })).into_response(),
            None if listed => {
                let names: Vec<_> = shelf.items.keys().collect();
                axum::Json(serde_json::json!({ "items": names })).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        };
        let mood = if listed {
            shelf.lists += 1;
            shelf.mood
        } else {
            Mood::Well
        };
        (mood, response)
    };
    match mood {
        Mood::Well => response,
        Mood::Failing => (StatusCode::INTERNAL_SERVER_ERROR, "Traceback (most recent call last)").into_response(),
        Mood::Empty => axum::Json(serde_json::json!({"items": []})).into_response(),
        Mood::Blind => axum::Json(serde_json::json!({"metadata": {"complete": false}, "items": []})).into_response(),
        Mood::Babbling => "{\"items\": [\"item-0".into_response(),
        Mood::Endless => {
            let chunks = futures_util::stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b' '; 64 << 10])));
            Body::from_stream(chunks).into_response()
        }
        Mood::Silent => std::future::pending().await,
    }
}
