//! The command line, and how the program ends.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use ambassador_kit::conformance::PROMISES;

pub(crate) fn run(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_contract-check")).args(flags).output().expect("the program starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn wrong_usage_is_64_and_says_what_is_right() {
    for (flags, says) in [
        (&[][..], "<URL>"),
        (&["localhost:8080"], "http://HOST:PORT"),
        (&["https://localhost"], "TLS"),
        (&["unix:a.sock"], "absolute"),
        (&["http://localhost", "--only", "list.twice"], "list.once"),
        (&["http://localhost", "--timeout", "0s"], "longer"),
        (&["http://localhost", "--token-file", "/nowhere/token"], "/nowhere/token"),
    ] {
        let output = run(flags);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {error}");
        assert!(error.contains(says), "{flags:?}: {error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_ends_with_examples_and_every_flag_is_a_variable() {
    let help = text(&run(&["--help"]).stdout);
    assert!(help.contains("contract-check http://127.0.0.1:8080 --settle"), "{help}");
    let command = sidecar::cli::command::<contract_check::Args>();
    command.clone().debug_assert();
    assert!(sidecar::cli::variables::<contract_check::Args>().contains(&"LONGSHORE_TOKEN_FILE".into()));
}

#[test]
fn what_is_asked_can_be_listed() {
    let output = run(&["--list"]);
    let listed = text(&output.stdout);
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let promised: Vec<&str> = PROMISES.iter().map(|promise| promise.name).collect();
    assert_eq!((names, output.status.code()), (promised, Some(0)));
    let one: serde_json::Value =
        serde_json::from_slice(&run(&["--list", "--json", "--only", "list"]).stdout).expect("JSON");
    assert_eq!(one["promises"][0]["name"], "list");
    assert_eq!(one["promises"].as_array().map(Vec::len), Some(1));
}

#[test]
fn nobody_there_is_69_and_named() {
    // No connection gets port 1 by itself.
    for target in ["http://127.0.0.1:1", "unix:/nowhere/items.sock"] {
        let output = run(&[target]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{error}");
        assert!(error.contains(target) && error.contains("nothing answers"), "{error}");
    }
}

#[test]
fn whoever_never_answers_is_left() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = format!("http://{}", listener.local_addr().expect("an address"));
    // Connections wait in the kernel's queue, and are never taken.
    let output = run(&[&target, "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains("not answered within 300ms"), "{}", text(&output.stderr));
    drop(listener);
}

#[test]
fn whoever_reads_no_further_ends_it_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_contract-check"))
        .arg("--list")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    // It may have written everything before the pipe was closed.
    assert!(matches!(output.status.code(), Some(0 | 141)), "{output:?}");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn it_installs_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(&["install", dir.path().to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mode = dir.path().join("contract-check").metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
}
