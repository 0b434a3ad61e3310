//! What stages and lives are called.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most characters of a stage's name: it becomes part of a container's and a volume's, which are DNS-1123 labels of 63.
const LONGEST: usize = 40;

/// A stage's name: lower-case letters, digits and dashes, beginning and ending with a letter or digit, at most 40 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StageName(String);

/// Why a text is no stage's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no stage name: 1 to {LONGEST} lower-case letters, digits and dashes, with a letter first and no dash last, as detect-faces"
)]
pub struct InvalidStageName(String);

impl StageName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The variable by which a stage that needs this one finds its output: `detect-faces` → `NEEDS_DETECT_FACES`.
    pub fn variable(&self) -> String {
        format!("NEEDS_{}", self.0.replace('-', "_").to_uppercase())
    }
}

impl FromStr for StageName {
    type Err = InvalidStageName;

    fn from_str(text: &str) -> Result<Self, InvalidStageName> {
        let legal = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if legal && begins && !text.ends_with('-') && text.len() <= LONGEST {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidStageName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for StageName {
    type Error = InvalidStageName;

    fn try_from(text: String) -> Result<Self, InvalidStageName> {
        text.parse()
    }
}

impl From<StageName> for String {
    fn from(name: StageName) -> Self {
        name.0
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of an adapter or of a shim: 16 characters of which no two lives share all. It is part of a file's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Boot(String);

/// A text that cannot be part of a file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no boot: 16 lower-case letters and digits")]
pub struct InvalidBoot(String);

impl Boot {
    /// The life that is just beginning.
    pub fn new() -> Self {
        let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
        // The standard library's own randomness needs no /dev, which an image may be without.
        let random = || RandomState::new().build_hasher().finish().to_le_bytes();
        let character = |byte: u8| char::from(alphabet.get(usize::from(byte % 32)).copied().unwrap_or(b'a'));
        Self([random(), random()].as_flattened().iter().copied().map(character).collect())
    }

    /// As it stands in files and their names.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Boot {
    fn default() -> Self {
        Self::new()
    }
}

impl TryFrom<String> for Boot {
    type Error = InvalidBoot;

    fn try_from(text: String) -> Result<Self, InvalidBoot> {
        let legal = text.len() == 16 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if legal { Ok(Self(text)) } else { Err(InvalidBoot(text)) }
    }
}

impl From<Boot> for String {
    fn from(boot: Boot) -> Self {
        boot.0
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_and_variables() {
        let name: StageName = "detect-faces".parse().expect("a name");
        assert_eq!(name.variable(), "NEEDS_DETECT_FACES");
        for bad in ["", "-a", "a-", "A", "a_b", "1a", "a/b", "..", &"a".repeat(41)] {
            assert!(bad.parse::<StageName>().is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn lives_differ_and_cannot_lead_anywhere() {
        let all: std::collections::HashSet<Boot> = (0..10_000).map(|_| Boot::new()).collect();
        assert_eq!(all.len(), 10_000);
        assert_eq!(Boot::try_from(Boot::new().to_string()).map(|boot| boot.as_str().len()), Ok(16));
        assert!(Boot::try_from("../../etc/passwd".to_owned()).is_err());
    }
}
