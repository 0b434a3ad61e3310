//! Objects with their version ids.

use aws_sdk_s3::types::{EncodingType, ObjectVersionStorageClass};
use storage::Error;

use super::{decode, timestamp, unquoted, unsigned, version_id};
use crate::error::Refusal;
use crate::{Bucket, ListPage, ListQuery, Listed};

impl Bucket {
    /// As [`list`](Self::list), each object with the id of its version where the bucket keeps versions. The store goes through all
    /// that were overwritten or deleted too, so a page may show few, or none, and not be the last. No delimiter.
    ///
    /// # Errors
    /// As [`list`](Self::list); it needs the right to list versions.
    pub async fn list_versions(&self, query: &ListQuery) -> Result<ListPage, Error> {
        let client = self.s3.client().await?;
        let (after, version) = match query.token.as_deref().and_then(read_token) {
            Some((key, version)) => (Some(key.to_owned()), Some(version.to_owned()).filter(|id| !id.is_empty())),
            None => (query.start_after.clone(), None),
        };
        let request = client
            .list_object_versions()
            .bucket(&*self.name)
            .prefix(&query.prefix)
            .encoding_type(EncodingType::Url)
            .set_key_marker(after)
            .set_version_id_marker(version)
            .set_max_keys(query.max.map(i32::from));
        let page = request.send().await;
        let page =
            page.map_err(|error| Refusal::from(error).at(&format!("list versions of {}", self.uri(&query.prefix))))?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let plain = |text: &str| if encoded { decode(text) } else { text.to_owned() };
        let latest = page.versions().iter().filter(|version| version.is_latest().unwrap_or_default());
        let objects = latest.map(|object| Listed {
            key: plain(object.key().unwrap_or_default()),
            size: unsigned(object.size()),
            etag: unquoted(object.e_tag()),
            version_id: version_id(object.version_id()),
            last_modified: object.last_modified().map(timestamp),
            storage_class: object
                .storage_class()
                .filter(|class| **class != ObjectVersionStorageClass::Standard)
                .map(|class| class.as_str().to_owned()),
        });
        let more = page.is_truncated().unwrap_or_default();
        let next = page.next_key_marker().filter(|_| more);
        Ok(ListPage {
            objects: objects.collect(),
            prefixes: Vec::new(),
            next: next.map(|key| token(&plain(key), page.next_version_id_marker().unwrap_or_default())),
        })
    }
}

/// Where a listing of versions goes on: a key may hold any character, so its length stands before it.
fn token(key: &str, version: &str) -> String {
    format!("{}:{key}{version}", key.len())
}

fn read_token(token: &str) -> Option<(&str, &str)> {
    let (len, rest) = token.split_once(':')?;
    rest.split_at_checked(len.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_key_and_version_apart() {
        for (key, version) in [("a:b", "7:x"), ("", "v"), ("\u{10ffff}", "")] {
            assert_eq!(read_token(&token(key, version)), Some((key, version)));
        }
        assert_eq!(read_token("9:short"), None);
    }
}
