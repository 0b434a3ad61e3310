//! What only containers can do: die, come back, never come, and lie.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use multi_worker::pipeline::Stage;
use rustix::process::Signal;
use stage::protocol::Hello;

use crate::world::{Layout, Running, World, until};

/// One stage that runs until it is killed, or told by a file to succeed.
const WAITING: &str = "command: [sh, -c, 'touch ready.$STAGE_ATTEMPT; until [ -e go ]; do sleep 0.01; done; echo $STAGE_ATTEMPT > $OUTPUT_DIR/x']";

fn world(stages: &str) -> (World, Vec<Stage>) {
    let world = World::new(Layout::Pod);
    world.pipeline(stages);
    let stages = world.stages();
    (world, stages)
}

/// Kills a shim with its command, as a container is killed: nothing of it is left.
fn kill(world: &World, shim: Running) {
    shim.signal(Signal::KILL);
    shim.wait_unreported();
    let commands = || world.processes().into_iter().filter(|process| process.command.contains("ready.")).count();
    for process in world.processes().iter().filter(|process| process.command.starts_with("sh ")) {
        let _ = rustix::process::kill_process(process.pid, Signal::KILL);
    }
    until("the command is dead", || commands() == 0);
}

#[test]
fn a_container_that_is_killed_is_lost() {
    let (world, stages) = world(&format!("  - {{name: stage, {WAITING}}}\n"));
    let shim = world.shim(&stages[0], &[]).start();
    let worker = world.worker().start();
    // The command may run before its shim has said so.
    let started = world.root().stage(&stages[0].name).started(1);
    until("it runs, and that is said", || world.path("ready.1").exists() && started.exists());
    kill(&world, shim);
    let ended = worker.wait().assert(137, "Lost");
    assert!(ended.report().message.contains("killed or restarted while its command ran"), "{}", ended.report().message);
}

#[test]
fn a_container_that_comes_back_at_once_is_lost_too_and_asked_again_where_that_is_wanted() {
    let (world, stages) =
        world(&format!("  - {{name: stage, retries: {{limit: 1, backoff: 1ms, on: [Lost]}}, {WAITING}}}\n"));
    let shim = world.shim(&stages[0], &[]).start();
    let worker = world.worker().start();
    until("it runs", || world.path("ready.1").exists());
    kill(&world, shim);
    let shim = world.shim(&stages[0], &[]).start();
    until("it runs again", || world.path("ready.2").exists());
    fs::write(world.path("go"), "").expect("written");
    let ended = worker.wait().assert(0, "Published");
    assert_eq!((world.published("x"), ended.stage("stage")["attempts"].clone()), ("2\n".into(), 2.into()));
    assert_eq!(shim.wait().code, 0);
}

#[test]
fn a_container_that_never_comes_is_a_start_timeout() {
    let (world, stages) = world(
        "  - {name: here, command: ['true']}\n  - {name: away, needs: [here], startTimeout: 300ms, command: ['true']}\n",
    );
    fs::create_dir_all(world.root().stage(&stages[1].name).path()).expect("a directory");
    let shim = world.shim(&stages[0], &[]).start();
    let ended = world.worker().run().assert(75, "StartTimeout");
    assert!(ended.report().message.contains("stage away"), "{}", ended.report().message);
    assert_eq!(shim.wait().code, 0);
}

#[test]
fn where_locks_do_not_cross_a_heartbeat_does() {
    let (world, stages) = world(&format!("  - {{name: stage, {WAITING}}}\n"));
    let shim = world.shim(&stages[0], &["--no-lock"]).start();
    let worker = world.worker().arg("--no-lock").start();
    until("it runs", || world.path("ready.1").exists());
    fs::write(world.path("go"), "").expect("written");
    worker.wait().assert(0, "Published");
    assert_eq!(shim.wait().code, 0);
}

#[test]
fn a_shim_that_was_there_first_serves_and_one_of_another_protocol_is_refused() {
    let (world, stages) = world("  - {name: stage, command: ['true']}\n");
    let dir = world.root().stage(&stages[0].name);
    fs::create_dir_all(dir.path()).expect("a directory");
    let hello = Hello { protocol: 99, boot: stage::Boot::new(), program: "other 2".into(), heartbeat_ms: 2000 };
    stage::files::write(&stage::root::hello(dir.path()), &hello).expect("written");
    let ended = world.worker().run().assert(78, "ProtocolMismatch");
    assert!(ended.report().message.contains("99"), "{}", ended.report().message);
}

#[test]
fn what_is_no_file_is_not_published_nor_followed() {
    let (world, stages) = world(
        "  - {name: stage, command: [sh, -c, 'echo > $OUTPUT_DIR/x']}\n  - {name: last, needs: [stage], command: [sh, -c, 'touch ready; until [ -e go ]; do sleep 0.01; done']}\npublish: [stage]\n",
    );
    let shims: Vec<_> = stages.iter().map(|stage| world.shim(stage, &[]).start()).collect();
    let worker = world.worker().start();
    until("the first is over", || world.path("ready").exists());
    // Somebody in its container changes what was handed over.
    fs::write(world.path("secret"), "secret").expect("written");
    let out = world.root().stage(&stages[0].name).out();
    symlink(world.path("secret"), out.join("link")).expect("linked");
    fs::write(world.path("go"), "").expect("written");
    let ended = worker.wait().assert(73, "OutputUnusable");
    assert!(ended.report().message.contains("link"), "{}", ended.report().message);
    assert_eq!(world.names(), Vec::<String>::new());
    drop(shims);
}

#[test]
fn stages_by_name_alone_are_a_chain() {
    let stages = "  - {name: one, command: [cp, $(INPUT_FILE), $(OUTPUT_DIR)/y.txt]}\n  - {name: two, needs: [one], command: [cp, $(INPUT_FILE), $(OUTPUT_DIR)/z]}\n";
    let (world, stages) = world(stages);
    let shims: Vec<_> = stages.iter().map(|stage| world.shim(stage, &[]).start()).collect();
    // A name that is no text cannot be told in JSON, and programs go by what it ends with.
    let input = world.path("in").join(OsStr::from_bytes(b"caf\xe9.txt"));
    fs::write(input, "bytes\n").expect("written");
    let item = format!(r#"{{"uri":"file://{}/caf%E9.txt","key":"a.txt"}}"#, world.path("in").display());
    fs::write(world.path("item.json"), item).expect("written");
    let ended = world.bare(&["run", "--stages", "one,two"]).run();
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(world.published("z"), "bytes\n");
    shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0));
}

#[test]
fn two_adapters_do_not_live_in_one_tree() {
    let (world, stages) = world(&format!("  - {{name: stage, {WAITING}}}\n"));
    let shim = world.shim(&stages[0], &[]).start();
    let first = world.worker().start();
    until("it runs", || world.path("ready.1").exists());
    world.worker().run().assert(78, "AlreadyRunning");
    fs::write(world.path("go"), "").expect("written");
    first.wait().assert(0, "Published");
    assert_eq!(shim.wait().code, 0);
}

#[test]
fn a_check_calls_the_roll() {
    let (world, stages) = world("  - {name: here, command: [\"true\"]}\n  - {name: dead, command: [\"true\"]}\n");
    let here = world.shim(&stages[0], &[]).start();
    let dead = world.shim(&stages[1], &[]).start();
    let is_there = |name: &str| world.path("pod/stages").join(name).join("hello.json").exists();
    until("both are there", || is_there("here") && is_there("dead"));
    let check = || world.worker().arg("--check").run();
    let ended = check();
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert_eq!(ended.log.matches("stage is there").count(), 2, "{}", ended.log);
    assert!(!world.path("pod/adapter/hello.json").exists(), "a check must not be taken for an adapter");
    kill(&world, dead);
    let ended = check();
    assert_eq!(ended.code, 75, "{}", ended.log);
    assert!(ended.log.contains("stage dead has said hello") && !ended.log.contains("stage here has"), "{}", ended.log);
    drop(here);
}
