//! `docs/contract.md` says what the code does: its examples are answers, its names are names, its promises are asked.

use ambassador_kit::conformance::{PROMISES, REASONS};
use contract::wire::{About, Item, ItemList, Status, WatchEvent, WithheldList};
use contract::{ItemName, Marker, Report};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const PAGE: &str = include_str!("../../../../docs/contract.md");

fn examples() -> Vec<&'static str> {
    PAGE.split("```json\n").skip(1).map(|rest| rest.split("```").next().expect("it is closed").trim()).collect()
}

/// Whether an example survives our types unchanged: no field of it is unknown, none that we write is missing.
fn survives<T: DeserializeOwned + Serialize>(example: &str) {
    let typed: T = serde_json::from_str(example).unwrap_or_else(|error| panic!("{error}: {example}"));
    let written = serde_json::to_value(typed).expect("it serialises");
    assert_eq!(written, serde_json::from_str::<Value>(example).expect("JSON"), "{example}");
}

#[test]
fn its_examples_are_answers() {
    let (mut kinds, mut events) = (Vec::new(), Vec::new());
    for example in examples().into_iter().flat_map(str::lines) {
        let value: Value = serde_json::from_str(example).expect("JSON");
        if let Some(event) = value.get("type") {
            survives::<WatchEvent>(example);
            events.push(event.clone());
            continue;
        }
        let kind = value.get("kind").and_then(Value::as_str).expect("a kind").to_owned();
        match kind.as_str() {
            "ItemList" => survives::<ItemList>(example),
            "Item" => survives::<Item>(example),
            "WithheldList" => survives::<WithheldList>(example),
            "Source" => survives::<About>(example),
            "Status" => survives::<Status>(example),
            "Success" => survives::<Marker>(example),
            "Report" => survives::<Report>(example),
            other => panic!("{other} is no kind of ours"),
        }
        kinds.push(kind);
    }
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    assert_eq!(events, ["ADDED", "REMOVED", "BOOKMARK", "ERROR"]);
}

#[test]
fn its_names_are_derived_as_it_says() {
    let cases: [(&[u8], &[u8], &[u8]); 4] = [
        (b"", b"My Video.MP4", b""),
        (b"", b"videos/2024/a.mp4", b"17-1700000000000000000"),
        (b"bucket", "été/".as_bytes(), b"\"etag\""),
        (b"", b"\xff\xfe\n", b""),
    ];
    for (source_id, key, version) in cases {
        let name = ItemName::derive(source_id, key, version);
        assert!(PAGE.contains(&format!("| `{name}` |")), "{name}");
    }
}

#[test]
fn its_promises_are_those_that_are_asked() {
    for promise in &PROMISES {
        let row = format!("| `{}` | {} |", promise.name, promise.says);
        assert!(PAGE.contains(&row), "{row}");
    }
    let table = PAGE.split("| name | promise |").nth(1).expect("the table of promises");
    assert_eq!(table.lines().filter(|line| line.starts_with("| `")).count(), PROMISES.len());
}

#[test]
fn its_reasons_are_those_that_are_known() {
    let table = PAGE.split("| reason | the native item |").nth(1).and_then(|rest| rest.split("\n\n").next());
    let rows = table.expect("the table of reasons").lines().filter(|line| line.starts_with("| `"));
    let words: Vec<(&str, bool)> = rows
        .flat_map(|row| {
            let (reasons, meaning) = row[2..].split_once(" | ").expect("two columns");
            let is_pending = meaning.contains("(pending)");
            reasons.split(", ").map(move |reason| (reason.trim_matches('`'), is_pending))
        })
        .collect();
    assert_eq!(words, REASONS);
}
