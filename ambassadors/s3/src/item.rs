//! One item, read anew.

use std::sync::Arc;

use ambassador_kit::source::SourceError;
use contract::wire::Item;
use contract::{ItemName, Key, ObjectData};
use storage::Error;
use storage_s3::{Head, ListQuery, Listed};

use crate::args::Settings;
use crate::filter::Verdict;
use crate::naming::Identity;
use crate::settle::Settler;
use crate::trouble::unavailable;

/// Reads items.
#[derive(Clone, Debug)]
pub(crate) struct Items {
    settings: Arc<Settings>,
    settler: Settler,
}

impl Items {
    pub(crate) fn new(settings: Arc<Settings>, settler: Settler) -> Self {
        Self { settings, settler }
    }

    /// The item `name`, which the object at `key` is or was.
    ///
    /// # Errors
    /// [`SourceError::Gone`] when it is there no more, is another version, or is nothing that is listed.
    pub(crate) async fn get(&self, name: &ItemName, key: &str) -> Result<Item, SourceError> {
        let Settings { bucket, naming, presign, .. } = &*self.settings;
        let gone = || SourceError::Gone(name.clone());
        let head = find(&self.settings, key).await.map_err(|error| unavailable(&error))?.ok_or_else(gone)?;
        if naming.name(key, &head.etag, head.version_id.as_deref()).as_ref() != Ok(name) {
            return Err(gone());
        }
        let seen = listed(key, &head);
        if self.settings.filter.judge(&seen, bucket.s3().now()) != Verdict::Item
            || self.settler.withheld(&seen).is_some()
        {
            return Err(gone());
        }
        // Published in place beside what is listed, an object is seen before the marker that says so.
        if self.settings.filter.withholds_output() && head.is_published() {
            self.settler.found_output(key, &head);
            return Err(gone());
        }
        let mut other = serde_json::Map::new();
        other.insert("bucket".to_owned(), bucket.name().into());
        if let Some(version) = &head.version_id {
            other.insert("versionId".to_owned(), version.clone().into());
        }
        if let Some(life) = presign {
            let signed = bucket.presign_get(key, head.version_id.as_deref(), *life).await;
            let signed = signed.map_err(|error| unavailable(&error))?;
            other.insert("url".to_owned(), signed.url.into());
            if let Some(expires) = signed.expires {
                other.insert("urlExpires".to_owned(), expires.to_string().into());
            }
        }
        let data = ObjectData {
            uri: Some(bucket.uri(key)),
            key: Some(Key::new(key.as_bytes())),
            size: Some(head.size),
            etag: (naming.identity != Identity::Key).then_some(head.etag),
            last_modified: head.last_modified,
            other,
        };
        match serde_json::to_value(data) {
            Ok(serde_json::Value::Object(data)) => Ok(Item::new(name.clone(), data)),
            Ok(_) => Err(SourceError::Internal("an item's data is no object".into())),
            Err(error) => Err(SourceError::Internal(error.into())),
        }
    }
}

/// What stands at `key`; `None` where nothing does. A HEAD cannot say that it is the bucket that is gone, and of everything it lacks
/// a store says the same: what is not found is believed once the bucket can be listed as the ambassador lists it.
///
/// # Errors
/// The store's.
pub(crate) async fn find(settings: &Settings, key: &str) -> Result<Option<Head>, Error> {
    let found = settings.bucket.find(key).await?;
    if found.is_none() {
        // Whoever may list only this prefix may ask for no other.
        let query = ListQuery { prefix: settings.filter.listed_prefix(), max: Some(1), ..ListQuery::default() };
        settings.bucket.list(&query).await?;
    }
    Ok(found)
}

/// What was looked at, as a listing would show it.
pub(crate) fn listed(key: &str, head: &Head) -> Listed {
    Listed {
        key: key.to_owned(),
        size: head.size,
        etag: head.etag.clone(),
        version_id: head.version_id.clone(),
        last_modified: head.last_modified,
        storage_class: head.storage_class.clone(),
    }
}
