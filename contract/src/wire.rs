//! Bodies of the source contract, `/v1/items` and its neighbours.

use serde::{Deserialize, Serialize};

use crate::marker::ApiV1;
use crate::{ItemName, Timestamp};

/// Paths under which the list is served: ours, the one in the book's text, and the one its sample manager uses.
pub const ITEM_PATHS: [&str; 3] = ["/v1/items", "/api/v1/items", "/items"];

/// Answer to `GET /v1/items`.
///
/// A source of another make may leave out everything but `items`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemList {
    /// `ItemList`.
    #[serde(default)]
    pub kind: String,
    /// `v1`.
    #[serde(default)]
    pub api_version: String,
    /// What is known of the list as a whole.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The names, in the order that `GET /v1` states.
    pub items: Vec<ItemName>,
}

/// What is known of a list as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Whether everything could be seen: only then may absence be taken for an end. A foreign list that does not say
    /// counts as complete.
    pub complete: bool,
    /// The catalog's revision, `<incarnation>.<n>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// The token of the next page; absent on the last.
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
    /// How many items follow this page, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_item_count: Option<u64>,
    /// How many items wait behind a queue's window, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u64>,
    /// Of a queue, where known: whether anything was in it since this source runs, whoever took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub had_items: Option<bool>,
}

impl Default for ListMeta {
    fn default() -> Self {
        Self {
            complete: true,
            resource_version: None,
            continue_token: None,
            remaining_item_count: None,
            backlog: None,
            had_items: None,
        }
    }
}

/// One line of a watch, `GET /v1/items?watch=true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE", rename_all_fields = "camelCase")]
pub enum WatchEvent {
    /// The item is listed from this revision on. Or it is one of those that were listed when a watch from the start began:
    /// then the version is that of the empty list, until a BOOKMARK says that those are all.
    Added {
        /// Which.
        item: ItemName,
        /// `<incarnation>.<n>`: a watch that goes on from here is told all that follows.
        resource_version: String,
    },
    /// The item is listed no more.
    Removed {
        /// Which.
        item: ItemName,
        /// `<incarnation>.<n>`.
        resource_version: String,
    },
    /// Nothing that happened up to this revision is untold. Ends what a watch from the start shows first, and comes again
    /// from time to time, so that a silent connection is known from a dead one.
    Bookmark {
        /// `<incarnation>.<n>`.
        resource_version: String,
    },
    /// The watch ends here: 410 for a reader too slow (list again), 503 for a backend that was lost.
    Error {
        /// Up to where everything was told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource_version: Option<String>,
        /// Why.
        status: Status,
    },
    /// A type that a later version knows: to be passed over.
    #[serde(other)]
    Other,
}

/// Answer to `GET /v1/items/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// `Item`.
    #[serde(default)]
    pub kind: String,
    /// `v1`.
    #[serde(default)]
    pub api_version: String,
    /// The item's name; the book's own sources leave it out.
    #[serde(default)]
    pub metadata: ItemMeta,
    /// What the worker gets; for objects an [`ObjectData`](crate::ObjectData).
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// `metadata` of an [`Item`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemMeta {
    /// As the list shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ItemName>,
}

impl Item {
    /// An item of this name and data.
    pub fn new(name: ItemName, data: serde_json::Map<String, serde_json::Value>) -> Self {
        Self { kind: "Item".into(), api_version: "v1".into(), metadata: ItemMeta { name: Some(name) }, data }
    }
}

/// Answer to `GET /v1/withheld`: what is not listed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WithheldList {
    /// `WithheldList`.
    pub kind: String,
    /// `v1`.
    pub api_version: String,
    /// `complete` and the page token mean what they mean in a list.
    #[serde(default)]
    pub metadata: ListMeta,
    /// One entry per native item that is not listed.
    pub items: Vec<Withheld>,
}

/// One native item that is not listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withheld {
    /// Its native key.
    #[serde(flatten)]
    pub key: crate::Key,
    /// One word of a fixed set, also the label of the metric: `growing`, `too-young`, `hidden`, `excluded`, ….
    pub reason: String,
    /// For people: which pattern, how much longer, what to change.
    pub message: String,
    /// Whether it will be listed by itself in a while, so that a manager that drains should wait for it.
    pub pending: bool,
    /// Since when, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Answer to `GET /v1`: who is speaking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// `Source`.
    pub kind: String,
    /// `v1`.
    pub api_version: String,
    /// The program, such as `files-ambassador`.
    pub ambassador: String,
    /// Its version.
    pub version: String,
    /// The source id that names are derived with.
    pub source_id: String,
    /// Order of the list: `age`, `key` or `position`.
    pub order: String,
    /// Changes when positions and revisions of before mean nothing any more.
    pub incarnation: String,
    /// What is offered.
    pub capabilities: Capabilities,
}

/// What a source offers beside listing and getting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// `limit` and `continue`.
    pub paging: bool,
    /// `watch=true`.
    pub watch: bool,
    /// `GET /v1/withheld`.
    pub withheld: bool,
    /// `DELETE`, and how exactly it meets the version named.
    pub settle: Settle,
}

/// How a source settles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settle {
    /// `DELETE` is 405.
    #[default]
    None,
    /// Exactly the version the name stands for, or nothing.
    Exact,
    /// The store cannot delete conditionally: a version written in the same instant may go too.
    BestEffort,
}

/// Every error body, shaped like Kubernetes' `Status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `Status`.
    pub kind: String,
    /// Always `v1`.
    pub api_version: ApiV1,
    /// `Failure`.
    pub status: String,
    /// One word: `BadRequest`, `Unauthorized`, `NotFound`, `MethodNotAllowed`, `Gone`, `Expired`, `TooManyRequests`,
    /// `ServiceUnavailable`, `Timeout`, `NotImplemented`, `InternalError`.
    pub reason: String,
    /// One line for people.
    pub message: String,
    /// The HTTP status, again.
    pub code: u16,
}

impl Status {
    /// A failure.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: "Status".into(),
            api_version: ApiV1::V1,
            status: "Failure".into(),
            reason: reason.into(),
            message: message.into(),
            code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_bare_list_is_complete() {
        let list: ItemList =
            serde_json::from_str(r#"{"kind":"ItemList","apiVersion":"v1","metadata":{},"items":["a"]}"#)
                .expect("the book's own example parses");
        assert!(list.metadata.complete);
        let bare: ItemList = serde_json::from_str(r#"{"items":[]}"#).expect("the least there can be parses");
        assert!(bare.metadata.complete);
    }

    #[test]
    fn wire_json_is_frozen() {
        let list = ItemList {
            kind: "ItemList".into(),
            api_version: "v1".into(),
            metadata: ListMeta { continue_token: Some("t".into()), ..ListMeta::default() },
            items: vec!["a".parse().expect("a name")],
        };
        assert_eq!(
            serde_json::to_string(&list).expect("serialises"),
            r#"{"kind":"ItemList","apiVersion":"v1","metadata":{"complete":true,"continue":"t"},"items":["a"]}"#
        );
        assert_eq!(
            serde_json::to_string(&Status::failure(404, "NotFound", "no item \"x\"")).expect("serialises"),
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"no item \"x\"","code":404}"#
        );
        let line = WatchEvent::Added { item: "a".parse().expect("a name"), resource_version: "x.1".into() };
        assert_eq!(
            serde_json::to_string(&line).expect("serialises"),
            r#"{"type":"ADDED","item":"a","resourceVersion":"x.1"}"#
        );
    }

    #[test]
    fn a_line_of_a_type_to_come_is_passed_over() {
        let line = serde_json::from_str::<WatchEvent>(r#"{"type":"MOVED","item":"a","to":7}"#);
        assert_eq!(line.expect("parses"), WatchEvent::Other);
    }
}
