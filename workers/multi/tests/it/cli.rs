//! The command line.

use crate::world::{Layout, World};

#[test]
fn every_subcommands_help_has_examples() {
    let world = World::new(Layout::Local);
    for verb in [&["run"][..], &["local"], &[]] {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_multi-worker"));
        let output = std::process::Command::new(program).args(verb).arg("--help").output().expect("runs");
        let text = String::from_utf8(output.stdout).expect("is text");
        assert!(output.status.success() && text.contains("Examples:"), "{verb:?}: {text}");
    }
    drop(world);
}
