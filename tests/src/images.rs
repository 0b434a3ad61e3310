//! The project's own images, made of the programs as they are built here.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::programs;

/// An archive of the image with the program of this name, of the same profile as this test and built from the sources as they are
/// now; `test_servers::Cluster::import` takes it. In it the image is called [`reference`]`(name)`, and with the tag `latest` too.
///
/// It has the layers of `images/Containerfile` on bases of the tests' own, and dynamic programs but for the stage-shim.
///
/// # Panics
/// If it cannot be made.
pub fn image(name: &str) -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let built = programs::program("stage-shim");
        let output = Command::new(programs::root().join("tests/servers/podman/ours"))
            .arg(built.parent().expect("a program lies in a folder"))
            .stderr(Stdio::piped())
            .output()
            .expect("bash runs");
        assert!(output.status.success(), "no images: {}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
    });
    let archive = FOLDER.join(format!("{name}.tar"));
    assert!(archive.is_file(), "{} is not there: is there an image of {name}?", archive.display());
    archive
}

/// What an image of ours is called in its archive, and in k8s/.
pub fn reference(name: &str) -> String {
    format!("ghcr.io/longshore-dev/{name}:{}", env!("CARGO_PKG_VERSION"))
}
