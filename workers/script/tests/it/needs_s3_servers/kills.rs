//! `kill -9` of a worker at each request that it makes of a store, and the run after it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use contract::{MARKER_FILE, Outcome};
use rustix::process::Signal;
use test_servers::{S3Server, Spoil};
use tokio::sync::watch;

use super::remote::{COPY, MODES, Remote};
use super::trouble::proxy;
use crate::world::until;

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

/// Kills a worker at its nth request; whether it made so many.
fn survive(server: &S3Server, mode: &str, nth: usize, request: Request) -> bool {
    let at = format!("{mode}, request {nth} {request:?}");
    let proxy = proxy(server);
    let (go, gone) = watch::channel(false);
    let held = move || match request {
        // What is held is let go of when its sender is gone; this goes with the proxy.
        Request::Lost => Spoil::Delay(Duration::from_secs(24 * 60 * 60)),
        Request::Late => Spoil::Hold(gone.clone()),
    };
    proxy.spoil(move |seen| (seen.n >= nth).then(&held));
    let remote = Remote::on(server);
    // Something large to be replaced, too.
    let script = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy"; echo small > "$OUTPUT_DIR/small""#;
    let run = |item, script: &str| remote.worker(item, script).args(["--publish", mode]);
    run(remote.item("a", "old"), COPY).run().expect(0, "Published");
    let item = remote.item("a", vec![7; LARGE]);

    let killed = run(item.clone(), script).env("AWS_ENDPOINT_URL", proxy.url()).start();
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
    let again = run(item.clone(), script).env("ATTEMPT", "2").run();
    assert_eq!(again.code, Some(0), "{at}: {}", again.stderr);
    assert!(matches!(again.report().outcome, Outcome::Published | Outcome::AlreadyPublished), "{at}");
    let marker = remote.published("a");
    assert_eq!(marker.outputs.len(), 2, "{at}: {marker:?}");
    assert_eq!(remote.read("a", "copy").len(), LARGE, "{at}");
    if request == Request::Late {
        // What came after that run had looked, the one after it clears away.
        run(item, script).env("ATTEMPT", "3").run().expect(0, "AlreadyPublished");
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

#[test]
fn killed_at_any_request_the_next_run_ends_well() {
    let server = S3Server::minio();
    for request in [Request::Lost, Request::Late] {
        // Some may do for those that come late: they are the same.
        let step = if request == Request::Lost { 1 } else { 3 };
        for mode in MODES {
            let (next, kills) = (AtomicUsize::new(1), Mutex::new(0));
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while survive(&server, mode, next.fetch_add(step, Ordering::Relaxed), request) {
                            *kills.lock().expect("no panic holds it") += 1;
                        }
                    });
                }
            });
            let kills = *kills.lock().expect("no panic holds it");
            println!("{mode}: killed at each of {kills} requests, {request:?}");
            assert!((12 / step..60).contains(&kills), "{mode}: {kills} kills");
        }
        if request == Request::Lost {
            assert_eq!(server.open_uploads(), 0, "uploads are left open");
        }
    }
}
