//! Sources behind a port or a socket, and what stands before them and spoils them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use ambassador_kit::Catalog;
use ambassador_kit::router::{Options, router};
use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use contract::ItemName;
use contract::wire::{Item, Settle, Withheld};
use futures_util::stream::BoxStream;
use tokio::sync::watch;

/// A catalog of words.
struct Words {
    catalog: Arc<Catalog<()>>,
    health: watch::Sender<Health>,
}

impl Source for Words {
    type Cursor = u64;

    fn about(&self) -> About {
        About {
            ambassador: "words-ambassador",
            version: "0.0.0",
            source_id: String::new(),
            order: Order::Age,
            incarnation: self.catalog.incarnation().to_owned(),
            settle: Settle::Exact,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn tally(&self) -> Tally {
        self.catalog.tally()
    }

    fn revision(&self) -> Option<Revision> {
        Some(self.catalog.revision())
    }

    async fn page(&self, from: Option<u64>, max: usize) -> Result<Page<ItemName, u64>, SourceError> {
        Ok(self.catalog.page(from, max))
    }

    fn changes(&self, since: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        self.catalog.changes(since)
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let word = self.catalog.find(name)?;
        let data = [("key".to_owned(), String::from_utf8_lossy(&word.key).into())];
        Ok(Item::new(name.clone(), data.into_iter().collect()))
    }

    async fn settle(&self, name: &ItemName, _: &Outcome) -> Result<(), SourceError> {
        if let Ok(entry) = self.catalog.find(name) {
            self.catalog.forget(&entry.key);
        }
        Ok(())
    }

    async fn withheld(&self, from: Option<u64>, max: usize) -> Result<Page<Withheld, u64>, SourceError> {
        Ok(self.catalog.withheld(from, max))
    }

    async fn drain(&self) {}
}

/// Sixty words, each promise of them kept.
pub(crate) fn words() -> Router {
    let source = Words { catalog: Arc::new(Catalog::new()), health: watch::Sender::new(Health::Live) };
    for number in 0..60 {
        let word = format!("word {number}");
        source.catalog.list(word.as_bytes(), &ItemName::derive(b"", word.as_bytes(), b""), ());
    }
    // A silent watch says something after half of the deadline.
    router(Arc::new(source), Options { deadline: std::time::Duration::from_secs(4), ..Options::default() })
}

/// `app`, of which every answer is made another.
pub(crate) fn spoiled(app: Router, spoil: fn(&str, &str, Response) -> Response) -> Router {
    app.layer(from_fn(move |request: Request, next: Next| async move {
        let (method, path) = (request.method().to_string(), request.uri().to_string());
        spoil(&method, &path, next.run(request).await)
    }))
}

/// Serves `app` on a port of its own, as long as the process lives; its URL.
pub(crate) fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    std::thread::spawn(move || {
        runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await })
    });
    url
}

/// The same at a socket's path.
pub(crate) fn serve_at(path: &Path, app: Router) -> String {
    let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket");
    listener.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    std::thread::spawn(move || {
        runtime.block_on(async { axum::serve(tokio::net::UnixListener::from_std(listener)?, app).await })
    });
    format!("unix:{}", path.display())
}

/// A source of no framework: `answer` is shown the request's head, and writes what it likes.
pub(crate) fn by_hand(answer: fn(&str, &mut TcpStream) -> std::io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> std::io::Result<()> {
                let lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
                // The head ends with an empty line.
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                answer(&head.join("\n"), &mut stream)?;
                stream.flush()
            });
        }
    });
    url
}

/// The least a source can be, of one item.
pub(crate) fn least(asked: &str) -> (u16, &'static str) {
    match asked.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default() {
        "/items" => (200, r#"{"items":["a"]}"#),
        "/items/a" => (200, r#"{"data":{}}"#),
        _ => (404, "{}"),
    }
}
