//! `kill -9` of the shim, of its command and of the adapter, whatever each of them is about.

use std::fs;
use std::process::{Command, Stdio};

use longshore_tests::sources::fault_points_below;
use longshore_tests::wait_until;
use rustix::process::{Signal, kill_process};

use crate::stages::pod::{Pod, each, heart};

/// A stage that waits until it may go on, and one that needs it.
fn two(fields: &str) -> Pod {
    let detect = "until [ -e $IN/open ]; do sleep 0.01; done; echo whole >$OUTPUT_DIR/x";
    Pod::chain(&[("detect", detect, fields), ("blur", "cp $INPUT_FILE $OUTPUT_DIR/y", "startTimeout: 1m")])
}

/// Where a shim can be held, and with it the pod.
const HELD: [&str; 6] = [
    "stage.go.after",
    "stage.room.after",
    "stage.spawn.after",
    "stage.started.after",
    "stage.handover.before",
    "stage.result.before",
];

/// Where the adapter is about to publish, or has just done so.
const PUBLISHING: [&str; 5] = [
    "worker.stage.before",
    "worker.marker.before",
    "worker.rename.before",
    "worker.rename.after",
    "worker.report.before",
];

#[test]
fn a_shim_that_is_killed_while_it_works_is_known_by_its_lock_and_the_attempt_is_lost() {
    each(HELD.map(Some).into_iter().chain([None]), |point| {
        let pod = two("");
        let mut sidecars = match point {
            Some(point) => pod.sidecars_but("detect", |shim| shim.fault(&format!("{point}=stop"))),
            None => pod.sidecars(),
        };
        let adapter = pod.adapter().args(&["--log", "multi_worker=debug,info"]).start();
        match point {
            Some(point) => {
                if point.contains("handover") || point.contains("result") {
                    pod.open();
                }
                sidecars.of("detect").stopped();
            }
            None => pod.started("detect", 1),
        }
        wait_until("the adapter to see the stage's lock", || pod.log().contains("sign=Lock").then_some(()));
        sidecars.of("detect").kill();
        let outcome = sidecars.finish(adapter).assert(&pod, point.unwrap_or("running"), 137, "Lost");
        assert_eq!((outcome.stage("detect"), outcome.stage("blur")), ("Lost", "Skipped"), "{point:?}");
        // What a control group that is killed as a whole looks like, too.
        assert!(outcome.message.contains("out of memory"), "{}", outcome.message);
        pod.assert_clean();
        pod.again_with(sidecars);
    });
}

#[test]
fn a_shim_that_is_killed_while_it_waits_or_has_handed_over_is_no_loss() {
    each(["waiting", "saying so", "handed over", "publishing"], |what| {
        let pod = two("");
        let mut sidecars = match what {
            "saying so" => pod.sidecars_but("detect", |shim| shim.fault("stage.result.before=stop")),
            // Or all may be over before anybody is killed.
            "handed over" => pod.sidecars_but("blur", |shim| shim.fault("stage.started.after=stop")),
            _ => pod.sidecars(),
        };
        let adapter = match what {
            "publishing" => pod.adapter().fault("worker.rename.before=stop"),
            _ => pod.adapter(),
        };
        let adapter = adapter.start();
        pod.started("detect", 1);
        if what == "waiting" {
            // Before it is asked for anything.
            sidecars.of("blur").kill();
            pod.open();
        } else if what == "saying so" {
            pod.open();
            sidecars.of("detect").stopped();
            // Of the death and of what was said before, the adapter learns at once.
            adapter.signal(Signal::STOP);
            sidecars.of("detect").signal(Signal::CONT);
            wait_until("the stage's last word", || pod.said("stages/detect/1.result.json"));
            sidecars.of("detect").kill();
            adapter.signal(Signal::CONT);
        } else if what == "handed over" {
            pod.open();
            sidecars.of("blur").stopped();
            sidecars.of("detect").kill();
            sidecars.of("blur").signal(Signal::CONT);
        } else {
            pod.open();
            adapter.stopped();
            sidecars.of("detect").kill();
            sidecars.of("blur").kill();
            adapter.signal(Signal::CONT);
        }
        sidecars.finish(adapter).assert(&pod, what, 0, "Published");
        assert_eq!(pod.published("y"), "whole\n");
        pod.assert_clean();
    });
}

#[test]
fn a_command_that_is_killed_is_told_of_as_killed() {
    each([Some("stage.spawn.after"), Some("stage.started.after"), None], |point| {
        let pod = two("");
        let mut sidecars = match point {
            Some(point) => pod.sidecars_but("detect", |shim| shim.fault(&format!("{point}=stop"))),
            None => pod.sidecars(),
        };
        let adapter = pod.adapter().start();
        match point {
            Some(_) => sidecars.of("detect").stopped(),
            None => pod.started("detect", 1),
        }
        kill_process(sidecars.of("detect").child(), Signal::KILL).expect("it is there");
        if point.is_some() {
            // The one that runs has seen it, and may be over by now.
            sidecars.of("detect").signal(Signal::CONT);
        }
        let outcome = sidecars.finish(adapter).assert(&pod, point.unwrap_or("running"), 137, "CommandKilled");
        assert_eq!(outcome.stage("detect"), "Killed");
        pod.assert_clean();
        pod.again_with(sidecars);
    });
}

#[test]
fn an_adapter_that_is_killed_leaves_stages_that_serve_the_next() {
    each(HELD.map(Some).into_iter().chain([None]), |point| {
        let pod = two("");
        let mut sidecars = match point {
            Some(point) => pod.sidecars_but("detect", |shim| shim.fault(&format!("{point}=stop"))),
            None => pod.sidecars(),
        };
        let mut adapter = pod.adapter().start();
        match point {
            Some(point) => {
                if point.contains("handover") || point.contains("result") {
                    pod.open();
                }
                sidecars.of("detect").stopped();
            }
            None => pod.started("detect", 1),
        }
        let before = pod.hello("detect", None);
        adapter.kill();
        assert!(!pod.is_published(), "{point:?}");
        sidecars.of("detect").signal(Signal::CONT);
        wait_until("a stage to know of the death", || pod.log().contains("waiting for another").then_some(()));
        pod.again_with(sidecars);
        assert_eq!(pod.hello("detect", None), before, "{point:?}: the shim lived on");
        let begun = pod.log().matches("starting the command").count();
        assert_eq!(begun, 3, "{point:?}: whoever is dead is obeyed no more\n{}", pod.log());
    });
}

#[test]
fn an_adapter_that_is_killed_while_it_waits_or_publishes_publishes_all_or_nothing() {
    let waiting = ["stage.hello.before", "stage.hello.after"];
    each(waiting.into_iter().chain(PUBLISHING), |point| {
        let pod = two("");
        pod.open();
        let mut sidecars = pod.sidecars();
        let adapter = pod.adapter().fault(&format!("{point}=kill")).start();
        let outcome = sidecars.finish(adapter);
        assert_eq!(outcome.code, 137, "{point}: {}", pod.log());
        let committed = ["worker.rename.after", "worker.report.before"].contains(&point);
        assert_eq!(pod.is_published(), committed, "{point}");
        pod.again_with(sidecars);
    });
    // Nobody is there to be asked.
    let pod = two("");
    let mut adapter = pod.adapter().start();
    wait_until("the adapter lives", || pod.said("adapter/hello.json"));
    adapter.kill();
    pod.again();
}

/// Whatever the shim was about, it is asked again where the pipeline says so.
#[test]
fn a_shim_that_is_killed_anywhere_is_asked_again_where_a_loss_may_be_retried() {
    let mut points = fault_points_below("workers/stage");
    points.extend(fault_points_below("workers/stage-shim"));
    points.retain(|point| point.starts_with("stage."));
    assert!(points.len() > 8, "only {points:?}");
    each(&points, |point| {
        let pod = two("retries: {limit: 1, backoff: 1ms, on: [Lost]}");
        pod.open();
        let mut sidecars = pod.sidecars_but("detect", |shim| shim.fault(&format!("{point}=kill")));
        sidecars.finish(pod.adapter().start()).assert(&pod, point, 0, "Published");
        // What its container's shell says of it may come after the pod has ended.
        wait_until(&format!("a kill at {point}"), || pod.log().contains("Killed").then_some(()));
        pod.assert_clean();
    });
}

/// The next life begins as the last one ends: nobody who looks now and then would notice.
#[test]
fn a_shim_that_is_back_within_a_millisecond_does_nothing_that_it_was_not_asked_for() {
    each(["", "retries: {limit: 1, backoff: 1ms, on: [Lost]}"], |fields| {
        let pod = two(fields);
        let mut sidecars = pod.sidecars();
        let gate = pod.path("in/gate");
        assert!(Command::new("mkfifo").arg(&gate).stdin(Stdio::null()).status().expect("runs").success());
        let second = pod.shim("detect").mounts("read x <$pod/../in/gate").start();
        let adapter = pod.adapter().start();
        pod.started("detect", 1);
        let before = pod.hello("detect", None);
        // The adapter must not have the time to say that there is no more work.
        adapter.signal(Signal::STOP);
        let running = sidecars.of("detect");
        // Waits until somebody reads, that is until the second is about to begin.
        let mut opener = fs::File::options().write(true).open(&gate).expect("opened");
        running.signal(Signal::KILL);
        std::io::Write::write_all(&mut opener, b"go\n").expect("written");
        *running = second;
        let after = pod.hello("detect", Some(&before));
        // By its first heartbeat it has looked for orders.
        wait_until("the next life to look about", || heart(&pod.stage("detect")).filter(|number| *number > 0));
        adapter.signal(Signal::CONT);
        if fields.is_empty() {
            sidecars.finish(adapter).assert(&pod, "not retried", 137, "Lost");
            assert_eq!(pod.hello("detect", None), after, "it is the same life");
            assert!(!pod.stage("detect").join("2.started.json").exists(), "nobody asked for a second attempt");
            assert_eq!(
                pod.said("stages/detect/1.started.json").and_then(|said| said.get("boot").cloned()),
                Some(before.into())
            );
            wait_until("the stage to hear it", || pod.log().contains("there is no more work").then_some(()));
        } else {
            pod.open();
            sidecars.finish(adapter).assert(&pod, "retried", 0, "Published");
        }
        pod.assert_clean();
    });
}
