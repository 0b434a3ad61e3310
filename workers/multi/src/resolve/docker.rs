//! Archives of Docker's format, as `docker save` and `podman save` write them.

use serde::Deserialize;

use super::image::{Config, LONGEST, is_sha256, json, verify};
use super::name::Reference;
use super::source::Source;
use super::{Platform, ResolveError};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
}

/// The configuration of the image; nothing within if it is not there, nothing at all if this is no such archive.
pub(super) fn find(
    source: &Source,
    wanted: &Reference,
    platform: &Platform,
    held: &mut Vec<String>,
) -> Result<Option<Option<Config>>, ResolveError> {
    const NAME: &str = "manifest.json";
    let Some(bytes) = source.read(NAME, LONGEST)? else { return Ok(None) };
    let images: Vec<Image> = json(&bytes, NAME).map_err(|why| source.unusable(why))?;
    for image in &images {
        let tags = image.repo_tags.as_deref().unwrap_or_default();
        held.extend(tags.iter().filter(|tag| !held.contains(tag)).cloned().collect::<Vec<_>>());
        if tags.iter().any(|tag| wanted.is(tag, None)) {
            let config = config(source, &image.config)?;
            let theirs = config.platform();
            if !platform.takes(&theirs) {
                return Err(
                    source.unusable(format!("its image is for {theirs}, not for {platform}; say --platform {theirs}"))
                );
            }
            return Ok(Some(Some(config)));
        }
    }
    Ok(Some(None))
}

/// A configuration's name is its digest.
fn config(source: &Source, name: &str) -> Result<Config, ResolveError> {
    let Some(bytes) = source.read(name, LONGEST)? else {
        return Err(source.unusable(format!("{name} is missing, which manifest.json speaks of")));
    };
    let hex = name.strip_suffix(".json").or_else(|| name.strip_prefix("blobs/sha256/")).unwrap_or_default();
    if !is_sha256(hex) {
        return Err(source.unusable(format!("the configuration {name:?} is not named after its SHA-256")));
    }
    verify(&bytes, hex, name).and_then(|()| Config::parse(&bytes, name)).map_err(|why| source.unusable(why))
}
