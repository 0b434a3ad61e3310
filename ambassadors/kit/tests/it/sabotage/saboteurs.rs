//! One wrong source for each promise, which keeps all others; and more of them.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use contract::ItemName;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::proxy::{Asked, Memory, Proxy, Whole};
use super::worlds;
use crate::sources::Shelf;

pub(super) type Saboteur = fn() -> Router;

pub(super) const SABOTEURS: [(&str, Saboteur); 53] = [
    ("about", || shelf().spoil(|_, _, whole| whole.replace("\"Source\"", "\"Sauce\"")).router()),
    ("list", || shelf().spoil(|_, _, whole| whole.replace("\"ItemList\"", "\"List\"")).router()),
    ("list.once", worlds::stutter),
    ("list.order", || {
        let turn = |asked: &_, memory: &mut Memory, whole: Whole| {
            if !Asked::lists_all(asked) { whole } else { whole.items(|items| items.rotate_left(memory.asked % 20)) }
        };
        Proxy::over(worlds::queue()).spoil(turn).router()
    }),
    ("list.aliases", || {
        shelf().spoil(|asked, _, whole| if asked.uri.path() == "/items/" { shortened(whole) } else { whole }).router()
    }),
    ("list.head", || {
        shelf()
            .instead(|asked, _| {
                let asked = asked.method == Method::HEAD && asked.uri.path() == "/v1/withheld";
                asked.then(|| Whole::refusal(404, "NotFound"))
            })
            .router()
    }),
    ("list.reading", || consuming(100)),
    ("list.parameters", || {
        shelf().instead(|asked, _| asked.has("nonsense").then(|| Whole::refusal(400, "BadRequest"))).router()
    }),
    ("list.version", restless),
    ("etag", || {
        // A strong one: it would not be the same for what is compressed.
        shelf()
            .spoil(|_, _, whole| match whole.headers.get(header::ETAG) {
                Some(tag) => {
                    let strong = tag.to_str().expect("text").trim_start_matches("W/").to_owned();
                    whole.header(header::ETAG, &strong)
                }
                None => whole,
            })
            .router()
    }),
    ("etag.same", || {
        shelf()
            .request(|asked| {
                asked.headers.remove(header::IF_NONE_MATCH);
            })
            .router()
    }),
    ("etag.other", || {
        shelf()
            .instead(|asked, _| {
                asked.headers.contains_key(header::IF_NONE_MATCH).then(|| Whole::empty(StatusCode::NOT_MODIFIED))
            })
            .router()
    }),
    ("etag.incomplete", || {
        Proxy::over(worlds::unseeing())
            .spoil(|asked, _, whole| {
                if !asked.lists_all() || whole.status != StatusCode::OK {
                    return whole;
                }
                let list: Value = serde_json::from_str(&whole.body).expect("a list");
                let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).expect("a version");
                whole.header(header::ETAG, &format!("W/\"{version}\""))
            })
            .router()
    }),
    ("gzip", || shelf().packs(|_| false).router()),
    ("page.joined", || {
        shelf()
            .spoil(|asked, _, whole| {
                if asked.lists() && asked.has("limit=7&continue=") {
                    whole.items(|items| items.reverse())
                } else {
                    whole
                }
            })
            .router()
    }),
    ("page.rest", || {
        shelf()
            .spoil(
                |asked, _, whole| {
                    if asked.lists() && asked.query().starts_with("continue=") { shortened(whole) } else { whole }
                },
            )
            .router()
    }),
    ("page.limit", || shelf().request(|asked| asked.rewrite("limit=0", "limit=1")).router()),
    ("page.maximum", || {
        shelf().instead(|asked, _| asked.has("limit=10001").then(|| Whole::refusal(400, "BadRequest"))).router()
    }),
    ("page.token", || {
        shelf().instead(|asked, _| asked.has("continue=e30").then(|| Whole::refusal(410, "Expired"))).router()
    }),
    ("page.expired", || {
        shelf()
            .spoil(|asked, _, whole| {
                let expired = whole.status == StatusCode::GONE && asked.has("continue=");
                if expired { Whole::refusal(400, "BadRequest") } else { whole }
            })
            .router()
    }),
    ("page.version", || {
        shelf()
            .spoil(|asked, _, whole| {
                if !asked.lists() || !asked.has("limit=7&continue=") {
                    return whole;
                }
                whole.edit(|page| {
                    let version = page.pointer_mut("/metadata/resourceVersion").expect("a version");
                    *version = json!(format!("{}1", version.as_str().expect("text")));
                })
            })
            .router()
    }),
    ("page.remaining", || {
        shelf()
            .spoil(|asked, _, whole| {
                if !asked.lists() || !asked.has("limit=7&continue=") {
                    return whole;
                }
                whole.edit(|page| {
                    let remaining = page.pointer_mut("/metadata/remainingItemCount").expect("a count");
                    *remaining = json!(remaining.as_u64().expect("a number") + 1);
                })
            })
            .router()
    }),
    ("withheld", || shelf().spoil(|_, _, whole| whole.replace("its name begins with a dot", "")).router()),
    ("withheld.paged", || {
        Proxy::over(worlds::withholding())
            .spoil(|asked, _, whole| {
                let later = asked.uri.path() == "/v1/withheld" && asked.has("continue=");
                if later { shortened(whole) } else { whole }
            })
            .router()
    }),
    ("withheld.reason", || shelf().spoil(|_, _, whole| whole.replace("\"hidden\"", "\"secret\"")).router()),
    ("withheld.complete", || {
        Proxy::over(worlds::unseeing())
            .spoil(|asked, _, whole| {
                if asked.uri.path() == "/v1/withheld" {
                    whole.replace("\"complete\":false", "\"complete\":true")
                } else {
                    whole
                }
            })
            .router()
    }),
    ("item", || shelf().spoil(|_, _, whole| whole.replace("{\"name\":\"", "{\"name\":\"another-")).router()),
    ("item.data", || {
        shelf()
            .spoil(|_, _, whole| {
                whole.edit(|json| {
                    if let Some(key) = json.pointer_mut("/data/key") {
                        *key = json!(7);
                    }
                })
            })
            .router()
    }),
    ("item.slashes", || {
        Proxy::over(worlds::slashed())
            .instead(|asked, _| asked.uri.path().starts_with("/v1/items/dir/").then(|| Whole::refusal(404, "NotFound")))
            .router()
    }),
    ("item.unknown", || {
        shelf()
            .instead(|asked, _| {
                let unknown = asked.method == Method::GET && asked.of_never_listed();
                unknown.then(|| Whole::refusal(410, "Gone"))
            })
            .router()
    }),
    ("item.bad-name", || {
        shelf()
            .instead(|asked, _| asked.uri.path().ends_with("%ff%fe").then(|| Whole::refusal(404, "NotFound")))
            .router()
    }),
    ("watch.refused", || Proxy::over(worlds::queue()).request(|asked| asked.rewrite("watch=true", "x=y")).router()),
    ("watch.start", || {
        shelf()
            .lines(|asked, n, line| if n == 3 && !asked.has("resourceVersion") { vec![] } else { vec![line] })
            .router()
    }),
    ("watch.continues", || {
        shelf()
            .lines(|asked, n, line| {
                if n > 0 || !asked.has("resourceVersion") {
                    return vec![line];
                }
                let invented = json!({"type": "ADDED", "item": "x", "resourceVersion": version(&line)});
                vec![invented, line]
            })
            .router()
    }),
    ("watch.lines", || {
        shelf()
            .lines(|_, _, mut line| {
                if is(&line, "ADDED") {
                    set_version(&mut line, "another.1");
                }
                vec![line]
            })
            .router()
    }),
    ("watch.bookmark", || {
        shelf()
            .lines(|_, n, line| if (1..30).contains(&n) && is(&line, "BOOKMARK") { vec![] } else { vec![line] })
            .router()
    }),
    ("watch.timeout", || shelf().request(|asked| asked.rewrite("timeoutSeconds", "x")).router()),
    ("watch.version", || {
        shelf()
            .instead(|asked, _| {
                let nonsense = asked.has("watch=true") && asked.has("resourceVersion=42");
                nonsense.then(|| Whole::refusal(410, "Expired"))
            })
            .router()
    }),
    ("watch.expired", || {
        shelf()
            .spoil(|asked, _, whole| {
                let expired = whole.status == StatusCode::GONE && asked.has("watch=true");
                if expired { Whole::refusal(400, "BadRequest") } else { whole }
            })
            .router()
    }),
    ("auth", || {
        Proxy::over(worlds::guarded())
            .request(|asked| {
                if asked.uri.path() == "/v1/withheld" {
                    let token = format!("Bearer {}", worlds::token().expose());
                    asked.headers.insert(header::AUTHORIZATION, token.parse().expect("a header"));
                }
            })
            .router()
    }),
    ("error.path", || {
        shelf()
            .instead(|asked, _| (asked.uri.path() == "/v2/items").then(|| Whole::refusal(400, "BadRequest")))
            .router()
    }),
    ("error.method", || shelf().spoil(|_, _, whole| whole.without(header::ALLOW)).router()),
    ("error.parameter", || shelf().request(|asked| asked.rewrite("limit=1&limit=2", "limit=1")).router()),
    ("error.status", || {
        shelf()
            .instead(|asked, _| (asked.uri.path() == "/v1/nothing").then(|| Whole::json(StatusCode::NOT_FOUND, "{}")))
            .router()
    }),
    ("error.unavailable", || {
        shelf().instead(|_, memory| (memory.asked == 3).then(|| Whole::refusal(503, "ServiceUnavailable"))).router()
    }),
    ("settle.refused", || {
        Proxy::over(worlds::log())
            .instead(|asked, _| {
                let settles = asked.deletes() && asked.uri.path().starts_with("/v1/items/");
                settles.then(|| Whole::empty(StatusCode::NO_CONTENT))
            })
            .router()
    }),
    ("settle.outcome", || {
        shelf().instead(|asked, _| asked.has("outcome=perhaps").then(|| Whole::empty(StatusCode::NO_CONTENT))).router()
    }),
    ("settle.reason", || {
        shelf()
            .instead(|asked, _| {
                (asked.query().len() > "outcome=failed&reason=".len() + 4_096)
                    .then(|| Whole::empty(StatusCode::NO_CONTENT))
            })
            .router()
    }),
    ("settle.any", || {
        shelf()
            .instead(|asked, _| {
                let unknown = asked.deletes() && asked.of_never_listed() && asked.query().is_empty();
                unknown.then(|| Whole::refusal(404, "NotFound"))
            })
            .router()
    }),
    // It only says that it settles.
    ("settle.done", || {
        shelf()
            .instead(|asked, _| {
                let failed = asked.deletes() && asked.has("outcome=failed&reason=a%20test");
                failed.then(|| Whole::empty(StatusCode::NO_CONTENT))
            })
            .router()
    }),
    ("settle.version", || {
        let frozen = |asked: &_, memory: &mut Memory, whole: Whole| {
            if !Asked::lists_all(asked) || whole.status != StatusCode::OK {
                return whole;
            }
            let mut version = String::new();
            let whole = whole.edit(|list| {
                let said = list.pointer_mut("/metadata/resourceVersion").expect("a version");
                version = memory.text.get_or_insert_with(|| said.as_str().expect("text").to_owned()).clone();
                *said = json!(version);
            });
            whole.header(header::ETAG, &format!("W/\"{version}\""))
        };
        unwatched().spoil(frozen).router()
    }),
    // It tells the first change, by which it was seen that it tells any.
    ("settle.watched", || {
        shelf()
            .lines(|_, _, line| if is(&line, "REMOVED") && number(&line) > 41 { vec![] } else { vec![line] })
            .router()
    }),
    ("body.json", || {
        shelf()
            .spoil(
                |asked, _, whole| {
                    if asked.uri.path() == "/v1" { whole.header(header::CONTENT_TYPE, "text/plain") } else { whole }
                },
            )
            .router()
    }),
];

/// The version is another with every list.
pub(super) fn restless() -> Router {
    let restless = |asked: &_, memory: &mut Memory, whole: Whole| {
        if !Asked::lists_all(asked) || whole.status != StatusCode::OK {
            return whole;
        }
        // As text, so that what a long list says of itself stays before its items.
        let list: Value = serde_json::from_str(&whole.body).expect("a list");
        let said = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).expect("a version");
        let incarnation = said.split('.').next().expect("an incarnation");
        let version = format!("{incarnation}.{}", 1_000 + memory.asked);
        whole.replace(said, &version).header(header::ETAG, &format!("W/\"{version}\""))
    };
    unwatched().spoil(restless).router()
}

/// Of what is gone a watch tells the number alone.
pub(super) fn numbers_alone() -> Router {
    let untold = |_: &_, _, mut line: Value| {
        if is(&line, "REMOVED") {
            *line.get_mut("type").expect("a type") = json!("BOOKMARK");
        }
        vec![line]
    };
    shelf().lines(untold).router()
}

/// Ways that break other promises too.
pub(super) const MORE: [(&str, Saboteur); 23] = [
    // It counts no further than a machine word.
    ("page.maximum", || {
        shelf()
            .instead(|asked, _| {
                (asked.query().len() > "limit=99999999999999999999".len() && asked.query().starts_with("limit=1000"))
                    .then(|| Whole::refusal(400, "BadRequest"))
            })
            .router()
    }),
    ("list", || shelf().spoil(|_, _, whole| whole.replace("\"complete\":true", "\"complete\":1")).router()),
    ("list", || {
        shelf().spoil(|asked, _, whole| if asked.lists() { add(whole, json!("line\nbreak")) } else { whole }).router()
    }),
    ("list", || {
        shelf()
            .spoil(|asked, _, whole| if asked.lists() { add(whole, json!("x".repeat(3_000))) } else { whole })
            .router()
    }),
    ("list.head", || {
        let refused = |asked: &http::request::Parts, _: &mut _| {
            (asked.method == Method::HEAD).then(|| Whole::refusal(405, "MethodNotAllowed"))
        };
        shelf().instead(refused).router()
    }),
    ("etag", || shelf().spoil(|_, _, whole| whole.without(header::ETAG)).router()),
    ("gzip", || shelf().packs(|_| true).router()),
    // What is packed is another list.
    ("gzip", || {
        shelf()
            .spoil(
                |asked, memory, whole| {
                    if asked.lists_all() && memory.asked.is_multiple_of(2) { shortened(whole) } else { whole }
                },
            )
            .router()
    }),
    ("page.joined", || {
        // A page that is followed by itself.
        shelf()
            .spoil(|asked, memory, whole| {
                if !asked.lists() || !asked.has("limit=7") {
                    return whole;
                }
                whole.edit(|page| {
                    let Some(next) = page.pointer_mut("/metadata/continue") else { return };
                    let first = memory.text.get_or_insert_with(|| next.as_str().expect("text").to_owned());
                    *next = json!(first);
                })
            })
            .router()
    }),
    ("page.joined", || shelf().request(|asked| asked.rewrite("limit=7", "limit=8")).router()),
    ("withheld.reason", || {
        shelf().spoil(|_, _, whole| whole.replace("\"pending\":false", "\"pending\":true")).router()
    }),
    ("item", || shelf().spoil(|_, _, whole| whole.replace("\"Item\"", "\"Thing\"")).router()),
    ("item.data", || {
        shelf()
            .spoil(|_, _, whole| {
                whole.edit(|json| {
                    if let Some(data) = json.pointer_mut("/data").and_then(Value::as_object_mut) {
                        data.insert("huge".into(), json!("x".repeat(1 << 20)));
                    }
                })
            })
            .router()
    }),
    ("watch.start", || shelf().lines(|_, _, line| if is(&line, "BOOKMARK") { vec![] } else { vec![line] }).router()),
    // The first page alone has none.
    ("etag", || {
        shelf().spoil(|asked, _, whole| if asked.has("limit=1") { whole.without(header::ETAG) } else { whole }).router()
    }),
    ("etag.same", || {
        // It knows a tag alone, and not among others.
        shelf()
            .request(|asked| {
                if asked.headers.get(header::IF_NONE_MATCH).is_some_and(|tags| tags.as_bytes().contains(&b',')) {
                    asked.headers.remove(header::IF_NONE_MATCH);
                }
            })
            .router()
    }),
    ("watch.lines", || {
        // Older and older.
        shelf()
            .lines(|_, n, mut line| {
                let older = format!("{}.{}", version(&line).split('.').next().expect("an incarnation"), 1_000 - n);
                set_version(&mut line, &older);
                vec![line]
            })
            .router()
    }),
    ("auth", || {
        // It tells whoever asks who it is.
        Proxy::over(worlds::guarded())
            .spoil(|_, _, whole| whole.replace("sabotaged", "test-ambassador wants a token"))
            .router()
    }),
    ("settle.refused", || Proxy::over(worlds::log()).spoil(|_, _, whole| whole.without(header::ALLOW)).router()),
    // It tells that it is there, and no change ever.
    ("watch.continues", || {
        shelf().lines(|asked, n, line| if n > 0 && asked.has("resourceVersion") { vec![] } else { vec![line] }).router()
    }),
    ("watch.continues", numbers_alone),
    // So few that all are gone before they were looked at as often as others.
    ("list.reading", || consuming(3)),
    ("list.reading", || consuming(12)),
];

fn shelf() -> Proxy {
    Proxy::over(worlds::shelf())
}

fn unwatched() -> Proxy {
    Proxy::over(worlds::unwatched())
}

/// Without its first item.
fn shortened(whole: Whole) -> Whole {
    whole.items(|items| {
        items.remove(0);
    })
}

fn is(line: &Value, kind: &str) -> bool {
    line.get("type").is_some_and(|said| said == kind)
}

fn version(line: &Value) -> &str {
    line.get("resourceVersion").and_then(Value::as_str).expect("a version")
}

fn number(line: &Value) -> u64 {
    version(line).rsplit('.').next().and_then(|n| n.parse().ok()).expect("a number")
}

fn set_version(line: &mut Value, version: &str) {
    *line.get_mut("resourceVersion").expect("a version") = json!(version);
}

fn add(whole: Whole, item: Value) -> Whole {
    whole.items(|items| items.push(item))
}

/// A catalog that drops what was read.
fn consuming(count: u64) -> Router {
    let shelf = Shelf::with(count);
    let app = worlds::serve(&shelf);
    Router::new().fallback(move |request: Request| {
        let (app, shelf) = (app.clone(), Arc::clone(&shelf));
        async move {
            let read = *request.method() == Method::GET;
            let path = request.uri().path().replace("%2D", "-");
            let response: Response = app.oneshot(request).await.expect("infallible");
            let last = path.rsplit('/').next().and_then(|last| ItemName::parse(last).ok());
            if let Some(entry) = last.filter(|_| read).and_then(|name| shelf.catalog.find(&name).ok()) {
                shelf.catalog.forget(&entry.key);
            }
            response
        }
    })
}
