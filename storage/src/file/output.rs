//! An output root on a file system.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use super::blocking;
use super::dir::Dir;
use super::judge::judge;
use super::lock::RootLock;
use super::publication::{FilePublication, sync_place};
use super::staging::{LOCK, OUT, Staging, area, sweep};
use crate::uri::file_uri;
use crate::{BoxFuture, Claim, Error, Outputs, Place, Publication, Standing};

/// Outputs in directories below a root.
#[derive(Debug)]
pub(super) struct FileOutputs {
    root: PathBuf,
}

impl FileOutputs {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// What people can do about a root that cannot be used.
    fn advise(&self, error: Error) -> Error {
        let Error::Io { doing, source } = error else { return error };
        let root = self.root.display();
        let advice = match source.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                format!("{root}, where --output begins, must be a directory")
            }
            io::ErrorKind::PermissionDenied => {
                let user = rustix::process::geteuid().as_raw();
                format!("user {user} must be able to write to {root}, where --output begins")
            }
            io::ErrorKind::ReadOnlyFilesystem => format!("{root}, where --output begins, is mounted read-only"),
            _ => return Error::Io { doing, source },
        };
        Error::Io { doing: format!("{doing} ({advice})"), source }
    }

    async fn judge_now(&self, claim: Claim) -> Result<Standing, Error> {
        let root = self.root.clone();
        blocking(move || {
            let dir = match Dir::open(&root) {
                Ok(dir) => dir,
                Err(Errno::NOENT) => return Ok(Standing::Free),
                Err(errno) => return Err(Error::io(format!("open {}", root.display()), errno)),
            };
            let standing = judge(&dir, &claim)?;
            if matches!(standing, Standing::Published(_)) {
                sync_place(&root, &claim.place)?;
            }
            Ok(standing)
        })
        .await
    }

    async fn stage(&self, attempt: String) -> Result<Staging, Error> {
        let area = area(&self.root);
        let made = area.clone();
        let made = blocking(move || {
            std::fs::create_dir_all(&made).map_err(|e| Error::io(format!("create {}", made.display()), e))
        });
        let root = self.root.clone();
        let staged = async {
            made.await?;
            let lock = RootLock::take(area.join(LOCK)).await?;
            blocking(move || Staging::create(&root, &attempt, &lock)).await
        };
        staged.await.map_err(|error| self.advise(error))
    }
}

impl Outputs for FileOutputs {
    fn uri(&self, place: &Place) -> String {
        file_uri(&self.root.join(place.as_path()))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { sweep(self.root.clone()).await.map_err(|error| self.advise(error)) })
    }

    fn look<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Standing, Error>> {
        Box::pin(async move {
            let seen = self.judge_now(claim.clone()).await.map_err(|error| self.advise(error));
            let lock = area(&self.root).join(LOCK);
            if !matches!(seen, Err(Error::Taken(_))) || !lock.exists() {
                return seen;
            }
            // What looks like somebody else's may be what another worker has just replaced and is removing, marker first.
            // Under the lock nothing is replaced.
            let _lock = RootLock::take(lock).await?;
            self.judge_now(claim.clone()).await
        })
    }

    fn begin<'a>(&'a self, claim: Claim, _scratch: &'a Path) -> BoxFuture<'a, Result<Box<dyn Publication>, Error>> {
        Box::pin(async move {
            let staging = self.stage(claim.attempt.clone()).await?;
            Ok(Box::new(FilePublication { root: self.root.clone(), staging, claim }) as Box<dyn Publication>)
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(async {
            let staging = self.stage("check".to_owned()).await?;
            let root = self.root.clone();
            blocking(move || {
                let other = staging.path().join("other");
                std::fs::create_dir(&other).map_err(|e| Error::io(format!("create {}", other.display()), e))?;
                let dir = Dir::open(staging.path())
                    .map_err(|errno| Error::io(format!("open {}", staging.path().display()), errno))?;
                Ok(match renameat_with(&dir, OUT, &dir, "other", RenameFlags::EXCHANGE) {
                    Ok(()) => Vec::new(),
                    Err(errno) => vec![format!(
                        "{} cannot exchange two directories ({errno}): where an older version of an output is replaced, \
                         nothing stands for an instant",
                        root.display()
                    )],
                })
            })
            .await
        })
    }
}
