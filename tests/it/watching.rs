//! A file that is closed is run at once: the folder's hint, the ambassador's watch and the manager's plan, with every timer that
//! could do the same by itself an hour away. Over a socket, and with a token.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use longshore_tests::programs::program;
use longshore_tests::{Daemon, wait_until};
use rustix::process::Signal;

fn ambassador(world: &Path) -> Daemon {
    let mut command = Command::new(program("files-ambassador"));
    command.arg("--root").arg(world.join("source")).args(["--rescan", "1h", "--probe-listen", "127.0.0.1:0"]);
    command.arg("--listen").arg(format!("unix:{}", world.join("items.sock").display()));
    command.arg("--token-file").arg(world.join("token"));
    Daemon::start(&mut command, &world.join("ambassador.log"))
}

fn manager(world: &Path) -> Daemon {
    let mut command = Command::new(program("queue-manager"));
    command.args(["local", "--poll", "1h", "--resync", "1h", "--parallelism", "2", "--probe-listen", "127.0.0.1:0"]);
    command.arg("--source").arg(format!("unix:{}", world.join("items.sock").display()));
    command.arg("--source-token-file").arg(world.join("token"));
    command.arg("--state").arg(world.join("state"));
    command.args(["--", "sh", "-c", "echo \"$WORK_ITEM_NAME\" >>\"$DONE\""]).env("DONE", world.join("done"));
    Daemon::start(&mut command, &world.join("manager.log"))
}

fn done(world: &Path) -> Vec<String> {
    fs::read_to_string(world.join("done")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Writes the n-th file, which is closed with that.
fn write(world: &Path, n: usize) {
    fs::write(world.join(format!("source/file-{n}.txt")), n.to_string()).expect("written and closed");
}

fn wait_for(world: &Path, n: usize) {
    wait_until(&format!("file {n} to be run"), || (done(world).len() == n).then_some(()));
}

#[test]
fn a_file_that_is_closed_is_run_though_no_timer_is_near() {
    let dir = tempfile::tempdir().expect("a directory");
    let world = dir.path();
    fs::create_dir(world.join("source")).expect("a folder");
    fs::write(world.join("token"), "first\n").expect("written");
    let mut first = ambassador(world);
    let mut manager = manager(world);
    wait_until("the manager to watch", || manager.log().contains("the source is watched").then_some(()));
    for n in 1..=20 {
        write(world, n);
        wait_for(world, n);
    }

    // Killed, and back with another token and another incarnation: what came meanwhile is listed, and watched from there.
    first.signal(Signal::KILL);
    first.wait();
    fs::write(world.join("token"), "second\n").expect("written");
    write(world, 21);
    let mut second = ambassador(world);
    wait_for(world, 21);
    for n in 22..=25 {
        write(world, n);
        wait_for(world, n);
    }
    manager.terminate();
    second.terminate();
    let names = done(world);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 25, "each once: {names:?}");
}
