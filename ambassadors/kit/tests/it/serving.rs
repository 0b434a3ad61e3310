//! The whole ambassador: listeners, probes, metrics, draining, `--check`.

use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self, UnixListener};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambassador_kit::source::{Health, Outcome, Page, Source, SourceError};
use ambassador_kit::{ServeArgs, serve};
use clap::Parser;
use contract::ItemName;
use contract::wire::{Item, Withheld};
use futures_util::stream::BoxStream;
use sidecar::{Failure, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::sources::{Mood, Shelf, Unruly};

/// Long enough for anything that will come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough for what must not happen to have happened, most of the time.
const MOMENT: Duration = Duration::from_millis(100);

#[derive(Debug, Parser)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// A source that outlives the ambassador that serves it.
pub(crate) struct Shared<S>(pub(crate) Arc<S>);

impl<S: Source> Source for Shared<S> {
    type Cursor = S::Cursor;

    fn about(&self) -> ambassador_kit::source::About {
        self.0.about()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.0.health()
    }

    fn tally(&self) -> ambassador_kit::source::Tally {
        self.0.tally()
    }

    fn revision(&self) -> Option<u64> {
        self.0.revision()
    }

    async fn page(&self, from: Option<S::Cursor>, max: usize) -> Result<Page<ItemName, S::Cursor>, SourceError> {
        self.0.page(from, max).await
    }

    fn changes(
        &self,
        since: Option<u64>,
    ) -> Result<BoxStream<'static, Result<ambassador_kit::source::Change, SourceError>>, SourceError> {
        self.0.changes(since)
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        self.0.get(name).await
    }

    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        self.0.settle(name, outcome).await
    }

    async fn withheld(&self, from: Option<S::Cursor>, max: usize) -> Result<Page<Withheld, S::Cursor>, SourceError> {
        self.0.withheld(from, max).await
    }

    async fn drain(&self) {
        self.0.drain().await;
    }
}

struct Running {
    contract: SocketAddr,
    probes: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<Result<ExitCode, Failure>>,
}

/// An address nobody listens on just now, and that no connection of this test or others gets by itself before it is listened on. Nobody
/// else who asks so is given it as long as this process lives, here or by `test_servers::free_port`, which reserves by the same names.
async fn free() -> SocketAddr {
    static OURS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    loop {
        let port = fastrand::u16(10_000..32_000);
        let name = net::SocketAddr::from_abstract_name(format!("longshore-port-{port}")).expect("it is short");
        let Ok(reserved) = UnixListener::bind_addr(&name) else { continue };
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            OURS.lock().expect("no panic under this lock").push(reserved);
            return listener.local_addr().expect("an address");
        }
    }
}

async fn start<S: Source>(source: &Arc<S>, more: &[&str]) -> Running {
    let (contract, probes) = (free().await, free().await);
    let listen = [format!("--listen={contract}"), format!("--probe-listen={probes}")];
    let argv = ["test"].into_iter().chain(listen.iter().map(String::as_str)).chain(more.iter().copied());
    let args = Cli::parse_from(argv).serve;
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let source = Arc::clone(source);
    let serving = tokio::spawn(serve(args, shutdown.clone(), async move |_registry| Ok(Shared(source))));
    until(async || TcpStream::connect(contract).await.is_ok()).await;
    Running { contract, probes, shutdown, serving }
}

#[expect(clippy::future_not_send, reason = "it runs on the test's own thread")]
pub(crate) async fn until(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the condition came true in time");
}

/// Sends a request head and returns the open stream.
async fn ask(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    let mut stream = ask(address, &request).await;
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer in time").expect("read");
    answer
}

impl Running {
    async fn ended(self) -> ExitCode {
        let ended = timeout(PATIENCE, self.serving).await.expect("it ended in time");
        ended.expect("no panic").expect("no failure")
    }
}

#[tokio::test]
async fn it_serves_probes_counts_and_drains() {
    let shelf = Shelf::with(3);
    let running = start(&shelf, &[]).await;
    assert!(get(running.contract, "/items").await.ends_with("]}\n"));
    until(async || get(running.probes, "/readyz").await.starts_with("HTTP/1.1 200")).await;

    shelf.health.send_replace(Health::Stale { why: "the root is gone".into() });
    until(async || get(running.probes, "/readyz").await.contains("source: the root is gone")).await;
    assert!(get(running.contract, "/items").await.starts_with("HTTP/1.1 200"), "what was last seen");
    assert!(get(running.probes, "/livez").await.starts_with("HTTP/1.1 200"));
    shelf.health.send_replace(Health::Live);
    until(async || get(running.probes, "/readyz").await.starts_with("HTTP/1.1 200")).await;

    get(running.contract, "/nonsense").await;
    let metrics = get(running.probes, "/metrics").await;
    for line in [
        "longshore_source_up 1",
        "longshore_items_visible 3",
        "longshore_items_withheld{reason=\"hidden\"} 1",
        "longshore_oldest_item_age_seconds ",
        "longshore_requests_total{route=\"items\",method=\"GET\",code=\"200\"} 2",
        "longshore_requests_total{route=\"unknown\",method=\"GET\",code=\"404\"} 1",
        "longshore_request_duration_seconds_count{route=\"items\"} 2",
        "longshore_page_duration_seconds_count{list=\"items\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert!(metrics.trim_end().ends_with("# EOF"), "{metrics}");

    running.shutdown.drain();
    assert_eq!(running.ended().await, ExitCode::SUCCESS);
}

#[tokio::test]
async fn a_head_says_nothing_untrue_of_the_body_it_leaves_out() {
    let running = start(&Shelf::with(3), &[]).await;
    for path in ["/v1/items", "/v1/items?limit=2", "/v1", "/v1/withheld", "/v1/nothing"] {
        let got = get(running.contract, path).await;
        let body = got.split_once("\r\n\r\n").expect("a body").1;
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut head = String::new();
        let mut stream = ask(running.contract, &request).await;
        timeout(PATIENCE, stream.read_to_string(&mut head)).await.expect("an answer in time").expect("read");
        assert_eq!(head.split_once("\r\n\r\n").map(|(_, body)| body), Some(""), "{path}: {head}");
        assert_eq!(head.lines().next(), got.lines().next(), "{path}: the same status");
        if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            assert_eq!(length, body.len().to_string(), "{path}: {head}");
        }
    }
    running.shutdown.drain();
    running.ended().await;
}

#[tokio::test]
async fn draining_answers_what_is_under_way_and_takes_nothing_new() {
    let unruly = Unruly::new(Mood::Calm, Mood::Calm);
    let running = start(&unruly, &[]).await;
    let mut settling = ask(running.contract, "DELETE /items/slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // A stranger that says nothing does not hold the process.
    let silent = TcpStream::connect(running.contract).await.expect("connected");
    // The request has arrived when a second one, sent later, is answered.
    get(running.contract, "/v1").await;
    running.shutdown.drain();
    until(async || TcpStream::connect(running.contract).await.is_err()).await;
    assert_eq!(unruly.drained.load(Ordering::SeqCst), 0, "not before the settlement is over");
    unruly.permits.add_permits(1);
    let mut answer = [0; 12];
    timeout(PATIENCE, settling.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 204");
    assert_eq!(running.ended().await, ExitCode::SUCCESS);
    drop(silent);
    assert_eq!((unruly.settled.load(Ordering::SeqCst), unruly.drained.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn draining_waits_for_an_answer_that_is_still_to_come() {
    let unruly = Unruly::new(Mood::Gated, Mood::Calm);
    let mut running = start(&unruly, &[]).await;
    let mut asking = ask(running.contract, "GET /items/slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    get(running.contract, "/v1").await;
    running.shutdown.drain();
    until(async || TcpStream::connect(running.contract).await.is_err()).await;
    assert!(timeout(MOMENT, &mut running.serving).await.is_err(), "it ended before it had answered");
    unruly.permits.add_permits(1);
    let mut answer = [0; 12];
    timeout(PATIENCE, asking.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    running.ended().await;
}

#[tokio::test]
async fn draining_waits_for_a_settlement_nobody_waits_for() {
    let unruly = Unruly::new(Mood::Calm, Mood::Calm);
    let mut running = start(&unruly, &["--request-timeout=50ms"]).await;
    let mut settling = ask(running.contract, "DELETE /items/slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = [0; 12];
    timeout(PATIENCE, settling.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 504");
    drop(settling);
    running.shutdown.drain();
    assert!(timeout(MOMENT, &mut running.serving).await.is_err(), "it ended before the item was settled");
    assert_eq!(unruly.drained.load(Ordering::SeqCst), 0);
    unruly.permits.add_permits(1);
    running.ended().await;
    assert_eq!((unruly.settled.load(Ordering::SeqCst), unruly.drained.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn whoever_asks_nothing_is_let_go() {
    let running = start(&Shelf::with(1), &["--request-timeout=50ms"]).await;
    let mut mute = TcpStream::connect(running.contract).await.expect("connected");
    let mut halting = ask(running.contract, "GET /items HTTP/1.1\r\nhost:").await;
    for stream in [&mut mute, &mut halting] {
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed in time");
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    running.shutdown.drain();
    running.ended().await;
}

#[tokio::test]
async fn aborting_ends_what_will_not_end() {
    let unruly = Unruly::new(Mood::Hang, Mood::Calm);
    let running = start(&unruly, &[]).await;
    let _hanging = ask(running.contract, "GET /items HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let _settling = ask(running.contract, "DELETE /items/slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    get(running.contract, "/v1").await;
    running.shutdown.drain();
    running.shutdown.abort();
    assert_eq!(running.ended().await, ExitCode::SUCCESS);
}

#[tokio::test]
async fn a_watch_is_counted_and_does_not_hold_up_the_end() {
    let shelf = Shelf::with(3);
    let running = start(&shelf, &[]).await;
    let request = "GET /v1/items?watch=true HTTP/1.1\r\nhost: x\r\n\r\n";
    let (mut ending, leaving) = (ask(running.contract, request).await, ask(running.contract, request).await);
    let counted = [
        "longshore_watchers 2",
        "longshore_watch_events_total{type=\"ADDED\"} 6",
        "longshore_watch_events_total{type=\"BOOKMARK\"} 2",
    ];
    until(async || {
        let metrics = get(running.probes, "/metrics").await;
        counted.iter().all(|line| metrics.contains(line))
    })
    .await;
    drop(leaving);
    until(async || get(running.probes, "/metrics").await.contains("longshore_watchers 1")).await;
    running.shutdown.drain();
    let mut told = String::new();
    timeout(PATIENCE, ending.read_to_string(&mut told)).await.expect("it ends in time").expect("read");
    assert!(told.contains("\"BOOKMARK\"") && told.ends_with("\r\n0\r\n\r\n"), "{told}");
    running.ended().await;
}

#[tokio::test]
async fn whoever_watches_a_list_that_does_not_change_is_not_let_go() {
    let running = start(&Shelf::with(1), &["--request-timeout=60ms"]).await;
    let mut watch = ask(running.contract, "GET /v1/items?watch=true HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut told = String::new();
    // Longer than a request may take, and than a reader may say nothing.
    while told.matches("BOOKMARK").count() < 10 {
        let mut some = [0; 256];
        let read = timeout(PATIENCE, watch.read(&mut some)).await.expect("in time").expect("read");
        assert!(read > 0, "it ended: {told}");
        told.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    running.shutdown.drain();
    running.ended().await;
}

#[tokio::test]
async fn whoever_watches_and_takes_nothing_is_let_go() {
    // More than the kernel holds for a reader.
    let shelf = Shelf::with(200_000);
    let running = start(&shelf, &["--request-timeout=200ms"]).await;
    let stalled = ask(running.contract, "GET /v1/items?watch=true HTTP/1.1\r\nhost: x\r\n\r\n").await;
    until(async || get(running.probes, "/metrics").await.contains("{type=\"ADDED\"}")).await;
    until(async || get(running.probes, "/metrics").await.contains("longshore_watchers 0")).await;
    assert!(!get(running.probes, "/metrics").await.contains("{type=\"BOOKMARK\"}"), "it was told everything");
    drop(stalled);
    running.shutdown.drain();
    running.ended().await;
}

#[tokio::test]
async fn a_list_cut_off_half_way_is_a_broken_connection() {
    let unruly = Unruly::new(Mood::Calm, Mood::Hang);
    let running = start(&unruly, &["--request-timeout=100ms"]).await;
    let mut stream = ask(running.contract, "GET /items HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time");
    let answer = String::from_utf8(answer).expect("UTF-8");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("item-0"), "{answer}");
    assert!(!answer.contains("]}") && !answer.ends_with("0\r\n\r\n"), "neither JSON nor body is closed: {answer}");
    running.shutdown.drain();
    running.ended().await;
}

#[tokio::test]
async fn whoever_reads_nothing_is_let_go() {
    let log = crate::sources::Log::with(10_000_000);
    let running = start(&log, &["--request-timeout=100ms"]).await;
    let stalled = ask(running.contract, "GET /items HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mute = TcpStream::connect(running.contract).await.expect("connected");
    // Both keep their end open, and the source is let go of all the same.
    running.shutdown.drain();
    running.ended().await;
    let given = log.given.load(Ordering::Relaxed);
    assert!(given < 1_000_000, "{given} names were read for nobody");
    drop((stalled, mute));
}

#[tokio::test]
async fn a_busy_port_is_found_before_the_source_is_touched() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address");
    for flag in ["--listen", "--probe-listen"] {
        let other = if flag == "--listen" { "--probe-listen" } else { "--listen" };
        let args = Cli::parse_from(["test", &format!("{flag}={address}"), &format!("{other}=127.0.0.1:0")]).serve;
        let failure = serve(args, Shutdown::default(), async |_registry| -> Result<Shared<Shelf>, Failure> {
            panic!("the source was opened");
        });
        let failure = failure.await.expect_err("the port is busy");
        let said = failure.to_string();
        assert_eq!(failure.code(), 78);
        assert!(said.contains(&address.to_string()) && said.contains(flag), "{said}");
    }
}

#[tokio::test]
async fn what_the_source_registers_is_served_with_the_rest() {
    let (contract, probes) = (free().await, free().await);
    let argv = ["test", &format!("--listen={contract}"), &format!("--probe-listen={probes}")];
    let shutdown = Shutdown::new(PATIENCE);
    let serving = serve(Cli::parse_from(argv).serve, shutdown.clone(), async |registry| {
        let scans = prometheus_client::metrics::counter::Counter::<u64>::default();
        registry.register("scans", "Looks at the whole source", scans.clone());
        scans.inc();
        Ok(Shared(Shelf::with(0)))
    });
    let serving = tokio::spawn(serving);
    until(async || TcpStream::connect(contract).await.is_ok()).await;
    assert!(get(probes, "/metrics").await.contains("longshore_scans_total 1"));
    shutdown.drain();
    timeout(PATIENCE, serving).await.expect("in time").expect("no panic").expect("no failure");
}
