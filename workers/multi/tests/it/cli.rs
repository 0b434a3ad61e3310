//! The command line.

#[test]
fn every_subcommands_help_has_examples() {
    for verb in [&["run"][..], &["local"], &["render"], &["schema"], &[]] {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_multi-worker"));
        let output = std::process::Command::new(program).args(verb).arg("--help").output().expect("runs");
        let text = String::from_utf8(output.stdout).expect("is text");
        assert!(output.status.success() && text.contains("Examples:"), "{verb:?}: {text}");
    }
}
