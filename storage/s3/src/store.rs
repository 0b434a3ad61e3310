//! The store behind storage's seam: which buckets inputs come from, and where outputs go.

use clap::ValueEnum;
use storage::{Error, Inputs, Outputs, Store, Uri};

use crate::inputs::S3Inputs;
use crate::outputs::S3Outputs;
use crate::{Location, S3};

/// The `s3:` store of a worker.
#[derive(Clone, Debug)]
pub struct S3Store {
    s3: S3,
    mode: PublishMode,
}

/// Under which keys an output is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PublishMode {
    /// Each file under its own name in the item's place, over what an older run has left there. Readers who hold what they
    /// read against the marker's sizes and checksums are never deceived; others may meet a mixture while a run publishes.
    #[default]
    InPlace,
    /// Each run under a prefix of its own, which the marker names. What a marker names is never changed by anybody.
    Attempts,
}

impl S3Store {
    /// Of one store and identity.
    pub fn new(s3: S3, mode: PublishMode) -> Self {
        Self { s3, mode }
    }
}

impl Store for S3Store {
    fn scheme(&self) -> &'static str {
        "s3"
    }

    fn inputs(&self, root: &Uri) -> Result<Box<dyn Inputs>, Error> {
        let Location { bucket, key } = Location::parse(root)?;
        Ok(Box::new(S3Inputs::new(self.s3.bucket(&bucket), key)))
    }

    fn outputs(&self, root: &Uri) -> Result<Box<dyn Outputs>, Error> {
        let Location { bucket, key } = Location::parse(root)?;
        Ok(Box::new(S3Outputs::new(self.s3.bucket(&bucket), key, self.mode)))
    }
}
