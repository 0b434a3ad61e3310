//! `_SUCCESS.json`: what an item's output is. Written last; whatever it does not name is not output.

use serde::{Deserialize, Serialize};

use crate::{ItemName, Key, Timestamp};

/// File name of the [`Marker`] in an item's output directory.
pub const MARKER_FILE: &str = "_SUCCESS.json";
/// Directory below an output root where runs in progress stage their output; never output itself.
pub const STAGING_DIR: &str = ".longshore";
/// In an object store, below an item's output: what single attempts have left there. Output lies there only where a marker
/// names it.
pub const ATTEMPTS_DIR: &str = "_attempts";

/// The content of [`MARKER_FILE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// Always `Success`.
    pub kind: MarkerKind,
    /// Always `v1`.
    pub api_version: ApiV1,
    /// Which item this is the output of.
    pub item: MarkedItem,
    /// The revision it was made under.
    pub revision: u64,
    /// The nonce of the attempt that made it.
    pub attempt: String,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Every file of the output, sorted by path.
    pub outputs: Vec<Output>,
    /// What the command wrote to `RESULT_FILE`, when that was JSON of at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
}

/// The item a [`Marker`] stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MarkedItem {
    /// As the source lists it.
    pub name: ItemName,
    /// Its native key: two items of one output directory are the same thing exactly when their keys are equal, and their
    /// sources where both say them.
    #[serde(flatten)]
    pub key: Key,
    /// Where it was read from, where that is a name which everybody shares (`s3://bucket/key`): the item's `uri` without its
    /// query. Absent for files, as a folder may be mounted elsewhere, and where the item has no `uri`. Two items of the same key
    /// that both say it, and not alike, are not the same thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The version of the input; empty where the source gave none.
    pub version: String,
}

/// One file of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Relative to the marker's directory, percent-encoded as a relative URI reference (`a%20b/c.jpg`), so that names
    /// that are not UTF-8 survive too.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content, lower-case hexadecimal.
    pub sha256: String,
}

/// The word `Success`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkerKind {
    /// The only one.
    #[default]
    Success,
}

/// The word `v1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiV1 {
    /// The only one.
    #[default]
    #[serde(rename = "v1")]
    V1,
}
