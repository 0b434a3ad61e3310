//! Containers but for the images: each program in mount and pid namespaces of its own, each directory written by one.

use std::fs;

use rustix::process::Signal;

use crate::world::{Layout, Running, World, until};

/// Starts the shims of these stages, each contained.
fn contained(world: &World, stages: &str) -> Vec<Running> {
    world.pipeline(stages);
    let start = |stage: &multi_worker::pipeline::Stage| {
        let shim = world.shim(stage, &[]);
        world.contained(world.root().stage(&stage.name).path(), shim).start()
    };
    world.stages().iter().map(start).collect()
}

#[test]
fn a_chain_runs_and_nobody_writes_where_another_does() {
    let world = World::new(Layout::Pod);
    let forge = "for dir in adapter adapter/stages/last stages/last stages/first/out; do echo '{}' > pod/$dir/1.result.json && exit 1; done 2> forged; \
                 cp $INPUT_FILE $OUTPUT_DIR/y";
    let shims = contained(
        &world,
        &format!(
            "
  - {{name: first, command: [sh, -c, 'echo whole > $OUTPUT_DIR/x']}}
  - {{name: forger, needs: [first], command: [sh, -c, \"{forge}\"]}}
  - {{name: last, needs: [forger], command: [cp, $(INPUT_FILE), $(OUTPUT_DIR)/z]}}
"
        ),
    );
    let worker = world.contained(world.root().adapter().path(), world.worker());
    worker.run().assert(0, "Published");
    assert_eq!(world.published("z"), "whole\n");
    let refused = fs::read_to_string(world.path("forged")).expect("it tried");
    assert_eq!(refused.matches("Read-only file system").count(), 4, "{refused}");
    shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0));
}

#[test]
fn a_container_that_is_killed_is_lost_whatever_it_was_about() {
    let running = "command: [sh, -c, 'touch ready; sleep 1000']";
    for (stage, ready) in [("command: [sleep, '1000'], startTimeout: 100s", false), (running, true)] {
        let world = World::new(Layout::Pod);
        let mut shims = contained(&world, &format!("  - {{name: stage, {stage}}}\n  - {{name: other, {running}}}\n"));
        let worker = world.contained(world.root().adapter().path(), world.worker()).start();
        let dir = world.root().stage(&world.stages()[0].name);
        until("it runs", || dir.started(1).exists() && (!ready || world.path("ready").exists()));
        let shim = shims.remove(0);
        shim.signal(Signal::KILL);
        shim.wait_unreported();
        let ended = worker.wait().assert(137, "Lost");
        assert_eq!(ended.reason("other"), "Cancelled");
        shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0));
        world.assert_clean();
    }
}

#[test]
fn the_stages_of_an_adapter_that_is_killed_wait_for_the_next() {
    let world = World::new(Layout::Pod);
    let shims = contained(
        &world,
        "  - {name: stage, command: [sh, -c, 'touch ready; [ -e go ] || exec sleep 1000; cp go $OUTPUT_DIR/']}\n",
    );
    let own = world.root().adapter();
    let worker = world.contained(own.path(), world.worker()).start();
    until("it runs", || world.path("ready").exists());
    worker.signal(Signal::KILL);
    worker.wait_unreported();
    // A process has no name any more before it lets its locks fall.
    until("all of it is dead", || {
        !world.processes().iter().any(|process| process.command.contains("multi-worker")) && world.staging_is_free()
    });
    fs::write(world.path("go"), "").expect("written");
    world.contained(own.path(), world.worker()).run().assert(0, "Published");
    shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0));
    world.assert_clean();
}
