//! What becomes of the list when the folder, or a part of it, cannot be seen.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::ambassador::{Ambassador, PROGRAM, until};

const QUICK: [&str; 4] = ["--stable-for", "0s", "--rescan", "100ms"];

/// Waits until the folder is said to be lost for this reason, and looks at what is answered then.
async fn lost(ambassador: &Ambassador, why: &str) {
    until(why, async || {
        let ready = ambassador.probe("/readyz").await;
        (ready.status == 503 && ready.text.contains(why)).then_some(())
    })
    .await;
    let answer = ambassador.list().await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.retry_after, "says when to ask again");
    assert_eq!(ambassador.probe("/livez").await.status, 200, "a restart would not help");
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("permitted");
}

/// The program as a user whom permissions stop, and a directory of that user's.
fn unprivileged() -> (Command, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    if !rustix::process::geteuid().is_root() {
        return (Command::new(PROGRAM), dir);
    }
    chmod(dir.path(), 0o755);
    // By another process: what is open for writing here is so in whatever another test starts meanwhile, and cannot be run.
    let copied = Command::new("cp").arg(PROGRAM).arg(dir.path().join("program")).status();
    assert!(copied.expect("cp runs").success());
    fs::create_dir(dir.path().join("root")).expect("made");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(dir.path().join("program"));
    (command, dir)
}

#[tokio::test]
async fn a_root_that_is_not_there_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("not yet");
    let ambassador = Ambassador::start(&root, &QUICK).await;
    lost(&ambassador, "does not exist").await;
    fs::create_dir(&root).expect("made");
    fs::write(root.join("a.mp4"), "x").expect("written");
    ambassador.named("a.mp4").await;
    until("ready", async || (ambassador.probe("/readyz").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_root_that_is_a_file_or_may_not_be_read_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    lost(&Ambassador::start(&file, &QUICK).await, "is not a folder").await;
    let (command, dir) = unprivileged();
    let root = dir.path().join("root");
    fs::create_dir_all(&root).expect("made");
    fs::write(root.join("a.mp4"), "x").expect("written");
    chmod(&root, 0);
    let ambassador = Ambassador::spawn(command, &root, &QUICK).await;
    lost(&ambassador, "may not be read").await;
    chmod(&root, 0o755);
    ambassador.named("a.mp4").await;
}

#[tokio::test]
async fn a_root_that_is_lost_while_files_are_waited_for_is_looked_for_now_and_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, away) = (dir.path().join("root"), dir.path().join("away"));
    fs::create_dir(&root).expect("made");
    let ambassador = Ambassador::start(&root, &["--stable-for", "1s", "--rescan", "200ms"]).await;
    // An empty file is a beginning: it is waited for, and due again when its folder is gone.
    fs::write(root.join("a.mp4"), "").expect("written");
    until("the file to be waited for", async || ambassador.why("a.mp4").await.filter(|(_, pending)| *pending)).await;
    fs::rename(&root, &away).expect("moved");
    lost(&ambassador, "does not exist").await;
    let looked = async || {
        let metrics = ambassador.probe("/metrics").await.text;
        let count = metrics.lines().find_map(|line| line.strip_prefix("longshore_files_scans_lost_total "));
        count.expect("is shown").parse::<u64>().expect("a number")
    };
    let count = until("looks past the time the file was due", async || Some(looked().await).filter(|n| *n >= 10)).await;
    assert!(count < 500, "it was looked for {count} times, which is all it did");
    fs::rename(&away, &root).expect("moved");
    ambassador.named("a.mp4").await;
}

#[tokio::test]
async fn a_root_that_disappears_and_comes_back_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, away) = (dir.path().join("root"), dir.path().join("away"));
    fs::create_dir(&root).expect("made");
    for n in 0..5 {
        fs::write(root.join(format!("{n}.mp4")), "x").expect("written");
    }
    let ambassador = Ambassador::start(&root, &QUICK).await;
    let names = ambassador.listed(5).await;
    let version = ambassador.list().await.json()["metadata"]["resourceVersion"].clone();
    fs::rename(&root, &away).expect("moved away");
    lost(&ambassador, "does not exist").await;
    assert_eq!(ambassador.ask("GET", &format!("/v1/items/{}", names[0])).await.status, 503);
    // An empty directory in its place is not the folder with everything gone.
    fs::create_dir(&root).expect("made");
    lost(&ambassador, "another, empty directory").await;
    fs::remove_dir(&root).expect("removed");
    fs::rename(&away, &root).expect("moved back");
    assert_eq!(ambassador.listed(5).await, names);
    let again = ambassador.list().await.json()["metadata"]["resourceVersion"].clone();
    assert_eq!(again, version, "nothing went and nothing came");
    // And really emptied, it is empty.
    for n in 0..5 {
        fs::remove_file(root.join(format!("{n}.mp4"))).expect("removed");
    }
    ambassador.listed(0).await;
    assert!(ambassador.is_complete().await);
}

#[tokio::test]
async fn a_root_made_anew_with_files_in_it_is_the_folder_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("made");
    fs::write(root.join("old.mp4"), "x").expect("written");
    let ambassador = Ambassador::start(&root, &QUICK).await;
    ambassador.named("old.mp4").await;
    fs::rename(&root, dir.path().join("away")).expect("moved away");
    fs::create_dir(&root).expect("made");
    fs::write(root.join("new.mp4"), "x").expect("written");
    ambassador.named("new.mp4").await;
    ambassador.listed(1).await;
}

#[tokio::test]
async fn the_last_list_stands_as_long_as_it_was_told_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("made");
    fs::write(root.join("a.mp4"), "x").expect("written");
    let ambassador = Ambassador::start(&root, &[&QUICK[..], &["--max-stale", "1h"]].concat()).await;
    ambassador.named("a.mp4").await;
    fs::rename(&root, dir.path().join("away")).expect("moved away");
    until("readiness to turn red", async || (ambassador.probe("/readyz").await.status == 503).then_some(())).await;
    assert_eq!(ambassador.names().await.len(), 1);
}

#[tokio::test]
async fn what_may_not_be_read_makes_the_list_incomplete_and_stays_listed() {
    let (command, dir) = unprivileged();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("dir")).expect("made");
    fs::write(root.join("dir/a.mp4"), "x").expect("written");
    fs::write(root.join("b.mp4"), "x").expect("written");
    let ambassador = Ambassador::spawn(command, &root, &QUICK).await;
    let names = ambassador.listed(2).await;
    assert!(ambassador.is_complete().await);
    chmod(&root.join("dir"), 0);
    chmod(&root.join("b.mp4"), 0);
    fs::write(root.join("c.mp4"), "x").expect("written");
    chmod(&root.join("c.mp4"), 0);
    assert!(!ambassador.withheld("dir/", "unreadable").await);
    for file in ["b.mp4", "c.mp4"] {
        assert!(!ambassador.withheld(file, "unreadable").await, "listed before or not");
    }
    let scans = ambassador.scans().await;
    until("two more scans", async || (ambassador.scans().await >= scans + 2).then_some(())).await;
    assert!(!ambassador.is_complete().await);
    let hidden = names.iter().find(|name| name.starts_with("a-mp4")).expect("it was listed");
    assert_eq!(ambassador.names().await, std::slice::from_ref(hidden), "not to see is not to know");
    chmod(&root.join("dir"), 0o755);
    chmod(&root.join("b.mp4"), 0o644);
    chmod(&root.join("c.mp4"), 0o644);
    ambassador.listed(3).await;
    until("a complete list", async || ambassador.is_complete().await.then_some(())).await;
}

mod needs_userns {
    use super::*;

    /// In a mount namespace of its own, which needs no privilege where user namespaces are allowed.
    #[tokio::test]
    async fn what_lies_under_a_mount_is_not_taken_for_what_was_mounted() {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, inner) = (dir.path().join("root"), dir.path().join("root/inner"));
        fs::create_dir(&root).expect("made");
        fs::write(root.join("beneath.mp4"), "x").expect("written");
        let script = r#"mount -t tmpfs none "$1" && mkdir "$1/inner" && mount -t tmpfs none "$1/inner" &&
            echo x > "$1/a.mp4" && echo x > "$1/inner/b.mp4" && shift && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(&root).arg(PROGRAM);
        let ambassador = Ambassador::spawn(command, &root, &QUICK).await;
        let names = ambassador.listed(2).await;
        assert!(ambassador.is_complete().await);
        let inside = |act: &[&str]| {
            let mut command = Command::new("nsenter");
            command.args(["-t", &ambassador.pid().to_string(), "--user", "--preserve-credentials", "--mount", "--"]);
            command.args(act).status().expect("nsenter runs").success()
        };
        let (root, inner) = (root.to_str().expect("text"), inner.to_str().expect("text"));
        // Nothing keeps it from being unmounted while it is served, but for as long as one look takes.
        until("it unmounted", async || inside(&["umount", inner]).then_some(())).await;
        assert!(!ambassador.withheld("inner/", "mount-gone").await);
        assert_eq!(ambassador.names().await, names);
        assert!(!ambassador.is_complete().await);
        until("it unmounted", async || inside(&["umount", root]).then_some(())).await;
        lost(&ambassador, "what was mounted").await;
        assert!(inside(&["mount", "-t", "tmpfs", "none", root]));
        assert!(inside(&["sh", "-c", &format!("mkdir {inner} && echo y > {root}/c.mp4")]));
        ambassador.named("c.mp4").await;
    }
}
