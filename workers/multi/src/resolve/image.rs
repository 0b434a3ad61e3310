//! The blobs that describe an image, and what may be believed of them.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{EntryPoint, Platform};

/// The most bytes of an index, a manifest or a configuration, as registries have it.
pub(super) const LONGEST: u64 = 4 << 20;
/// The kernel takes no longer argument.
const LONGEST_WORD: usize = 128 << 10;

/// What an image's configuration says.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    #[serde(default)]
    config: Option<Run>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Run {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
}

impl Config {
    pub(super) fn parse(bytes: &[u8], name: &str) -> Result<Self, String> {
        json(bytes, name)
    }

    pub(super) fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant: self.variant.clone() }
    }

    pub(super) fn entry_point(self) -> Result<EntryPoint, String> {
        let run = self.config.unwrap_or_default();
        let (entrypoint, cmd) = (run.entrypoint.unwrap_or_default(), run.cmd.unwrap_or_default());
        match entrypoint.iter().chain(&cmd).find(|word| word.contains('\0') || word.len() >= LONGEST_WORD) {
            None => Ok(EntryPoint { entrypoint, cmd }),
            Some(_) => Err("the entry point of its image holds a word that no command can be given".into()),
        }
    }
}

pub(super) fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8], name: &str) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{name} is not what it should be: {error}"))
}

/// The path of a blob in a layout: a digest is all that it is made of.
pub(super) fn blob(digest: &str) -> Result<String, String> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if is_sha256(hex) => Ok(format!("blobs/sha256/{hex}")),
        _ => Err(format!("{digest:?} is no SHA-256 digest")),
    }
}

pub(super) fn is_sha256(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether the bytes are those that the digest, in hexadecimal, is of.
pub(super) fn verify(bytes: &[u8], hex: &str, name: &str) -> Result<(), String> {
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found == hex { Ok(()) } else { Err(format!("{name} is damaged: its SHA-256 is {found}")) }
}
