//! A folder behind a file server that is a process of its own (bindfs): it tells of nothing that changes behind it, can be
//! stopped and killed, and is mounted again at the same path.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::ambassador::{Ambassador, PROGRAM, until};

/// Scans all the time, and lists what rested for a moment.
const QUICK: [&str; 4] = ["--stable-for", "300ms", "--rescan", "50ms"];
/// Does not wait long for an answer.
const IMPATIENT: [&str; 2] = ["--stall-after", "500ms"];

/// The ambassador of a folder, which it sees through a mount in a namespace of its own.
struct Bound {
    ambassador: Ambassador,
    /// What is behind the mount.
    behind: PathBuf,
    mount: PathBuf,
    dir: tempfile::TempDir,
}

/// A second server, in the place of the first.
struct Second(Child);

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bound {
    /// Of the mount.
    async fn start(flags: &[&str]) -> Self {
        Self::start_below("", "", flags).await
    }

    /// Of this directory of the mount, whose server does this first, with `$!` for the server.
    async fn start_below(path: &str, first: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (behind, mount) = (dir.path().join("behind"), dir.path().join("mount"));
        for made in [&behind, &mount] {
            fs::create_dir(made).expect("made");
        }
        fs::write(behind.join("a.mp4"), "x").expect("written");
        fs::create_dir(behind.join("d")).expect("made");
        fs::write(behind.join("d/b.mp4"), "x").expect("written");
        let script = format!(
            r#"bindfs -f "$1" "$2" >/dev/null 2>&1 & echo $! >"$3"
            until mountpoint -q "$2"; do sleep 0.01; done
            {first}
            shift 3 && exec "$@""#
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).args([&behind, &mount, &dir.path().join("pid")]);
        command.arg(PROGRAM);
        let ambassador = Ambassador::spawn(command, &mount.join(path), &[&QUICK[..], flags].concat()).await;
        Self { ambassador, behind, mount, dir }
    }

    /// Sends the server a signal.
    fn signal(&self, signal: Signal) {
        let pid = fs::read_to_string(self.dir.path().join("pid")).expect("a process");
        let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("a process");
        kill_process(pid, signal).expect("signalled");
    }

    /// Something that happens where the mount is seen.
    fn inside(&self, act: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.ambassador.pid().to_string(), "--mount", "--"]).args(act);
        command
    }

    async fn red(&self, why: &str) {
        until(why, async || {
            let ready = self.ambassador.probe("/readyz").await;
            (ready.status == 503 && ready.text.contains(why)).then_some(())
        })
        .await;
        assert_eq!(self.ambassador.probe("/livez").await.status, 200, "a restart would not help");
        let refused = self.ambassador.list().await;
        assert!(refused.status == 503 && refused.retry_after, "{}", refused.text);
    }
}

mod needs_fuse {
    use super::*;

    #[tokio::test]
    async fn what_no_event_tells_of_is_found_by_scans() {
        let bound = Bound::start(&[]).await;
        let ambassador = &bound.ambassador;
        let names = ambassador.listed(2).await;
        fs::write(bound.behind.join("a.mp4"), "another version").expect("written");
        fs::create_dir_all(bound.behind.join("new/er")).expect("made");
        fs::write(bound.behind.join("new/er/c.mp4"), "x").expect("written");
        ambassador.named("new/er/c.mp4").await;
        until("the first version gone", async || (!ambassador.names().await.contains(&names[0])).then_some(())).await;
        assert!(ambassador.listed(3).await.contains(&names[1]));
        fs::rename(bound.behind.join("new"), bound.behind.join("d/moved")).expect("renamed");
        ambassador.named("d/moved/er/c.mp4").await;
        fs::remove_dir_all(bound.behind.join("d")).expect("removed");
        ambassador.listed(1).await;
        until("a complete list", async || ambassador.is_complete().await.then_some(())).await;
        let metrics = ambassador.probe("/metrics").await.text;
        assert!(metrics.contains("longshore_files_inotify_watches 0"), "no hint is asked for where there is none");
    }

    #[tokio::test]
    async fn a_server_that_dies_and_is_mounted_again_has_the_same_list() {
        let bound = Bound::start(&[]).await;
        let ambassador = &bound.ambassador;
        let names = ambassador.listed(2).await;
        let version = ambassador.list().await.json()["metadata"]["resourceVersion"].clone();
        bound.signal(Signal::KILL);
        bound.red("not connected").await;
        assert_eq!(ambassador.ask("GET", &format!("/v1/items/{}", names[0])).await.status, 503);
        // What lies under the mount, an empty directory, is not taken for the folder.
        let mount = bound.mount.to_str().expect("text");
        // Whoever is just looking at it keeps it from going.
        until("it unmounted", async || {
            bound.inside(&["umount", mount]).status().expect("it runs").success().then_some(())
        })
        .await;
        bound.red("what was mounted").await;
        let behind = bound.behind.to_str().expect("text");
        let mut again = bound.inside(&["bindfs", "-f", behind, mount]);
        let _second = Second(again.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs"));
        assert_eq!(ambassador.listed(2).await, names);
        let again = ambassador.list().await.json()["metadata"]["resourceVersion"].clone();
        assert_eq!(again, version, "nothing went and nothing came");
        until("ready", async || (ambassador.probe("/readyz").await.status == 200).then_some(())).await;
        fs::write(bound.behind.join("c.mp4"), "x").expect("written");
        ambassador.named("c.mp4").await;
    }

    #[tokio::test]
    async fn a_server_that_stops_is_waited_for_and_keeps_nobody_from_ending() {
        let bound = Bound::start(&[&IMPATIENT[..], &["--on-settle", "delete", "--grace", "1s"]].concat()).await;
        let ambassador = &bound.ambassador;
        let names = ambassador.listed(2).await;
        for _ in 0..2 {
            bound.signal(Signal::STOP);
            bound.red("not answered").await;
            bound.signal(Signal::CONT);
            assert_eq!(ambassador.listed(2).await, names, "nothing was lost");
            until("ready", async || (ambassador.probe("/readyz").await.status == 200).then_some(())).await;
        }
        // A scan and a settle that hang, and nobody to answer them.
        bound.signal(Signal::STOP);
        let url = format!("{}/v1/items/{}", ambassador.contract, names[0]);
        let settle = ambassador.try_ask("DELETE", &url);
        let end = async {
            bound.red("not answered").await;
            let pid = Pid::from_raw(ambassador.pid().cast_signed()).expect("a process");
            kill_process(pid, Signal::TERM).expect("signalled");
        };
        tokio::join!(settle, end);
        // The rest of it is the kernel's: a request that the server had read when it was stopped is waited for until that is answered,
        // and the process that made it with it, however it ends.
        until("the end of what can end", async || bound.ambassador.is_over().then_some(())).await;
        bound.signal(Signal::CONT);
        assert_eq!(bound.ambassador.ended().await.code(), Some(0));
    }

    #[tokio::test]
    async fn a_program_started_while_the_server_hangs_says_so_and_serves_when_it_answers() {
        let bound = Bound::start_below("d", "kill -STOP $!", &IMPATIENT).await;
        let ambassador = &bound.ambassador;
        bound.red("not answered").await;
        let root = bound.mount.join("d");
        let check = ["--check", "--stall-after", "500ms", "--root", root.to_str().expect("text")];
        let output = bound.inside(&[&[PROGRAM], &check[..]].concat()).output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{error}");
        assert!(error.contains("does not answer") && error.contains(check[4]), "{error}");
        bound.signal(Signal::CONT);
        ambassador.listed(1).await;
        until("ready", async || (ambassador.probe("/readyz").await.status == 200).then_some(())).await;
    }
}
