//! Sources that keep their promises, of the kinds that are needed to break each.

use std::sync::Arc;

use ambassador_kit::catalog::Why;
use ambassador_kit::router::{Options, router};
use axum::Router;
use http::header;
use sidecar::Secret;

use super::proxy::{Proxy, Whole};
use crate::sources::{Log, Queue, Shelf, name};

/// A catalog, which offers everything.
pub(super) fn shelf() -> Router {
    serve(&Shelf::with(40))
}

pub(super) fn serve(shelf: &Arc<Shelf>) -> Router {
    router(Arc::clone(shelf), Options::default())
}

/// A catalog that cannot be watched.
pub(super) fn unwatched() -> Router {
    Proxy::over(shelf())
        .instead(|asked, _| {
            asked.uri.query().is_some_and(|q| q.contains("watch=true")).then(|| Whole::refusal(501, "NotImplemented"))
        })
        .spoil(|_, _, whole| whole.replace("\"watch\":true", "\"watch\":false"))
        .router()
}

/// Names with slashes in them.
pub(super) fn slashed() -> Router {
    let shelf = Shelf::with(3);
    for key in ["dir/a b.mp4", "dir/sub/c%.mp4"] {
        shelf.catalog.list(key.as_bytes(), &name(&format!("{key}@1")), 1);
    }
    serve(&shelf)
}

/// Much that is withheld.
pub(super) fn withholding() -> Router {
    let shelf = Shelf::with(20);
    for number in 0..20 {
        let why = Why { reason: "growing", message: "it grows".into(), pending: true };
        shelf.catalog.withhold(format!("growing {number}").as_bytes(), why);
    }
    serve(&shelf)
}

/// A part of it cannot be seen.
pub(super) fn unseeing() -> Router {
    let shelf = Shelf::with(20);
    let why = Why { reason: "unreadable", message: "permission denied".into(), pending: false };
    shelf.catalog.withhold(b"locked", why);
    shelf.catalog.set_complete(false);
    serve(&shelf)
}

/// A window of leases: no catalog, no versions.
pub(super) fn queue() -> Router {
    router(Queue::with(500, 20), Options::default())
}

/// As [`queue`], with a message that is delivered twice.
pub(super) fn stutter() -> Router {
    let queue = Queue::with(12, 20);
    queue.push(11);
    router(queue, Options::default())
}

/// A list that is computed, and settles nothing.
pub(super) fn log() -> Router {
    router(Log::with(100), Options::default())
}

const TOKEN: &str = "a-token-of-this-test";

pub(super) fn token() -> Secret {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), TOKEN).expect("written");
    Secret::read(file.path()).expect("a secret")
}

/// A catalog that wants to know who asks.
pub(super) fn guarded() -> Router {
    Proxy::over(shelf())
        .instead(|asked, _| {
            let shown = asked.headers.get(header::AUTHORIZATION);
            let known = shown.is_some_and(|shown| shown == &format!("Bearer {TOKEN}"));
            (!known).then(|| Whole::refusal(401, "Unauthorized"))
        })
        .router()
}
