//! Walks in pages while the list changes under them.

use ambassador_kit::Source;
use contract::wire::WithheldList;
use http::{Method, StatusCode, header};
use std::sync::Arc;

use crate::asking::{app, get, send};
use crate::sources::{Log, Queue, Shelf};

#[tokio::test]
async fn what_is_there_throughout_appears_exactly_once() {
    let shelf = Shelf::with(100);
    let app = app(&shelf);
    let (mut seen, mut token, mut round) = (Vec::new(), String::new(), 0);
    loop {
        let page = get(&app, &format!("/v1/items?limit=10{token}")).await;
        seen.extend(page.names());
        let meta = page.list().metadata;
        assert_eq!(
            meta.resource_version.as_deref(),
            Some(&*format!("{}.100", shelf.catalog.incarnation())),
            "of its start"
        );
        let Some(next) = meta.continue_token else { break };
        token = format!("&continue={next}");
        // Some that were met leave, some that were not leave, and others come.
        shelf.catalog.forget(format!("file {}.mp4", round * 3).as_bytes());
        shelf.catalog.forget(format!("file {}.mp4", 99 - round).as_bytes());
        shelf.put(&format!("file {round} later.mp4"), 1);
        round += 1;
    }
    let there = get(&app, "/v1/items").await.names();
    for name in &there {
        assert_eq!(seen.iter().filter(|other| *other == name).count(), 1, "{name}");
    }
    let mut once = seen.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), seen.len(), "no name twice");
}

#[tokio::test]
async fn pages_say_what_remains_and_tokens_resume_the_stream() {
    let shelf = Shelf::with(25);
    let app = app(&shelf);
    let whole = get(&app, "/v1/items").await;
    assert_eq!(whole.list().metadata.remaining_item_count, None);
    let first = get(&app, "/v1/items?limit=10").await.list().metadata;
    assert_eq!(first.remaining_item_count, Some(15));
    let token = first.continue_token.expect("more");
    let rest = get(&app, &format!("/v1/items?continue={token}")).await;
    assert_eq!(rest.names(), whole.names()[10..]);
    assert_eq!(rest.list().metadata.continue_token, None);
    let last = get(&app, &format!("/v1/items?limit=15&continue={token}")).await.list();
    assert_eq!((last.metadata.continue_token, last.metadata.remaining_item_count), (None, Some(0)));
    assert_eq!(last.items.len(), 15);
}

#[tokio::test]
async fn a_token_of_another_life_or_list_is_refused() {
    let (old, new) = (Shelf::with(5), Shelf::with(5));
    let token = get(&app(&old), "/v1/items?limit=2").await.list().metadata.continue_token.expect("more");
    let answer = get(&app(&new), &format!("/v1/items?limit=2&continue={token}")).await;
    assert_eq!((answer.status, answer.status().reason.as_str()), (StatusCode::GONE, "Expired"));
    let answer = get(&app(&old), &format!("/v1/withheld?limit=2&continue={token}")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_withheld_is_told_and_paged() {
    let shelf = Shelf::with(1);
    let app = app(&shelf);
    for number in 0..5 {
        let why = ambassador_kit::catalog::Why { reason: "excluded", message: "by *.tmp".into(), pending: false };
        shelf.catalog.withhold(format!("{number}.tmp").as_bytes(), why);
    }
    let (mut token, mut keys) = (String::new(), Vec::new());
    loop {
        let page = get(&app, &format!("/v1/withheld?limit=2{token}")).await;
        let page: WithheldList = serde_json::from_str(page.body()).expect("a WithheldList");
        keys.extend(page.items.iter().map(|one| format!("{} {}", one.reason, one.key)));
        match page.metadata.continue_token {
            Some(next) => token = format!("&continue={next}"),
            None => break,
        }
    }
    let want =
        ["hidden .hidden", "excluded 0.tmp", "excluded 1.tmp", "excluded 2.tmp", "excluded 3.tmp", "excluded 4.tmp"];
    assert_eq!(keys, want);
    let whole = get(&app, "/v1/withheld").await;
    let whole: WithheldList = serde_json::from_str(whole.body()).expect("a WithheldList");
    assert_eq!((whole.kind.as_str(), whole.items.len()), ("WithheldList", 6));
}

#[tokio::test]
async fn gone_is_told_from_never_listed() {
    let shelf = Shelf::with(2);
    let app = app(&shelf);
    let name = shelf.put("film.mp4", 1);
    assert_eq!(get(&app, &format!("/items/{name}")).await.status, StatusCode::OK);
    let newer = shelf.put("film.mp4", 2);
    let answer = get(&app, &format!("/items/{name}")).await;
    assert_eq!((answer.status, answer.status().reason.as_str()), (StatusCode::GONE, "Gone"));
    assert_eq!(get(&app, &format!("/items/{newer}")).await.status, StatusCode::OK);
    assert_eq!(get(&app, "/items/film-mp4-aaaaaaaaaaaaa").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_window_moves_as_its_items_are_settled() {
    let queue = Queue::with(7, 3);
    let app = app(&queue);
    let names = |ids: &[u64]| ids.iter().map(|id| Queue::name(*id).to_string()).collect::<Vec<_>>();
    let list = get(&app, "/v1/items").await;
    assert_eq!((list.names(), list.list().metadata.backlog), (names(&[0, 1, 2]), Some(4)));
    assert_eq!(get(&app, "/v1/items?limit=2").await.list().metadata.remaining_item_count, Some(1));

    // One in the window, one that is not at hand yet, one as dead.
    for (id, query) in [(1, ""), (4, ""), (0, "?outcome=failed&reason=bad%20video")] {
        let answer = send(&app, Method::DELETE, &format!("/v1/items/{}{query}", Queue::name(id))).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    }
    let list = get(&app, "/v1/items").await;
    assert_eq!(
        (list.names(), list.list().metadata.backlog),
        (names(&[2, 3, 5]), Some(1)),
        "4 was settled before it came"
    );
    queue.push(7);
    assert_eq!(get(&app, "/v1/items").await.list().metadata.backlog, Some(2));

    queue.drain().await;
    assert_eq!(queue.rest(), (vec![(0, Some("bad video".into()))], 5), "what was leased is given back");
}

#[tokio::test]
async fn a_log_answers_for_names_it_computes() {
    let log = Log::with(1_000_000);
    let app = app(&log);
    let held = Arc::strong_count(&log);
    let name = |offset| format!("/items/{}", log.name(offset));
    assert_eq!(get(&app, &name(999_999)).await.status, StatusCode::OK);
    for offset in [500_000, 1_010_000] {
        assert_eq!(get(&app, &name(offset)).await.status, StatusCode::NOT_FOUND, "{offset}");
    }
    assert_eq!(get(&app, &name(7).replace("-7-", "-07-")).await.status, StatusCode::NOT_FOUND);
    let answer = send(&app, Method::DELETE, &name(0)).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers.get(header::ALLOW).expect("Allow"), "GET, HEAD");
    assert_eq!(Arc::strong_count(&log), held, "no request holds it on");
}
