//! Where a ledger lies: a private directory on a local disk, held by one manager at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, statfs};

use super::LedgerError;

/// How long the lock of a manager that was killed may linger: a child that it was just starting holds a copy of every
/// descriptor until its exec.
const LINGER: Duration = Duration::from_secs(2);

/// A manager's state directory: the ledger, its lock, and whatever an executor keeps.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

/// Keeps other managers out until it is dropped, or the process ends however it may.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl StateDir {
    /// Makes the directory, for its owner only, where it is not there yet.
    ///
    /// # Errors
    /// [`LedgerError::Network`] where a ledger would not be safe, [`LedgerError::Io`] where it cannot be made.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let io = |doing, source| LedgerError::Io { doing, path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| io("create the state directory", e))?;
        let path = path.canonicalize().map_err(|e| io("find the state directory", e))?;
        let stat = statfs(&path).map_err(|e| io("look at the file system of", e.into()))?;
        match network_file_system(stat.f_type) {
            Some(kind) => Err(LedgerError::Network { dir: path, kind }),
            None => Ok(Self(path)),
        }
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger.sqlite")
    }

    /// Takes the place of the one manager there may be.
    ///
    /// # Errors
    /// [`LedgerError::Locked`], with the other's process id.
    pub fn lock(&self) -> Result<Lock, LedgerError> {
        let path = self.0.join("lock");
        let io = |doing| {
            let path = path.clone();
            move |source| LedgerError::Io { doing, path, source }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("open the lock"))?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < LINGER => std::thread::sleep(LINGER / 100),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let pid = std::fs::read_to_string(&path).unwrap_or_default();
                    let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() }.to_owned();
                    return Err(LedgerError::Locked { dir: self.0.clone(), pid });
                }
                Err(error) => return Err(io("lock")(error.into())),
            }
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io("write to the lock"))?;
        Ok(Lock(file))
    }
}

/// The name of a file system on which `flock` and shared memory do not reach other machines, by `statfs(2)` type
/// (`linux/magic.h`). FUSE is let through: it is a network on some machines and Docker Desktop's disk on others.
fn network_file_system(f_type: rustix::fs::FsWord) -> Option<&'static str> {
    // The field is signed, of 32 bits on some machines: there the large ones are negative.
    Some(match u32::try_from(i128::from(f_type) & 0xffff_ffff).unwrap_or_default() {
        0x6969 => "nfs",
        0x517b => "smb",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x0102_1997 => "9p",
        0x00c3_6400 => "ceph",
        0x5346_414f => "afs",
        0x6b41_4653 => "kafs",
        0x0bd0_0bd0 => "lustre",
        0x4750_4653 => "gpfs",
        0x0116_1970 => "gfs2",
        0x7461_636f => "ocfs2",
        0x7375_7245 => "coda",
        0x564c => "ncp",
        0x2003_0528 => "orangefs",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(network_file_system(0x6969), Some("nfs"));
        assert_eq!(network_file_system(0xff53_4d42), Some("cifs"));
        assert_eq!(network_file_system(0xff53_4d42_u32.cast_signed().into()), Some("cifs"));
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x6573_5546] {
            assert_eq!(network_file_system(local), None, "{local:#x}");
        }
    }

    #[test]
    fn one_manager_at_a_time_and_the_other_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(&dir.path().join("a/b")).expect("made");
        assert_eq!(std::fs::metadata(state.path()).expect("is there").permissions().mode() & 0o777, 0o700);
        let held = state.lock().expect("free");
        let error = state.lock().expect_err("held").to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(held);
        state.lock().expect("free again");
    }

    #[test]
    fn a_place_that_cannot_be_made_is_named() {
        let error = StateDir::open(Path::new("/proc/nothing/here")).expect_err("cannot be made");
        assert_eq!(error.exit_code(), 74);
        let said = sidecar::chain(&error);
        assert!(said.contains("/proc/nothing/here") && said.contains("--state"), "{said}");
        assert_eq!(said.matches("No such file").count(), 1, "the cause is said once: {said}");
    }
}
