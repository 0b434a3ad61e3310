//! The `file:` store: inputs are used where they lie, outputs are staged beside their place and renamed into it.

mod dir;
mod input;
mod judge;
mod lock;
mod output;
mod publication;
mod staging;
mod walk;

use std::path::PathBuf;

pub use self::walk::{measure, output_files};

use crate::{Error, Inputs, Outputs, Store, Uri};

/// Files of this machine and whatever is mounted on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileStore;

impl Store for FileStore {
    fn scheme(&self) -> &'static str {
        "file"
    }

    fn inputs(&self, root: &Uri) -> Result<Box<dyn Inputs>, Error> {
        Ok(Box::new(input::FileInputs::new(path(root)?)))
    }

    fn outputs(&self, root: &Uri) -> Result<Box<dyn Outputs>, Error> {
        Ok(Box::new(output::FileOutputs::new(path(root)?)))
    }
}

fn path(uri: &Uri) -> Result<PathBuf, Error> {
    match uri {
        Uri::File(path) => Ok(path.clone()),
        Uri::Other { .. } => Err(Error::Unsupported(format!("{uri} is no file: URI"))),
    }
}

/// Runs what blocks where it cannot keep signals from being heard: a dead NFS server may hold it for ever.
///
/// # Errors
/// Its own, and [`Error::Busy`] when the process ends before it has run.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::Busy(format!("the process is ending: {error}"))),
        },
    }
}
