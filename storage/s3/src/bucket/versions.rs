//! Objects with their version ids.

use aws_sdk_s3::types::{EncodingType, ObjectVersionStorageClass};
use storage::Error;

use super::{decode, rest, timestamp, unquoted, unsigned, version_id};
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
        // Of a key the version that counts comes first: what is left of it behind a page is passed by. Versity begins with the
        // marker itself.
        let after = query.token.clone().or_else(|| query.start_after.clone());
        let request = client
            .list_object_versions()
            .bucket(&*self.name)
            .prefix(&query.prefix)
            .encoding_type(EncodingType::Url)
            .set_key_marker(after.clone())
            .set_max_keys(query.max.map(i32::from));
        let page = request.send().await;
        let page =
            page.map_err(|error| Refusal::from(error).at(&format!("list versions of {}", self.uri(&query.prefix))))?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let plain = |text: &str| if encoded { decode(text) } else { text.to_owned() };
        let latest = page.versions().iter().filter(|version| version.is_latest().unwrap_or_default());
        let is_after = |key: &str| after.as_deref().is_none_or(|after| key > after);
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
        // Whether the store's own marker is the last key shown or the first that is not, they do not agree on.
        let shown = page.versions().iter().filter_map(|version| version.key());
        let last = shown.chain(page.delete_markers().iter().filter_map(|marker| marker.key())).map(plain).max();
        let next = || last.or_else(|| page.next_key_marker().filter(|key| !key.is_empty()).map(plain));
        let next = rest(page.is_truncated(), next, || format!("list versions of {}", self.uri(&query.prefix)))?;
        if let Some(key) = next.as_deref().filter(|key| !is_after(key)) {
            let why = "has more versions than this store shows behind a key: they cannot be passed by";
            return Err(Error::Unsupported(format!("{} {why}", self.uri(key))));
        }
        Ok(ListPage { objects: objects.filter(|object| is_after(&object.key)).collect(), prefixes: Vec::new(), next })
    }
}
