//! The item file: read, checked, and made into what the rest of the worker needs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use contract::wire::Item;
use contract::{ItemName, Key, Timestamp, TraceContext, exit};
use serde_json::{Map, Value};
use storage::Uri;

use crate::JobError;

/// The most an item file may hold, in bytes.
const MAX: u64 = 1024 * 1024;

/// An item whose shape is known to be good. Its values are still a stranger's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkItem {
    pub(crate) name: Option<ItemName>,
    key: Option<Key>,
    /// The version of the content, as a store compares it.
    pub(crate) etag: Option<String>,
    /// Which of the versions that a bucket keeps.
    pub(crate) version_id: Option<String>,
    /// Until when `url` is good, where it is signed.
    pub(crate) url_expires: Option<Timestamp>,
    /// For each input where it may be had, best first; none for a message, which is all in the item.
    pub(crate) inputs: Vec<Vec<Uri>>,
    pub(crate) size: Option<u64>,
    /// Signed URLs for what it publishes, by path below its place.
    pub(crate) uploads: BTreeMap<String, Uri>,
    data: Map<String, Value>,
}

impl WorkItem {
    /// Reads the file that `WORK_ITEM_FILE` names.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, JobError> {
        let path = path.ok_or_else(|| {
            JobError::new(
                exit::CONFIG,
                "NoItemFile",
                "WORK_ITEM_FILE is not set: name the file that holds the item, or give --work-item-file",
            )
        })?;
        Self::parse(&read(path)?).map_err(|why| {
            let message = format!(
                "the item file {} {why}; it must be a JSON object of at most 1 MiB with a \"uri\" (or \"url\" or \"urls\"), or \
                 a message's \"value\"",
                path.display()
            );
            JobError::new(exit::BAD_ITEM, "BadItem", message)
        })
    }

    fn parse(json: &[u8]) -> Result<Self, String> {
        if json.len() as u64 > MAX {
            return Err("is larger than that".to_owned());
        }
        if json.trim_ascii().is_empty() {
            return Err("is empty".to_owned());
        }
        let value: Value = serde_json::from_slice(json).map_err(|error| format!("is not JSON ({error})"))?;
        let Value::Object(mut data) = value else { return Err("is JSON but no object".to_owned()) };
        let mut name = None;
        // A whole Item: its data is the item.
        let bare = ["uri", "url", "urls", "uris", "value", "valueBase64"].iter().any(|field| data.contains_key(*field));
        if !bare && let Some(Value::Object(inner)) = data.get_mut("data").map(Value::take) {
            name = data.get("metadata").and_then(|metadata| metadata.get("name")).cloned();
            data = inner;
        }
        let name = match name {
            None | Some(Value::Null) => None,
            Some(name) => {
                Some(serde_json::from_value(name).map_err(|error| format!("has an unusable metadata.name ({error})"))?)
            }
        };
        let key = match data.get("key") {
            None | Some(Value::Null) => None,
            Some(_) => Some(key(&data)?),
        };
        let filled = |name| Ok::<_, String>(text(&data, name)?.filter(|text| !text.is_empty()).map(str::to_owned));
        let (etag, version_id) = (filled("etag")?, filled("versionId")?);
        let size = data.get("size").and_then(Value::as_u64);
        // Only ever a hint, so one that cannot be read is none.
        let url_expires = data.get("urlExpires").and_then(|time| serde_json::from_value(time.clone()).ok());
        let (inputs, uploads) = (inputs(&data)?, uploads(&data)?);
        if inputs.is_empty() && !data.contains_key("value") && !data.contains_key("valueBase64") {
            return Err("names no input".to_owned());
        }
        Ok(Self { name, key, etag, version_id, url_expires, inputs, size, uploads, data })
    }

    /// What the item stands for, of everything its key ever was: the version id, else the ETag; empty where the source gave
    /// neither.
    pub(crate) fn version(&self) -> &str {
        self.version_id.as_deref().or(self.etag.as_deref()).unwrap_or_default()
    }

    /// The item's `uri` without its query, where that is a name which everybody shares: a folder may be mounted elsewhere.
    pub(crate) fn source(&self) -> Option<String> {
        let uri = self.data.get("uri")?.as_str()?;
        let is_shared = Uri::parse(uri).is_ok_and(|uri| uri.scheme() != "file");
        let (name, _) = uri.split_once(['?', '#']).unwrap_or((uri, ""));
        is_shared.then(|| name.to_owned())
    }

    /// Settles what the item is called and what its native key is: `name` as the manager gave it, else the item's own, else
    /// one made of the key; the key as the source gave it, else the one its input has below the allowed root. A message's
    /// key is shared by many messages, so a message is known by its name.
    pub(crate) fn identify(
        &self,
        name: Option<&ItemName>,
        input_key: Option<Key>,
    ) -> Result<(ItemName, Key), JobError> {
        let name = name.or(self.name.as_ref());
        let key = if self.inputs.is_empty() { None } else { self.key.clone().or(input_key) };
        match (name, key) {
            (Some(name), Some(key)) => Ok((name.clone(), key)),
            (Some(name), None) => Ok((name.clone(), Key::new(name.as_str().as_bytes()))),
            (None, Some(key)) => Ok((ItemName::derive(b"", &key.to_bytes(), self.version().as_bytes()), key)),
            (None, None) => Err(JobError::new(
                exit::BAD_ITEM,
                "BadItem",
                "the item is a message without a name; set WORK_ITEM_NAME, or write the whole Item to the item file",
            )),
        }
    }

    /// The trace that it is part of.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        TraceContext::of_data(&self.data)
    }

    /// The item as its source gave it, under this name.
    pub(crate) fn into_item(self, name: ItemName) -> Item {
        Item::new(name, self.data)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, JobError> {
    let mut json = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX + 1).read_to_end(&mut json));
    match read {
        Ok(_) => Ok(json),
        Err(error) => {
            let (code, reason, hint) = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => (
                    exit::NO_INPUT,
                    "ItemFileMissing",
                    "; WORK_ITEM_FILE, or --work-item-file, must name a file that is there when the worker starts: is its volume \
                     mounted, and under this path?",
                ),
                io::ErrorKind::PermissionDenied => {
                    (exit::CONFIG, "ItemFileUnreadable", "; let the user that the worker runs as read it")
                }
                io::ErrorKind::IsADirectory => (
                    exit::CONFIG,
                    "ItemFileUnreadable",
                    "; WORK_ITEM_FILE, or --work-item-file, must name the file in it",
                ),
                _ => (exit::IO, "ItemFileUnreadable", ""),
            };
            Err(JobError::new(code, reason, format!("cannot read the item file {}: {error}{hint}", path.display())))
        }
    }
}

fn key(data: &Map<String, Value>) -> Result<Key, String> {
    let fields = ["key", "keyEncoding"].into_iter().filter_map(|name| Some((name.to_owned(), data.get(name)?.clone())));
    serde_json::from_value(Value::Object(fields.collect()))
        .map_err(|error| format!("has an unusable \"key\" ({error})"))
}

fn text<'a>(data: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match data.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("has a {name:?} that is no string")),
    }
}

fn inputs(data: &Map<String, Value>) -> Result<Vec<Vec<Uri>>, String> {
    let parse = |text: &str| Uri::parse(text).map_err(|error| format!("has an unusable URI: {error}"));
    let mut one = Vec::new();
    for name in ["uri", "url"] {
        if let Some(text) = text(data, name)? {
            one.push(parse(text)?);
        }
    }
    if !one.is_empty() {
        return Ok(vec![one]);
    }
    let several = match data.get("urls").or_else(|| data.get("uris")) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(several)) if !several.is_empty() => several,
        Some(_) => return Err("has \"urls\" that are no list of strings".to_owned()),
    };
    let each = several.iter().map(|value| {
        let text = value.as_str().ok_or_else(|| "has \"urls\" that are no list of strings".to_owned())?;
        Ok(vec![parse(text)?])
    });
    each.collect()
}

fn uploads(data: &Map<String, Value>) -> Result<BTreeMap<String, Uri>, String> {
    let uploads = match data.get("uploads") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(uploads)) => uploads,
        Some(_) => return Err("has \"uploads\" that are no object of URLs by path".to_owned()),
    };
    let each = uploads.iter().map(|(path, url)| {
        let url = url.as_str().ok_or_else(|| format!("has \"uploads\" with no URL for {path:?}"))?;
        let url = Uri::parse(url).map_err(|error| format!("has an unusable URL in \"uploads\": {error}"))?;
        Ok((path.clone(), url))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> WorkItem {
        WorkItem::parse(json.as_bytes()).expect(json)
    }

    #[test]
    fn data_and_whole_items_are_the_same() {
        let data = r#"{"uri":"file:///a/b","key":"b","etag":"1-2","size":1,"more":[1]}"#;
        let whole = format!(r#"{{"kind":"Item","apiVersion":"v1","metadata":{{"name":"b-x"}},"data":{data}}}"#);
        let (bare, whole) = (item(data), item(&whole));
        assert_eq!(whole.name, Some("b-x".parse().expect("a name")));
        assert_eq!(WorkItem { name: None, ..whole }, bare);
        assert_eq!((bare.version(), bare.size), ("1-2", Some(1)));
        assert_eq!(bare.inputs, [[Uri::File("/a/b".into())]]);
    }

    #[test]
    fn where_an_item_was_read_from_is_said_where_everybody_calls_it_so() {
        let source = |json| item(json).source();
        assert_eq!(
            source(r#"{"uri":"s3://inn/a%20b","url":"https://x.test/a?sig=1"}"#).as_deref(),
            Some("s3://inn/a%20b")
        );
        assert_eq!(source(r#"{"uri":"https://x.test/a?token=secret"}"#).as_deref(), Some("https://x.test/a"));
        for json in [r#"{"uri":"file:///a/b"}"#, r#"{"url":"https://x.test/a"}"#, r#"{"value":"m"}"#] {
            assert_eq!(source(json), None, "{json}");
        }
    }

    #[test]
    fn names_come_from_the_manager_then_the_item_then_the_key() {
        let given: ItemName = "given".parse().expect("a name");
        let own = item(r#"{"metadata":{"name":"own"},"data":{"uri":"file:///a/b"}}"#);
        let key = || Some(Key::new(b"b"));
        assert_eq!(own.identify(Some(&given), key()).expect("known").0, given);
        assert_eq!(own.identify(None, key()).expect("known").0.as_str(), "own");
        let bare = item(r#"{"uri":"file:///a/b","key":"k/b","etag":"1-2"}"#);
        let derived = bare.identify(None, key()).expect("known");
        assert_eq!(derived, (ItemName::derive(b"", b"k/b", b"1-2"), Key::new(b"k/b")));
    }

    #[test]
    fn a_message_is_known_by_its_name_and_not_by_its_key() {
        let message = item(r#"{"topic":"t","key":"shared","value":"x"}"#);
        assert!(message.inputs.is_empty());
        assert!(message.identify(None, None).is_err());
        let name: ItemName = "t-0-17".parse().expect("a name");
        assert_eq!(message.identify(Some(&name), None).expect("known").1, Key::new(b"t-0-17"));
    }

    #[test]
    fn a_message_with_data_of_its_own_is_no_whole_item() {
        let message = item(r#"{"value":"x","data":{"uri":"file:///a"}}"#);
        assert!(message.inputs.is_empty());
    }

    #[test]
    fn an_item_may_bring_urls_to_publish_to() {
        let item = item(r#"{"uri":"file:///a","uploads":{"x.txt":"https://h/o/a/x.txt?sig=s"}}"#);
        let uploads: Vec<_> = item.uploads.iter().map(|(path, url)| (path.as_str(), url.to_string())).collect();
        assert_eq!(uploads, [("x.txt", "https://h/o/a/x.txt".to_owned())]);
    }

    #[test]
    fn several_inputs() {
        assert_eq!(item(r#"{"urls":["file:///a","s3://b/c"]}"#).inputs.len(), 2);
        assert_eq!(item(r#"{"uri":"s3://b/c","url":"https://h/x"}"#).inputs.first().map(Vec::len), Some(2));
    }

    #[test]
    fn bad_items_say_what_is_wrong() {
        for (json, says) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("{", "is not JSON"),
            ("\u{0}\u{1}", "is not JSON"),
            ("[]", "no object"),
            ("\"x\"", "no object"),
            ("{}", "names no input"),
            (r#"{"key":"a"}"#, "names no input"),
            (r#"{"data":{}}"#, "names no input"),
            (r#"{"uri":7}"#, "\"uri\" that is no string"),
            (r#"{"uri":"/plain/path"}"#, "unusable URI"),
            (r#"{"uri":"file://host/a"}"#, "unusable URI"),
            (r#"{"uri":"file:///a","key":{}}"#, "unusable \"key\""),
            (r#"{"uri":"file:///a","etag":1}"#, "\"etag\" that is no string"),
            (r#"{"urls":[]}"#, "\"urls\""),
            (r#"{"uri":"file:///a","uploads":[]}"#, "\"uploads\""),
            (r#"{"uri":"file:///a","uploads":{"a":1}}"#, "no URL for \"a\""),
            (r#"{"uri":"file:///a","uploads":{"a":"b"}}"#, "unusable URL in \"uploads\""),
            (r#"{"urls":[1]}"#, "\"urls\""),
            (r#"{"metadata":{"name":"a\u0000"},"data":{"uri":"file:///a"}}"#, "metadata.name"),
        ] {
            let error = WorkItem::parse(json.as_bytes()).expect_err(json);
            assert!(error.contains(says), "{json}: {error}");
        }
        assert!(WorkItem::parse(&vec![b' '; 1024 * 1024 + 1]).expect_err("too large").contains("larger"));
    }
}
