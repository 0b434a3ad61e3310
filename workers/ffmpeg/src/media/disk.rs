//! What ffmpeg has written so far, which must not become too much.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use contract::exit;
use worker_kit::JobError;

/// Between two looks, at the least.
const PERIOD: Duration = Duration::from_millis(500);
/// Looking shall take no more than one part of this many of the time.
const SHARE: u32 = 20;

/// How much may be written for one item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: ByteSize,
    pub(super) files: Option<u64>,
}

/// What lies in a directory and in those below.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In order.
    pub(super) paths: Vec<PathBuf>,
    pub(super) bytes: u64,
}

/// Is ready when more lies in `dir` than there may. Looked at twice a second (less often where looking takes long), so what
/// is written in between is beyond the bound; a single file is held by the kernel.
pub(super) async fn exceeded(dir: PathBuf, bounds: Bounds, name: String) -> JobError {
    let mut pause = PERIOD;
    loop {
        tokio::time::sleep(pause).await;
        let (dir, name, begun) = (dir.clone(), name.clone(), Instant::now());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || check(&dir, bounds, &name)).await {
            return error;
        }
        pause = PERIOD.max(begun.elapsed() * SHARE);
    }
}

/// Whether no more lies in `dir` than there may.
///
/// # Errors
/// 65 where more does; 74 where it cannot be seen.
pub(super) fn check(dir: &Path, bounds: Bounds, name: &str) -> Result<(), JobError> {
    let found = files(dir)?;
    let count = found.paths.len() as u64;
    if found.bytes > bounds.bytes.as_u64() {
        return Err(too_large(bounds.bytes, name));
    }
    match bounds.files {
        Some(most) if count > most => {
            let message = format!("{name} makes more than the {most} images of --max-images");
            Err(JobError::new(exit::BAD_ITEM, "TooManyImages", message))
        }
        _ => Ok(()),
    }
}

/// The output of one item is more than it may be.
pub(super) fn too_large(most: ByteSize, name: &str) -> JobError {
    let message = format!("{name} makes more output than the {most} of --max-output");
    JobError::new(exit::BAD_ITEM, "OutputTooLarge", message)
}

/// All regular files below `dir`.
///
/// # Errors
/// 74 when a directory cannot be listed.
pub(super) fn files(dir: &Path) -> Result<Found, JobError> {
    let mut found = Found::default();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let failed = |error| JobError::new(exit::IO, "IoError", format!("list {}: {error}", dir.display()));
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // What goes between the two calls is not there.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                todo.push(entry.path());
            } else if meta.is_file() {
                found.bytes += meta.len();
                found.paths.push(entry.path());
            }
        }
    }
    found.paths.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_counted_over_all_files() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("sub")).expect("a directory");
        for file in ["a", "b", "sub/c"] {
            std::fs::write(dir.path().join(file), [0; 100]).expect("a file");
        }
        let check = |bytes, files| {
            check(dir.path(), Bounds { bytes: ByteSize(bytes), files }, "it").map_err(|error| error.to_string())
        };
        assert_eq!(check(300, Some(3)), Ok(()));
        assert!(check(299, None).expect_err("too much").contains("--max-output"));
        assert!(check(300, Some(2)).expect_err("too many").contains("2 images"));
        assert_eq!(files(dir.path()).expect("listed").paths.len(), 3);
    }
}
