//! The sources themselves, as tests that hold a page or a matrix to them read them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::programs::root;

/// Every Rust file of the programs, their tests included.
pub fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["ambassadors", "contract", "manager", "process", "sidecar", "storage", "workers"] {
        collect(&root().join(folder), &mut found);
    }
    found
}

/// The name of every fault point that a program passes.
pub fn fault_points() -> BTreeSet<String> {
    points_in(files())
}

/// As [`fault_points`], of the sources below one folder of the checkout.
pub fn fault_points_below(folder: &str) -> BTreeSet<String> {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    points_in(files)
}

/// Every fault point that a source passes, as often as it stands there.
pub fn fault_points_of(text: &str) -> impl Iterator<Item = &str> {
    text.split("fault::point(\"").skip(1).filter_map(|rest| rest.split('"').next())
}

fn points_in(files: Vec<PathBuf>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a source file");
        found.extend(fault_points_of(&text).map(str::to_owned));
    }
    found
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}
