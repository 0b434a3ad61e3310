//! What tells one version of an object from another.

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use storage::{Error, Object};

use crate::link::Link;

/// What an answer says of the version it is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Version {
    /// As sent, with its quotes and `W/`.
    etag: Option<String>,
    last_modified: Option<String>,
    /// Whether `last_modified` names these bytes and no others: it was over when the answer was made (RFC 9110 §8.8.2.2).
    is_past: bool,
    /// Of a bucket that keeps every version.
    id: Option<String>,
    pub(crate) size: Option<u64>,
}

impl Version {
    /// Of the headers of an answer, and the size of the whole object, which they say in more than one way.
    pub(crate) fn new(headers: &HeaderMap, size: Option<u64>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let id = text("x-amz-version-id").filter(|id| id != "null");
        let (etag, last_modified) = (text(header::ETAG.as_str()), text(header::LAST_MODIFIED.as_str()));
        let is_past = text(header::DATE.as_str()).is_some_and(|date| Some(&date) != last_modified.as_ref());
        Self { etag: etag.filter(|etag| !bare(etag).is_empty()), last_modified, is_past, id, size }
    }

    /// What `If-Range` can say so that no byte of another version is added to this one's: a strong ETag, else a date within
    /// whose second nothing can have been written any more.
    pub(crate) fn if_range(&self) -> Option<&str> {
        match &self.etag {
            Some(etag) if !etag.starts_with("W/") => Some(etag),
            Some(_) => None,
            None => self.last_modified.as_deref().filter(|_| self.is_past),
        }
    }

    /// Whether nothing but a size could ever be compared.
    pub(crate) fn is_unknown(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none() && self.id.is_none()
    }

    /// What differs between this version, which was fetched, and one found later: both in words.
    pub(crate) fn differs(&self, found: &Self) -> Option<(String, String)> {
        let pair = |mine: &Option<String>, other: &Option<String>| match (mine, other) {
            (Some(mine), Some(other)) if bare(mine) != bare(other) => {
                Some((bare(mine).to_owned(), bare(other).to_owned()))
            }
            _ => None,
        };
        let sizes = self.size.zip(found.size).filter(|(mine, other)| mine != other);
        let sizes = sizes.map(|(mine, other)| (format!("of {mine} bytes"), format!("of {other} bytes")));
        let etags = pair(&self.etag, &found.etag);
        // A date of whole seconds says less than an ETag that is the same.
        let dates = || {
            if self.etag.is_some() && found.etag.is_some() {
                None
            } else {
                pair(&self.last_modified, &found.last_modified)
            }
        };
        pair(&self.id, &found.id).or(etags).or(sizes).or_else(dates)
    }

    /// That this is what an item stands for.
    ///
    /// # Errors
    /// [`Error::Changed`] when it is another version; where it has another size than the item says, [`Error::Invalid`] if it is the
    /// version that the item names, [`Error::Busy`] if that cannot be told, since nobody else would come for it then.
    pub(crate) fn expect(&self, link: &Link, object: &Object) -> Result<(), Error> {
        let changed = |wanted: String, found: String| Error::Changed { uri: link.to_string(), wanted, found };
        if let (Some(wanted), Some(found)) = (&object.version_id, &self.id)
            && wanted != found
        {
            return Err(changed(wanted.clone(), found.clone()));
        }
        if let (Some(wanted), Some(found)) = (etag(object), &self.etag)
            && bare(wanted) != bare(found)
        {
            return Err(changed(bare(wanted).to_owned(), bare(found).to_owned()));
        }
        let (Some(wanted), Some(found)) = (object.size, self.size) else { return Ok(()) };
        if wanted == found {
            return Ok(());
        }
        let text = format!("{link} has {found} bytes where the item says {wanted}");
        if self.is_named_by(object) {
            return Err(Error::Invalid(text));
        }
        match object.version.as_deref() {
            // A file's version is told by its size too.
            Some(file) if etag(object).is_none() && !file.starts_with(&format!("{found}-")) => {
                Err(changed(format!("of {wanted} bytes"), format!("of {found} bytes")))
            }
            _ => Err(Error::Busy(format!("{text}; has it been replaced?"))),
        }
    }

    /// Whether an item names a version that this one can be told by.
    pub(crate) fn is_named_by(&self, object: &Object) -> bool {
        (object.version_id.is_some() && self.id.is_some()) || (etag(object).is_some() && self.etag.is_some())
    }
}

/// An item's version where it can be an ETag. What a folder's source calls a version, `<size>-<nanoseconds>`, is none: a web
/// server over that folder has ETags of its own, and every item would look replaced.
fn etag(object: &Object) -> Option<&str> {
    let is_file = |text: &str| {
        let decimal = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.split_once('-').is_some_and(|(size, mtime)| decimal(size) && decimal(mtime) && mtime.len() > 16)
    };
    object.version.as_deref().filter(|text| !is_file(text))
}

/// Without quotes, and without the mark of a weak one: an item has it so.
fn bare(etag: &str) -> &str {
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

#[cfg(test)]
mod tests {
    use storage::Uri;

    use super::*;

    fn version(etag: &str, date: &str, size: u64) -> Version {
        let mut headers = HeaderMap::new();
        for (name, value) in [("etag", etag), ("last-modified", date), ("date", "Wed")] {
            if !value.is_empty() {
                headers.insert(name, value.parse().expect("a value"));
            }
        }
        Version::new(&headers, Some(size))
    }

    fn object(etag: Option<&str>, size: Option<u64>) -> Object {
        let uri = Uri::parse("https://h/a?sig=s3cret").expect("a URI");
        Object { uri, version: etag.map(str::to_owned), version_id: None, size }
    }

    #[test]
    fn only_what_names_exactly_these_bytes_resumes_them() {
        assert_eq!(version("\"a\"", "Sun", 1).if_range(), Some("\"a\""));
        assert_eq!(version("W/\"a\"", "Sun", 1).if_range(), None);
        assert_eq!(version("", "Sun", 1).if_range(), Some("Sun"));
        assert_eq!(version("", "Wed", 1).if_range(), None, "it may be written again within the second");
        assert_eq!(version("", "", 1).if_range(), None);
        assert!(version("\"\"", "", 1).is_unknown() && !version("W/\"a\"", "", 1).is_unknown());
    }

    #[test]
    fn two_versions_differ_by_the_best_that_both_tell() {
        let a = version("\"a\"", "Sun", 1);
        assert_eq!(a.differs(&version("W/\"a\"", "Mon", 1)), None);
        assert_eq!(a.differs(&version("\"b\"", "Sun", 1)), Some(("a".into(), "b".into())));
        assert_eq!(a.differs(&version("", "Mon", 1)), Some(("Sun".into(), "Mon".into())));
        assert_eq!(a.differs(&version("", "", 2)), Some(("of 1 bytes".into(), "of 2 bytes".into())));
        assert_eq!(version("", "", 1).differs(&version("\"b\"", "Sun", 1)), None);
    }

    #[test]
    fn an_item_is_compared_by_what_it_says() {
        let link = Link::parse(&object(None, None).uri).expect("a URL");
        let found = version("\"a\"", "Sun", 7);
        let judged = |etag, size| found.expect(&link, &object(etag, size));
        assert!(judged(Some("a"), Some(7)).is_ok() && judged(None, None).is_ok());
        let Err(Error::Changed { uri, wanted, found: now }) = judged(Some("b"), Some(7)) else { panic!("it changed") };
        assert_eq!((uri.as_str(), wanted.as_str(), now.as_str()), ("https://h/a", "b", "a"));
        let Err(Error::Invalid(text)) = judged(Some("a"), Some(8)) else { panic!("the item is wrong") };
        assert!(text.contains("7 bytes") && text.contains("says 8"), "{text}");
        assert!(matches!(judged(None, Some(8)), Err(Error::Busy(_))));
        let blank = version("", "Sun", 7).expect(&link, &object(Some("a"), Some(8)));
        assert!(matches!(blank, Err(Error::Busy(_))), "whether it is another version is not known: {blank:?}");
        assert!(matches!(judged(Some("7-1700000000000000000"), Some(8)), Err(Error::Busy(_))));
        assert!(judged(Some("7-1700000000000000000"), Some(7)).is_ok(), "a file's version is no ETag");
        assert!(matches!(judged(Some("9-1700000000000000000"), Some(9)), Err(Error::Changed { .. })));
        assert!(
            found.is_named_by(&object(Some("b"), None))
                && !found.is_named_by(&object(Some("7-1700000000000000000"), None))
        );
    }
}
