//! `s3://bucket/key`, the key percent-encoded as in every URI of an item.

use contract::item::{decode_path, encode_path};
use storage::{Error, Uri};

/// A bucket and what stands behind it: a key, or the beginning of some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The bucket's name.
    pub bucket: String,
    /// Byte for byte: a leading slash, `//` and `..` mean nothing to a store. Empty for the whole bucket.
    pub key: String,
}

impl Location {
    /// Reads `s3://bucket/key`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another scheme, a bucket that can be none, or a key that is not UTF-8 or longer than 1,024 bytes
    /// (the API's own limits).
    pub fn parse(uri: &Uri) -> Result<Self, Error> {
        let invalid = |why: &str| Error::Invalid(format!("{uri} {why}; write s3://bucket/key"));
        let text = match uri {
            Uri::Other { scheme, text } if scheme == "s3" => text,
            Uri::File(_) | Uri::Other { .. } => return Err(invalid("is no s3: URI")),
        };
        // The scheme may be written in capitals.
        let rest = text.get(3..).and_then(|rest| rest.strip_prefix("//")).ok_or_else(|| invalid("has no bucket"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if bucket.is_empty() || bucket.len() > 255 || !bucket.bytes().all(legal) || bucket.contains("..") {
            return Err(invalid("has no legal bucket name"));
        }
        let key = String::from_utf8(decode_path(key)).map_err(|_| invalid("has a key that is not UTF-8"))?;
        if key.len() > 1024 {
            return Err(invalid("has a key of more than 1,024 bytes"));
        }
        Ok(Self { bucket: bucket.to_owned(), key })
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, encode_path(self.key.as_bytes()))
    }
}
