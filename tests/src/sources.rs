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

fn points_in(files: Vec<PathBuf>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a source file");
        for rest in text.split("fault::point(\"").skip(1) {
            found.insert(rest.split('"').next().expect("the string ends").to_owned());
        }
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
