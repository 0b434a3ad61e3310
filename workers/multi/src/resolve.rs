//! An image's own entry point, read from an archive or an OCI layout: in layout A the shim stands in its place.
//!
//! Nothing is unpacked. Whatever an archive says is checked against digests and bounds before it is believed.

mod archive;
mod docker;
mod image;
mod name;
mod oci;
mod source;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use self::image::Config;
use self::name::Reference;
use self::source::Source;

/// What a machine must be to run an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Why an image's entry point is not known.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// An archive or layout cannot be read.
    #[error("{path} cannot be read", path = path.display())]
    Unreadable {
        /// The archive or layout.
        path: PathBuf,
        #[source]
        /// Why.
        source: io::Error,
    },
    /// It is no archive of images, or a damaged or hostile one.
    #[error("{path}: {why}", path = path.display())]
    Unusable {
        /// The archive or layout.
        path: PathBuf,
        /// What is wrong, and with which of its files.
        why: String,
    },
    /// No archive holds the image.
    #[error("no --resolve holds image {image}; {found}")]
    NotFound {
        /// As the pipeline names it.
        image: String,
        /// What they hold.
        found: String,
    },
}

/// Archives and layouts in which images are looked up.
#[derive(Debug)]
pub(crate) struct Resolver {
    sources: Vec<Source>,
    platform: Platform,
}

/// What an image runs by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryPoint {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
}

impl EntryPoint {
    /// The command line with `args` in the place of the image's own, where there are any.
    pub(crate) fn with(self, args: &[String]) -> Vec<String> {
        let args = if args.is_empty() { self.cmd } else { args.to_vec() };
        self.entrypoint.into_iter().chain(args).collect()
    }
}

impl Resolver {
    /// Opens each of `paths`: a directory is an OCI layout, a file an archive.
    pub(crate) fn open(paths: &[PathBuf], platform: &Platform) -> Result<Self, ResolveError> {
        let sources = paths.iter().map(|path| Source::open(path)).collect::<Result<_, _>>()?;
        Ok(Self { sources, platform: platform.clone() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// What `image` runs by itself, by the first that holds it.
    pub(crate) fn entry_point(&self, image: &str) -> Result<EntryPoint, ResolveError> {
        let wanted = Reference::new(image);
        let mut held = Vec::new();
        for source in &self.sources {
            if let Some(config) = self.find(source, &wanted, &mut held)? {
                return config.entry_point().map_err(|why| source.unusable(why));
            }
        }
        let found = match held.as_slice() {
            [] => "they name no image at all; save it by its name".to_owned(),
            held => format!("they hold {}", held.join(", ")),
        };
        Err(ResolveError::NotFound { image: image.to_owned(), found })
    }

    /// An archive may be of both formats at once, each with names of its own.
    fn find(
        &self,
        source: &Source,
        wanted: &Reference,
        held: &mut Vec<String>,
    ) -> Result<Option<Config>, ResolveError> {
        let oci = oci::find(source, wanted, &self.platform, held)?;
        let docker = match &oci {
            None | Some(None) => docker::find(source, wanted, &self.platform, held)?,
            Some(Some(_)) => None,
        };
        match (oci, docker) {
            (None, None) => Err(source
                .unusable("there is neither an index.json nor a manifest.json in it; is it an archive of images?")),
            (oci, docker) => Ok(oci.flatten().or_else(|| docker.flatten())),
        }
    }
}

impl Platform {
    /// This machine's.
    pub(crate) fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Whether what is for `other` runs here. Where one of both says no variant, any will do.
    fn takes(&self, other: &Self) -> bool {
        let variants_agree = match (&self.variant, &other.variant) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        self.os == other.os && self.architecture == other.architecture && variants_agree
    }
}

impl FromStr for Platform {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let words: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match words.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err("write it as linux/amd64 or linux/arm/v7"),
        };
        if words.iter().any(|word| word.is_empty()) {
            return Err("write it as linux/amd64 or linux/arm/v7");
        }
        let variant = variant.map(|variant| (*variant).to_owned());
        Ok(Self { os: (*os).to_owned(), architecture: (*architecture).to_owned(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A failure to read `path`.
fn unreadable(path: &Path) -> impl Fn(io::Error) -> ResolveError {
    let path = path.to_owned();
    move |source| ResolveError::Unreadable { path: path.clone(), source }
}

#[cfg(test)]
mod tests;
