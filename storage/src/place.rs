//! Where below an output root an item's output belongs.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use contract::{ATTEMPTS_DIR, MARKER_FILE, STAGING_DIR};

/// A path below an output root: at least one component, none of which leads out of it or is a name of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(PathBuf);

/// What a commit itself calls things.
const RESERVED: [&str; 3] = [MARKER_FILE, STAGING_DIR, ATTEMPTS_DIR];

impl Place {
    /// Longest component, in bytes, that file systems can hold.
    const MAX_COMPONENT: usize = 255;

    /// The place of these bytes. Empty and `.` components count for nothing, as they do to a file system.
    ///
    /// # Errors
    /// [`InvalidPlace`] when it is absolute, or a component is `..` or a name of ours, holds a NUL, or is too long, or when
    /// nothing is left.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidPlace> {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        if bytes.first() == Some(&b'/') {
            return Err(InvalidPlace::LeadsOut { place: text() });
        }
        let mut path = PathBuf::new();
        for component in bytes.split(|b| *b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(InvalidPlace::LeadsOut { place: text() }),
                ours if RESERVED.iter().any(|name| name.as_bytes() == ours) => {
                    return Err(InvalidPlace::Reserved { place: text() });
                }
                _ if component.contains(&0) => return Err(InvalidPlace::Nul { place: text() }),
                _ if component.len() > Self::MAX_COMPONENT => return Err(InvalidPlace::TooLong { place: text() }),
                _ => path.push(OsStr::from_bytes(component)),
            }
        }
        if path.as_os_str().is_empty() { Err(InvalidPlace::Empty) } else { Ok(Self(path)) }
    }

    /// Relative, without `.` and `..`.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The components before the last, and the last.
    pub(crate) fn split(&self) -> (Vec<&OsStr>, &OsStr) {
        let mut parents: Vec<_> = self.0.iter().collect();
        let last = parents.pop().expect("a place has at least one component");
        (parents, last)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.as_os_str().as_bytes().to_vec()
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        Self::new(OsString::from_vec(bytes).as_bytes()).ok()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

/// Why bytes name no place below an output root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlace {
    /// It is absolute or has a `..`.
    #[error("{place:?} leads out of the output root")]
    LeadsOut {
        /// As given.
        place: String,
    },
    /// A component is a name that the commit itself uses.
    #[error(
        "{place:?} has a component named {MARKER_FILE}, {STAGING_DIR} or {ATTEMPTS_DIR}, which are the commit's own"
    )]
    Reserved {
        /// As given.
        place: String,
    },
    /// It holds a NUL.
    #[error("{place:?} holds a NUL, which no file name can hold")]
    Nul {
        /// As given.
        place: String,
    },
    /// A component is longer than file systems allow.
    #[error("{place:?} has a component of more than {} bytes", Place::MAX_COMPONENT)]
    TooLong {
        /// As given.
        place: String,
    },
    /// Nothing is left of it: it would be the root itself.
    #[error("it would be the output root itself")]
    Empty,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_never_leads_out() {
        for bad in [
            &b"/etc"[..],
            b"..",
            b"a/..",
            b"a/../../b",
            b"../a",
            b"a/\0",
            b"",
            b"/",
            b".",
            b"./.",
            b"_SUCCESS.json",
            b"a/_attempts/1",
            b"a/.longshore/b",
            b".longshore",
        ] {
            assert!(Place::new(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(Place::new(&[b'x'; 256]).is_err());
        assert!(Place::new(&[b'x'; 255]).is_ok());
    }

    #[test]
    fn hostile_names_stay_names() {
        for (bytes, want) in [
            (&b"a//b/./c/"[..], &b"a/b/c"[..]),
            (b"...", b"..."),
            (b"..a/ b\n/$(rm -rf)/\xff", b"..a/ b\n/$(rm -rf)/\xff"),
            (b"~/-rf", b"~/-rf"),
        ] {
            assert_eq!(Place::new(bytes).expect("a place").to_bytes(), want);
        }
    }
}
