//! What stages are told, what they hand on, what is published: the same wherever they run.

use crate::world::{BOTH, World};

#[test]
fn outputs_travel_along_the_needs_and_the_last_is_published() {
    for layout in BOTH {
        let world = World::new(layout);
        let done = world.does(
            r#"
  - {name: detect, command: [sh, -c, 'tr a-z A-Z < "$INPUT_FILE" > "$OUTPUT_DIR/upper"; ls "$INPUT_DIR" > "$OUTPUT_DIR/../listed"']}
  - {name: identify, needs: [detect], command: [cp, $(INPUT_FILE), "$(OUTPUT_DIR)/copied"]}
  - name: blur
    needs: [detect, identify]
    env: {WORD: own}
    command:
      - sh
      - -c
      - |
        set -e
        cd "$OUTPUT_DIR"
        mkdir deep
        cat "$NEEDS_DETECT/upper" "$INPUT_DIR/identify/copied" "$INPUT_DIR/detect/upper" "$ITEM_INPUT_FILE" > deep/all
        echo "$WORD $ATTEMPT $STAGE_ATTEMPT $WORK_ITEM_NAME ${INPUT_FILE-none} ${RESULT_FILE-none}" > words
        touch "$TMPDIR/x"; grep -c uri "$WORK_ITEM_FILE" >> words; ls "$ITEM_INPUT_DIR" >> words
"#,
        );
        let ended = done.assert(0, "Published");
        assert_eq!(world.names(), ["deep/all", "words"]);
        assert_eq!(world.published("deep/all"), "SOME INPUT\nSOME INPUT\nSOME INPUT\nsome input\n");
        let item = ended.report().item.as_ref().expect("has a name").to_string();
        assert_eq!(world.published("words"), format!("own 1 1 {item} none none\n1\na.txt\n"), "{layout:?}");
        for stage in ["detect", "identify", "blur"] {
            assert_eq!(ended.reason(stage), "Completed");
        }
        let blur = ended.stage("blur");
        assert_eq!(
            (&blur["outputs"]["files"], &blur["attempts"], &blur["exitCode"]),
            (&2.into(), &1.into(), &0.into())
        );
        assert!(blur["startedAt"].is_string() && blur["seconds"].is_number(), "{blur}");
        assert!(world.path("termination").metadata().expect("is there").len() > 0);
        world.assert_clean();
    }
}

#[test]
fn several_are_published_each_below_its_name() {
    for layout in BOTH {
        let world = World::new(layout);
        let done = world.does(
            "
  - {name: left, command: [sh, -c, 'echo l > $OUTPUT_DIR/same']}
  - {name: right, command: [sh, -c, 'mkdir $OUTPUT_DIR/deep; echo r > $OUTPUT_DIR/deep/same']}
  - {name: aside, onError: continue, command: [sh, -c, 'echo gone > $OUTPUT_DIR/same; exit 1']}
publish: [left, right, aside]
",
        );
        done.assert(0, "Published");
        assert_eq!(world.names(), ["left/same", "right/deep/same"]);
        assert_eq!((world.published("left/same"), world.published("right/deep/same")), ("l\n".into(), "r\n".into()));
        world.assert_clean();
    }
}

#[test]
fn a_failure_that_does_not_matter_leaves_nothing_to_those_that_need_it() {
    for layout in BOTH {
        let world = World::new(layout);
        let done = world.does(
            "
  - {name: detect, onError: continue, command: [sh, -c, 'echo half > $OUTPUT_DIR/half; exit 3']}
  - {name: blur, needs: [detect], command: [sh, -c, 'ls -A $NEEDS_DETECT $INPUT_DIR > $OUTPUT_DIR/seen']}
",
        );
        let ended = done.assert(0, "Published");
        assert!(!world.published("seen").contains("half"), "{}", world.published("seen"));
        assert_eq!((ended.reason("detect"), &ended.stage("detect")["exitCode"]), ("Error", &3.into()));
    }
}

#[test]
fn what_is_tried_again_begins_with_nothing() {
    for layout in BOTH {
        let world = World::new(layout);
        let done = world.does(
            "
  - name: detect
    retries: {limit: 3, backoff: 1ms, on: [75]}
    command: [sh, -c, 'touch $OUTPUT_DIR/$STAGE_ATTEMPT; [ $STAGE_ATTEMPT = 3 ] || exit 75']
",
        );
        let ended = done.assert(0, "Published");
        assert_eq!(world.names(), ["3"]);
        assert_eq!(ended.stage("detect")["attempts"], 3);
        world.assert_clean();

        let world = World::new(layout);
        let done = world.does("  - {name: detect, retries: {limit: 3, on: [75]}, command: [sh, -c, 'exit 7']}\n");
        let ended = done.assert(7, "CommandFailed");
        assert_eq!(ended.stage("detect")["attempts"], 1);
    }
}

#[test]
fn stages_that_need_nothing_of_one_another_run_side_by_side() {
    for layout in BOTH {
        let world = World::new(layout);
        let meet = "mkdir -p met; touch met/$0; until [ -e met/$1 ]; do sleep 0.01; done; echo > $OUTPUT_DIR/$0";
        // Each waits for the other: one after the other they would wait for ever.
        let done = world.does(&format!(
            "
  - {{name: left, timeout: 10m, command: [sh, -c, '{meet}', left, right]}}
  - {{name: right, timeout: 10m, command: [sh, -c, '{meet}', right, left]}}
"
        ));
        done.assert(0, "Published");
        assert_eq!(world.names(), ["left/left", "right/right"]);
    }
}
