//! A bucket that outputs go to.

use std::collections::BTreeSet;

use contract::MARKER_FILE;
use test_servers::{Bucket, S3Server};

use super::checks::{Whole, is_report};

/// Outputs that go to a bucket.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) bucket: Bucket,
    pub(super) env: Vec<(String, String)>,
    /// How workers publish to it.
    pub(super) mode: &'static str,
}

impl Store {
    pub(super) fn new(server: &S3Server) -> Self {
        Self { bucket: Bucket::new(server), env: server.env(), mode: "in-place" }
    }

    /// The keys below an item's place, without that.
    pub(super) fn below(&self, key: &str) -> Vec<String> {
        let place = format!("out/{key}/");
        self.bucket.keys().iter().filter_map(|key| key.strip_prefix(&place)).map(str::to_owned).collect()
    }

    /// What is published for an item: all that the marker says, and nothing else.
    pub(super) fn output(&self, key: &str) -> Result<Whole, String> {
        let marker = self.bucket.published(&format!("out/{key}")).ok_or("no marker")?;
        let named: BTreeSet<String> = marker.outputs.iter().map(|output| output.path.clone()).collect();
        let is_named = |path: &String| path == MARKER_FILE || is_report(path) || named.contains(path);
        if let Some(stray) = self.below(key).into_iter().find(|path| !is_named(path)) {
            return Err(format!("{stray} stands there and the marker does not name it"));
        }
        let read = |name: &str| {
            let path = named.iter().find(|path| path.ends_with(name));
            path.and_then(|path| self.bucket.get(&format!("out/{key}/{path}"))).unwrap_or_default()
        };
        let by = String::from_utf8_lossy(&read("sub/attempt")).into_owned();
        let copy = read("copy");
        Ok(Whole { marker, by, copy })
    }
}
