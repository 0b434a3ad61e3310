//! What proves that bytes came through: CRCs, which parts can be put together from, and hashes, for which all is read in order.

use std::fs::File;
use std::io;
use std::path::Path;

use crc_fast::CrcAlgorithm;
use data_encoding::{BASE64, HEXLOWER};
use md5::Md5;
use sha2::{Digest as _, Sha256};
use storage::Error;

use super::limits::BUFFER;
use super::{PART, SHA256_METADATA};
use crate::{Checksums, Head};

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

    /// Of these bytes and then those.
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

    pub(crate) fn read(file: &File) -> io::Result<Self> {
        let (mut sha256, mut blocks, mut size) = (Sha256::new(), Vec::new(), 0);
        let mut block = Crc64::default();
        pass(file, |bytes| {
            sha256.update(bytes);
            block = block.then(Crc64::of(bytes));
            size += bytes.len() as u64;
            if block.length == PART {
                blocks.push(std::mem::take(&mut block));
            }
        })?;
        if block.length > 0 {
            blocks.push(block);
        }
        Ok(Self { size, sha256: sha256.finalize().into(), blocks })
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
    /// MD5 that it mostly is only for what comes in one request: more of it costs more than the network that it would prove.
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
                let md5 = etag_is_md5 && head.size <= PART && is_hex(&head.etag, 32);
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
    let mut buffer = vec![0; BUFFER / 2];
    let mut at = 0;
    loop {
        let until_part = usize::try_from(PART - at % PART).unwrap_or(usize::MAX).min(buffer.len());
        let space = buffer.get_mut(..until_part).unwrap_or_default();
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *space, at))?;
        if count == 0 {
            return Ok(());
        }
        each(space.get(..count).unwrap_or_default());
        at += count as u64;
    }
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
