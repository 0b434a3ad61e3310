//! The keys of one item's place.
//!
//! ```text
//! <root><place>/_SUCCESS.json                    what the output is
//!               <path>                           a file of it, published in place
//!               _attempts/<run>/<path>           a file of it, published by attempts
//!               _attempts/<run>/.longshore       what the run uploads in parts, while it does
//!               _attempts/<number>/report.json   the account of an attempt that failed
//! ```

use std::os::unix::ffi::OsStrExt;

use contract::item::decode_path;
use contract::marker::Output;
use contract::{ATTEMPTS_DIR, MARKER_FILE, STAGING_DIR};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use storage::{Error, Place};

use super::run::Run;
use crate::{Bucket, ListPage, ListQuery, Listed, PublishMode, Walk};

/// The longest key, in bytes: the API's own limit.
const LONGEST_KEY: usize = 1024;

/// A place in a bucket, and how it is published to.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) bucket: Bucket,
    pub(super) mode: PublishMode,
    root: String,
    /// Of everything that belongs to the place; with a slash at its end.
    prefix: String,
}

impl Site {
    pub(super) fn new(bucket: Bucket, root: &str, place: &Place, mode: PublishMode) -> Result<Self, Error> {
        let bytes = place.as_path().as_os_str().as_bytes();
        let text = std::str::from_utf8(bytes).map_err(|_| {
            Error::Invalid(format!(
                "{place:?} is not UTF-8, and keys of objects are; choose an --output without {{key}}"
            ))
        })?;
        let site = Self { bucket, mode, root: root.to_owned(), prefix: format!("{root}{text}/") };
        site.fit(site.marker()).map_err(|error| Error::Invalid(format!("{error}; choose a shorter --output")))?;
        Ok(site)
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn marker(&self) -> String {
        format!("{}{MARKER_FILE}", self.prefix)
    }

    /// Where markers would be of items whose output this one would lie in.
    pub(super) fn markers_above(&self) -> Vec<String> {
        let inside = self.prefix.get(self.root.len()..).unwrap_or_default().trim_end_matches('/');
        let ends = inside.match_indices('/').map(|(at, _)| self.root.len() + at + 1);
        let above = std::iter::once(self.root.len()).chain(ends);
        above.filter_map(|end| self.prefix.get(..end)).map(|dir| format!("{dir}{MARKER_FILE}")).collect()
    }

    /// Of everything that single runs leave.
    pub(super) fn attempts(&self) -> String {
        format!("{}{ATTEMPTS_DIR}/", self.prefix)
    }

    pub(super) fn report(&self, number: u32) -> Result<String, Error> {
        self.fit(format!("{}{number}/report.json", self.attempts()))
    }

    /// Of everything below it that the run uploads.
    pub(super) fn run(&self, run: &Run) -> String {
        format!("{}{run}/", self.attempts())
    }

    /// The note of what a run uploads in parts.
    pub(super) fn note(&self, run: &Run) -> String {
        format!("{}{STAGING_DIR}", self.run(run))
    }

    /// `output`, as it was measured, as the marker is to name it, and the key that says so.
    pub(super) fn publish(&self, run: &Run, output: &Output) -> Result<(Output, String), Error> {
        let path = match self.mode {
            PublishMode::InPlace => output.path.clone(),
            PublishMode::Attempts => format!("{ATTEMPTS_DIR}/{run}/{}", output.path),
        };
        let refuse = |why: &str| Error::Unpublishable(format!("the output holds {}, {why}", output.path));
        if output.path.split('/').next() == Some(ATTEMPTS_DIR) {
            return Err(refuse("and the name is the commit's own in an object store"));
        }
        let native = String::from_utf8(decode_path(&path));
        let native = native.map_err(|_| refuse("which is not UTF-8, as keys of objects are"))?;
        let key = self.fit(format!("{}{native}", self.prefix)).map_err(|error| refuse(&format!("and {error}")))?;
        Ok((Output { path, ..output.clone() }, key))
    }

    /// The key that a marker here names by `path`; `None` when it leads elsewhere.
    pub(super) fn named(&self, path: &str) -> Option<String> {
        let native = String::from_utf8(decode_path(path)).ok()?;
        let plain = native.split('/').all(|component| !matches!(component, "" | "." | ".."));
        plain.then(|| format!("{}{native}", self.prefix))
    }

    /// All that stands at the place but what single runs have left under their own prefixes, a page at a time. One request where
    /// all of the place fits into a page.
    pub(super) fn outside_attempts(&self) -> BoxStream<'static, Result<Vec<Listed>, Error>> {
        let (bucket, attempts) = (self.bucket.clone(), self.attempts());
        let first = ListQuery { prefix: self.prefix.clone(), ..ListQuery::default() };
        let pages = stream::try_unfold(Some(first), move |query| {
            let (bucket, attempts) = (bucket.clone(), attempts.clone());
            async move {
                let Some(query) = query else { return Ok(None) };
                let ListPage { mut objects, next, .. } = bucket.list(&query).await?;
                let within = objects.last().map(|last| last.key.clone()).filter(|last| last.starts_with(&attempts));
                let next = next.map(|token| match within {
                    // Prefixes of runs begin with digits, which come before the tilde.
                    Some(last) => {
                        ListQuery { token: None, start_after: Some(last.max(format!("{attempts}~"))), ..query }
                    }
                    None => ListQuery { token: Some(token), start_after: None, ..query },
                });
                objects.retain(|object| !object.key.starts_with(&attempts));
                Ok(Some((objects, next)))
            }
        });
        pages.boxed()
    }

    /// Everything at the place, a page at a time.
    pub(super) fn all(&self) -> BoxStream<'static, Result<Vec<Listed>, Error>> {
        self.below(self.prefix.clone())
    }

    /// Whether a key is that of another item's marker, below this place.
    pub(super) fn is_marker_below(&self, key: &str) -> bool {
        self.place_below(key).is_some()
    }

    /// The place below this one, with a slash at its end, whose marker has this key.
    pub(super) fn place_below<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_suffix(MARKER_FILE).filter(|dir| dir.ends_with('/') && *dir != self.prefix)
    }

    /// All that stands below `prefix`, a page at a time.
    pub(super) fn below(&self, prefix: String) -> BoxStream<'static, Result<Vec<Listed>, Error>> {
        self.bucket.walk(Walk { prefix, ..Walk::default() }).map_ok(|page| page.objects).boxed()
    }

    fn fit(&self, key: String) -> Result<String, Error> {
        if key.len() <= LONGEST_KEY {
            return Ok(key);
        }
        let uri = self.bucket.uri(&key);
        Err(Error::Invalid(format!("{uri} would have a key of {} bytes, and {LONGEST_KEY} are the most", key.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{S3, S3Args, TransferArgs};

    fn site(root: &str, place: &str) -> Site {
        let bucket = S3::new(S3Args::default(), TransferArgs::default()).bucket("b");
        let place = Place::new(place.as_bytes()).expect("a place");
        Site::new(bucket, root, &place, PublishMode::InPlace).expect("a site")
    }

    #[test]
    fn markers_above_are_those_from_the_root_down() {
        assert_eq!(site("", "a").markers_above(), ["_SUCCESS.json"]);
        assert_eq!(
            site("r/s/", "a/b/c").markers_above(),
            ["r/s/_SUCCESS.json", "r/s/a/_SUCCESS.json", "r/s/a/b/_SUCCESS.json"]
        );
    }

    #[test]
    fn a_markers_paths_never_lead_elsewhere() {
        let site = site("r/", "a");
        assert_eq!(site.named("d/x%20y"), Some("r/a/d/x y".to_owned()));
        for path in ["../b/x", "d/../x", "", "/x", "d//x", "%2e%2e/x", "./x", "d%2F..%2Fx"] {
            assert_eq!(site.named(path), None, "{path}");
        }
    }

    #[test]
    fn what_no_key_can_be_is_refused() {
        let bucket = S3::new(S3Args::default(), TransferArgs::default()).bucket("b");
        let new = |bytes: &[u8]| {
            Site::new(bucket.clone(), "r/", &Place::new(bytes).expect("a place"), PublishMode::InPlace).err()
        };
        assert!(matches!(new(b"\xff"), Some(Error::Invalid(why)) if why.contains("UTF-8")));
        let long = vec!["x".repeat(250); 5].join("/");
        assert!(matches!(new(long.as_bytes()), Some(Error::Invalid(why)) if why.contains("1024")));
        let output = |path: &str| Output { path: path.to_owned(), size: 0, sha256: String::new() };
        let run = Run::new(1, "n", None);
        for path in ["_attempts", "_attempts/1/x", "%FF"] {
            let refused = site("r/", "a").publish(&run, &output(path));
            assert!(matches!(refused, Err(Error::Unpublishable(_))), "{path}: {refused:?}");
        }
        assert!(site("r/", "a").publish(&run, &output("d/_attempts")).is_ok());
    }
}
