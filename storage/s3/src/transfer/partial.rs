//! A file in the making: beside where it will be, its room reserved before anything is written, gone when it is not finished.

use std::fs::{File, Permissions};
use std::io::{self, IoSlice};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use storage::{Error, blocking};
use tempfile::TempPath;
use tokio::task::JoinHandle;

use super::checksum::{Crc64, Proof, Running};

/// The most pieces of one write.
const PIECES: usize = 64;
/// What is no larger comes in one write, which finds out by itself whether there is room.
const AT_ONCE: u64 = 1024 * 1024;

/// A file in the making. It is not made durable: what is fetched belongs to one run, and a machine that dies ends that.
#[derive(Debug)]
pub(crate) struct Partial {
    place: Arc<Place>,
    path: TempPath,
}

/// Where bytes are written to.
#[derive(Debug)]
struct Place {
    file: File,
    to: PathBuf,
    turn: Mutex<Turn>,
}

/// The right to write. One at a time: the kernel lets no two write to a file either, and has the others spin for it, which took
/// as long as the writing itself.
#[derive(Debug)]
struct Turn {
    /// Bytes for which room is still to be made; 0 once it is.
    wants: u64,
}

impl Partial {
    /// Makes it, and makes room for `size` bytes on the disk. Where there seems to be plenty, nobody waits for that: on a tmpfs it takes
    /// a tenth of a second for each GiB, in which the store may be asked already. What is no use but to be removed is called `.partial-…`.
    ///
    /// # Errors
    /// [`Error::Io`], naming the size when there is no room for it.
    pub(crate) async fn make(to: &Path, size: u64) -> Result<Self, Error> {
        let to = to.to_owned();
        let made = blocking(move || {
            let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let made = tempfile::Builder::new()
                .prefix(".partial-")
                // As any file of this user: others may have to read it.
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(dir);
            let (file, path) = made
                .map_err(|source| Error::Io { doing: format!("make a file in {}", dir.display()), source })?
                .into_parts();
            let tight = seems_tight(&file, size);
            let turn = Mutex::new(Turn { wants: if size > AT_ONCE { size } else { 0 } });
            let made = Self { place: Arc::new(Place { file, to, turn }), path };
            if tight {
                made.place.in_turn(|_| Ok(()))?;
            }
            Ok(made)
        })
        .await?;
        if size > AT_ONCE {
            let place = Arc::clone(&made.place);
            // If there is no room after all, the first write says so.
            tokio::task::spawn_blocking(move || place.in_turn(|_| Ok(())));
        }
        Ok(made)
    }

    /// Where bytes are written to.
    pub(crate) fn writer(&self) -> Writer {
        Writer(Arc::clone(&self.place))
    }

    /// Renames it to where it belongs, if what the store says of its content holds.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not hold, since what is fetched again may; [`Error::Io`].
    pub(crate) async fn finish(self, uri: String, proof: Option<Proof>, crc: Crc64) -> Result<(), Error> {
        blocking(move || {
            let Place { file, to, .. } = &*self.place;
            let local = |doing: &str, source| Error::Io { doing: format!("{doing} {}", to.display()), source };
            if let Some(proof) = proof {
                let held = proof.hold(file, crc).map_err(|source| local("read", source))?;
                held.map_err(|why| Error::Unavailable {
                    doing: format!("fetch {uri}"),
                    source: io::Error::new(io::ErrorKind::InvalidData, why),
                })?;
            }
            self.path.persist(to).map_err(|error| local("rename what was fetched to", error.error))
        })
        .await
    }
}

impl Place {
    /// Does something with the file when it is its turn, and there is room for all that is to come.
    ///
    /// # Errors
    /// [`Error::Io`], naming the size when there is no room for it.
    fn in_turn(&self, work: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Error> {
        let to = self.to.display();
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.wants > 0 {
            allocate(&self.file, turn.wants)
                .map_err(|source| Error::Io { doing: format!("make room for {} bytes at {to}", turn.wants), source })?;
            turn.wants = 0;
        }
        work(&self.file).map_err(|source| Error::Io { doing: format!("write {to}"), source })
    }
}

/// Whether the disk says that it has no room for so much. It is no more than a hint: compression, quotas and file systems that say 0.
fn seems_tight(file: &File, size: u64) -> bool {
    rustix::fs::fstatvfs(file).map_or(true, |disk| disk.f_bavail.saturating_mul(disk.f_frsize) < size)
}

/// Reserves the blocks, so that a disk that is too small says so before anything is written. Where that cannot be done, the
/// file has its size and the disk shows itself later.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, size)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(size),
        other => other.map_err(io::Error::from),
    }
}

/// Writes into a file in the making, for as many as bring something at once.
#[derive(Clone, Debug)]
pub(crate) struct Writer(Arc<Place>);

impl Writer {
    /// Writes `pieces` one after the other from `at` on, on a thread that may block, and counts them in.
    pub(crate) fn write(&self, mut pieces: Vec<Bytes>, at: u64, mut crc: Running) -> Writing {
        let place = Arc::clone(&self.0);
        Writing(tokio::task::spawn_blocking(move || {
            for piece in &pieces {
                crc.update(piece);
            }
            place.in_turn(|file| write_all(file, &mut pieces, at))?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn it_has_its_size_and_its_room_before_anything_is_written() {
        let dir = tempfile::tempdir().expect("make a directory");
        let (to, size) = (dir.path().join("clip.mp4"), 4 << 20);
        let partial = Partial::make(&to, size).await.expect("make it");
        let looks = |file: &File| {
            let made = file.metadata()?;
            assert_eq!(made.len(), size);
            assert!(made.blocks() * 512 >= size, "{} blocks", made.blocks());
            Ok(())
        };
        partial.place.in_turn(looks).expect("look at it");
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
