//! Where below a root each file of one item's output goes, and by what right.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use contract::item::{decode_path, encode_path};
use contract::{ATTEMPTS_DIR, MARKER_FILE};
use storage::{Claim, Error};

use crate::link::Link;
use crate::upload::Spot;

/// The place of one item. Paths are relative to it and percent-encoded, as in a marker.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    root: Link,
    /// The place itself.
    place: Link,
    /// The components of the place below the root, encoded.
    within: Vec<String>,
    /// The URLs that an item brought, by path; `None` where the root takes what it is sent.
    signed: Option<BTreeMap<String, Link>>,
}

impl Target {
    /// # Errors
    /// [`Error::Forbidden`] when a URL that the item brought is for anything but its path below the place,
    /// [`Error::Unpublishable`] when there are URLs and none for the marker.
    pub(crate) fn new(root: &Link, claim: &Claim) -> Result<Self, Error> {
        let path = encode_path(claim.place.as_path().as_os_str().as_bytes());
        let place = root.below(&path);
        let place = place.ok_or_else(|| Error::Forbidden(format!("{} leads out of {root}", claim.place)))?;
        let within = path.split('/').map(str::to_owned).collect();
        let mut target = Self { root: root.clone(), place, within, signed: None };
        if !claim.uploads.is_empty() {
            let signed = claim.uploads.iter().map(|(path, url)| target.admit(path, &Link::parse(url)?));
            target.signed = Some(signed.collect::<Result<_, _>>()?);
            target.write(MARKER_FILE)?;
        }
        Ok(target)
    }

    /// An item's URL for `path`, which may be written as it is, or encoded.
    fn admit(&self, path: &str, url: &Link) -> Result<(String, Link), Error> {
        let raw = encode_path(path.as_bytes());
        let ways = [path, raw.as_str()];
        let way = ways.into_iter().find(|way| self.place.below(way).is_some_and(|own| own.is_at(url)));
        let way = way.ok_or_else(|| {
            Error::Forbidden(format!(
                "the item's \"uploads\" would have {path:?} put to {url}, and not to that path below {}; an item brings \
                 signatures, and --output says where output goes",
                self.place
            ))
        })?;
        Ok((encode_path(&decode_path(way)), url.clone()))
    }

    pub(crate) fn place(&self) -> &Link {
        &self.place
    }

    pub(crate) fn is_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// The URL to PUT `path` to.
    ///
    /// # Errors
    /// [`Error::Unpublishable`] when the item brought URLs, and none for this.
    pub(crate) fn write(&self, path: &str) -> Result<Link, Error> {
        let Some(signed) = &self.signed else { return self.read(path) };
        signed.get(path).cloned().ok_or_else(|| {
            Error::Unpublishable(format!("the item's \"uploads\" have no URL for {path}: nothing can be put there"))
        })
    }

    /// The URL to GET `path` from, without any signature.
    ///
    /// # Errors
    /// [`Error::Unpublishable`] for a path that means something else to a server.
    pub(crate) fn read(&self, path: &str) -> Result<Link, Error> {
        self.place.below(path).ok_or_else(|| {
            Error::Unpublishable(format!("{path} cannot be part of a URL: servers would take it for another"))
        })
    }

    /// Where `path` is put.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(crate) fn spot(&self, path: &str) -> Result<Spot, Error> {
        let collections = if self.signed.is_some() { Vec::new() } else { self.collections(path) };
        Ok(Spot { link: self.write(path)?, collections })
    }

    /// Where the account of a failed attempt is put, if anywhere.
    pub(crate) fn report(&self, number: u32) -> Option<Spot> {
        self.spot(&format!("{ATTEMPTS_DIR}/{number}/report.json")).ok()
    }

    /// Where markers would be of items whose output this one would lie in.
    pub(crate) fn markers_above(&self) -> Vec<Link> {
        let ends = (0..self.within.len()).map(|end| {
            let dir = self.within.get(..end).unwrap_or_default();
            let path: Vec<_> = dir.iter().map(String::as_str).chain([MARKER_FILE]).collect();
            path.join("/")
        });
        ends.filter_map(|path| self.root.below(&path)).collect()
    }

    /// The collections in which `path` lies, the outermost first, below the root.
    fn collections(&self, path: &str) -> Vec<Link> {
        let mut parts = self.within.clone();
        parts.extend(path.split('/').map(str::to_owned));
        parts.pop();
        (1..=parts.len()).filter_map(|end| self.root.below(&parts.get(..end)?.join("/"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use contract::marker::MarkedItem;
    use contract::{ItemName, Key};
    use storage::{Place, Uri};

    use super::*;

    fn link(text: &str) -> Link {
        Link::parse(&Uri::parse(text).expect("a URI")).expect("a URL")
    }

    fn target(root: &str, uploads: &[(&str, &str)]) -> Result<Target, Error> {
        let item = MarkedItem {
            name: ItemName::derive(b"", b"a", b""),
            key: Key::new(b"a"),
            version: String::new(),
            source: None,
        };
        let uploads = uploads.iter().map(|(path, url)| ((*path).to_owned(), Uri::parse(url).expect("a URI"))).collect();
        let place = Place::new(b"x/a b").expect("a place");
        Target::new(&link(root), &Claim { place, item, revision: 0, attempt: "n".into(), number: 1, uploads })
    }

    #[test]
    fn an_item_brings_signatures_and_chooses_nothing() {
        let marker = ("_SUCCESS.json", "https://h/out/x/a%20b/_SUCCESS.json?sig=1");
        for path in ["1 2.txt", "1%202.txt"] {
            let target =
                target("https://h/out/", &[marker, (path, "https://h/out/x/a%20b/1%202.txt?sig=2")]).expect(path);
            assert_eq!(target.write("1%202.txt").expect("there is a URL").query(), Some("sig=2"));
            assert_eq!(target.read("1%202.txt").expect("a URL").query(), None);
            assert!(matches!(target.write("other"), Err(Error::Unpublishable(text)) if text.contains("other")));
            assert!(target.report(1).is_none());
        }
        for (path, url) in [
            ("a", "https://h/out/x/a%20b/b?s3cret"),
            ("a", "https://h/out/x/a/a?s3cret"),
            ("a", "https://h/out/x/a%20b/sub/a?s3cret"),
            ("a", "https://h/x/a%20b/a?s3cret"),
            ("a", "https://evil/out/x/a%20b/a?s3cret"),
            ("a", "https://h:444/out/x/a%20b/a?s3cret"),
            ("a", "http://h/out/x/a%20b/a?s3cret"),
            ("a", "https://h/out/x/a%20b/../a%20b2/a?s3cret"),
            ("../c/a", "https://h/out/x/c/a?s3cret"),
            ("..%2fc", "https://h/out/x/a%20b/..%2fc?s3cret"),
            ("a/", "https://h/out/x/a%20b/a/?s3cret"),
            ("", "https://h/out/x/a%20b/?s3cret"),
        ] {
            let Err(Error::Forbidden(text)) = target("https://h/out/", &[marker, (path, url)]) else {
                panic!("{path} may go to {url}")
            };
            assert!(!text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn without_a_url_for_the_marker_nothing_can_be_published() {
        let Err(Error::Unpublishable(text)) = target("https://h/out", &[("a", "https://h/out/x/a%20b/a?sig=1")]) else {
            panic!("there is no URL for the marker")
        };
        assert!(text.contains("_SUCCESS.json"), "{text}");
    }

    #[test]
    fn a_place_lies_below_its_root() {
        let target = target("https://h/out/", &[]).expect("a target");
        let texts = |links: Vec<Link>| links.iter().map(Link::to_string).collect::<Vec<_>>();
        assert_eq!(target.place().to_string(), "https://h/out/x/a%20b");
        assert_eq!(texts(target.markers_above()), ["https://h/out/_SUCCESS.json", "https://h/out/x/_SUCCESS.json"]);
        assert_eq!(
            texts(target.collections("s/f")),
            ["https://h/out/x", "https://h/out/x/a%20b", "https://h/out/x/a%20b/s"]
        );
        assert_eq!(
            target.report(3).expect("a place").link.to_string(),
            "https://h/out/x/a%20b/_attempts/3/report.json"
        );
    }
}
