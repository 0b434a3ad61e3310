//! Told to stop, out of time, killed: bounded each time, and nothing is left.

use rustix::process::Signal;

use crate::world::{BOTH, Layout, World, until};

/// A stage that runs until it is told to stop, and says that it was.
const ENDLESS: &str =
    "command: [sh, -c, 'trap \"echo > stopped; exit 5\" TERM; touch ready; while :; do sleep 0.01; done']";

#[test]
fn told_to_stop_it_stops_the_stages_and_begins_no_other() {
    for layout in BOTH {
        let world = World::new(layout);
        let shims = world.shims(&format!(
            "
  - {{name: slow, {ENDLESS}}}
  - {{name: next, needs: [slow], command: [touch, next]}}
  - {{name: cleanup, needs: [slow], when: always, command: [touch, cleanup]}}
"
        ));
        let worker = world.worker().start();
        until("the stage runs", || world.path("ready").exists());
        worker.signal(Signal::TERM);
        let ended = worker.wait().assert(143, "Cancelled");
        assert!(ended.report().message.contains("slow"), "{}", ended.report().message);
        assert!(world.path("stopped").exists(), "it was asked before it was killed");
        assert!(!world.path("next").exists() && !world.path("cleanup").exists());
        assert_eq!(["slow", "next", "cleanup"].map(|stage| ended.reason(stage)), ["Cancelled", "Skipped", "Skipped"]);
        shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0));
        assert_eq!(world.names(), Vec::<String>::new());
        world.assert_clean();
    }
}

#[test]
fn a_stage_that_will_not_stop_is_killed_when_the_grace_is_over() {
    for layout in BOTH {
        let world = World::new(layout);
        let deaf = "[sh, -c, 'trap \"\" TERM; touch ready; while :; do sleep 0.01; done']";
        let shims = world.shims(&format!("  - {{name: deaf, command: {deaf}}}\n"));
        let worker = world.worker().env("LONGSHORE_GRACE", "300ms").start();
        until("the stage runs", || world.path("ready").exists());
        worker.signal(Signal::TERM);
        worker.wait().assert(143, "Cancelled");
        shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0));
        world.assert_clean();
    }
}

#[test]
fn a_second_signal_does_not_wait_for_the_grace() {
    for layout in BOTH {
        let world = World::new(layout);
        let deaf = "[sh, -c, 'trap \"\" TERM; touch ready; while :; do sleep 0.01; done']";
        let shims = world.shims(&format!("  - {{name: deaf, command: {deaf}}}\n"));
        let worker = world.worker().env("LONGSHORE_GRACE", "1h").start();
        until("the stage runs", || world.path("ready").exists());
        worker.signal(Signal::TERM);
        until("the first is heard", || worker.log().contains("draining"));
        worker.signal(Signal::TERM);
        let ended = worker.wait().assert(143, "Cancelled");
        assert_eq!(ended.reason("deaf"), "Cancelled", "{layout:?}");
        shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0));
        world.assert_clean();
    }
}

#[test]
fn the_whole_pipeline_has_its_time() {
    for layout in BOTH {
        // Where it is over before the slow one is ready, which it may be on a busy machine, a longer time is what tells.
        let is_told = ["2s", "20s", "100s"].into_iter().any(|time| {
            let world = World::new(layout);
            let shims = world.shims(&format!(
                "
  - {{name: first, command: [touch, begun]}}
  - {{name: slow, needs: [first], retries: {{limit: 5}}, {ENDLESS}}}
  - {{name: cleanup, needs: [slow], when: always, command: [touch, cleanup]}}
"
            ));
            let ended = world.worker().args(["--timeout", time]).run().assert(124, "Timeout");
            let is_ready = world.path("ready").exists();
            if is_ready {
                assert!(ended.report().message.contains("running then: slow"), "{}", ended.report().message);
                assert!(world.path("stopped").exists(), "it was asked before it was killed");
            }
            assert!(!world.path("cleanup").exists());
            shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0));
            world.assert_clean();
            is_ready
        });
        assert!(is_told, "{layout:?}: the slow one never began");
    }
}

#[test]
fn what_a_stage_leaves_running_keeps_nobody() {
    for layout in BOTH {
        let world = World::new(layout);
        let done = world
            .does("  - {name: daemon, command: [sh, -c, 'echo > $OUTPUT_DIR/x; sleep 1000 & setsid sleep 1000 &']}\n");
        done.assert(0, "Published");
        world.assert_clean();
    }
}

#[test]
fn a_worker_that_is_killed_is_followed_by_one_that_does_it_all() {
    for layout in BOTH {
        let world = World::new(layout);
        let once = "[sh, -c, 'echo $$ >> ran; [ -e again ] || exec sleep 1000; mv again $OUTPUT_DIR/x']";
        let shims = world.shims(&format!("  - {{name: stage, command: {once}}}\n"));
        let worker = world.worker().start();
        // By then it has looked for what the next one is to find.
        until("the stage sleeps", || world.processes().iter().any(|process| process.command.starts_with("sleep")));
        worker.signal(Signal::KILL);
        assert_eq!(worker.wait_unreported(), 137);
        if layout == Layout::Pod {
            until("the shim has stopped what nobody waits for", || {
                !world.processes().iter().any(|process| process.command.starts_with("sleep"))
            });
        }
        std::fs::write(world.path("again"), "").expect("written");
        let ended = world.worker().run().assert(0, "Published");
        assert_eq!((world.names(), ended.stage("stage")["attempts"].clone()), (vec!["x".into()], 1.into()));
        shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0));
        world.assert_clean();
    }
}
