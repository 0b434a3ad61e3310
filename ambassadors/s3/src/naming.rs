//! How objects are named, and how a raw name is read back.

use ambassador_kit::{Names, Unnameable};
use clap::ValueEnum;
use contract::ItemName;

/// What makes an item the same item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Identity {
    /// Key and ETag.
    Etag,
    /// Key and version id; the ETag where the object has none.
    VersionId,
    /// Key alone.
    Key,
}

/// What names are made of.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    pub(crate) names: Names,
    pub(crate) identity: Identity,
    pub(crate) source_id: String,
}

impl Naming {
    /// What tells one content of a key from another; empty where nothing does.
    pub(crate) fn version<'a>(&self, etag: &'a str, version_id: Option<&'a str>) -> &'a str {
        match self.identity {
            Identity::Etag => etag,
            Identity::VersionId => version_id.unwrap_or(etag),
            Identity::Key => "",
        }
    }

    /// What tells the contents of a key apart of which more is known than their names: with version ids the same bytes, written
    /// again, are something else.
    pub(crate) fn content<'a>(&self, etag: &'a str, version_id: Option<&'a str>) -> &'a str {
        match self.identity {
            Identity::VersionId => version_id.unwrap_or(etag),
            Identity::Etag | Identity::Key => etag,
        }
    }

    /// The name of an object.
    ///
    /// # Errors
    /// [`Unnameable`], of raw names only.
    pub(crate) fn name(&self, key: &str, etag: &str, version_id: Option<&str>) -> Result<ItemName, Unnameable> {
        let version = self.version(etag, version_id);
        self.names.of(self.source_id.as_bytes(), key.as_bytes(), version.as_bytes())
    }

    /// The key in a raw name, whatever its version; `None` where that is no raw name.
    pub(crate) fn key_of<'a>(&self, name: &'a ItemName) -> Option<&'a str> {
        match self.identity {
            Identity::Key => Some(name.as_str()),
            Identity::Etag | Identity::VersionId => name.as_str().rsplit_once('@').map(|(key, _)| key),
        }
    }
}
