//! An HTTP/1.1 proxy before a server that spoils what a test wants spoilt, and remembers all that it saw.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

mod exchange;
mod http;
mod sign;

pub(crate) use sign::{know, post};

/// Passes requests on to a server as they come, the `Host` header too, so that signatures hold. It lives on threads of its own
/// until it is dropped: a test may block.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// A request that came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which one it was, counted from 1 over all connections.
    pub n: usize,
    /// `GET`.
    pub method: String,
    /// The path as it was sent: percent-encoded, with the bucket.
    pub path: String,
    /// What stood after the `?`; empty where there was none.
    pub query: String,
    /// The headers in their order, with names in lower case.
    pub headers: Vec<(String, String)>,
}

/// What happens to a request or to its answer.
#[derive(Clone, Debug)]
pub enum Spoil {
    /// The server is not asked; this status and this XML are the answer.
    Answer(u16, String),
    /// The server is not asked; the connection is reset.
    ResetBefore,
    /// The connection is reset after so many bytes of the answer's body.
    ResetAfterBytes(u64),
    /// The connection is closed in an orderly way after so many bytes of the answer's body.
    TruncateAfter(u64),
    /// The server is asked and does it; the connection is reset in place of the answer.
    LoseReply,
    /// The server gets the request without this header, signed anew: it is a store that does not know it. Lower case.
    DropHeader(&'static str),
    /// The server gets the request with this parameter in its query, signed anew: with `max-keys`, it is a store of small pages.
    Query(&'static str, String),
    /// The client gets the answer with this header in place of what it had. Lower case.
    SetHeader(&'static str, String),
    /// The server is asked so much later.
    Delay(Duration),
    /// The server is asked when this turns true, or when its sender is gone.
    Hold(watch::Receiver<bool>),
    /// The server is asked and does it; its answer passes when this turns true, or when its sender is gone.
    HoldReply(watch::Receiver<bool>),
}

type Rule = Arc<dyn Fn(&Seen) -> Option<Spoil> + Send + Sync>;

/// What all connections share.
struct Shared {
    server: String,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
    /// Answers that are held back.
    held: AtomicUsize,
}

impl Proxy {
    /// A proxy before the server at `http://HOST:PORT`; it spoils nothing yet.
    ///
    /// # Panics
    /// If no port is to be had.
    pub async fn before(server_url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime for the proxy");
        let shared = Arc::new(Shared {
            server: server_url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            rule: Mutex::new(Arc::new(|_| None)),
            seen: Mutex::default(),
            held: AtomicUsize::new(0),
        });
        let bound = runtime.spawn(TcpListener::bind(("127.0.0.1", 0))).await;
        let listener = bound.expect("no panic").expect("a port for the proxy");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Spoils what `when` says, from the next request on, in place of what was said before.
    pub fn spoil(&self, when: impl Fn(&Seen) -> Option<Spoil> + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(when);
    }

    /// Every request so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many answers are there by now and held back ([`Spoil::HoldReply`]).
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address)
            .field("server", &self.shared.server)
            .finish_non_exhaustive()
    }
}

impl Seen {
    /// The first header of this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

impl Shared {
    /// Notes a request and says what shall happen to it. `seen.n` is given here.
    fn judge(&self, mut seen: Seen) -> Option<Spoil> {
        {
            let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.n = all.len() + 1;
            all.push(seen.clone());
        }
        // Called with no lock held: a rule may look at what was seen, and may panic in a test that fails.
        let rule = Arc::clone(&self.rule.lock().unwrap_or_else(PoisonError::into_inner));
        rule(&seen)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(connection(client, shared));
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let _ = client.set_nodelay(true);
    if exchange::serve(&mut client, &shared).await == exchange::End::Reset {
        // Closing now sends RST.
        let _ = client.set_zero_linger();
    }
}
