//! Item names: Kubernetes-legal by construction, and the same for the same thing wherever and whenever it is asked.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest derived name, in bytes. Leaves 11 of a DNS label's 63 for what a manager puts before or behind it.
pub const MAX_DERIVED: usize = 52;
/// Longest name of any kind, in bytes: an S3 key of 1,024 with a version behind it, and room.
pub const MAX_NAME: usize = 2_048;

const HASH_CHARS: usize = 13;
const MAX_SLUG: usize = MAX_DERIVED - HASH_CHARS - 1;
/// Separates these hashes from every other use of SHA-256, and a later scheme from this one.
const DOMAIN: &[u8] = b"longshore item name v1";

/// The name of one item in a source's list.
///
/// A name made by [`ItemName::derive`] is a DNS-1123 label of at most [`MAX_DERIVED`] bytes. A foreign source may use any
/// text: 1 to [`MAX_NAME`] bytes without control characters is accepted, and [`ItemName::is_label`] tells the two apart.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ItemName(Box<str>);

impl ItemName {
    /// `<slug>-<hash>`: the slug is the last component of `key` in lower-case ASCII letters, digits and single dashes, for
    /// people; the hash is the first 64 bits of SHA-256 over source id, key and version, each preceded by its length, in
    /// lower-case base32 (RFC 4648, 13 characters), for machines.
    pub fn derive(source_id: &[u8], key: &[u8], version: &[u8]) -> Self {
        let mut text = [0; MAX_DERIVED];
        let slug = slug(key, &mut text);
        if let [dash, rest @ ..] = text.get_mut(slug..).unwrap_or_default() {
            *dash = b'-';
            if let Some(hash) = rest.first_chunk_mut() {
                *hash = hash_chars(&[source_id, key, version]);
            }
        }
        let name = text.get(..slug + 1 + HASH_CHARS).and_then(|name| std::str::from_utf8(name).ok());
        Self(name.expect("a slug and a hash, in ASCII, fit").into())
    }

    /// Accepts any name a source may list.
    ///
    /// # Errors
    /// [`InvalidName`] when it is empty, longer than [`MAX_NAME`] bytes or holds a control character.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.len() > MAX_NAME {
            return Err(InvalidName::TooLong { bytes: text.len() });
        }
        // Nearly every name, and a list may have millions: without a way out, the loop is done sixteen bytes at a time.
        if text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
            return Ok(Self(text.into()));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(control) => Err(InvalidName::Control { control }),
            None => Ok(Self(text.into())),
        }
    }

    /// The name as it stands in the list.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a DNS-1123 label (RFC 1123 §2.1 as Kubernetes reads it): 1 to 63 lower-case letters, digits and
    /// dashes that neither begins nor ends with a dash.
    pub fn is_label(&self) -> bool {
        let bytes = self.0.as_bytes();
        bytes.len() <= 63
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-')
    }
}

/// 64 bits of SHA-256 over `parts`, each preceded by its length, as 13 characters of base32.
pub fn hash(parts: &[&[u8]]) -> String {
    hash_chars(parts).map(char::from).iter().collect()
}

fn hash_chars(parts: &[&[u8]]) -> [u8; HASH_CHARS] {
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut text = [0; HASH_CHARS];
    data_encoding::BASE32_NOPAD.encode_mut(digest.first_chunk::<8>().expect("a SHA-256 has 32 bytes"), &mut text);
    text.make_ascii_lowercase();
    text
}

/// Writes the slug of a key, and says how long it is.
fn slug(key: &[u8], text: &mut [u8; MAX_DERIVED]) -> usize {
    let last = key.rsplit(|b| *b == b'/').find(|part| !part.is_empty()).unwrap_or_default();
    let (mut len, mut after_dash) = (0, true);
    for byte in last {
        let is_plain = byte.is_ascii_alphanumeric();
        if !is_plain && after_dash {
            continue;
        }
        let Some(place) = text.get_mut(len).filter(|_| len < MAX_SLUG) else { break };
        *place = if is_plain { byte.to_ascii_lowercase() } else { b'-' };
        after_dash = !is_plain;
        len += 1;
    }
    if len > 0 && after_dash {
        len -= 1;
    }
    if len == 0 {
        let item = b"item";
        text.iter_mut().zip(item).for_each(|(place, byte)| *place = *byte);
        len = item.len();
    }
    len
}

impl Serialize for ItemName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for ItemName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ItemName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<ItemName> for String {
    fn from(name: ItemName) -> Self {
        name.0.into()
    }
}

/// Why a text is no item name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It has no characters.
    #[error("an item name may not be empty")]
    Empty,
    /// It is longer than [`MAX_NAME`].
    #[error("an item name of {bytes} bytes is longer than the {MAX_NAME} allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It holds a control character, which no log, label or file name could carry safely.
    #[error("an item name may not hold the control character {control:?}")]
    Control {
        /// The first one found.
        control: char,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn label(name: &ItemName) {
        assert!(name.is_label(), "{name:?} is no DNS-1123 label");
        assert!(name.as_str().len() <= MAX_DERIVED, "{name:?} is too long");
    }

    #[test]
    fn golden_names_never_change() {
        // These are what other languages and older ledgers hold: a change here is a change of contract.
        type Case = (&'static [u8], &'static [u8], &'static [u8], &'static str);
        let cases: [Case; 4] = [
            (b"", b"My Video.MP4", b"", GOLDEN[0]),
            (b"", b"videos/2024/a.mp4", b"17-1700000000000000000", GOLDEN[1]),
            (b"bucket", "été/".as_bytes(), b"\"etag\"", GOLDEN[2]),
            (b"", b"\xff\xfe\n", b"", GOLDEN[3]),
        ];
        for (source, key, version, want) in cases {
            assert_eq!(ItemName::derive(source, key, version).as_str(), want);
        }
    }
    const GOLDEN: [&str; 4] =
        ["my-video-mp4-k2iwy5bxbrp2q", "a-mp4-pwxlko4fazwiy", "t-wppz3phjrat7s", "item-nr67vfmp7uh5e"];

    #[test]
    fn the_parts_cannot_run_into_each_other() {
        let names = [("a", "b", "c"), ("ab", "", "c"), ("", "ab", "c"), ("a", "bc", ""), ("", "", "abc")]
            .map(|(s, k, v)| ItemName::derive(s.as_bytes(), k.as_bytes(), v.as_bytes()));
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    /// A million native names of the kinds that have broken others, all different.
    fn awkward(n: u32) -> Vec<u8> {
        match n % 10 {
            0 => format!("My Video {n}.MP4").into_bytes(),
            1 => format!("視頻/クリップ {n}.mp4").into_bytes(),
            2 => format!("{n}/{}", "x".repeat(1024)).into_bytes()[..1024].to_vec(),
            3 => format!("same slug{}{n}", " ".repeat((n % 7) as usize)).into_bytes(),
            4 => [b"\xff\xfe".as_slice(), &n.to_be_bytes()].concat(),
            5 => format!("line\nbreak\r{n}").into_bytes(),
            6 => format!("UPPER{n}").into_bytes(),
            7 => format!("upper{}", n - 1).into_bytes(),
            8 => format!("---{n}---").into_bytes(),
            _ => format!("$(rm -rf {n})/../;|&").into_bytes(),
        }
    }

    #[test]
    fn a_million_awkward_names_are_legal_and_apart() {
        let mut seen = HashSet::with_capacity(1_000_000);
        for n in 0..1_000_000 {
            let key = awkward(n);
            let name = ItemName::derive(b"", &key, b"1-2");
            label(&name);
            assert!(seen.insert(name), "{:?} shares a name with an earlier key", String::from_utf8_lossy(&key));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn any_bytes_get_a_legal_name_that_depends_on_nothing_else(
            source in prop::collection::vec(any::<u8>(), 0..32),
            key in prop::collection::vec(any::<u8>(), 0..1100),
            version in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let name = ItemName::derive(&source, &key, &version);
            label(&name);
            prop_assert_eq!(&name, &ItemName::derive(&source, &key, &version));
            prop_assert_eq!(ItemName::parse(name.as_str()), Ok(name));
        }
    }

    #[test]
    fn what_no_list_may_hold_is_refused() {
        assert_eq!(ItemName::parse(""), Err(InvalidName::Empty));
        assert_eq!(ItemName::parse("a\nb"), Err(InvalidName::Control { control: '\n' }));
        assert_eq!(ItemName::parse(&"x".repeat(MAX_NAME + 1)), Err(InvalidName::TooLong { bytes: MAX_NAME + 1 }));
        assert!(ItemName::parse("My Video.MP4").is_ok_and(|name| !name.is_label()));
        assert!(serde_json::from_str::<ItemName>("\"a\\u0000\"").is_err());
    }
}
