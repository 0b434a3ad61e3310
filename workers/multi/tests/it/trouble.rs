//! Stages that fail, and what the worker exits with.

use crate::world::{BOTH, Layout, World};

#[test]
fn every_end_of_a_stage_has_its_code_and_its_word() {
    for (stage, code, word, reason) in [
        ("command: [sh, -c, 'echo why >&2; exit 3']", 3, "CommandFailed", "Error"),
        ("command: [sh, -c, 'exit 200']", 1, "CommandFailed", "Error"),
        ("permanentExit: [4], command: [sh, -c, 'exit 4']", 65, "CommandGaveUp", "Error"),
        ("command: [sh, -c, 'kill -SEGV $$']", 139, "CommandKilled", "Killed"),
        ("command: [sh, -c, 'kill -9 $$']", 137, "CommandKilled", "Killed"),
        ("timeout: 200ms, command: [sleep, '1000']", 124, "Timeout", "Timeout"),
        ("command: [no-such-program-anywhere]", 127, "CommandNotFound", "CommandNotFound"),
        ("command: [/etc/passwd]", 126, "CommandNotExecutable", "CommandNotExecutable"),
        ("command: [sh, -c, 'mkfifo $OUTPUT_DIR/pipe']", 73, "OutputUnusable", "OutputUnusable"),
        ("command: ['true']", 73, "OutputEmpty", "Completed"),
    ] {
        for layout in BOTH {
            let world = World::new(layout);
            let ended = world.does(&format!("  - {{name: detect, {stage}}}\n")).ended;
            if word == "OutputEmpty" {
                // The kit's own word for it.
                assert_eq!(ended.code, code, "{layout:?}: {}", ended.log);
            } else {
                let ended = ended.assert(code, word);
                assert!(ended.report().message.starts_with("stage detect"), "{}", ended.report().message);
                assert_eq!(ended.reason("detect"), reason);
                assert_eq!(world.names(), Vec::<String>::new());
            }
        }
    }
}

#[test]
fn the_report_holds_the_failing_stages_last_words_and_what_became_of_the_others() {
    for layout in BOTH {
        let world = World::new(layout);
        let done = world.does(
            "
  - {name: first, command: [sh, -c, 'echo first; touch $OUTPUT_DIR/x']}
  - {name: broken, needs: [first], command: [sh, -c, 'echo out; echo err >&2; exit 9']}
  - {name: never, needs: [broken], command: ['true']}
  - {name: cleanup, needs: [broken], when: always, command: [sh, -c, 'touch cleaned-up; echo cleaning']}
publish: [never]
",
        );
        let ended = done.assert(9, "CommandFailed");
        let report = ended.report();
        assert_eq!((report.stdout_tail.as_str(), report.stderr_tail.as_str()), ("out\n", "err\n"));
        assert_eq!(report.command_exit_code, Some(9));
        let reasons = ["first", "broken", "never", "cleanup"].map(|stage| ended.reason(stage));
        assert_eq!(reasons, ["Completed", "Error", "Skipped", "Completed"]);
        assert_eq!(ended.stage("never")["attempts"], 0);
        assert!(world.path("cleaned-up").exists());
        assert_eq!(world.names(), Vec::<String>::new());
        world.assert_clean();
    }
}

#[test]
fn a_failure_stops_the_others_at_once_and_the_first_to_fail_is_told_of() {
    for layout in BOTH {
        let world = World::new(layout);
        let done = world.does(
            "
  - {name: slow, command: [sh, -c, 'trap \"echo > stopped; exit 5\" TERM; touch ready; while :; do sleep 0.01; done']}
  - {name: broken, command: [sh, -c, 'until [ -e ready ]; do sleep 0.01; done; exit 3']}
",
        );
        let ended = done.assert(3, "CommandFailed");
        assert_eq!(ended.reason("slow"), "Cancelled");
        assert!(world.path("stopped").exists(), "it was asked before it was killed");
        world.assert_clean();
    }
}

#[test]
fn a_pipeline_that_cannot_be_used_is_refused_with_the_place() {
    let world = World::new(Layout::Local);
    world.pipeline("  - {name: detect, image: x}\n");
    let ended = world.worker().run();
    assert!(
        ended.code == 64 && ended.log.contains("pipeline.yaml:5:") && ended.log.contains("no command"),
        "{}",
        ended.log
    );
    world.pipeline("  - {name: detect, comand: [x]}\n");
    let ended = world.worker().run();
    assert!(ended.code == 64 && ended.log.contains("pipeline.yaml:5:"), "{}", ended.log);
}

#[test]
fn what_a_hundred_stages_say_of_their_failures_fits_the_report_the_latest_first() {
    let world = World::new(Layout::Local);
    // Each is cut in its report, and is four bytes a character.
    let missing = "🦀".repeat(1_000);
    let mut stages = String::new();
    for n in 0..100 {
        let needs = if n == 99 { "needs: [stage-0], " } else { "" };
        stages += &format!("  - {{name: stage-{n}, {needs}onError: continue, command: [/{missing}]}}\n");
    }
    world.pipeline(&stages);
    let ended = world.worker().arg("--allow-empty").run().assert(0, "Published");
    let result = ended.report().result.as_ref().expect("it fits");
    let bytes = serde_json::to_vec(result).expect("is JSON").len();
    assert!((60_000..=64 << 10).contains(&bytes), "{bytes}");
    let told = (0..100).filter(|n| ended.stage(&format!("stage-{n}"))["message"].is_string()).count();
    assert_eq!(result["messagesLeftOut"], 100 - told);
    assert!((1..100).contains(&told), "{told}");
    assert!(ended.stage("stage-99")["message"].is_string(), "the last to end");
    assert!((0..100).all(|n| ended.reason(&format!("stage-{n}")) == "CommandNotFound"));
}
