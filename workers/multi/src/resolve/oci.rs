//! OCI layouts, as directories and as archives: `index.json` names manifests, or indexes of them, by digest.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::image::{Config, LONGEST, blob, json, verify};
use super::name::Reference;
use super::source::Source;
use super::{Platform, ResolveError};

/// Annotations that say what an image is called; the second is containerd's, with the whole name where the first has the tag alone.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
/// How deep indexes may stand in indexes.
const DEEPEST: u32 = 3;
/// How many manifests are looked at for one image.
const MOST: u32 = 200;

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Described>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Described {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// The configuration of the image; nothing within if it is not there, nothing at all if this is no layout.
pub(super) fn find(
    source: &Source,
    wanted: &Reference,
    platform: &Platform,
    held: &mut Vec<String>,
) -> Result<Option<Option<Config>>, ResolveError> {
    const NAME: &str = "index.json";
    let Some(bytes) = source.read(NAME, LONGEST)? else { return Ok(None) };
    let index: Index = json(&bytes, NAME).map_err(|why| source.unusable(why))?;
    let named = |descriptor: &Descriptor| {
        let mut names = NAMES.iter().filter_map(|key| descriptor.annotations.get(*key));
        wanted.is("", Some(&descriptor.digest)) || names.any(|name| wanted.is(name, None))
    };
    for descriptor in &index.manifests {
        let name = NAMES.iter().rev().find_map(|key| descriptor.annotations.get(*key));
        held.extend(name.filter(|name| !held.contains(name)).cloned());
    }
    let (mine, _): (Vec<_>, Vec<_>) = index.manifests.into_iter().partition(named);
    if mine.is_empty() {
        return Ok(Some(None));
    }
    let mut search = Search { source, platform, met: Vec::new(), left: MOST };
    match search.among(&mine, 0)? {
        Some(config) => Ok(Some(Some(config))),
        None => {
            let met: Vec<String> = search.met.iter().map(ToString::to_string).collect();
            let met = met.join(", ");
            Err(source.unusable(format!("its image is for {met}, not for {platform}; say another --platform")))
        }
    }
}

struct Search<'a> {
    source: &'a Source,
    platform: &'a Platform,
    /// For which platforms there are images.
    met: Vec<Platform>,
    left: u32,
}

impl Search<'_> {
    /// The first image for the platform.
    fn among(&mut self, descriptors: &[Descriptor], depth: u32) -> Result<Option<Config>, ResolveError> {
        for descriptor in descriptors {
            self.left = self.left.checked_sub(1).filter(|_| depth <= DEEPEST).ok_or_else(|| {
                self.source
                    .unusable("its indexes name more manifests, or stand deeper in one another, than any image's")
            })?;
            if let Some(config) = self.at(descriptor, depth)? {
                return Ok(Some(config));
            }
        }
        Ok(None)
    }

    fn at(&mut self, descriptor: &Descriptor, depth: u32) -> Result<Option<Config>, ResolveError> {
        let is_index = descriptor.media_type.contains("index") || descriptor.media_type.contains("manifest.list");
        if is_index {
            let index: Index = self.parsed(descriptor)?;
            return self.among(&index.manifests, depth + 1);
        }
        if let Some(Described { os, architecture, variant }) = &descriptor.platform {
            let theirs = Platform { os: os.clone(), architecture: architecture.clone(), variant: variant.clone() };
            if !self.platform.takes(&theirs) {
                self.meet(theirs);
                return Ok(None);
            }
        }
        let manifest: Manifest = self.parsed(descriptor)?;
        let config: Config = self.parsed(&manifest.config)?;
        let theirs = config.platform();
        if self.platform.takes(&theirs) {
            return Ok(Some(config));
        }
        self.meet(theirs);
        Ok(None)
    }

    fn meet(&mut self, theirs: Platform) {
        // What attests to an image stands beside it, for a platform of this name.
        if theirs.os != "unknown" && !self.met.contains(&theirs) {
            self.met.push(theirs);
        }
    }

    fn parsed<T: for<'de> Deserialize<'de>>(&self, descriptor: &Descriptor) -> Result<T, ResolveError> {
        let unusable = |why: String| self.source.unusable(why);
        let name = blob(&descriptor.digest).map_err(unusable)?;
        let Some(bytes) = self.source.read(&name, LONGEST)? else {
            return Err(unusable(format!("{name} is missing")));
        };
        if u64::try_from(bytes.len()).ok() != Some(descriptor.size) {
            return Err(unusable(format!("{name} has {} bytes, where {} are said", bytes.len(), descriptor.size)));
        }
        let hex = name.strip_prefix("blobs/sha256/").unwrap_or_default();
        verify(&bytes, hex, &name).and_then(|()| json(&bytes, &name)).map_err(unusable)
    }
}
