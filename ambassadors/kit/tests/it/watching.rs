//! Watches: what is told, in which order, and how they end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::Source;
use ambassador_kit::router::{Options, router};
use ambassador_kit::source::Health;
use axum::Router;
use axum::body::{Body, BodyDataStream};
use contract::wire::{ITEM_PATHS, Status, WatchEvent};
use futures_util::StreamExt;
use http::{Method, Request, StatusCode, header};
use proptest::prelude::*;
use sidecar::Shutdown;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::asking::{app, get, send};
use crate::sources::{Log, Mood, Queue, Shelf, Unruly};

/// Long enough for anything that will come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A watch being read.
struct Watch {
    body: BodyDataStream,
    lines: Vec<u8>,
}

impl Watch {
    async fn open(app: &Router, path: &str) -> Self {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = app.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-ndjson");
        Self { body: response.into_body().into_data_stream(), lines: Vec::new() }
    }

    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.lines.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event"));
            }
            match timeout(PATIENCE, self.body.next()).await.expect("a line in time") {
                Some(chunk) => self.lines.extend_from_slice(&chunk.expect("it is not cut off")),
                None => {
                    assert!(self.lines.is_empty(), "half a line");
                    return None;
                }
            }
        }
    }

    async fn rest(&mut self) -> Vec<WatchEvent> {
        let mut rest = Vec::new();
        while let Some(event) = self.next().await {
            rest.push(event);
        }
        rest
    }

    async fn is_over(&mut self) -> bool {
        self.next().await.is_none()
    }
}

fn watched<S: Source>(source: &Arc<S>) -> Router {
    router(Arc::clone(source), Options::default())
}

fn version(shelf: &Shelf, revision: u64) -> String {
    format!("{}.{revision}", shelf.catalog.incarnation())
}

fn added(shelf: &Shelf, item: &contract::ItemName, revision: u64) -> Option<WatchEvent> {
    Some(WatchEvent::Added { item: item.clone(), resource_version: version(shelf, revision) })
}

fn removed(shelf: &Shelf, item: &contract::ItemName, revision: u64) -> Option<WatchEvent> {
    Some(WatchEvent::Removed { item: item.clone(), resource_version: version(shelf, revision) })
}

fn bookmark(shelf: &Shelf, revision: u64) -> Option<WatchEvent> {
    Some(WatchEvent::Bookmark { resource_version: version(shelf, revision) })
}

/// The end of a watch that says why, and up to where everything was told.
fn error(event: Option<&WatchEvent>) -> (&Status, &str) {
    match event {
        Some(WatchEvent::Error { resource_version: Some(version), status }) => (status, version),
        other => panic!("{other:?} is no end"),
    }
}

#[tokio::test]
async fn after_a_list_every_change_is_told_as_it_happens() {
    let shelf = Shelf::with(3);
    let app = watched(&shelf);
    let listed = get(&app, "/v1/items").await.list().metadata.resource_version.expect("a version");
    let mut watch = Watch::open(&app, &format!("/v1/items?watch=true&resourceVersion={listed}")).await;
    assert_eq!(watch.next().await, bookmark(&shelf, 3), "at once");
    let first = shelf.put("film.mp4", 1);
    assert_eq!(watch.next().await, added(&shelf, &first, 4));
    let second = shelf.put("film.mp4", 2);
    assert_eq!(watch.next().await, removed(&shelf, &first, 5));
    assert_eq!(watch.next().await, added(&shelf, &second, 6));
    shelf.catalog.forget(b"film.mp4");
    assert_eq!(watch.next().await, removed(&shelf, &second, 7));
    // Whoever lost the connection goes on where it was.
    let mut again = Watch::open(&app, &format!("/items?resourceVersion={}&watch=1", version(&shelf, 5))).await;
    assert_eq!(again.next().await, bookmark(&shelf, 5));
    assert_eq!(again.next().await, added(&shelf, &second, 6));
    assert_eq!(again.next().await, removed(&shelf, &second, 7));
}

#[tokio::test]
async fn without_a_version_what_is_listed_comes_first() {
    let shelf = Shelf::with(3);
    let app = watched(&shelf);
    let names = get(&app, "/v1/items").await.list().items;
    for path in ITEM_PATHS.iter().flat_map(|path| [format!("{path}?watch=true"), format!("{path}/?watch=true")]) {
        let mut watch = Watch::open(&app, &path).await;
        for name in &names {
            assert_eq!(watch.next().await, added(&shelf, name, 0), "{path}");
        }
        assert_eq!(watch.next().await, bookmark(&shelf, 3), "{path}");
    }
    // Nothing but the BOOKMARK tells that this is all; from any line before, everything is told anew.
    let mut again = Watch::open(&app, &format!("/v1/items?watch=true&resourceVersion={}", version(&shelf, 0))).await;
    assert_eq!(again.next().await, bookmark(&shelf, 0));
    assert_eq!(again.next().await, added(&shelf, &names[0], 1));
    let mut nothing = Watch::open(&watched(&Shelf::with(0)), "/v1/items?watch=true").await;
    assert!(matches!(nothing.next().await, Some(WatchEvent::Bookmark { .. })));
}

#[tokio::test]
async fn what_changes_under_a_watch_from_the_start_is_told_in_the_end() {
    let shelf = Shelf::with(9_000);
    let app = watched(&shelf);
    let mut watch = Watch::open(&app, "/v1/items?watch=true").await;
    let mut known = BTreeSet::new();
    let mut act = |event: WatchEvent| match event {
        WatchEvent::Added { item, .. } => drop(known.insert(item.to_string())),
        WatchEvent::Removed { item, .. } => drop(known.remove(item.as_str())),
        WatchEvent::Bookmark { .. } => {}
        other => panic!("{other:?}"),
    };
    act(watch.next().await.expect("the first"));
    // Some that are told, some that are not told yet, some that come, one that comes and goes, one that is replaced.
    for number in [0, 1, 2_500, 8_000, 8_999] {
        shelf.catalog.forget(format!("file {number}.mp4").as_bytes());
    }
    shelf.put("late.mp4", 1);
    shelf.put("short.mp4", 1);
    shelf.catalog.forget(b"short.mp4");
    shelf.put("file 17.mp4", 2);
    let last = version(&shelf, shelf.catalog.revision());
    loop {
        let event = watch.next().await.expect("it goes on");
        let is_last = matches!(&event, WatchEvent::Added { resource_version, .. } if *resource_version == last);
        act(event);
        if is_last {
            break;
        }
    }
    let listed: BTreeSet<String> = get(&app, "/v1/items").await.names().into_iter().collect();
    assert_eq!(known, listed);
}

#[tokio::test]
async fn a_version_that_cannot_be_told_from_is_refused_before_anything_is_said() {
    let shelf = Shelf::with(3);
    let app = watched(&shelf);
    let here = shelf.catalog.incarnation();
    let ask = async |version: String| {
        let answer = get(&app, &format!("/v1/items?watch=true&resourceVersion={version}")).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
        (answer.status.as_u16(), answer.status().reason)
    };
    let nonsense = ["x", "0", "3", ".", ".3", "x.", "x.-1", "x.03", "x.%2B3", "x.3%20", "x.99999999999999999999999"];
    for version in nonsense {
        assert_eq!(ask(version.into()).await, (400, "BadRequest".into()), "{version}");
        assert_eq!(ask(version.replace('x', here)).await, (400, "BadRequest".into()), "{version}");
    }
    for version in ["x.3".to_owned(), format!("{here}.4"), format!("a.{here}.3"), format!("{here}.{}", u64::MAX)] {
        assert_eq!(ask(version.clone()).await, (410, "Expired".into()), "{version}");
    }
    for number in 0..20_000 {
        shelf.put("film.mp4", number);
    }
    assert_eq!(ask(format!("{here}.3")).await, (410, "Expired".into()), "too old");
    for path in ["/v1/items?watch=true&continue=x", "/v1/items?watch=maybe", "/v1/items?watch=true&timeoutSeconds=x"] {
        assert_eq!(get(&app, path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn where_no_catalog_is_held_nothing_is_watched_and_that_is_said() {
    async fn refused(app: &Router, path: &str) {
        let answer = get(app, path).await;
        assert_eq!((answer.status.as_u16(), answer.status().reason.as_str()), (501, "NotImplemented"));
    }
    let (log, queue, shelf) = (Log::with(10), Queue::with(10, 2), Shelf::with(1));
    for app in [app(&log), app(&queue)] {
        refused(&app, "/v1/items?watch=true").await;
        refused(&app, "/v1/items?watch=true&resourceVersion=x.1").await;
        assert!(get(&app, "/v1").await.body().contains(r#""watch":false"#));
    }
    refused(&app(&shelf), "/v1/withheld?watch=true").await;
    assert!(get(&app(&shelf), "/v1").await.body().contains(r#""watch":true"#));
}

#[tokio::test]
async fn a_source_that_cannot_be_seen_is_not_watched_and_one_half_read_is() {
    let shelf = Shelf::with(1);
    let app = watched(&shelf);
    for health in [Health::Starting, Health::Lost { why: "the root is gone".into() }] {
        shelf.health.send_replace(health);
        let answer = get(&app, "/v1/items?watch=true").await;
        assert_eq!((answer.status.as_u16(), answer.status().reason.as_str()), (503, "ServiceUnavailable"));
        assert!(answer.headers.contains_key(header::RETRY_AFTER));
    }
    shelf.health.send_replace(Health::Indexing { why: "40 %".into() });
    let mut watch = Watch::open(&app, "/v1/items?watch=true").await;
    assert!(matches!(watch.next().await, Some(WatchEvent::Added { .. })));
    assert_eq!(watch.next().await, bookmark(&shelf, 1));
    let later = shelf.put("later.mp4", 1);
    assert_eq!(watch.next().await, added(&shelf, &later, 2), "as it is indexed");
}

#[tokio::test]
async fn a_source_that_is_lost_ends_the_watch_and_one_that_is_stale_does_not() {
    let shelf = Shelf::with(1);
    let app = watched(&shelf);
    let mut watch = Watch::open(&app, &format!("/v1/items?watch=true&resourceVersion={}", version(&shelf, 1))).await;
    assert_eq!(watch.next().await, bookmark(&shelf, 1));
    shelf.health.send_replace(Health::Stale { why: "the disk hangs".into() });
    let name = shelf.put("film.mp4", 1);
    assert_eq!(watch.next().await, added(&shelf, &name, 2));
    shelf.health.send_replace(Health::Lost { why: "the root is gone".into() });
    let end = watch.next().await;
    let (status, told) = error(end.as_ref());
    assert_eq!((status.code, status.reason.as_str(), told), (503, "ServiceUnavailable", &*version(&shelf, 2)));
    assert!(status.message.contains("the root is gone"), "{status:?}");
    assert!(watch.is_over().await);
}

#[tokio::test]
async fn a_reader_too_slow_is_told_so_and_let_go() {
    let shelf = Shelf::with(1);
    let app = watched(&shelf);
    let mut watch = Watch::open(&app, &format!("/v1/items?watch=true&resourceVersion={}", version(&shelf, 1))).await;
    assert_eq!(watch.next().await, bookmark(&shelf, 1));
    for number in 0..20_000 {
        shelf.put("film.mp4", number);
        // It reads on for a while, and has some of what was at hand then before it all gets too much.
        if number == 300 {
            assert!(matches!(watch.next().await, Some(WatchEvent::Added { .. })));
        }
    }
    let rest = watch.rest().await;
    let (status, told) = error(rest.last());
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    // Whatever was told before has no gap.
    let before: Vec<String> = rest[..rest.len() - 1]
        .iter()
        .map(|event| match event {
            WatchEvent::Added { resource_version, .. } | WatchEvent::Removed { resource_version, .. } => {
                resource_version.clone()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(before.len() > 500, "{} were at hand", before.len());
    let want: Vec<String> = (3..).map(|revision| version(&shelf, revision)).take(before.len()).collect();
    assert_eq!(before, want);
    assert_eq!(Some(told), before.last().map(String::as_str));
}

#[tokio::test]
async fn a_walk_that_fails_half_way_ends_the_watch_and_says_no_internals() {
    for (mood, code) in [(Mood::Away(1), 503), (Mood::Hang, 503), (Mood::Leak, 500)] {
        let unruly = Unruly::new(Mood::Calm, mood);
        *unruly.revision.lock().expect("a revision") = Some(3);
        let mut watch = Watch::open(&app(&unruly), "/v1/items?watch=true").await;
        assert!(matches!(watch.next().await, Some(WatchEvent::Added { .. })));
        let end = watch.next().await;
        let (status, told) = error(end.as_ref());
        assert_eq!((status.code, told), (code, "one.0"), "{mood:?}");
        assert!(!status.message.contains("hunter2"), "{status:?}");
        assert!(watch.is_over().await);
    }
    let unruly = Unruly::new(Mood::Away(1_500), Mood::Calm);
    *unruly.revision.lock().expect("a revision") = Some(3);
    assert_eq!(get(&app(&unruly), "/v1/items?watch=true").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_hears_from_time_to_time_that_nothing_happened() {
    let shelf = Shelf::with(1);
    let started = Instant::now();
    let from = format!("/v1/items?watch=true&resourceVersion={}", version(&shelf, 1));
    let mut watch = Watch::open(&watched(&shelf), &from).await;
    let mut brisk = Watch::open(&app(&shelf), &from).await;
    for silences in 0..3 {
        assert_eq!(watch.next().await, bookmark(&shelf, 1));
        assert_eq!(started.elapsed().as_secs(), 15 * silences);
    }
    let name = shelf.put("film.mp4", 1);
    assert_eq!(watch.next().await, added(&shelf, &name, 2));
    assert_eq!(watch.next().await, bookmark(&shelf, 2), "of the version told last");
    // With a deadline of 200 ms, half of that.
    let now = Instant::now();
    while brisk.next().await != bookmark(&shelf, 2) {}
    assert_eq!(brisk.next().await, bookmark(&shelf, 2));
    assert!(now.elapsed() < Duration::from_secs(1), "{:?}", now.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_watch_may_be_asked_to_last_so_long() {
    let shelf = Shelf::with(1);
    let (app, started) = (watched(&shelf), Instant::now());
    let mut watch = Watch::open(&app, "/v1/items?watch=true&timeoutSeconds=40").await;
    let events = watch.rest().await;
    assert_eq!(started.elapsed().as_secs(), 40);
    assert_eq!(events[1..], [1, 1, 1].map(|revision| bookmark(&shelf, revision).expect("one")), "no ERROR");
    // Longer than the clock goes.
    let forever = format!("/v1/items?watch=true&timeoutSeconds={}", u64::MAX);
    assert!(matches!(Watch::open(&app, &forever).await.next().await, Some(WatchEvent::Added { .. })));
}

#[tokio::test]
async fn draining_ends_every_watch() {
    let shelf = Shelf::with(1);
    let shutdown = Shutdown::new(PATIENCE);
    let app = router(Arc::clone(&shelf), Options { shutdown: shutdown.clone(), ..Options::default() });
    let mut waiting = Watch::open(&app, "/v1/items?watch=true").await;
    let mut fresh = Watch::open(&app, "/v1/items?watch=true").await;
    assert!(matches!(waiting.next().await, Some(WatchEvent::Added { .. })));
    assert_eq!(waiting.next().await, bookmark(&shelf, 1));
    shutdown.drain();
    assert!(waiting.is_over().await && fresh.is_over().await);
    assert_eq!(get(&app, "/v1/items").await.names().len(), 1, "lists are answered still");
}

#[tokio::test]
async fn so_many_watch_at_once_and_a_head_is_none_of_them() {
    let shelf = Shelf::with(1);
    let app = watched(&shelf);
    let mut watches = Vec::new();
    for _ in 0..128 {
        watches.push(Watch::open(&app, "/v1/items?watch=true").await);
        let head = send(&app, Method::HEAD, "/v1/items?watch=true").await;
        assert!(head.status == StatusCode::OK || watches.len() == 128, "{head:?}");
    }
    let answer = get(&app, "/v1/items?watch=true").await;
    assert_eq!((answer.status.as_u16(), answer.status().reason.as_str()), (429, "TooManyRequests"));
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(get(&app, "/v1/items").await.status, StatusCode::OK, "the list is there for everybody");
    watches.pop();
    let head = send(&app, Method::HEAD, "/v1/items?watch=true").await;
    assert_eq!((head.status, head.body()), (StatusCode::OK, ""));
    assert_eq!(head.headers[header::CONTENT_TYPE], "application/x-ndjson");
    assert!(matches!(Watch::open(&app, "/v1/items?watch=true").await.next().await, Some(WatchEvent::Added { .. })));
}

#[derive(Clone, Debug)]
enum Act {
    /// A file is written: a version more.
    Put(u8),
    Forget(u8),
    /// The reader takes so many lines.
    Read(u8),
    /// The connection breaks; the reader goes on from what it heard last.
    Break,
    /// It lists, and watches from there.
    Relist,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..12_u8).prop_map(Act::Put),
        3 => (0..12_u8).prop_map(Act::Forget),
        4 => (1..9_u8).prop_map(Act::Read),
        2 => Just(Act::Break),
        1 => Just(Act::Relist),
    ]
}

/// What a reader knows, by the rules of the contract and nothing else.
#[derive(Default)]
struct Reader {
    known: BTreeSet<String>,
    version: Option<String>,
}

impl Reader {
    fn hear(&mut self, event: WatchEvent) {
        let version = match event {
            WatchEvent::Added { item, resource_version } => {
                self.known.insert(item.to_string());
                resource_version
            }
            WatchEvent::Removed { item, resource_version } => {
                self.known.remove(item.as_str());
                resource_version
            }
            WatchEvent::Bookmark { resource_version } => resource_version,
            other => panic!("{other:?}"),
        };
        self.version = Some(version);
    }

    fn path(&self) -> String {
        let since = self.version.as_ref().map(|version| format!("&resourceVersion={version}")).unwrap_or_default();
        format!("/v1/items?watch=true{since}")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However often it is cut off, wherever, and whatever happens meanwhile.
    #[test]
    fn a_reader_that_goes_on_from_what_it_heard_last_ends_on_the_truth(
        before in 0..6_u8,
        acts in prop::collection::vec(act(), 0..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let shelf = Shelf::with(0);
            let app = watched(&shelf);
            let put = |key: u8, version: u64| shelf.put(&format!("file {key}.mp4"), version);
            (0..before).for_each(|key| drop(put(key, 0)));
            let mut reader = Reader::default();
            let mut watch = Watch::open(&app, &reader.path()).await;
            for (at, act) in (1..).zip(acts) {
                match act {
                    Act::Put(key) => drop(put(key, at)),
                    Act::Forget(key) => drop(shelf.catalog.forget(format!("file {key}.mp4").as_bytes())),
                    // When there is nothing, a BOOKMARK comes after a while, of a clock that goes by itself.
                    Act::Read(lines) => for _ in 0..lines {
                        reader.hear(watch.next().await.expect("it goes on"));
                    },
                    Act::Break => watch = Watch::open(&app, &reader.path()).await,
                    Act::Relist => {
                        let list = get(&app, "/v1/items").await.list();
                        reader.known = list.items.iter().map(ToString::to_string).collect();
                        reader.version = list.metadata.resource_version;
                        watch = Watch::open(&app, &reader.path()).await;
                    }
                }
            }
            let now = Some(version(&shelf, shelf.catalog.revision()));
            let mut patience = 1_000;
            while reader.version != now {
                reader.hear(watch.next().await.expect("it goes on"));
                patience -= 1;
                assert!(patience > 0, "it was told {:?}, and never {now:?}", reader.version);
            }
            let listed: BTreeSet<String> = get(&app, "/v1/items").await.names().into_iter().collect();
            assert_eq!(reader.known, listed);
        });
    }
}
