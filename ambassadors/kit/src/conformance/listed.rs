//! Lists that may be endless: read until enough of them was seen.

use std::marker::PhantomData;

use contract::wire::ListMeta;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The beginning of a list, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed<T> {
    pub(super) kind: String,
    pub(super) api_version: String,
    pub(super) metadata: ListMeta,
    pub(super) items: Vec<T>,
    /// Whether the list went on.
    pub(super) more: bool,
    /// The answer's ETag.
    pub(super) etag: Option<String>,
}

impl<T: DeserializeOwned> Listed<T> {
    /// Reads a list up to `most` of its items, or its end.
    pub(super) fn read(text: &[u8], most: usize) -> serde_json::Result<Self> {
        let mut listed = Self {
            kind: String::new(),
            api_version: String::new(),
            metadata: ListMeta::default(),
            items: Vec::new(),
            more: false,
            etag: None,
        };
        let mut json = serde_json::Deserializer::from_slice(text);
        let read = ListSeed { listed: &mut listed, most }.deserialize(&mut json).and_then(|()| json.end());
        match read {
            // The seed's way out of a list that is long enough.
            Err(_) if listed.more => Ok(listed),
            Err(error) => Err(error),
            Ok(()) => Ok(listed),
        }
    }
}

impl<T: PartialEq> Listed<T> {
    /// Whether nothing has changed between this look and another, as far as can be told.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let version = |listed: &Self| listed.metadata.resource_version.clone();
        self.items == other.items && self.more == other.more && version(self) == version(other)
    }
}

struct ListSeed<'a, T> {
    listed: &'a mut Listed<T>,
    most: usize,
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for ListSeed<'_, T> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for ListSeed<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut named = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "kind" => self.listed.kind = map.next_value()?,
                "apiVersion" => self.listed.api_version = map.next_value()?,
                "metadata" => self.listed.metadata = map.next_value()?,
                "items" => {
                    named = true;
                    let items = &mut self.listed.items;
                    map.next_value_seed(PartsSeed {
                        items,
                        more: &mut self.listed.more,
                        most: self.most,
                        of: PhantomData,
                    })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if named { Ok(()) } else { Err(serde::de::Error::missing_field("items")) }
    }
}

struct PartsSeed<'a, T> {
    items: &'a mut Vec<T>,
    more: &'a mut bool,
    most: usize,
    of: PhantomData<T>,
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for PartsSeed<'_, T> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for PartsSeed<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("its items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element()? {
            if self.items.len() == self.most {
                *self.more = true;
                return Err(serde::de::Error::custom("enough"));
            }
            self.items.push(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::ItemName;

    use super::*;

    fn read(text: &str, most: usize) -> serde_json::Result<Listed<ItemName>> {
        Listed::read(text.as_bytes(), most)
    }

    #[test]
    fn a_long_list_is_read_as_far_as_asked_for() {
        let whole = read(r#"{"kind":"ItemList","items":["a","b"],"more":{"x":[1]}}"#, 2).expect("reads");
        assert_eq!((whole.items.len(), whole.more, whole.metadata.complete), (2, false, true));
        // What follows is never looked at.
        let begun = read(r#"{"metadata":{"complete":false},"items":["a","b","c", nonsense"#, 2).expect("reads");
        assert_eq!((begun.items.len(), begun.more, begun.metadata.complete), (2, true, false));
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["", "[]", "{}", r#"{"items":{}}"#, r#"{"items":[1]}"#, r#"{"items":["a"]"#, r#"{"items":[]} x"#] {
            assert!(read(text, 9).is_err(), "{text}");
        }
    }
}
