//! How records are named, and how a name is read back: nothing is stored.

use contract::{ItemName, name};

/// Room for people's part of a name. With it every position there can be fits a label, and every one that there ever was fits
/// [`name::MAX_DERIVED`]; it does not depend on the position, since the same topic shall look the same.
const MAX_SLUG: usize = 12;

/// Where a record lies in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Partition, from 0.
    pub partition: i32,
    /// Offset, from 0.
    pub offset: i64,
}

/// The names of one topic's records: `<slug>-<partition>-<offset>-<hash>`, of which the hash is of the source id and of the topic's
/// own id, so that a topic that was deleted and made again is other work, and a name of elsewhere is known for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    slug: String,
    hash: String,
}

impl Naming {
    /// Of a topic; `identity` is its id, or what stands for it where brokers have none.
    pub(crate) fn new(source_id: &str, topic: &str, identity: &str) -> Self {
        Self { slug: slug(topic), hash: name::hash(&[source_id.as_bytes(), topic.as_bytes(), identity.as_bytes()]) }
    }

    /// The name of a record: a DNS label of at most 57 bytes.
    pub(crate) fn name(&self, at: Position) -> ItemName {
        let Position { partition, offset } = at;
        let text = format!("{}-{partition}-{offset}-{}", self.slug, self.hash);
        ItemName::parse(&text).expect("a slug, digits and a hash are a name")
    }

    /// Where the record of this name lies; `None` for every text that is no name of this topic's.
    pub(crate) fn position(&self, name: &ItemName) -> Option<Position> {
        let rest = name.as_str().strip_prefix(&self.slug)?.strip_prefix('-')?;
        let (partition, offset) = rest.strip_suffix(&self.hash)?.strip_suffix('-')?.split_once('-')?;
        let at = Position { partition: number(partition)?, offset: number(offset)? };
        Some(at)
    }
}

/// A number as [`Naming::name`] writes it: digits alone, none too many.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// A topic's name in lower-case letters, digits and single dashes.
fn slug(topic: &str) -> String {
    let mut slug = String::with_capacity(MAX_SLUG);
    for char in topic.chars() {
        if slug.len() == MAX_SLUG {
            break;
        }
        if char.is_ascii_alphanumeric() {
            slug.push(char.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "topic".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Position = Position { partition: i32::MAX, offset: i64::MAX };

    #[test]
    fn every_name_is_a_label_and_is_read_back() {
        for topic in ["videos", "A.b_C", "x", "...", "1", &"Dots.And_".repeat(27), "-", "a-1-2"] {
            let naming = Naming::new("prod", topic, "id");
            for at in [Position { partition: 0, offset: 0 }, Position { partition: 7, offset: 120 }, LAST] {
                let name = naming.name(at);
                assert!(name.is_label(), "{name}");
                assert_eq!(naming.position(&name), Some(at), "{name}");
            }
        }
    }

    #[test]
    fn a_topic_that_was_made_again_has_other_names() {
        let at = Position { partition: 1, offset: 2 };
        let name = Naming::new("prod", "videos", "first").name(at);
        for other in [
            Naming::new("prod", "videos", "second"),
            Naming::new("test", "videos", "first"),
            Naming::new("prod", "video-s", "first"),
        ] {
            assert_ne!(other.name(at), name);
            assert_eq!(other.position(&name), None);
        }
    }

    #[test]
    fn only_the_one_spelling_is_a_name() {
        let naming = Naming::new("prod", "videos", "id");
        let good = naming.name(Position { partition: 1, offset: 2 });
        for (from, to) in [
            ("-1-", "-01-"),
            ("-1-", "-+1-"),
            ("-1-", "--1-"),
            ("-2-", "-99999999999999999999-"),
            ("-1-2-", "-1-"),
            ("videos", "Videos"),
        ] {
            let bad = ItemName::parse(&good.as_str().replacen(from, to, 1)).expect("is a name of something");
            assert_eq!(naming.position(&bad), None, "{bad}");
        }
    }
}
