//! A file in the making: beside where it will be, of its full size from the start, gone when it is not finished.

use std::fs::{File, Permissions};
use std::io::{self, IoSlice};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use storage::Error;
use tempfile::TempPath;
use tokio::task::JoinHandle;

use super::checksum::{Crc64, Proof, Running};

/// The most pieces of one write.
const PIECES: usize = 64;

/// A file in the making. It is not made durable: what is fetched belongs to one run, and a machine that dies ends that.
#[derive(Debug)]
pub(crate) struct Partial {
    file: Arc<File>,
    path: TempPath,
    to: PathBuf,
}

impl Partial {
    /// Makes it, with room for `size` bytes on the disk. What is no use but to be removed is called `.partial-…`.
    ///
    /// # Errors
    /// [`Error::Io`], naming the size when there is no room for it.
    pub(crate) async fn make(to: &Path, size: u64) -> Result<Self, Error> {
        let to = to.to_owned();
        blocking(move || {
            let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let made = tempfile::Builder::new()
                .prefix(".partial-")
                // As any file of this user: others may have to read it.
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(dir);
            let (file, path) = made
                .map_err(|source| Error::Io { doing: format!("make a file in {}", dir.display()), source })?
                .into_parts();
            allocate(&file, size).map_err(|source| Error::Io {
                doing: format!("make room for {size} bytes at {}", to.display()),
                source,
            })?;
            Ok(Self { file: Arc::new(file), path, to })
        })
        .await
    }

    /// Where bytes are written to.
    pub(crate) fn writer(&self) -> Writer {
        Writer { file: Arc::clone(&self.file), to: self.to.as_path().into() }
    }

    /// Renames it to where it belongs, if what the store says of its content holds.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not hold, since what is fetched again may; [`Error::Io`].
    pub(crate) async fn finish(self, uri: String, proof: Option<Proof>, crc: Crc64) -> Result<(), Error> {
        blocking(move || {
            let local = |doing: &str, source| Error::Io { doing: format!("{doing} {}", self.to.display()), source };
            if let Some(proof) = proof {
                let held = proof.hold(&self.file, crc).map_err(|source| local("read", source))?;
                held.map_err(|why| Error::Unavailable {
                    doing: format!("fetch {uri}"),
                    source: io::Error::new(io::ErrorKind::InvalidData, why),
                })?;
            }
            self.path.persist(&self.to).map_err(|error| local("rename what was fetched to", error.error))
        })
        .await
    }
}

/// Reserves the blocks, so that a disk that is too small says so before anything is fetched. Where that cannot be done, the
/// file has its size and the disk shows itself later.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, size)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(size),
        other => other.map_err(io::Error::from),
    }
}

/// Writes into a file in the making, from as many places at once as need be.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    file: Arc<File>,
    to: Arc<Path>,
}

impl Writer {
    /// Writes `pieces` one after the other from `at` on, on a thread that may block, and counts them in.
    pub(crate) fn write(&self, mut pieces: Vec<Bytes>, at: u64, mut crc: Running) -> Writing {
        let Self { file, to } = self.clone();
        Writing(tokio::task::spawn_blocking(move || {
            for piece in &pieces {
                crc.update(piece);
            }
            write_all(&file, &mut pieces, at)
                .map_err(|source| Error::Io { doing: format!("write {}", to.display()), source })?;
            Ok(crc)
        }))
    }
}

/// A write under way.
#[derive(Debug)]
pub(crate) struct Writing(JoinHandle<Result<Running, Error>>);

impl Writing {
    /// Waits for it, and gives back the CRC with what was written in it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn end(self) -> Result<Running, Error> {
        self.0.await.expect("a write does not panic, and the runtime outlives it")
    }
}

fn write_all(file: &File, pieces: &mut [Bytes], mut at: u64) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = pieces.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let slices: Vec<_> = rest.iter().take(PIECES).map(|piece| IoSlice::new(piece)).collect();
        let mut written = rustix::io::retry_on_intr(|| rustix::io::pwritev(file, &slices, at))?;
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        at += written as u64;
        for piece in rest.iter_mut().take(PIECES) {
            let of_this = written.min(piece.len());
            piece.advance(of_this);
            written -= of_this;
            if !piece.is_empty() {
                break;
            }
            done += 1;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.expect("file work does not panic, and the runtime outlives it")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn it_has_its_size_and_its_room_before_anything_is_written() {
        let dir = tempfile::tempdir().expect("make a directory");
        let to = dir.path().join("clip.mp4");
        let partial = Partial::make(&to, 1 << 20).await.expect("make it");
        let made = partial.file.metadata().expect("look at it");
        assert_eq!(made.len(), 1 << 20);
        assert!(made.blocks() * 512 >= 1 << 20, "{} blocks", made.blocks());
        assert!(!to.exists(), "it is not there before it is whole");
        drop(partial);
        assert_eq!(dir.path().read_dir().expect("list it").count(), 0, "and what is not finished is gone");
    }

    #[tokio::test]
    async fn no_room_is_said_at_once() {
        let dir = tempfile::tempdir().expect("make a directory");
        let error = Partial::make(&dir.path().join("clip.mp4"), 1 << 50).await.expect_err("nobody has a PiB");
        let text = format!("{error}");
        assert!(matches!(error, Error::Io { .. }) && text.contains("1125899906842624 bytes"), "{text}");
        assert_eq!(dir.path().read_dir().expect("list it").count(), 0);
    }

    #[tokio::test]
    async fn pieces_are_written_where_they_belong() {
        let dir = tempfile::tempdir().expect("make a directory");
        let to = dir.path().join("f");
        let partial = Partial::make(&to, 300).await.expect("make it");
        let pieces: Vec<Bytes> = (0..200_u8).map(|n| Bytes::copy_from_slice(&[n])).collect();
        let back = partial.writer().write(pieces.clone(), 100, Running::new()).end().await.expect("write");
        let front = vec![Bytes::from(vec![9; 60]), Bytes::new(), Bytes::from(vec![9; 40])];
        let front = partial.writer().write(front, 0, Running::new()).end().await.expect("write");
        let crc = front.crc().then(back.crc());
        partial.finish("s3://b/k".to_owned(), Some(Proof::Crc64Nvme(crc.base64())), crc).await.expect("finish");
        let want: Vec<u8> = std::iter::repeat_n(9, 100).chain(0..200).collect();
        assert_eq!(std::fs::read(&to).expect("read it"), want);
    }
}
