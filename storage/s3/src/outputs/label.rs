//! What every object of ours says of itself, in its metadata.

use std::collections::HashMap;

use contract::item::encode_path;
use contract::marker::Output;
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use storage::Claim;

use super::run::Run;
use crate::{Head, SHA256_METADATA};

/// The native key of the item: who the object belongs to.
const ITEM: &str = "longshore-item";
/// Which run uploaded it.
const RUN: &str = "longshore-run";
/// The longest key that is written out; all metadata of an object together may have 2 KB, and a byte of a key takes up to three.
const LONGEST_ITEM: usize = 1024;

/// What is said of one object.
#[derive(Clone, Debug)]
pub(super) struct Label(HashMap<String, String>);

impl Label {
    /// Of what a run writes. The transfer adds the SHA-256 of a file.
    pub(super) fn of_run(claim: &Claim, run: &Run) -> Self {
        let mut label = Self::of_report(claim);
        label.0.insert(RUN.to_owned(), run.to_string());
        label
    }

    /// Of the account of an attempt.
    pub(super) fn of_report(claim: &Claim) -> Self {
        Self(HashMap::from([(ITEM.to_owned(), item(claim))]))
    }

    pub(super) fn metadata(self) -> HashMap<String, String> {
        self.0
    }

    /// Whether an object was published for the claim's item, in whatever version.
    pub(super) fn is_of(head: &Head, claim: &Claim) -> bool {
        head.metadata.get(ITEM) == Some(&item(claim))
    }

    /// Which run uploaded an object.
    pub(super) fn run(head: &Head) -> Option<Run> {
        head.metadata.get(RUN).and_then(|run| Run::parse(run))
    }

    /// Whether an object is what a marker says of it, as far as the store tells.
    pub(super) fn holds(head: &Head, output: &Output) -> bool {
        let said = head.metadata.get(SHA256_METADATA).is_none_or(|sha256| *sha256 == output.sha256);
        let known = head.checksums.sha256.as_ref().filter(|_| head.checksums.whole);
        let sum = known.and_then(|sum| BASE64.decode(sum.as_bytes()).ok()).map(|sum| HEXLOWER.encode(&sum));
        head.size == output.size && said && sum.is_none_or(|sum| sum == output.sha256)
    }
}

/// The item's native key, as a header can carry it. A hash is told from a key by its `#`, which is escaped in a key.
fn item(claim: &Claim) -> String {
    let native = claim.item.key.to_bytes();
    let encoded = encode_path(&native);
    if encoded.len() <= LONGEST_ITEM {
        encoded
    } else {
        format!("sha256#{}", HEXLOWER.encode(&Sha256::digest(&native)))
    }
}

impl Head {
    /// Whether some worker published this object.
    pub fn is_published(&self) -> bool {
        self.metadata.contains_key(ITEM)
    }
}

#[cfg(test)]
mod tests {
    use contract::marker::MarkedItem;
    use contract::{ItemName, Key};
    use storage::Place;

    use super::*;

    fn claim(key: &str) -> Claim {
        let item = MarkedItem {
            name: ItemName::derive(b"", key.as_bytes(), b""),
            key: Key::new(key.as_bytes()),
            version: String::new(),
        };
        let place = Place::new(b"p").expect("a place");
        Claim { place, item, revision: 0, attempt: "n".into(), number: 1, uploads: Default::default() }
    }

    #[test]
    fn any_key_fits_into_what_a_store_takes() {
        for key in ["a b/é\n#?.mp4".to_owned(), "é".repeat(512), "x".repeat(1024)] {
            let mut metadata = Label::of_run(&claim(&key), &Run::new(u32::MAX, &"n".repeat(128), None)).metadata();
            // As the transfer adds them.
            metadata.insert(SHA256_METADATA.to_owned(), "0".repeat(64));
            metadata.insert("longshore-upload".to_owned(), "0".repeat(32));
            let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(size <= 2048, "{size} bytes for {key:?}");
            assert!(metadata.values().all(|value| value.bytes().all(|b| b.is_ascii_graphic())), "{metadata:?}");
            let head = Head { metadata, ..Head::default() };
            assert!(Label::is_of(&head, &claim(&key)) && !Label::is_of(&head, &claim("other")));
        }
        let long = "é".repeat(512);
        let hash = item(&claim(&long));
        assert_ne!(item(&claim(&hash)), hash, "a key that looks like the hash of another is not taken for it");
    }
}
