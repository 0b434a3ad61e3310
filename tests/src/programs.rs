//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace")
}

/// Whether `tests/run`, which has built all there is, says so. By themselves the programs are built with fewer features of what they
/// depend on than beside tests, so another build would put others in their places, just when tests beside this one start them.
#[expect(clippy::disallowed_methods, reason = "a test's process has no flags of its own")]
fn are_built() -> bool {
    std::env::var_os("LONGSHORE_TEST_BUILT").is_some()
}

/// A program of ours, of the same profile as this test, built from the sources as they are now.
pub fn program(name: &str) -> PathBuf {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        let own = std::env::current_exe().expect("this test has a path");
        if !are_built() {
            let status = Command::new(env!("CARGO"))
                .args(["build", "--locked", "--quiet", "--workspace", "--bins"])
                .current_dir(root())
                .status()
                .expect("cargo runs");
            assert!(status.success(), "the programs under test do not build");
        }
        own.parent().and_then(Path::parent).expect("target/debug/deps/it").to_owned()
    });
    let path = DIR.join(name);
    assert!(path.is_file(), "{} is not there: is {name} a program of this workspace?", path.display());
    path
}
