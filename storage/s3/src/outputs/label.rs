//! What every object of ours says of itself, in its metadata.

use std::collections::HashMap;

use contract::item::encode_path;
use contract::marker::Output;
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use storage::Claim;

use super::run::Run;
use super::site::Site;
use crate::{Head, SHA256_METADATA};

/// The native key of the item: who the object belongs to.
const ITEM: &str = "longshore-item";
/// Where the item was read from, hashed, where that is known.
const SOURCE: &str = "longshore-source";
/// The place and the key that the object was written to, hashed. Copies take metadata along: what says another key than it
/// has is a copy that somebody made, or of a place within this one, and nothing of ours.
const KEY: &str = "longshore-key";
/// Which run uploaded it.
const RUN: &str = "longshore-run";
/// The longest key that is written out; all metadata of an object together may have 2 KB, and a byte of a key takes up to three.
const LONGEST_ITEM: usize = 1024;

/// What is said of one object.
#[derive(Clone, Debug)]
pub(super) struct Label(HashMap<String, String>);

impl Label {
    /// Of what a run writes. The transfer adds the SHA-256 of a file.
    pub(super) fn of_run(site: &Site, claim: &Claim, key: &str, run: &Run) -> Self {
        let mut label = Self::of_report(site, claim, key);
        label.0.insert(RUN.to_owned(), run.to_string());
        label
    }

    /// Of the account of an attempt.
    pub(super) fn of_report(site: &Site, claim: &Claim, key: &str) -> Self {
        let mut label = HashMap::from([(ITEM.to_owned(), item(claim)), (KEY.to_owned(), own_key(site, key))]);
        label.extend(source(claim).map(|source| (SOURCE.to_owned(), source)));
        Self(label)
    }

    pub(super) fn metadata(self) -> HashMap<String, String> {
        self.0
    }

    /// Whether the object at `key` was published there, to this place, for the claim's item, in whatever version.
    pub(super) fn is_of(head: &Head, site: &Site, claim: &Claim, key: &str) -> bool {
        let same_source = match (head.metadata.get(SOURCE), source(claim)) {
            (Some(theirs), Some(ours)) => *theirs == ours,
            _ => true,
        };
        same_source
            && head.metadata.get(ITEM) == Some(&item(claim))
            && head.metadata.get(KEY) == Some(&own_key(site, key))
    }

    /// Which run uploaded an object.
    pub(super) fn run(head: &Head) -> Option<Run> {
        head.metadata.get(RUN).and_then(|run| Run::parse(run))
    }

    /// Whether an object is what a marker says of it, as far as the store tells.
    pub(super) fn holds(head: &Head, output: &Output) -> bool {
        let said = head.metadata.get(SHA256_METADATA);
        let known = head.checksums.sha256.as_ref().filter(|_| head.checksums.whole);
        let sum = known.and_then(|sum| BASE64.decode(sum.as_bytes()).ok()).map(|sum| HEXLOWER.encode(&sum));
        // An object of which nobody says what it holds may be anybody's.
        let mut sums = said.into_iter().chain(&sum).peekable();
        head.size == output.size && sums.peek().is_some() && sums.all(|sum| *sum == output.sha256)
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

fn source(claim: &Claim) -> Option<String> {
    claim.item.source.as_ref().map(|source| HEXLOWER.encode(&Sha256::digest(source)))
}

/// The place is hashed with the key, so that the same key is another one in a place within this.
fn own_key(site: &Site, key: &str) -> String {
    let digest = Sha256::new().chain_update(site.prefix()).chain_update([0]).chain_update(key);
    HEXLOWER.encode(&digest.finalize())
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
    use crate::{PublishMode, S3, S3Args, TransferArgs};

    fn claim(key: &str) -> Claim {
        let item = MarkedItem {
            name: ItemName::derive(b"", key.as_bytes(), b""),
            key: Key::new(key.as_bytes()),
            source: None,
            version: String::new(),
        };
        let place = Place::new(b"p").expect("a place");
        Claim { place, item, revision: 0, attempt: "n".into(), number: 1, uploads: Default::default() }
    }

    fn site() -> Site {
        let bucket = S3::new(S3Args::default(), TransferArgs::default()).bucket("b");
        Site::new(bucket, "", &Place::new(b"p").expect("a place"), PublishMode::InPlace).expect("a site")
    }

    #[test]
    fn what_nobody_vouches_for_is_not_what_a_marker_names() {
        let sha256 = "0".repeat(64);
        let output = Output { path: "x".into(), size: 0, sha256: sha256.clone() };
        let said = |sum: &str| Head {
            metadata: HashMap::from([(SHA256_METADATA.to_owned(), sum.to_owned())]),
            ..Head::default()
        };
        let mut stored = Head::default();
        assert!(!Label::holds(&stored, &output));
        assert!(Label::holds(&said(&sha256), &output) && !Label::holds(&said("1"), &output));
        stored.checksums.sha256 = Some(BASE64.encode(&[0; 32]));
        stored.checksums.whole = true;
        assert!(Label::holds(&stored, &output));
        assert!(!Label::holds(&Head { checksums: stored.checksums, ..said("1") }, &output));
        assert!(!Label::holds(&Head { size: 1, ..said(&sha256) }, &output));
    }

    #[test]
    fn any_key_fits_into_what_a_store_takes() {
        for key in ["a b/é\n#?.mp4".to_owned(), "é".repeat(512), "x".repeat(1024)] {
            let own = Claim { item: MarkedItem { source: Some("s3://b/k".into()), ..claim(&key).item }, ..claim(&key) };
            let mut metadata =
                Label::of_run(&site(), &own, "p/x", &Run::new(u32::MAX, &"n".repeat(128), None)).metadata();
            // As the transfer adds them.
            metadata.insert(SHA256_METADATA.to_owned(), "0".repeat(64));
            metadata.insert("longshore-upload".to_owned(), "0".repeat(32));
            let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(size <= 2048, "{size} bytes for {key:?}");
            assert!(metadata.values().all(|value| value.bytes().all(|b| b.is_ascii_graphic())), "{metadata:?}");
            let head = Head { metadata, ..Head::default() };
            let is_of = |claim: &Claim, key| Label::is_of(&head, &site(), claim, key);
            assert!(is_of(&own, "p/x") && is_of(&claim(&key), "p/x"));
            let moved =
                Claim { item: MarkedItem { source: Some("s3://c/k".into()), ..own.item.clone() }, ..own.clone() };
            assert!(!is_of(&claim("other"), "p/x") && !is_of(&own, "p/y") && !is_of(&moved, "p/x"));
        }
        let long = "é".repeat(512);
        let hash = item(&claim(&long));
        assert_ne!(item(&claim(&hash)), hash, "a key that looks like the hash of another is not taken for it");
    }
}
