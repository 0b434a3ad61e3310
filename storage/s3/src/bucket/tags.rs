//! The tags of an object.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{Tag, Tagging};
use storage::Error;

use super::{Bucket, Which};
use crate::error::Refusal;

/// How tagging went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tagged {
    /// It has the tags now.
    Yes {
        /// Whether no other content can have got them in its place: a version was named. No store tags on a condition.
        exact: bool,
    },
    /// Something else stands there by now.
    Changed,
}

/// The most tags of an object (the API's own limit).
const MOST_TAGS: usize = 10;

impl Bucket {
    /// The tags of an object.
    ///
    /// # Errors
    /// [`Error::NotFound`], and as [`list`](Self::list).
    pub async fn tags(&self, key: &str, version: Option<&str>) -> Result<BTreeMap<String, String>, Error> {
        let request = self
            .s3
            .client()
            .await?
            .get_object_tagging()
            .bucket(&*self.name)
            .key(key)
            .set_version_id(version.map(str::to_owned));
        let got = request.send().await;
        let got = got.map_err(|error| Refusal::from(error).at(&format!("read the tags of {}", self.uri(key))))?;
        Ok(got.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    /// Gives an object these tags beside those it has; of two with one name the new one stays. The API knows only all of them at
    /// once, so whoever tags the same object at the same time may win.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for more than a store allows (10), and as [`list`](Self::list).
    pub async fn set_tags(
        &self,
        key: &str,
        which: Which<'_>,
        tags: &BTreeMap<String, String>,
    ) -> Result<Tagged, Error> {
        if !self.is_still(key, which).await? {
            return Ok(Tagged::Changed);
        }
        let before = self.tags(key, which.version()).await?;
        let mut all = before.clone();
        all.extend(tags.clone());
        if all.len() > MOST_TAGS {
            // Stores refuse it in words of their own, which nobody can tell from other refusals.
            let (uri, has) = (self.uri(key), before.len());
            return Err(Error::Invalid(format!("cannot tag {uri}, which has {has} tags already")));
        }
        if all != before {
            self.put_tags(key, which.version(), &all).await?;
        }
        if !self.is_still(key, which).await? {
            // What came in between has tags that were not meant for it.
            self.take_tags(key, tags).await?;
            return Ok(Tagged::Changed);
        }
        Ok(Tagged::Yes { exact: which.version().is_some() })
    }

    /// Takes these tags from what stands at `key` now, if it has them.
    async fn take_tags(&self, key: &str, tags: &BTreeMap<String, String>) -> Result<(), Error> {
        let before = match self.tags(key, None).await {
            Ok(before) => before,
            Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let others = before.iter().filter(|(name, value)| tags.get(*name) != Some(value));
        let others: BTreeMap<_, _> = others.map(|(name, value)| (name.clone(), value.clone())).collect();
        if others != before {
            self.put_tags(key, None, &others).await?;
        }
        Ok(())
    }

    async fn is_still(&self, key: &str, which: Which<'_>) -> Result<bool, Error> {
        match which {
            Which::Etag(etag) => Ok(self.head(key, None).await?.etag == etag),
            Which::Current | Which::Version(_) => Ok(true),
        }
    }

    async fn put_tags(&self, key: &str, version: Option<&str>, tags: &BTreeMap<String, String>) -> Result<(), Error> {
        let doing = || format!("tag {}", self.uri(key));
        let refused = |error: aws_sdk_s3::error::BuildError| Error::Invalid(format!("cannot {}: {error}", doing()));
        let set = tags.iter().map(|(name, value)| Tag::builder().key(name).value(value).build());
        let set = set.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let tagging = Tagging::builder().set_tag_set(Some(set)).build().map_err(refused)?;
        let request = self
            .s3
            .client()
            .await?
            .put_object_tagging()
            .bucket(&*self.name)
            .key(key)
            .set_version_id(version.map(str::to_owned))
            .tagging(tagging);
        request.send().await.map(drop).map_err(|error| Refusal::from(error).at(&doing()))
    }
}
