//! The stores a worker reaches: files always, `s3:` and `https:` where the build has the feature `s3`.

use storage::{Allowed, Error, Outputs, Stores};

use crate::{JobError, WorkerArgs, verdict};

/// What may be read and where output goes, as the flags say. Does no I/O.
///
/// # Errors
/// 78 for a URI that this build cannot reach.
pub(crate) fn open(args: &WorkerArgs) -> Result<(Allowed, Box<dyn Outputs>), JobError> {
    let stores = Stores::default();
    let allowed = stores.allow(&args.allow_input).map_err(unreachable)?;
    let outputs = stores.outputs(&args.output.root).map_err(unreachable)?;
    Ok((allowed, outputs))
}

/// A scheme that has no store here may have one in another build.
fn unreachable(error: Error) -> JobError {
    let lacks_store = cfg!(not(feature = "s3")) && matches!(error, Error::Unsupported(_));
    let error = verdict::storage(error);
    if lacks_store {
        error.with_hint("builds with the feature s3, which cargo build makes by default, reach s3: and https: too")
    } else {
        error
    }
}
