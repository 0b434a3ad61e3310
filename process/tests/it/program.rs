//! What is run, how it is found, and why it cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use process::{Exit, Output, SpawnError, Spec};

fn script(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

#[tokio::test]
async fn the_environment_is_what_was_said_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let spec =
        Spec::new("/usr/bin/env").env("A", "1").env("B", "x y\n").env("A", "2").stdout(Output::Tail { keep: 100 });
    let ended = spec.cwd(dir.path()).spawn().expect("starts").wait().await.expect("ends");
    assert_eq!(String::from_utf8_lossy(&ended.stdout.bytes), "A=2\nB=x y\n\n");
    let spec = Spec::new("/bin/pwd").cwd(dir.path()).stdout(Output::Tail { keep: 4096 });
    let ended = spec.spawn().expect("starts").wait().await.expect("ends");
    assert_eq!(String::from_utf8_lossy(&ended.stdout.bytes).trim_end(), dir.path().display().to_string());
}

#[tokio::test]
async fn a_bare_name_is_looked_for_along_the_childs_own_path() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("a/tool")).expect("made");
    fs::create_dir_all(dir.path().join("b")).expect("made");
    fs::create_dir_all(dir.path().join("c")).expect("made");
    script(&dir.path().join("b/tool"), "#!/bin/sh\nexit 1\n", 0o644);
    script(&dir.path().join("c/tool"), "#!/bin/sh\nexit 9\n", 0o755);
    let at = |name: &str| dir.path().join(name).display().to_string();
    let spec = Spec::new("tool").env("PATH", format!("{}:{}:{}", at("a"), at("b"), at("c")));
    assert_eq!(spec.spawn().expect("starts").wait().await.expect("ends").exit, Exit::Code(9));
    match Spec::new("tool").env("PATH", format!("{}:{}", at("a"), at("b"))).spawn() {
        Err(SpawnError::NotExecutable { program, why }) => {
            assert_eq!(program, dir.path().join("b/tool"));
            assert!(why.contains("chmod"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(Spec::new("tool").env("PATH", at("a")).spawn(), Err(SpawnError::NotFound { .. })));
    assert!(matches!(Spec::new("").env("PATH", at("a")).spawn(), Err(SpawnError::NotFound { .. })));
}

#[tokio::test]
async fn what_cannot_run_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    script(&at("not-executable"), "#!/bin/sh\n", 0o644);
    script(&at("no-interpreter"), "#!/no/such/interpreter\n", 0o755);
    script(&at("no-format"), "just text", 0o755);
    script(&at("empty"), "", 0o755);
    std::os::unix::fs::symlink("loop", at("loop")).expect("linked");
    for (name, says) in [
        ("not-executable", "chmod"),
        ("no-interpreter", "interpreter"),
        ("no-format", "#!"),
        ("empty", "#!"),
        ("", "directory"),
    ] {
        match Spec::new(at(name)).spawn() {
            Err(SpawnError::NotExecutable { why, .. }) => assert!(why.contains(says), "{name}: {why}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    // What can be seen without executing it is found by looking, and said in the same words.
    for name in ["not-executable", "", "missing", "not-executable/inside", "loop"] {
        let spawned = Spec::new(at(name)).spawn().expect_err("cannot run").to_string();
        let looked = process::find(at(name).as_os_str(), None).expect_err("cannot run").to_string();
        assert_eq!(looked, spawned);
    }
    assert_eq!(process::find("sh".as_ref(), Some(&"/nowhere:/bin".into())).expect("is there"), Path::new("/bin/sh"));
    let error = process::find("Cargo.toml".as_ref(), None).expect_err("is not in PATH").to_string();
    assert!(error.contains("./Cargo.toml"), "what lies here is pointed at: {error}");
    for name in ["missing", "not-executable/inside", "loop"] {
        let error = Spec::new(at(name)).spawn().expect_err("cannot run");
        assert!(matches!(error, SpawnError::NotFound { .. }), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn other_obstacles_are_not_blamed_on_the_program() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing");
    match Spec::new("/bin/true").cwd(&missing).spawn() {
        Err(SpawnError::Directory { directory, .. }) => assert_eq!(directory, missing),
        other => panic!("{other:?}"),
    }
    let error = Spec::new("/bin/true").arg("x".repeat(200_000)).spawn().expect_err("is too long");
    assert!(matches!(error, SpawnError::Arguments { .. }), "{error:?}");
    let error = Spec::new("/bin/true").arg("a\0b").spawn().expect_err("holds a zero");
    assert!(matches!(error, SpawnError::Arguments { .. }), "{error:?}");
}

#[tokio::test]
async fn a_script_that_is_being_written_is_waited_for_a_little() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("busy");
    fs::copy("/bin/true", &path).expect("copied");
    let writer = fs::OpenOptions::new().append(true).open(&path).expect("opens");
    match Spec::new(&path).spawn() {
        Err(SpawnError::NotExecutable { why, .. }) => assert!(why.contains("writing"), "{why}"),
        other => panic!("{other:?}"),
    }
    let closed = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(10));
        drop(writer);
    });
    let ended = Spec::new(&path).spawn().expect("starts").wait().await.expect("ends");
    assert_eq!(ended.exit, Exit::Code(0));
    closed.join().expect("no panic");
}
