//! Who may ask: whoever knows the token in a file.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, header};
use sidecar::Secret;
use tracing::{info, warn};

/// Longest token, in bytes: more does not fit in a header that every client and proxy takes.
const LONGEST: u64 = 4_096;

/// Knows the token of the contract, and hears when it is changed: a token is changed by changing its file, at any time.
#[derive(Debug)]
pub struct Guard {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    token: Secret,
    /// What the file was when the token was read; `None` while it may be written again without looking otherwise.
    file: Option<Version>,
    /// What the file was when it was last complained of.
    complained: Option<Option<Version>>,
}

/// What changes when a file does, or another takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why a file gives no token.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// It cannot be read.
    #[error("read the token in {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it can be no token.
    #[error(
        "the token in {} cannot be sent: a token is one line of 1 to {LONGEST} visible ASCII characters without a space", .0.display()
    )]
    Unsendable(PathBuf),
}

impl Guard {
    /// Reads the token. Warns of a file that everybody on the machine can read.
    ///
    /// # Errors
    /// [`GuardError`], naming the file.
    pub fn open(path: &Path) -> Result<Self, GuardError> {
        let (token, file) = read(path)?;
        let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.mode());
        if mode & 0o004 != 0 {
            warn!(path = %path.display(), "every user of this machine can read the token: make its file 0640 or stricter");
        }
        Ok(Self { path: path.to_owned(), known: Mutex::new(Known { token, file, complained: None }) })
    }

    /// Whether a request with these headers shows the token, `Authorization: Bearer <token>` (RFC 6750, 2.1), as its file
    /// has it now. A file that cannot be read any more, or has no token, leaves the last one in force.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let mut known = self.lock();
        let now = std::fs::metadata(&self.path).ok().map(|metadata| Version::of(&metadata));
        if now.is_none() || now != known.file {
            match read(&self.path) {
                Ok((token, file)) => {
                    if token != known.token {
                        info!(path = %self.path.display(), "the token was changed");
                    }
                    *known = Known { token, file, complained: None };
                }
                Err(error) if known.complained.as_ref() != Some(&now) => {
                    let error = sidecar::chain(&error);
                    warn!(error, "the token's file has none any more: the last one stays in force");
                    known.complained = Some(now);
                }
                Err(_) => {}
            }
        }
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else { return false };
        bearer(shown.as_bytes()).is_some_and(|shown| known.token.is(shown))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Version {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// How old a file must be for its times to tell it from a later one, many times what a kernel's clock is coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// The token, and what the file was before it was read, so that what is written meanwhile is seen as a change.
fn read(path: &Path) -> Result<(Secret, Option<Version>), GuardError> {
    let failed = |source| GuardError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or_default());
    let settled = changed.elapsed().is_ok_and(|age| age > SETTLED);
    let mut text = Vec::new();
    // A device or a mistaken path may have no end.
    file.take(LONGEST + 3).read_to_end(&mut text).map_err(failed)?;
    let unsendable = || GuardError::Unsendable(path.to_owned());
    let text = String::from_utf8(text).map_err(|_| unsendable())?;
    let token = text.trim_end_matches(['\n', '\r']);
    if token.is_empty() || token.len() as u64 > LONGEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unsendable());
    }
    Ok((Secret::from(token), settled.then(|| Version::of(&metadata))))
}

/// What stands behind `Bearer`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use http::HeaderValue;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }

    fn admits(guard: &Guard, value: &str) -> bool {
        guard.admits(&headers(&[value]))
    }

    #[test]
    fn only_the_token_opens_and_it_says_so_in_one_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        fs::write(&path, "s3cr3t+/=\n").expect("written");
        let guard = Guard::open(&path).expect("a token");
        for yes in ["Bearer s3cr3t+/=", "bearer s3cr3t+/=", "BEARER   s3cr3t+/= "] {
            assert!(admits(&guard, yes), "{yes}");
        }
        for no in [
            "",
            "s3cr3t+/=",
            "Bearer",
            "Bearer ",
            "Bearer s3cr3t+/",
            "Bearer s3cr3t+/==",
            "Bearer S3cr3t+/=",
            "Bearers3cr3t+/=",
            "Basic s3cr3t+/=",
            "Bearer s3cr3t+/=, Bearer s3cr3t+/=",
            "Bearer *",
        ] {
            assert!(!admits(&guard, no), "{no}");
        }
        assert!(!guard.admits(&headers(&[])));
        assert!(!guard.admits(&headers(&["Bearer s3cr3t+/=", "Bearer s3cr3t+/="])), "said twice");
        assert!(!format!("{guard:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_changed_file_is_a_changed_token() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        fs::write(&path, "first").expect("written");
        let guard = Guard::open(&path).expect("a token");
        // In place, of the same length.
        fs::write(&path, "later").expect("written");
        assert!(admits(&guard, "Bearer later") && !admits(&guard, "Bearer first"));
        // By another file in its place, as Kubernetes does.
        fs::write(dir.path().join("new"), "third").expect("written");
        fs::rename(dir.path().join("new"), &path).expect("renamed");
        assert!(admits(&guard, "Bearer third") && !admits(&guard, "Bearer later"));
        // What is no token is none, and opens nothing.
        for broken in ["", "\n", "two words", "two\nlines", "caf\u{e9}"] {
            fs::write(&path, broken).expect("written");
            assert!(admits(&guard, "Bearer third"), "{broken:?}: the last one");
            assert!(!admits(&guard, &format!("Bearer {}", broken.lines().next().unwrap_or_default())));
        }
        fs::remove_file(&path).expect("removed");
        assert!(admits(&guard, "Bearer third") && !admits(&guard, "Bearer "));
        fs::write(&path, "fourth").expect("written");
        assert!(admits(&guard, "Bearer fourth") && !admits(&guard, "Bearer third"));
    }

    #[test]
    fn a_file_without_a_token_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        let refused = |path: &Path| sidecar::chain(&Guard::open(path).expect_err("no token"));
        assert!(refused(&path).contains("token: No such file"), "{}", refused(&path));
        assert!(refused(dir.path()).contains("Is a directory"), "{}", refused(dir.path()));
        for broken in ["", "\r\n", "two words", "a\tb", "\u{0}", &"x".repeat(4_097)] {
            fs::write(&path, broken).expect("written");
            assert!(refused(&path).contains("cannot be sent"), "{broken:?}");
        }
        assert!(refused(Path::new("/dev/zero")).contains("cannot be sent"));
        fs::write(&path, format!("{}\r\n", "x".repeat(4_096))).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("set");
        Guard::open(&path).expect("as long as it may be");
    }
}
