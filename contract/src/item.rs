//! The `data` of an item that is an object (a file, an S3 object): what a worker can rely on.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What RFC 3986 allows unescaped in a path, besides `/`.
const PATH: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'&');

/// Escapes the bytes of a path for use in a URI, leaving `/` alone. The inverse is percent-decoding.
pub fn encode_path(path: &[u8]) -> String {
    percent_encode(path, &PATH).to_string()
}

/// The bytes of a path escaped by [`encode_path`].
pub fn decode_path(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// `data` of an item that stands for a file or an object.
///
/// Fields this version does not know are kept in [`other`](Self::other), so that a script sees the item as the source
/// gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectData {
    /// Where the bytes are: `file:`, `s3:` or `https:`, percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Path relative to the source.
    #[serde(default, skip_serializing_if = "Option::is_none", flatten)]
    pub key: Option<Key>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The version of the content: S3's ETag, a file's [`FileVersion`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When it was last written, by the store's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Timestamp>,
    /// Everything else the source said.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// A key as JSON can carry it: the text itself where it is UTF-8; otherwise percent-encoded, and said to be so.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    #[serde(rename = "key")]
    text: String,
    #[serde(rename = "keyEncoding", default, skip_serializing_if = "Option::is_none")]
    encoding: Option<KeyEncoding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyEncoding {
    Percent,
}

impl Key {
    /// The key of these native bytes.
    pub fn new(native: &[u8]) -> Self {
        match std::str::from_utf8(native) {
            Ok(text) => Self { text: text.to_owned(), encoding: None },
            Err(_) => Self { text: encode_path(native), encoding: Some(KeyEncoding::Percent) },
        }
    }

    /// The native bytes: what a file system or a bucket calls it.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self.encoding {
            None => self.text.as_bytes().to_vec(),
            Some(KeyEncoding::Percent) => percent_decode_str(&self.text).collect(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The version of a file's content: `<size>-<mtime in nanoseconds since 1970>`, decimal.
///
/// Neither inode nor device is part of it, so that the same folder mounted elsewhere gives the same versions. Versions
/// have no order: `cp -p` and `mv` bring old times back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileVersion {
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970; negative before.
    pub mtime_nanos: i128,
}

impl fmt::Display for FileVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.mtime_nanos) {
            // Until the year 2262, and many times faster.
            Ok(nanos) => write!(f, "{}-{nanos}", self.size),
            Err(_) => write!(f, "{}-{}", self.size, self.mtime_nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_json_whatever_their_bytes() {
        for native in [&b"a/b c.mp4"[..], "été".as_bytes(), b"\xff%41\n", b"100%"] {
            let data = ObjectData { key: Some(Key::new(native)), ..empty() };
            let json = serde_json::to_string(&data).expect("serialises");
            let back: ObjectData = serde_json::from_str(&json).expect("parses");
            assert_eq!(back.key.expect("has a key").to_bytes(), native, "{json}");
        }
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let json = r#"{"uri":"s3://b/k","bucket":"b","versionId":"3"}"#;
        let data: ObjectData = serde_json::from_str(json).expect("parses");
        assert_eq!(data.key, None);
        assert_eq!(serde_json::to_string(&data).expect("serialises"), json);
    }

    fn empty() -> ObjectData {
        ObjectData { uri: None, key: None, size: None, etag: None, last_modified: None, other: serde_json::Map::new() }
    }
}
