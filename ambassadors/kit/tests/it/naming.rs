//! Raw names, as they are asked for.

use ambassador_kit::Names;
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::asking::{app, get, send};
use crate::sources::Shelf;

/// Keys that look like something else in a URL.
const KEYS: [&str; 17] = [
    "My Video.MP4",
    "dir/sub/a.mp4",
    "/leading",
    "trailing/",
    "/",
    "a//b",
    "../../etc/passwd",
    "a/../b",
    "a/./b",
    "v1/items",
    "items",
    "api/v1/items/x",
    "withheld",
    "100%",
    "a%20b?c#d&e=f",
    "été/語.mp4",
    "x@y@1",
];

#[tokio::test]
async fn every_key_can_be_asked_for_by_its_encoded_name_under_every_path() {
    for version in ["", "17-1700000000000000000"] {
        let shelf = Shelf::with(0);
        let app = app(&shelf);
        for key in KEYS {
            let name = Names::Raw.of(b"", key.as_bytes(), version.as_bytes()).expect("a name");
            shelf.catalog.list(key.as_bytes(), &name, 1);
        }
        let names = get(&app, "/v1/items").await.names();
        assert_eq!(names.len(), KEYS.len());
        for (key, name) in KEYS.iter().zip(&names) {
            let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
            for items in contract::wire::ITEM_PATHS {
                let answer = get(&app, &format!("{items}/{encoded}")).await;
                assert_eq!(answer.status, StatusCode::OK, "{items} {name}");
                let item: serde_json::Value = serde_json::from_str(answer.body()).expect("JSON");
                assert_eq!(
                    (item["metadata"]["name"].as_str(), item["data"]["key"].as_str()),
                    (Some(&**name), Some(*key))
                );
            }
        }
        let encoded = utf8_percent_encode(&names[6], NON_ALPHANUMERIC).to_string();
        assert_eq!(send(&app, Method::DELETE, &format!("/items/{encoded}")).await.status, StatusCode::NO_CONTENT);
        assert_eq!(get(&app, "/items").await.names().len(), KEYS.len() - 1);
    }
}

#[tokio::test]
async fn slashes_and_what_else_a_path_may_hold_can_stand_as_they_are() {
    let shelf = Shelf::with(0);
    let app = app(&shelf);
    for key in KEYS {
        let name = Names::Raw.of(b"", key.as_bytes(), b"1-2").expect("a name");
        shelf.catalog.list(key.as_bytes(), &name, 1);
    }
    for key in KEYS.iter().filter(|key| !key.contains(['?', ' '])) {
        let answer = get(&app, &format!("/items/{key}@1-2")).await;
        assert_eq!(answer.status, StatusCode::OK, "{key}");
        let item: serde_json::Value = serde_json::from_str(answer.body()).expect("JSON");
        assert_eq!(item["data"]["key"].as_str(), Some(*key));
    }
}

#[tokio::test]
async fn two_keys_of_one_raw_name_are_both_withheld() {
    let shelf = Shelf::with(0);
    for (key, version) in [("a@1", "2"), ("a", "1@2")] {
        let name = Names::Raw.of(b"", key.as_bytes(), version.as_bytes()).expect("a name");
        shelf.catalog.list(key.as_bytes(), &name, 1);
    }
    let app = app(&shelf);
    assert_eq!(get(&app, "/items").await.names(), Vec::<String>::new());
    assert!(get(&app, "/v1/withheld").await.body().contains("name-collision"));
}
