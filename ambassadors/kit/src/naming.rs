//! How native items are named: the same in every ambassador.

use clap::ValueEnum;
use contract::{InvalidName, ItemName};

/// What names look like, `--names`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Names {
    /// `<slug>-<hash>`: short, and legal wherever Kubernetes wants a label.
    #[default]
    Label,
    /// `<native key>@<version>`, or the key alone where it has no version: as the book's own sample has it.
    Raw,
}

/// Why a native key has no raw name. There is always a label for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnameable {
    /// JSON and HTTP carry names as UTF-8.
    #[error("its key is not UTF-8")]
    NotUtf8,
    /// It breaks the rules for names.
    #[error(transparent)]
    Invalid(#[from] InvalidName),
    /// `.` or `..`: whoever writes it into a URL asks for something else.
    #[error("{0:?} leads elsewhere in a URL")]
    Dots(String),
}

impl Names {
    /// The name of the native item `key` at `version` (empty where the key alone is the item) in the source `source_id`.
    ///
    /// # Errors
    /// [`Unnameable`], of raw names only: such an item is withheld.
    pub fn of(self, source_id: &[u8], key: &[u8], version: &[u8]) -> Result<ItemName, Unnameable> {
        if self == Self::Label {
            return Ok(ItemName::derive(source_id, key, version));
        }
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Unnameable::NotUtf8);
        let (key, version) = (text(key)?, text(version)?);
        let name = if version.is_empty() { key.to_owned() } else { format!("{key}@{version}") };
        if matches!(name.as_str(), "." | "..") {
            return Err(Unnameable::Dots(name));
        }
        Ok(ItemName::parse(&name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(key: &[u8], version: &[u8]) -> Result<String, Unnameable> {
        Names::Raw.of(b"ignored", key, version).map(String::from)
    }

    #[test]
    fn a_raw_name_is_the_key_and_the_version_as_they_are() {
        assert_eq!(raw(b"a/My Video.MP4", b"17-1700").as_deref(), Ok("a/My Video.MP4@17-1700"));
        assert_eq!(raw("été//b@c/".as_bytes(), b"").as_deref(), Ok("été//b@c/"));
        assert_eq!(raw(b"../x", b"").as_deref(), Ok("../x"));
        assert_eq!(raw(b"..", b"1").as_deref(), Ok("..@1"));
        assert_eq!(Names::Label.of(b"s", b"k", b"v"), Ok(ItemName::derive(b"s", b"k", b"v")));
    }

    #[test]
    fn what_can_be_no_name_has_no_raw_one_and_a_label() {
        let long = vec![b'x'; 2_040];
        assert_eq!(raw(b"\xff\xfe", b"1"), Err(Unnameable::NotUtf8));
        assert_eq!(raw(b"two\nlines", b"1"), Err(InvalidName::Control { control: '\n' }.into()));
        assert_eq!(raw(&long, b"12345678"), Err(InvalidName::TooLong { bytes: 2_049 }.into()));
        assert!(raw(&long, b"1234567").is_ok());
        assert_eq!(raw(b"", b""), Err(InvalidName::Empty.into()));
        assert_eq!(raw(b"..", b""), Err(Unnameable::Dots("..".into())));
        for key in [&b"\xff\xfe"[..], b"two\nlines", &long, b"", b".."] {
            assert!(Names::Label.of(b"", key, b"").is_ok());
        }
    }
}
