//! Values that must not be printed.

use std::fmt;
use std::path::Path;

/// A text that comes from a file and never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The content of a file, less the newline that editors put at its end.
    ///
    /// # Errors
    /// When it cannot be read or is empty.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the file is empty"));
        }
        Ok(Self(text.into()))
    }

    /// Whether `given` is this text. Takes the same time wherever they differ.
    pub fn is(&self, given: &[u8]) -> bool {
        let mine = self.0.as_bytes();
        let differ = mine.iter().zip(given).fold(0, |differ, (mine, given)| differ | (mine ^ given));
        // Hidden from the optimiser, which would leave the loop at the first difference.
        (mine.len() == given.len()) & (std::hint::black_box(differ) == 0)
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_itself_and_nothing_else_and_shows_nothing() {
        let secret = Secret::from("hunter2");
        assert!(secret.is(b"hunter2"));
        for other in ["", "hunter", "hunter22", "Hunter2", "hunter3"] {
            assert!(!secret.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{secret:?}"), "***");
    }
}
