//! `kill -9` of a worker at each request that it makes of a store, and the run after it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use contract::{MARKER_FILE, Outcome};
use longshore_tests::sources::fault_points_below;
use rustix::process::Signal;
use test_servers::{S3Server, Spoil};
use tokio::sync::watch;

use super::remote::{COPY, MODES, Remote};
use super::trouble::proxy;
use crate::world::{Worker, until};

/// Just more than a part: it is fetched in ranges and uploaded in parts.
const LARGE: usize = 17 * 1024 * 1024;

/// What becomes of the request at which the worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// The store never gets it.
    Lost,
    /// The store gets it when nobody waits for the answer any more.
    Late,
}

/// By what right a worker reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Its own; and how it publishes.
    Keys(&'static str),
    /// URLs that the item brings: signed GET of an input, signed PUT of each output and of the marker.
    Urls,
}

/// Something large to be replaced, too.
const SCRIPT: &str = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy"; echo small > "$OUTPUT_DIR/small""#;

impl Right {
    fn item(self, remote: &Remote, content: impl Into<Vec<u8>>) -> PathBuf {
        match self {
            Self::Keys(_) => remote.item("a", content),
            Self::Urls => remote.signed_item("a", content, &["copy", "small"]),
        }
    }

    fn worker(self, remote: &Remote, item: &Path, script: &str) -> Worker {
        match self {
            Self::Keys(mode) => remote.worker(item.to_owned(), script).args(["--publish", mode]),
            Self::Urls => remote.keyless(item, script),
        }
    }

    /// What leaves something that the run to be killed would not write; nobody may delete by a URL that is signed for PUT.
    fn old_script(self) -> &'static str {
        if self == Self::Urls { SCRIPT } else { COPY }
    }
}

/// Kills a worker at its nth request; whether it made so many.
fn survive(server: &S3Server, right: Right, nth: usize, request: Request) -> bool {
    let at = format!("{right:?}, request {nth} {request:?}");
    let proxy = proxy(server);
    let (go, gone) = watch::channel(false);
    let held = move || match request {
        // What is held is let go of when its sender is gone; this goes with the proxy.
        Request::Lost => Spoil::Delay(Duration::from_secs(24 * 60 * 60)),
        Request::Late => Spoil::Hold(gone.clone()),
    };
    proxy.spoil(move |seen| (seen.n >= nth).then(&held));
    let mut remote = Remote::on(server);
    remote.let_outputs_be_read();
    let old = right.item(&remote, "old");
    right.worker(&remote, &old, right.old_script()).run().expect(0, "Published");
    let item = right.item(&remote, vec![7; LARGE]);

    remote.lead_to(&proxy.url());
    let doomed = right.item(&remote, vec![7; LARGE]);
    let killed = right.worker(&remote, &doomed, SCRIPT).start();
    remote.lead_to(&server.url());
    until("it comes to that request, or to its end", || proxy.seen().len() >= nth || killed.is_over());
    let hit = !killed.is_over();
    if hit {
        killed.signal(Signal::KILL);
    }
    let killed = killed.wait();
    assert!(!hit || killed.signal == Some(9), "{at}: {}", killed.stderr);
    if request == Request::Late {
        let _ = go.send(true);
    }

    // A reader in this instant who checks: the old, the new, or something that is neither and says so. Then the next run.
    let again = right.worker(&remote, &item, SCRIPT).env("ATTEMPT", "2").run();
    assert_eq!(again.code, Some(0), "{at}: {}", again.stderr);
    assert!(matches!(again.report().outcome, Outcome::Published | Outcome::AlreadyPublished), "{at}");
    let marker = remote.published("a");
    assert_eq!(marker.outputs.len(), 2, "{at}: {marker:?}");
    assert_eq!(remote.read("a", "copy").len(), LARGE, "{at}");
    if request == Request::Late {
        // What came after that run had looked, the one after it clears away.
        right.worker(&remote, &item, SCRIPT).env("ATTEMPT", "3").run().expect(0, "AlreadyPublished");
        assert_eq!(remote.published("a"), marker, "{at}");
    }
    let is_named = |key: &String| {
        let path = key.strip_prefix("a/").unwrap_or_default();
        path == MARKER_FILE || marker.outputs.iter().any(|output| output.path == path)
    };
    let stray: Vec<_> = remote.output_keys().into_iter().filter(|key| !is_named(key)).collect();
    assert!(stray.is_empty(), "{at}: {stray:?} is left");
    remote.world.assert_clean();
    hit
}

/// Kills workers at every `step`th request, from the first to the last.
fn survive_all(server: &S3Server, right: Right, request: Request, step: usize) {
    let (next, kills) = (AtomicUsize::new(1), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while survive(server, right, next.fetch_add(step, Ordering::Relaxed), request) {
                    kills.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let kills = kills.into_inner();
    assert!((10 / step..60).contains(&kills), "{right:?}: {kills} kills");
}

#[test]
fn killed_at_any_request_the_next_run_ends_well() {
    let server = S3Server::minio();
    for right in MODES.map(Right::Keys) {
        survive_all(&server, right, Request::Lost, 1);
    }
    assert_eq!(server.open_uploads(), 0, "uploads are left open");
    // Some may do for those that come late: they are the same.
    for right in MODES.map(Right::Keys) {
        survive_all(&server, right, Request::Late, 3);
    }
}

#[test]
fn killed_at_any_request_for_a_signed_url_the_next_run_ends_well() {
    let server = S3Server::minio();
    for request in [Request::Lost, Request::Late] {
        survive_all(&server, Right::Urls, request, 1);
    }
    assert_eq!(server.open_uploads(), 0, "uploads are left open");
}

#[test]
fn killed_at_any_step_of_its_own_between_urls_the_next_run_ends_well() {
    let points: Vec<_> = fault_points_below("workers/kit/src").into_iter().collect();
    assert!(points.len() >= 9, "only {points:?} were found in the sources");
    for point in points {
        let remote = Remote::on_minio();
        remote.let_outputs_be_read();
        let item = Right::Urls.item(&remote, "x");
        let killed = Right::Urls.worker(&remote, &item, SCRIPT).env("LONGSHORE_FAULT", format!("{point}=kill")).run();
        assert_eq!(killed.signal, Some(9), "{point}: {:?} {}", killed.code, killed.stderr);
        let committed = remote.bucket.published("out/a");
        assert_eq!(committed.is_some(), point.starts_with("worker.report."), "{point}");
        let again = Right::Urls.worker(&remote, &item, SCRIPT).env("ATTEMPT", "2").run();
        again.expect(0, if committed.is_some() { "AlreadyPublished" } else { "Published" });
        let marker = remote.published("a");
        assert_eq!(committed.unwrap_or(marker.clone()), marker, "{point}: committed once");
        assert_eq!((marker.outputs.len(), remote.read("a", "copy").as_str()), (2, "x"), "{point}");
        assert_eq!(remote.output_keys().len(), 3, "{point}: {:?}", remote.output_keys());
        remote.assert_clean();
    }
}
