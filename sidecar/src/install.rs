//! `install DIR`: the running program copies itself, so that an image that does not hold it can run it from a volume.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;

/// Installs and says so, or says what stood in the way: 73 when the copy could not be made, 126 when it cannot run there.
#[expect(clippy::print_stderr, reason = "logging is not set up yet, and this is the command's whole output")]
pub(crate) fn main(dir: &Path) -> ExitCode {
    match copy(dir).map_err(|e| (73, e)).and_then(|path| runs(&path).map(|()| path).map_err(|e| (126, e))) {
        Ok(path) => {
            eprintln!("installed {}", path.display());
            ExitCode::SUCCESS
        }
        Err((code, error)) => {
            eprintln!("error: {error:#}");
            ExitCode::from(code)
        }
    }
}

/// Copies by temporary file, fsync and rename: a program already running there keeps its file, and no half copy is seen.
fn copy(dir: &Path) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's own file")?;
    let name = own.file_name().context("this program's file has no name")?;
    let target = dir.join(name);
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let mut temporary =
        tempfile::NamedTempFile::new_in(dir).with_context(|| format!("create a file in {}", dir.display()))?;
    io::copy(&mut File::open(&own).context("open this program's own file")?, &mut temporary)
        .with_context(|| format!("write to {}", dir.display()))?;
    temporary.as_file().set_permissions(Permissions::from_mode(0o755)).context("make the copy executable")?;
    temporary.as_file().sync_all().with_context(|| format!("write to {}", dir.display()))?;
    temporary.persist(&target).with_context(|| format!("rename the copy to {}", target.display()))?;
    File::open(dir).and_then(|d| d.sync_all()).with_context(|| format!("write to {}", dir.display()))?;
    Ok(target)
}

/// A volume mounted `noexec`, or of another architecture's node, is found out now and not when the pod is half started.
fn runs(path: &Path) -> anyhow::Result<()> {
    let status = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("run {} (is its volume mounted noexec?)", path.display()))?;
    anyhow::ensure!(status.success(), "{} --version ended with {status}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_replaces_what_stood_there_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let name = std::env::current_exe().expect("own path").file_name().expect("a name").to_owned();
        fs::write(dir.path().join(&name), "old").expect("an old file");
        let path = copy(dir.path()).expect("copied");
        assert_eq!(path, dir.path().join(&name));
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o755);
        assert!(fs::metadata(&path).expect("is there").len() > 1000);
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
    }

    #[test]
    fn what_cannot_run_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("p");
        fs::write(&path, "not a program").expect("written");
        assert!(format!("{:#}", runs(&path).expect_err("cannot run")).contains("noexec"));
    }
}
