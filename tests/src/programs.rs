//! Where the programs under test are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

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

/// A program of ours, of the same profile as this test, built from the sources as they are now, as all of ours are.
pub fn program(name: &str) -> PathBuf {
    static ALL: LazyLock<()> = LazyLock::new(|| build(&["--workspace"]));
    LazyLock::force(&ALL);
    path(name)
}

/// As [`program`], of a package of the same name, and nothing else is built: of what may be running beside it, nothing is put in
/// another's place.
pub fn program_alone(name: &'static str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.insert(name) {
        build(&["--package", name]);
    }
    path(name)
}

fn build(what: &[&str]) {
    if are_built() {
        return;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--bins"]).args(what).current_dir(root());
    assert!(cargo.status().expect("cargo runs").success(), "the programs under test do not build");
}

fn path(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this test has a path");
    let path = own.parent().and_then(Path::parent).expect("target/debug/deps/it").join(name);
    assert!(path.is_file(), "{} is not there: is {name} a program of this workspace?", path.display());
    path
}
