//! The command line, and how the program ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::ambassador::PROGRAM;

fn run(flags: &[&str], variables: &[(&str, &Path)]) -> Output {
    Command::new(PROGRAM).args(flags).envs(variables.iter().copied()).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn wrong_usage_is_64_and_names_the_flag() {
    let output = run(&["--root", "/", "--globb", "x"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("--globb"), "{}", text(&output.stderr));
    let output = run(&[], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("--root"), "{}", text(&output.stderr));
    for (flags, says) in [
        (["--on-settle", "shred"], "move:DIR"),
        (["--item-base", "mnt/media"], "file:///mnt/media/"),
        (["--stable-for", "soon"], "write 30s"),
        (["--rescan", "0s"], "longer than nothing"),
        (["--listen", "8080"], "127.0.0.1:8080"),
        (["--probe-listen", "localhost:9090"], "numeric"),
    ] {
        let output = run(&[&["--root", "/"], &flags[..]].concat(), &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {error}");
        assert!(error.contains(flags[0]) && error.contains(says), "{flags:?}: {error}");
    }
}

#[test]
fn a_wrong_configuration_is_78_and_names_what_to_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().to_str().expect("text");
    for (flags, says) in [
        (&["--glob", "[x"][..], "--glob"),
        (&["--dead-letter", "/x"], "--on-settle"),
        (&["--on-settle", &format!("move:{root}")], "listed again"),
        (&["--item-base", "mailto:x"], "--item-base"),
        (&["--done-marker", "done/x"], "--done-marker"),
        (&["--min-size", "2KB", "--max-size", "1KB"], "--max-size"),
    ] {
        let output = run(&[&["--root", root, "--check"], flags].concat(), &[]);
        assert_eq!(output.status.code(), Some(78), "{flags:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(says), "{flags:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_busy_port_is_78_and_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = busy.local_addr().expect("an address").to_string();
    let root = dir.path().to_str().expect("text");
    for (flag, other) in [("--listen", "--probe-listen"), ("--probe-listen", "--listen")] {
        let output = run(&["--root", root, flag, &address, other, "127.0.0.1:0"], &[]);
        assert_eq!(output.status.code(), Some(78));
        let error = text(&output.stderr);
        assert!(error.contains(&address) && error.contains(flag), "{error}");
    }
}

#[test]
fn a_check_says_what_would_be_listed_and_whose_fault_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("made");
    fs::write(root.join("a.mp4"), "x").expect("written");
    fs::write(root.join("b.txt"), "x").expect("written");
    let path = root.to_str().expect("text");
    let output = run(&["--root", path, "--check", "--stable-for", "0s", "--glob", "*.mp4"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("a-mp4-") && said.contains("no-match") && said.contains("b.txt"), "{said}");
    let missing = dir.path().join("missing");
    for wrong in [missing.to_str().expect("text"), root.join("a.mp4").to_str().expect("text")] {
        let output = run(&["--root", wrong, "--check"], &[]);
        assert_eq!(output.status.code(), Some(78));
        assert!(text(&output.stderr).contains(wrong), "{}", text(&output.stderr));
    }
}

#[test]
fn the_folder_has_the_books_variable_and_ours_which_wins() {
    let (book, ours) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fs::write(book.path().join("book.mp4"), "x").expect("written");
    fs::write(ours.path().join("ours.mp4"), "x").expect("written");
    let check = ["--check", "--stable-for", "0s"];
    let output = run(&check, &[("MEDIA_PATH", book.path())]);
    assert!(text(&output.stdout).contains("book-mp4-"), "{}", text(&output.stderr));
    let output = run(&check, &[("MEDIA_PATH", book.path()), ("LONGSHORE_ROOT", ours.path())]);
    assert!(text(&output.stdout).contains("ours-mp4-"), "{}", text(&output.stderr));
    // Empty is how a manifest leaves a variable out.
    let nothing = Path::new("");
    for unset in ["LONGSHORE_ROOT", "LONGSHORE_ITEM_BASE", "LONGSHORE_MIN_SIZE", "LONGSHORE_NO_INOTIFY", "RUST_LOG"] {
        let output = run(&check, &[("MEDIA_PATH", book.path()), (unset, nothing)]);
        assert!(text(&output.stdout).contains("book-mp4-"), "{unset}: {}", text(&output.stderr));
    }
    let output =
        run(&[&check[..], &["--root", ours.path().to_str().expect("text")]].concat(), &[("MEDIA_PATH", nothing)]);
    assert!(text(&output.stdout).contains("ours-mp4-"), "{}", text(&output.stderr));
    fs::write(ours.path().join(".hidden.mp4"), "x").expect("written");
    for (value, listed) in [("1", true), ("yes", true), ("true", true), ("0", false), ("off", false)] {
        let output = run(&check, &[("LONGSHORE_ROOT", ours.path()), ("LONGSHORE_INCLUDE_HIDDEN", Path::new(value))]);
        assert_eq!(text(&output.stdout).contains("hidden-mp4-"), listed, "{value}: {}", text(&output.stderr));
    }
}

#[test]
fn a_check_finds_that_settled_files_have_nowhere_to_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    fs::create_dir(at("root")).expect("made");
    fs::write(at("file"), "").expect("written");
    let check = ["--root", &at("root"), "--stable-for", "0s", "--check"];
    let with = |flags: &[&str]| run(&[&check[..], flags].concat(), &[]);
    for (flags, code) in [
        (&["--on-settle", &format!("move:{}", at("new/deep"))][..], 0),
        (&["--on-settle", "delete"], 0),
        (&["--on-settle", &format!("move:{}", at("file/x"))], 78),
        (&["--on-settle", "delete", "--dead-letter", &at("file")], 78),
    ] {
        let output = with(flags);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {}", text(&output.stderr));
        let error = text(&output.stderr);
        assert!(code == 0 || error.contains("--on-settle") || error.contains("--dead-letter"), "{error}");
    }
    assert!(!dir.path().join("new").exists(), "a check changes nothing");
}

#[test]
fn help_ends_with_examples() {
    let output = run(&["--help"], &[]);
    let help = text(&output.stdout);
    let (_, examples) = help.split_once("Examples:").expect("examples");
    assert!(
        examples.trim().lines().all(|line| line.contains("files-ambassador") || line.contains("curl")),
        "{examples}"
    );
    for flag in ["--root", "--glob", "--exclude", "--stable-for", "--on-settle", "--item-base", "--check"] {
        assert!(help.contains(flag), "{flag}");
    }
}
