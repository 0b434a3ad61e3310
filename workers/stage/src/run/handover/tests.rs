use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::{Root, StageDir};

use super::*;

/// A stage's directory with an attempt's empty output in it.
fn stage(top: &Path) -> StageDir {
    let dir = Root::new(top).stage(&"detect".parse().expect("a name"));
    fs::create_dir_all(dir.partial(1)).expect("made");
    dir
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("is there").mode() & 0o7777
}

fn close(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
}

#[test]
fn everything_becomes_readable_and_nothing_writable() {
    let top = tempfile::tempdir().expect("a directory");
    let dir = stage(top.path());
    let from = dir.partial(1);
    fs::create_dir_all(from.join("a/b")).expect("made");
    for (name, bits) in [("a/b/none", 0o000), ("a/own", 0o600), ("tool", 0o700), ("open", 0o666)] {
        fs::write(from.join(name), name).expect("written");
        close(&from.join(name), bits);
    }
    for name in ["a/b", "a", ""] {
        close(&from.join(name), 0o700);
    }
    let outputs = hand_over(&dir, 1).expect("handed over");
    assert_eq!((outputs.files, outputs.bytes), (4, "a/b/nonea/owntoolopen".len() as u64));
    let out = dir.out();
    assert!(!from.exists());
    let modes = ["", "a", "a/b", "a/b/none", "a/own", "tool", "open"].map(|name| mode(&out.join(name)));
    assert_eq!(modes, [0o755, 0o755, 0o755, 0o444, 0o644, 0o755, 0o666]);
}

#[test]
fn what_stands_there_already_is_of_an_attempt_that_nobody_heard_of() {
    let top = tempfile::tempdir().expect("a directory");
    let dir = stage(top.path());
    for prepare in [
        |out: &Path| fs::create_dir_all(out.join("old")).expect("made"),
        |out: &Path| fs::write(out, "x").expect("written"),
        |out: &Path| symlink("/etc", out).expect("linked"),
    ] {
        fs::create_dir_all(dir.partial(1)).expect("made");
        prepare(&dir.out());
        hand_over(&dir, 1).expect("handed over");
        assert_eq!(dir.out().read_dir().expect("is a directory").count(), 0);
        fs::remove_dir(dir.out()).expect("removed");
    }
    assert!(Path::new("/etc/hostname").exists());
}

#[test]
fn a_link_may_lead_about_in_the_output_and_nowhere_else() {
    let top = tempfile::tempdir().expect("a directory");
    let dir = stage(top.path());
    let from = dir.partial(1);
    fs::create_dir_all(from.join("d/e")).expect("made");
    fs::create_dir(dir.temporary()).expect("made");
    fs::write(from.join("d/f"), "x").expect("written");
    symlink("d/e", from.join("deep")).expect("linked");
    for (at, target, is_fine) in [
        ("l", "d/f", true),
        ("l", "d", true),
        ("l", ".", true),
        ("d/l", "../d/f", true),
        ("d/e/l", "../../d/./f", true),
        ("l", "deep/../f", true),
        ("l", "/etc/hostname", false),
        ("l", "../../../../../../../../../../etc/hostname", false),
        ("l", "..", false),
        ("d/l", "../../tmp", false),
        ("l", "gone", false),
        ("l", "l", false),
        // Where it is now, which is not where it will be.
        ("l", from.join("d/f").to_str().expect("is text"), false),
        ("l", "../out.1.partial/d/f", false),
        // What `..` means depends on what stands before it.
        ("l", "deep/../../../tmp", false),
    ] {
        symlink(target, from.join(at)).expect("linked");
        let seen = open_up(&from);
        assert_eq!(seen.is_ok(), is_fine, "{at} -> {target}: {seen:?}");
        if let Err(refusal) = seen {
            assert!(refusal.to_string().contains(&format!("{}", from.join(at).display())), "{refusal}");
        }
        fs::remove_file(from.join(at)).expect("removed");
    }
}

#[test]
fn a_link_that_leads_out_by_another_link_is_refused() {
    let top = tempfile::tempdir().expect("a directory");
    let dir = stage(top.path());
    let from = dir.partial(1);
    fs::create_dir_all(from.join("d/e/f")).expect("made");
    fs::create_dir(dir.temporary()).expect("made");
    symlink(".", from.join("here")).expect("linked");
    // By its words it never leaves; by the way it goes it does.
    symlink("here/../tmp", from.join("l")).expect("linked");
    let refusal = open_up(&from).expect_err("leads out");
    assert!(refusal.to_string().contains("outside of OUTPUT_DIR"), "{refusal}");
}

#[test]
fn what_is_no_file_is_refused_by_its_name() {
    let top = tempfile::tempdir().expect("a directory");
    let dir = stage(top.path());
    let path = dir.partial(1).join("a pipe");
    mkfifoat(CWD, &path, Mode::RWXU).expect("made");
    let refusal = hand_over(&dir, 1).expect_err("is none").to_string();
    assert!(refusal.contains("a pipe cannot be handed over: it is a pipe"), "{refusal}");
    assert!(!dir.out().exists() && path.exists());
    fs::remove_file(&path).expect("removed");
    let socket = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    assert!(hand_over(&dir, 1).expect_err("is none").to_string().contains("a socket"));
    drop(socket);
}

#[test]
fn an_output_directory_that_is_gone_or_a_link_is_refused() {
    let top = tempfile::tempdir().expect("a directory");
    let dir = stage(top.path());
    fs::remove_dir(dir.partial(1)).expect("removed");
    assert!(hand_over(&dir, 1).expect_err("is gone").to_string().contains("removed or renamed OUTPUT_DIR"));
    symlink("/etc", dir.partial(1)).expect("linked");
    assert!(hand_over(&dir, 1).expect_err("is a link").to_string().contains("no directory any more"));
    assert!(!dir.out().exists());
}
