//! SIGTERM, whatever is just being done; and an end after which all is started again.

use longshore_tests::{Ended, wait_until};
use rustix::process::Signal;

use crate::stages::pod::{Pod, each};

fn two() -> Pod {
    let detect = "trap 'echo heard TERM; exit 9' TERM; touch $TMPDIR/up; until [ -e $IN/open ]; do sleep 0.01; done; echo whole >$OUTPUT_DIR/x";
    Pod::chain(&[("detect", detect, ""), ("blur", "cp $INPUT_FILE $OUTPUT_DIR/y", "")])
}

#[test]
fn the_adapter_ends_what_it_began_and_begins_nothing() {
    let held =
        ["stage.go.after", "stage.spawn.after", "stage.started.after", "stage.handover.before", "stage.result.before"];
    each(held.map(Some).into_iter().chain([None]), |point| {
        let pod = two();
        let mut sidecars = match point {
            Some(point) => pod.sidecars_but("detect", |shim| shim.fault(&format!("{point}=stop"))),
            None => pod.sidecars(),
        };
        let adapter = pod.adapter().env("LONGSHORE_GRACE", "10m").start();
        match point {
            Some(point) => {
                if point.contains("handover") || point.contains("result") {
                    pod.open();
                }
                sidecars.of("detect").stopped();
            }
            None => wait_until("the command to listen", || pod.stage("detect").join("tmp/up").exists().then_some(())),
        }
        adapter.signal(Signal::TERM);
        wait_until("the adapter to tell the stage", || pod.said("adapter/stages/detect/1.cancel.json"));
        if point.is_some() {
            // The one that runs may have heard it, and be over by now.
            sidecars.of("detect").signal(Signal::CONT);
        }
        let outcome = sidecars.finish(adapter).assert(&pod, point.unwrap_or("running"), 143, "Cancelled");
        assert_eq!(outcome.stage("blur"), "Skipped", "{point:?}");
        assert!(point.is_some() || pod.log().contains("heard TERM"), "it is asked before it is killed: {}", pod.log());
        wait_until("the stage to hear it", || pod.log().contains("there is no more work").then_some(()));
        assert!(!pod.stage("blur").join("1.started.json").exists(), "{point:?}");
        let began = pod.stage("detect").join("1.started.json").exists();
        assert_eq!(began, point != Some("stage.go.after"), "{point:?}: cancelled before it began, it never does");
        pod.assert_clean();
        pod.again_with(sidecars);
    });
}

#[test]
fn told_to_stop_while_it_waits_it_ends_at_once_and_while_it_publishes_it_finishes() {
    each(["waiting", "publishing"], |what| {
        let pod = two();
        pod.open();
        if what == "waiting" {
            let mut adapter = pod.adapter().start();
            wait_until("the adapter lives", || pod.said("adapter/hello.json"));
            adapter.signal(Signal::TERM);
            let outcome = crate::stages::pod::Outcome::new(&pod, adapter.wait());
            outcome.assert(&pod, what, 143, "Cancelled");
            pod.assert_clean();
            pod.again();
        } else {
            let mut sidecars = pod.sidecars();
            let adapter = pod.adapter().fault("worker.rename.before=stop").start();
            adapter.stopped();
            adapter.signal(Signal::TERM);
            adapter.signal(Signal::CONT);
            sidecars.finish(adapter).assert(&pod, what, 0, "Published");
            pod.assert_clean();
            pod.again_with(sidecars);
        }
    });
}

/// As a node that shuts down may do, in whatever order it likes.
#[test]
fn a_shim_that_is_told_to_end_ends_its_command_and_says_so() {
    each(["running", "waiting"], |what| {
        let pod = two();
        let mut sidecars = pod.sidecars();
        let adapter = pod.adapter().start();
        pod.started("detect", 1);
        // The first process of a container does not even hear a signal before it has said that it will.
        pod.hello("blur", None);
        if what == "running" {
            sidecars.of("detect").signal(Signal::TERM);
            assert_eq!(sidecars.of("detect").wait(), Ended::Code(143));
            let outcome = sidecars.finish(adapter).assert(&pod, what, 143, "Cancelled");
            assert_eq!((outcome.stage("detect"), outcome.stage("blur")), ("Cancelled", "Skipped"));
        } else {
            sidecars.of("blur").signal(Signal::TERM);
            assert_eq!(sidecars.of("blur").wait(), Ended::Code(143));
            pod.open();
            sidecars.finish(adapter).assert(&pod, what, 0, "Published");
        }
        pod.assert_clean();
        pod.again_with(sidecars);
    });
}

/// As `restartPolicy: OnFailure` has it: every container that ends is started again, and the volumes stay.
#[test]
fn an_adapter_that_is_started_again_after_an_end_in_order_finds_its_stages() {
    let detect = "[ -e $IN/open ] || exit 3; echo whole >$OUTPUT_DIR/x";
    let pod = Pod::chain(&[("detect", detect, ""), ("blur", "cp $INPUT_FILE $OUTPUT_DIR/y", "")]);
    let mut sidecars = pod.sidecars();
    sidecars.finish(pod.adapter().start()).assert(&pod, "closed", 3, "CommandFailed");
    // Who comes now only finds what it left.
    drop(sidecars);
    let (last, met) = (pod.hello("detect", None), || pod.log().matches("met the multi-worker").count());
    let before = met();
    let mut sidecars = pod.sidecars();
    let next = pod.hello("detect", Some(&last));
    wait_until("the next lives to read what was said to the last ones", || (met() >= before + 2).then_some(()));
    pod.open();
    sidecars.finish(pod.adapter().start()).assert(&pod, "open", 0, "Published");
    assert_eq!(pod.hello("detect", None), next, "who had come back was there for the next adapter");
    assert_eq!(pod.published("y"), "whole\n");
    pod.assert_clean();
}
