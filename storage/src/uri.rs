//! URIs of inputs and outputs.
//!
//! `file:` is parsed here, byte for byte: a general URL parser resolves `..`, turns `\` into `/` and knows drive letters,
//! and each of those would make the path that was checked another one than the path that was written.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use contract::item::{decode_path, encode_path};

/// Where something is. What it prints, also for debugging, is fit for a log: the query and the user of a URL are left out, for
/// who has a signature has the object.
#[derive(Clone, PartialEq, Eq)]
pub enum Uri {
    /// An absolute path on this machine.
    File(PathBuf),
    /// Something that a [`Store`](crate::Store) of another scheme reads on.
    Other {
        /// In lower case, without the colon: `s3`, `https`.
        scheme: String,
        /// The whole text.
        text: String,
    },
}

impl Uri {
    /// Reads a URI as an item gives it.
    ///
    /// # Errors
    /// [`InvalidUri`] when it has no scheme, or is a `file:` URI of another machine or with a path that could be read in two
    /// ways: relative, with a NUL, an escaped slash, a query or a fragment. A `..` is kept, for a jail to refuse.
    pub fn parse(text: &str) -> Result<Self, InvalidUri> {
        let invalid = |why| InvalidUri { text: without_secrets(text).into_owned(), why };
        let (scheme, rest) = split(text).ok_or_else(|| invalid("has no scheme such as file: or s3:"))?;
        if scheme != "file" {
            return Ok(Self::Other { scheme, text: text.to_owned() });
        }
        let path = match rest.strip_prefix("//") {
            None => rest,
            Some(rest) => {
                let (host, _) = rest.split_once('/').ok_or_else(|| invalid("names no path"))?;
                if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                    return Err(invalid("names another host; only file:///path is read"));
                }
                rest.get(host.len()..).unwrap_or_default()
            }
        };
        file_path(path).map(Self::File).map_err(invalid)
    }

    /// Reads what an operator wrote: a URI, or a path on this machine, which may be relative to the working directory.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and when the working directory is gone.
    pub fn parse_or_path(text: &OsStr) -> Result<Self, InvalidUri> {
        match text.to_str().filter(|text| split(text).is_some()) {
            Some(uri) => Self::parse(uri),
            None => std::path::absolute(text).map(Self::File).map_err(|_| InvalidUri {
                text: text.to_string_lossy().into_owned(),
                why: "is neither a URI nor a path that can be made absolute",
            }),
        }
    }

    /// In lower case, without the colon.
    pub fn scheme(&self) -> &str {
        match self {
            Self::File(_) => "file",
            Self::Other { scheme, .. } => scheme,
        }
    }
}

/// Scheme in lower case and what follows the colon (RFC 3986 §3.1).
fn split(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut chars = scheme.bytes();
    let legal = chars.next().is_some_and(|b| b.is_ascii_alphabetic())
        && chars.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    legal.then(|| (scheme.to_ascii_lowercase(), rest))
}

fn file_path(text: &str) -> Result<PathBuf, &'static str> {
    if !text.starts_with('/') {
        return Err("has a relative path");
    }
    if text.contains(['?', '#']) {
        return Err("has a query or fragment; in a path they are written %3F and %23");
    }
    let mut escapes = text.split('%').skip(1).map(|rest| rest.as_bytes().first_chunk::<2>());
    if !escapes.all(|escape| escape.is_some_and(|[a, b]| a.is_ascii_hexdigit() && b.is_ascii_hexdigit())) {
        return Err("has a % that begins no escape; a % itself is written %25");
    }
    if text.to_ascii_lowercase().contains("%2f") {
        return Err("escapes a slash, which no file name can hold");
    }
    let bytes = decode_path(text);
    if bytes.contains(&0) {
        return Err("holds a NUL, which no file name can hold");
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// `path` as a `file:` URI.
pub(crate) fn file_uri(path: &Path) -> String {
    format!("file://{}", encode_path(path.as_os_str().as_bytes()))
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(&file_uri(path)),
            Self::Other { text, .. } => f.write_str(&without_secrets(text)),
        }
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// A URI up to its query, and without the user before its host.
fn without_secrets(text: &str) -> Cow<'_, str> {
    // In a key or a path a ? is what it is, or a mistake to be shown.
    let bare = split(text).is_some_and(|(scheme, _)| matches!(scheme.as_str(), "s3" | "file"));
    let open = if bare { text } else { text.split('?').next().unwrap_or_default() };
    let after = open.find(':').map_or(0, |colon| colon + 1);
    let slashes = open.get(after..).map_or(0, |rest| rest.len() - rest.trim_start_matches(['/', '\\']).len());
    let (scheme, rest) = open.split_at(after + slashes);
    let host = rest.find(['/', '\\']).unwrap_or(rest.len());
    match rest.get(..host).and_then(|authority| authority.rfind('@')) {
        Some(at) => Cow::Owned(format!("{scheme}{}", rest.get(at + 1..).unwrap_or_default())),
        None => Cow::Borrowed(open),
    }
}

/// A text that is no URI we could act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {why}")]
pub struct InvalidUri {
    text: String,
    why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_uri_is_its_bytes_and_nothing_else() {
        for (text, want) in [
            ("file:///a/b.mp4", &b"/a/b.mp4"[..]),
            ("file:/a", b"/a"),
            ("FILE://localhost/a", b"/a"),
            ("file:///a%20b%FF%3F", b"/a b\xff?"),
            ("file:///C|/x\\y", b"/C|/x\\y"),
            ("file:///a//b/./c", b"/a//b/./c"),
            ("file:///%25252e", b"/%252e"),
            ("file:///a/%2e%2E/b", b"/a/../b"),
        ] {
            let Uri::File(path) = Uri::parse(text).expect(text) else { panic!("{text} is a file") };
            assert_eq!(path.as_os_str().as_bytes(), want, "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "/a",
            "a/b",
            "file:a",
            "file://",
            "file://host/a",
            "file://host",
            "file:///a%2f..%2fb",
            "file:///a%00b",
            "file:///a%",
            "file:///a%2",
            "file:///a%zz",
            "file:///a%+1",
            "file:///a?b",
            "file:///a#b",
        ] {
            let error = Uri::parse(text).expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")), "{error} does not name {text:?}");
        }
    }

    #[test]
    fn what_is_printed_holds_no_secret() {
        for (text, want) in [
            ("https://h/a?X-Amz-Signature=s3cret", "https://h/a"),
            ("https://me:s3cret@h/a@b?c#d", "https://h/a@b"),
            ("https:\\\\me:s3cret@h\\a", "https:\\\\h\\a"),
            ("s3://b/a@b?c", "s3://b/a@b?c"),
        ] {
            let uri = Uri::parse(text).expect(text);
            assert_eq!((uri.to_string().as_str(), format!("{uri:?}")), (want, format!("{want:?}")));
        }
        let error = Uri::parse(" https://me:s3cret@h/a?sig=s3cret").expect_err("it has no scheme").to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn an_operators_path_needs_no_scheme() {
        assert_eq!(Uri::parse_or_path(OsStr::new("/a b")), Ok(Uri::File("/a b".into())));
        assert_eq!(
            Uri::parse_or_path(OsStr::from_bytes(b"/\xff")).map(|uri| uri.to_string()),
            Ok("file:///%FF".into())
        );
        assert_eq!(
            Uri::parse_or_path(OsStr::new("x")),
            Ok(Uri::File(std::path::absolute("x").expect("there is a working directory")))
        );
        assert_eq!(Uri::parse_or_path(OsStr::new("s3://b/k")).map(|uri| uri.scheme().to_owned()), Ok("s3".into()));
    }
}
