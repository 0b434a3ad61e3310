//! What proves that bytes came through: CRCs, which parts can be put together from, and hashes, for which all is read in order.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc;

use crc_fast::CrcAlgorithm;
use data_encoding::{BASE64, HEXLOWER};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use storage::Error;

use super::limits::{Buffer, Buffers};
use super::{PART, SHA256_METADATA};
use crate::{Checksums, Head};

/// A file of no more is hashed where it is read.
const SMALL: u64 = 4 * 1024 * 1024;
/// So much is read at once of one. No budget counts it, and there may be many at a time.
const PIECE: usize = 64 * 1024;
/// So many pieces may be read before they are hashed.
const AHEAD: usize = 2;
/// What is larger is not held against an ETag: MD5 takes 1.6 ms for each MiB, as long as a fast network.
const MD5_MOST: u64 = 64 * 1024;

/// The CRC64NVME of some bytes, which knows how many they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Crc64 {
    value: u64,
    length: u64,
}

impl Crc64 {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { value: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes), length: bytes.len() as u64 }
    }

    /// Of these bytes and then those. Takes a tenth of a millisecond: for parts, not for what comes in order.
    pub(crate) fn then(self, next: Self) -> Self {
        if self.length == 0 {
            return next;
        }
        let value = crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, self.value, next.value, next.length);
        Self { value, length: self.length + next.length }
    }

    /// How many bytes it is of.
    pub(crate) fn length(self) -> u64 {
        self.length
    }

    /// As headers have it.
    pub(crate) fn base64(self) -> String {
        BASE64.encode(&self.value.to_be_bytes())
    }
}

/// The CRC64NVME of what comes in order.
#[derive(Clone, Debug)]
pub(crate) struct Running(Box<crc_fast::Digest>);

impl Running {
    pub(crate) fn new() -> Self {
        Self(Box::new(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of all so far.
    pub(crate) fn crc(&self) -> Crc64 {
        Crc64 { value: self.0.finalize(), length: self.length() }
    }

    /// How many bytes have come.
    pub(crate) fn length(&self) -> u64 {
        self.0.get_amount()
    }
}

/// What a file holds: read once, before it is sent, for all who want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    size: u64,
    sha256: [u8; 32],
    /// Of every [`PART`] bytes.
    blocks: Vec<Crc64>,
}

impl Digest {
    /// Reads the file. Costs a pass over it: about half a second for each GiB that is in memory already.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub async fn of(path: &Path) -> Result<Self, Error> {
        let doing = format!("read {}", path.display());
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || Self::read(&File::open(path)?));
        read.await.expect("reading does not panic").map_err(|source| Error::Io { doing, source })
    }

    /// The hash takes longest, and is taken on a thread of its own while the next piece is read.
    pub(crate) fn read(file: &File) -> io::Result<Self> {
        let (mut blocks, mut size, mut block) = (Vec::new(), 0, Running::new());
        let mut each = |bytes: &[u8]| {
            block.update(bytes);
            size += bytes.len() as u64;
            if block.length() == PART {
                blocks.push(std::mem::replace(&mut block, Running::new()).crc());
            }
        };
        let sha256 = if file.metadata()?.len() <= SMALL {
            let mut sha256 = Sha256::new();
            pass(file, |bytes| {
                each(bytes);
                sha256.update(bytes);
            })?;
            sha256.finalize()
        } else {
            std::thread::scope(|scope| {
                let (full, filled) = mpsc::sync_channel::<Buffer>(AHEAD);
                let hashing =
                    scope.spawn(move || filled.iter().fold(Sha256::new(), |hash, piece| hash.chain_update(piece)));
                let (buffers, mut at) = (Buffers::default(), 0);
                loop {
                    let mut piece = buffers.take();
                    piece.filled = fill(file, piece.space(), at)?;
                    if piece.filled == 0 {
                        break;
                    }
                    at += piece.filled as u64;
                    each(piece.as_ref());
                    // It ends after us, so it takes everything.
                    let _ = full.send(piece);
                }
                drop(full);
                Ok::<_, io::Error>(hashing.join().expect("hashing does not panic").finalize())
            })?
        };
        if block.length() > 0 {
            blocks.push(block.crc());
        }
        Ok(Self { size, sha256: sha256.into(), blocks })
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// In hexadecimal digits, lower case.
    pub fn sha256(&self) -> String {
        HEXLOWER.encode(&self.sha256)
    }

    /// As a store tells it: the CRC64NVME, in base64.
    pub fn crc64nvme(&self) -> String {
        self.crc64().base64()
    }

    pub(crate) fn crc64(&self) -> Crc64 {
        self.blocks.iter().fold(Crc64::default(), |all, block| all.then(*block))
    }

    /// Of the part that begins at `start`, a multiple of [`PART`], and has so many bytes.
    pub(crate) fn crc64_of(&self, start: u64, length: u64) -> Crc64 {
        let (first, count) = ((start / PART) as usize, length.div_ceil(PART) as usize);
        self.blocks.iter().skip(first).take(count).fold(Crc64::default(), |all, block| all.then(*block))
    }
}

/// What a store, or whoever wrote the object, says of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// In base64.
    Crc64Nvme(String),
    /// In base64.
    Crc32c(String),
    /// In base64.
    Crc32(String),
    /// In hexadecimal digits.
    Sha256(String),
    /// In hexadecimal digits.
    Md5(String),
}

impl Proof {
    /// The cheapest that there is: a CRC of the whole comes first, since parts that are read at once prove it. An ETag counts as the
    /// MD5 that it mostly is for small objects only.
    pub(crate) fn of(head: &Head, etag_is_md5: bool) -> Option<Self> {
        let Checksums { sha256, crc64nvme, crc32c, crc32, whole } = &head.checksums;
        let told = |sum: &Option<String>| sum.clone().filter(|sum| *whole && !sum.contains('-'));
        let hex = |text: &str| BASE64.decode(text.as_bytes()).ok().map(|bytes| HEXLOWER.encode(&bytes));
        told(crc64nvme)
            .map(Self::Crc64Nvme)
            .or_else(|| told(crc32c).map(Self::Crc32c))
            .or_else(|| told(crc32).map(Self::Crc32))
            .or_else(|| told(sha256).and_then(|text| hex(&text)).map(Self::Sha256))
            .or_else(|| head.metadata.get(SHA256_METADATA).filter(|text| is_hex(text, 64)).cloned().map(Self::Sha256))
            .or_else(|| {
                let md5 = etag_is_md5 && head.size <= MD5_MOST && is_hex(&head.etag, 32);
                md5.then(|| Self::Md5(head.etag.to_ascii_lowercase()))
            })
    }

    /// Compares it with what came; the error names both. `crc` is what was put together on the way; everything else takes a pass
    /// over the file, which blocks.
    pub(crate) fn hold(&self, file: &File, crc: Crc64) -> io::Result<Result<(), String>> {
        let (name, told, found) = match self {
            Self::Crc64Nvme(told) => ("CRC64NVME", told, crc.base64()),
            Self::Crc32c(told) => ("CRC32C", told, crc32(file, CrcAlgorithm::Crc32Iscsi)?),
            Self::Crc32(told) => ("CRC32", told, crc32(file, CrcAlgorithm::Crc32IsoHdlc)?),
            Self::Sha256(told) => ("SHA-256", told, HEXLOWER.encode(&hash::<Sha256>(file)?)),
            Self::Md5(told) => ("MD5", told, HEXLOWER.encode(&hash::<Md5>(file)?)),
        };
        Ok(if *told == found { Ok(()) } else { Err(format!("its {name} should be {told}, what came has {found}")) })
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn crc32(file: &File, algorithm: CrcAlgorithm) -> io::Result<String> {
    let mut crc = crc_fast::Digest::new(algorithm);
    pass(file, |bytes| crc.update(bytes))?;
    let value = u32::try_from(crc.finalize()).expect("a CRC32 has 32 bits");
    Ok(BASE64.encode(&value.to_be_bytes()))
}

fn hash<D: sha2::Digest>(file: &File) -> io::Result<Vec<u8>> {
    let mut hash = D::new();
    pass(file, |bytes| hash.update(bytes))?;
    Ok(hash.finalize().to_vec())
}

/// All of a file, from its beginning, in pieces that end where [`PART`]s end.
fn pass(file: &File, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut piece, mut at) = (vec![0; PIECE], 0);
    loop {
        let filled = fill(file, &mut piece, at)?;
        if filled == 0 {
            return Ok(());
        }
        each(piece.get(..filled).unwrap_or_default());
        at += filled as u64;
    }
}

/// Reads from `at` on, as far as `space` and the [`PART`] go; 0 at the end of the file.
fn fill(file: &File, space: &mut [u8], at: u64) -> io::Result<usize> {
    let until_part = usize::try_from(PART - at % PART).unwrap_or(usize::MAX).min(space.len());
    let space = space.get_mut(..until_part).unwrap_or_default();
    Ok(rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *space, at))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crc_put_together_is_the_crc_of_all() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let whole = Crc64::of(&bytes);
        for cut in [0, 1, 500, 99_999, 100_000] {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(Crc64::of(front).then(Crc64::of(back)), whole, "cut at {cut}");
        }
        // The check value of the catalogue: CRC-64/NVME of "123456789".
        assert_eq!(Crc64::of(b"123456789").value, 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn a_digest_is_of_the_whole_and_of_every_part() {
        let file = tempfile::tempfile().expect("make a file");
        let mut bytes = vec![0; PART as usize + 100];
        fastrand::Rng::with_seed(1).fill(&mut bytes);
        rustix::io::pwrite(&file, &bytes, 0).expect("write it");
        let digest = Digest::read(&file).expect("read it");
        assert_eq!((digest.size(), digest.sha256()), (PART + 100, HEXLOWER.encode(&Sha256::digest(&bytes))));
        assert_eq!(digest.crc64(), Crc64::of(&bytes));
        let (front, back) = bytes.split_at(PART as usize);
        assert_eq!((digest.crc64_of(0, PART), digest.crc64_of(PART, 100)), (Crc64::of(front), Crc64::of(back)));
    }

    #[test]
    fn the_cheapest_proof_is_taken_and_parts_prove_nothing() {
        let etag = "d41d8cd98f00b204e9800998ecf8427e".to_owned();
        let mut head = Head { etag, ..Head::default() };
        assert_eq!(Proof::of(&head, false), None, "an encrypted object's ETag is no MD5");
        assert!(matches!(Proof::of(&head, true), Some(Proof::Md5(_))));
        head.metadata.insert(SHA256_METADATA.to_owned(), "ab".repeat(32));
        assert_eq!(Proof::of(&head, true), Some(Proof::Sha256("ab".repeat(32))));
        head.checksums.crc32 = Some("AAAAAA==-3".to_owned());
        head.checksums.whole = true;
        assert!(
            matches!(Proof::of(&head, true), Some(Proof::Sha256(_))),
            "a checksum of checksums is none of the whole"
        );
        head.checksums.crc64nvme = Some("AAAAAAAAAAA=".to_owned());
        assert!(matches!(Proof::of(&head, true), Some(Proof::Crc64Nvme(_))));
        head.checksums.whole = false;
        assert!(matches!(Proof::of(&head, true), Some(Proof::Sha256(_))));
    }

    #[test]
    fn every_proof_holds_for_its_bytes_and_for_no_others() {
        let file = tempfile::tempfile().expect("make a file");
        rustix::io::pwrite(&file, b"123456789", 0).expect("write it");
        let crc = Crc64::of(b"123456789");
        let base64 = |bytes: &[u8]| BASE64.encode(bytes);
        for proof in [
            Proof::Crc64Nvme(base64(&0xae8b_1486_0a79_9888_u64.to_be_bytes())),
            Proof::Crc32c(base64(&0xe306_9283_u32.to_be_bytes())),
            Proof::Crc32(base64(&0xcbf4_3926_u32.to_be_bytes())),
            Proof::Md5("25f9e794323b453885f5181f1b624d0b".to_owned()),
            Proof::Sha256("15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225".to_owned()),
        ] {
            proof.hold(&file, crc).expect("read").unwrap_or_else(|why| panic!("{proof:?}: {why}"));
            rustix::io::pwrite(&file, b"0", 3).expect("spoil it");
            let why = proof.hold(&file, Crc64::of(b"123056789")).expect("read").expect_err("it does not hold");
            assert!(why.contains("should be"), "{why}");
            rustix::io::pwrite(&file, b"4", 3).expect("mend it");
        }
    }
}
