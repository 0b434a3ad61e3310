//! `kill -9` of the worker wherever state changes hands, and the run after it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;

use contract::Outcome;
use longshore_tests::sources::fault_points_below;

use crate::world::{World, until};

const COPY: &str = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy"; cp "$INPUT_FILE" "$OUTPUT_DIR/second""#;
/// A file system without RENAME_EXCHANGE.
const NO_EXCHANGE: &str = "worker.exchange.before=fail";

/// Those of a worker whose output goes to a file system.
fn of_files() -> BTreeSet<String> {
    ["workers/kit/src", "storage/src"].into_iter().flat_map(fault_points_below).collect()
}

/// What went before the run that is killed.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    /// An older version is published.
    Older,
    /// A run was killed when its output was sealed.
    Killed,
    /// An older version was published, and a run was killed when it had moved that aside.
    KilledAside,
}

fn prepare(world: &World, before: Before) -> std::path::PathBuf {
    if matches!(before, Before::Older | Before::KilledAside) {
        world.worker(&world.item("d/a", "old"), COPY).run().expect(0, "Published");
    }
    let item = world.item("d/a", "newer");
    let fault = match before {
        Before::Nothing | Before::Older => return item,
        Before::Killed => "worker.marker.after=kill".to_owned(),
        Before::KilledAside => format!("{NO_EXCHANGE},worker.aside.after=kill"),
    };
    let killed = world.worker(&item, COPY).env("LONGSHORE_FAULT", fault).run();
    assert_eq!(killed.signal, Some(9), "{}", killed.stderr);
    item
}

/// Kills a run at `point`; whether it got there.
fn survive(point: &str, before: Before, exchange: bool) -> bool {
    let world = World::new();
    let item = prepare(&world, before);
    let mut fault = format!("{point}=kill");
    if !exchange && point != "worker.exchange.before" {
        fault = format!("{NO_EXCHANGE},{fault}");
    }
    let killed = world.worker(&item, COPY).env("LONGSHORE_FAULT", fault).run();
    let hit = killed.signal == Some(9);
    assert!(hit || killed.code == Some(0), "{:?} {}", killed.code, killed.stderr);

    // A reader in this instant: the old output, the new one, or (where nothing can be exchanged) none; never a mixture.
    let seen = world.try_published("d/a");
    let old = matches!(before, Before::Older | Before::KilledAside);
    assert!(seen.is_some() || !old || !exchange || matches!(before, Before::KilledAside), "the old output vanished");

    let again = world.worker(&item, COPY).run();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(matches!(again.report().outcome, Outcome::Published | Outcome::AlreadyPublished));
    let marker = world.published("d/a");
    assert_eq!(fs::read_to_string(world.path("out/d/a/copy")).expect("is there"), "newer");
    assert_eq!(marker.outputs.len(), 2);
    world.assert_clean();
    hit
}

#[test]
fn killed_anywhere_the_next_run_ends_well() {
    let points = of_files();
    assert!(points.len() > 20, "only {points:?} were found in the sources");
    let mut runs = Vec::new();
    for point in &points {
        for before in [Before::Nothing, Before::Older, Before::Killed, Before::KilledAside] {
            runs.push((point.as_str(), before, true));
        }
        runs.push((point, Before::Older, false));
    }
    // The root's lock is taken to stage, and again to commit; before either, to sweep.
    for again in ["worker.lock.before#2", "worker.lock.after#2", "worker.lock.after#3"] {
        runs.push((again, Before::Older, true));
        runs.push((again, Before::Killed, true));
    }
    let (todo, hit) = (Mutex::new(runs), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(run) = todo.lock().expect("no panic holds it").pop() else { break };
                    let (point, before, exchange) = run;
                    if survive(point, before, exchange) {
                        hit.lock()
                            .expect("no panic holds it")
                            .insert(point.split('#').next().unwrap_or_default().to_owned());
                    }
                }
            });
        }
    });
    let hit = hit.into_inner().expect("no panic holds it");
    println!("killed at: {hit:#?}");
    let never: Vec<_> = points.difference(&hit).collect();
    assert!(never.is_empty(), "never passed: {never:?}");
}

#[test]
fn failing_anywhere_a_worker_clears_up_after_itself() {
    for point in of_files() {
        for (before, exchange) in [(Before::Nothing, true), (Before::Older, true), (Before::Older, false)] {
            let world = World::new();
            let item = prepare(&world, before);
            let mut fault = format!("{point}=fail");
            if !exchange {
                fault = format!("{NO_EXCHANGE},{fault}");
            }
            let failed = world.worker(&item, COPY).env("LONGSHORE_FAULT", fault).run();
            assert!(matches!(failed.code, Some(0 | 74)), "{point}: {:?} {}", failed.code, failed.stderr);
            let seen = world.try_published("d/a");
            assert!(seen.is_some() || matches!(before, Before::Nothing), "{point}: the old output is lost");
            world.assert_clean();
            let again = world.worker(&item, COPY).run();
            assert_eq!(again.code, Some(0), "{point}: {}", again.stderr);
            assert_eq!(fs::read_to_string(world.path("out/d/a/copy")).expect("is there"), "newer");
        }
    }
}

#[test]
fn killed_with_an_old_output_aside_the_next_run_puts_it_back_even_if_it_fails() {
    let world = World::new();
    let item = prepare(&world, Before::KilledAside);
    assert!(world.try_published("d/a").is_none(), "the old output is aside");
    world.worker(&item, "exit 4").run().expect(4, "CommandFailed");
    world.published("d/a");
    assert_eq!(fs::read_to_string(world.path("out/d/a/copy")).expect("is there"), "old");
    world.assert_clean();
}

#[test]
fn what_a_killed_worker_left_running_is_ended_by_the_next() {
    let world = World::new();
    let item = world.item("a", "x");
    let body = format!("touch {}/started; setsid sleep 300 & sleep 301", world.root().display());
    let running = world.worker(&item, &body).start();
    until("the script runs", || world.path("started").exists());
    running.signal(rustix::process::Signal::KILL);
    drop(running);
    assert!(!world.processes().is_empty(), "without a manager, nobody has ended the script yet");
    world.worker(&item, COPY).run().expect(0, "Published");
    world.assert_clean();
}

/// By the kernel, at system calls, whether a fault point stands there or not.
mod needs_strace {
    use super::*;

    #[test]
    fn killed_at_any_sync_or_rename_the_next_run_ends_well() {
        std::thread::scope(|scope| {
            for before in [Before::Nothing, Before::Older] {
                scope.spawn(move || {
                    for call in
                        ["fsync", "renameat,renameat2,rename", "mkdir,mkdirat", "flock", "unlink,unlinkat,rmdir"]
                    {
                        let kills = (1..40).take_while(|nth| survives_kill_at_call(call, *nth, before)).count();
                        assert!(kills > 0 && kills < 39, "{call}: {kills} kills");
                    }
                });
            }
        });
    }

    /// Whether the worker made the `nth` call and was killed there.
    fn survives_kill_at_call(call: &str, nth: u32, before: Before) -> bool {
        let world = World::new();
        let item = prepare(&world, before);
        let trace = world.path("trace");
        let inject = format!("inject={call}:signal=KILL:when={nth}");
        let args = ["-f", "-qq", "-o", trace.to_str().expect("is text"), "-e", &format!("trace={call}"), "-e", &inject];
        // Of the whole tree strace follows, only the worker is to be killed: its script makes no such call.
        let killed = world.worker(&item, r#"echo newer > "$OUTPUT_DIR/copy""#).under("strace", &args).run();
        let hit = killed.signal == Some(9);
        assert!(hit || killed.code == Some(0), "{:?} {}", killed.code, killed.stderr);
        if matches!(before, Before::Older) {
            world.published("d/a");
        } else {
            world.try_published("d/a");
        }
        let again = world.worker(&item, r#"echo newer > "$OUTPUT_DIR/copy""#).run();
        assert_eq!(again.code, Some(0), "{call} {nth}: {}", again.stderr);
        assert_eq!(fs::read_to_string(world.path("out/d/a/copy")).expect("is there"), "newer\n");
        world.published("d/a");
        world.assert_clean();
        hit
    }
}
