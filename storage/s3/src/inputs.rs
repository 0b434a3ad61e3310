//! Inputs below a prefix: allowed by whole components of their keys, fetched in the item's version, looked at again.

use std::io;
use std::path::{Path, PathBuf};

use contract::Key;
use serde::{Deserialize, Serialize};
use storage::{BoxFuture, Error, Input, Inputs, Meter, Object, Uri};

use crate::{Bucket, Head, ListQuery, Location, Wanted};

/// Everything below a prefix of a bucket, or one object.
#[derive(Clone, Debug)]
pub(crate) struct S3Inputs {
    bucket: Bucket,
    /// As the operator wrote it.
    root: String,
    /// What the key of everything inside begins with: empty, or with a slash at its end.
    prefix: String,
}

impl S3Inputs {
    pub(crate) fn new(bucket: Bucket, root: String) -> Self {
        let prefix = if root.is_empty() || root.ends_with('/') { root.clone() } else { format!("{root}/") };
        Self { bucket, root, prefix }
    }

    /// The key in the bucket, and the one below the root.
    fn locate(&self, uri: &Uri) -> Option<(String, String)> {
        let location = Location::parse(uri).ok().filter(|location| location.bucket == self.bucket.name())?;
        let key = location.key;
        // Slashes part components, and nothing in a key leads anywhere: a/../b is below a.
        let inside = match key.strip_prefix(&self.prefix) {
            Some(inside) => inside,
            None if key == self.root => key.rsplit('/').next().unwrap_or_default(),
            None => return None,
        };
        let inside = inside.to_owned();
        (!inside.is_empty()).then_some((key, inside))
    }
}

impl S3Inputs {
    fn inside(&self, object: &Object) -> Result<String, Error> {
        let outside = || Error::Forbidden(format!("{} lies outside of {}", object.uri, self.bucket.uri(&self.root)));
        self.locate(&object.uri).map(|(key, _)| key).ok_or_else(outside)
    }
}

impl Inputs for S3Inputs {
    fn key(&self, uri: &Uri) -> Option<Key> {
        self.locate(uri).map(|(_, inside)| Key::new(inside.as_bytes()))
    }

    fn fetch<'a>(&'a self, object: &'a Object, scratch: &'a Path) -> BoxFuture<'a, Result<Box<dyn Input>, Error>> {
        Box::pin(async move {
            let key = self.inside(object)?;
            let pin = Pin::of(object);
            if pin.version_id().is_some() {
                // A bucket that keeps versions would give an old one without a word, and the work would be done for nothing.
                pin.hold(&self.bucket.uri(&key), &self.bucket.head(&key, None).await?)?;
            }
            let wanted = Wanted {
                etag: object.version.as_deref().map(unquoted),
                version_id: pin.version_id().map(str::to_owned),
                size: object.size,
            };
            let path = reserve(scratch, &key)?;
            let meter = Meter::fetching(1, object.size);
            let fetched = match self.bucket.fetch(&key, &wanted, &path, &meter).await {
                Ok(fetched) => fetched,
                Err(error) => {
                    // Only the reservation lies there.
                    let _ = std::fs::remove_file(&path);
                    return Err(error);
                }
            };
            let fetched = Seen { etag: fetched.head.etag, version_id: fetched.head.version_id };
            Ok(Box::new(S3Input { bucket: self.bucket.clone(), key, path, pin, fetched }) as Box<dyn Input>)
        })
    }

    fn regard(&self, object: &Object, path: &Path, seen: &serde_json::Value) -> Result<Box<dyn Input>, Error> {
        let (key, pin) = (self.inside(object)?, Pin::of(object));
        let fetched = Seen::deserialize(seen)
            .map_err(|error| Error::Invalid(format!("{seen} is no version of an object ({error})")))?;
        Ok(Box::new(S3Input { bucket: self.bucket.clone(), key, path: path.to_owned(), pin, fetched }))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let query = ListQuery { prefix: self.prefix.clone(), max: Some(1), ..ListQuery::default() };
            match self.bucket.list(&query).await {
                // Whoever may read one object need not be allowed to list.
                Err(Error::Forbidden(_)) if self.root != self.prefix => {
                    self.bucket.head(&self.root, None).await.map(drop)
                }
                listed => listed.map(drop),
            }
        })
    }
}

/// What the item says of the version it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pin {
    /// A version that the bucket keeps. The same content written again is another one, and another item.
    Version(String),
    /// An ETag.
    Etag(String),
    /// Nothing: nobody else comes for another version.
    Nothing,
}

impl Pin {
    fn of(object: &Object) -> Self {
        // What was written while versioning was off has the id null, as every bucket without versions has.
        match (object.version_id.as_deref().filter(|id| *id != "null"), object.version.as_deref()) {
            (Some(id), _) => Self::Version(id.to_owned()),
            (None, Some(etag)) => Self::Etag(unquoted(etag)),
            (None, None) => Self::Nothing,
        }
    }

    fn version_id(&self) -> Option<&str> {
        if let Self::Version(id) = self { Some(id) } else { None }
    }

    /// [`Error::Changed`] when what stands there now is another version than the item's.
    fn hold(&self, uri: &str, now: &Head) -> Result<(), Error> {
        let (wanted, found) = match self {
            Self::Version(id) => (id, now.version_id.as_ref().unwrap_or(&now.etag)),
            Self::Etag(etag) => (etag, &now.etag),
            Self::Nothing => return Ok(()),
        };
        if wanted == found {
            return Ok(());
        }
        Err(Error::Changed { uri: uri.to_owned(), wanted: wanted.clone(), found: found.clone() })
    }
}

#[derive(Debug)]
struct S3Input {
    bucket: Bucket,
    key: String,
    path: PathBuf,
    pin: Pin,
    fetched: Seen,
}

/// Which version was fetched.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    etag: String,
    version_id: Option<String>,
}

impl Input for S3Input {
    fn path(&self) -> &Path {
        &self.path
    }

    fn seen(&self) -> serde_json::Value {
        serde_json::json!(self.fetched)
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let (uri, now) = (self.bucket.uri(&self.key), self.bucket.head(&self.key, None).await?);
            let other = now.etag != self.fetched.etag || now.version_id != self.fetched.version_id;
            if self.pin == Pin::Nothing && other {
                return Err(Error::Busy(format!("{uri} changed while it was being worked on; run the item again")));
            }
            self.pin.hold(&uri, &now)
        })
    }
}

fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

/// An empty file in `dir` for the object of this key, by a name that no other input has.
fn reserve(dir: &Path, key: &str) -> Result<PathBuf, Error> {
    let mut number = 0_usize;
    loop {
        let path = dir.join(local_name(key, number));
        match std::fs::File::create_new(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(Error::io(format!("create {}", path.display()), error)),
        }
    }
}

/// A file name after the last component of a key: nothing in it that a file name cannot hold or a terminal would obey, its
/// extension kept, since programs go by that. Numbered from the second of one name on.
fn local_name(key: &str, number: usize) -> String {
    /// What file systems take, less what a transfer adds to it while the file is not whole.
    const LONGEST: usize = 255 - 32;
    const LONGEST_EXTENSION: usize = 32;
    let last = key.split('/').rfind(|component| !component.is_empty()).unwrap_or("object");
    let plain: String = last.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    let plain = if plain.chars().all(|c| c == '.') { "object".to_owned() } else { plain };
    let (stem, extension) = match plain.rfind('.') {
        Some(dot) if dot > 0 && plain.len() - dot <= LONGEST_EXTENSION => plain.split_at(dot),
        _ => (plain.as_str(), ""),
    };
    let number = if number == 0 { String::new() } else { format!("{number}-") };
    let mut end = stem.len().min(LONGEST.saturating_sub(number.len() + extension.len()));
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{number}{}{extension}", stem.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{S3, S3Args, TransferArgs};

    fn inside(root: &str, uri: &str) -> Option<String> {
        let inputs = S3Inputs::new(S3::new(S3Args::default(), TransferArgs::default()).bucket("b"), root.to_owned());
        let key = inputs.key(&Uri::parse(uri).expect("a URI"))?;
        Some(String::from_utf8(key.to_bytes()).expect("UTF-8"))
    }

    #[test]
    fn a_root_holds_whole_components() {
        for (root, uri, want) in [
            ("in", "s3://b/in/x", Some("x")),
            ("in/", "s3://b/in/x/y%20z", Some("x/y z")),
            ("in", "s3://b/in2/x", None),
            ("in/", "s3://b/in2", None),
            ("in", "s3://c/in/x", None),
            ("in", "s3://b/in", Some("in")),
            ("d/film.mp4", "s3://b/d/film.mp4", Some("film.mp4")),
            ("d/film.mp4", "s3://b/d/film.mp42", None),
            ("in/", "s3://b/in/", None),
            ("in/", "s3://b/in", None),
            ("", "s3://b/x/y", Some("x/y")),
            ("", "s3://b", None),
            ("", "https://b/x", None),
            ("", "file:///b/x", None),
        ] {
            assert_eq!(inside(root, uri).as_deref(), want, "{uri} below {root:?}");
        }
    }

    #[test]
    fn nothing_in_a_key_leads_anywhere() {
        for (root, uri, want) in [
            ("in", "s3://b/in/../secret", Some("../secret")),
            ("in", "s3://b/in//x", Some("/x")),
            ("in", "s3://b//in/x", None),
            ("/in", "s3://b//in/x", Some("x")),
            ("in", "s3://b/x/../in/y", None),
            ("in", "s3://b/in%2Fx", Some("x")),
            ("", "s3://b//etc/passwd", Some("/etc/passwd")),
        ] {
            assert_eq!(inside(root, uri).as_deref(), want, "{uri} below {root:?}");
        }
    }

    #[test]
    fn local_names_are_plain_and_keep_their_extension() {
        for (key, want) in [
            ("d/film.mp4", "film.mp4"),
            ("a b/é $(rm).MP4", "é $(rm).MP4"),
            ("a/..", "object"),
            ("a/.", "object"),
            ("dir/", "dir"),
            ("//", "object"),
            ("a/b\nc\u{1b}[31m\0.txt", "b_c_[31m_.txt"),
            (".bashrc", ".bashrc"),
            ("x.tar.gz", "x.tar.gz"),
        ] {
            assert_eq!(local_name(key, 0), want, "{key:?}");
        }
        assert_eq!(local_name("d/film.mp4", 2), "2-film.mp4");
        for key in [format!("{}.mp4", "x".repeat(1020)), format!("{}.mp4", "é".repeat(510)), "y".repeat(1024)] {
            let name = local_name(&key, 1234);
            assert!(name.len() <= 255 - 32 && name.ends_with(key.get(key.len() - 2..).expect("ASCII")), "{name}");
        }
    }

    #[test]
    fn two_of_one_name_lie_beside_each_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let names: Vec<_> = (0..3).map(|_| reserve(dir.path(), "k/a.mp4").expect("reserved")).collect();
        assert_eq!(names, ["a.mp4", "1-a.mp4", "2-a.mp4"].map(|name| dir.path().join(name)));
    }
}
