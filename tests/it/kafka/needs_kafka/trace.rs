//! A trace goes through: from whoever wrote a record, by a client that is none of ours, to the command that works on it, and into the
//! logs of everyone between.

use std::fs;
use std::path::Path;

use longshore_tests::Ended;
use longshore_tests::programs::program;
use serde_json::Value;

use crate::kafka::site::{Site, lines};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn header(trace: &str) -> String {
    format!("traceparent=00-{trace}-00f067aa0ba902b7-01")
}

/// The traces that lines with this message say of an item.
fn traced<'a>(lines: &'a [Value], message: &str, item: &str) -> Vec<Option<&'a str>> {
    let said = |line: &&Value| line["message"].as_str().is_some_and(|said| said.starts_with(message));
    let of_item = lines.iter().filter(said).filter(|line| line["item"].as_str() == Some(item));
    of_item.map(|line| line["trace_id"].as_str()).collect()
}

#[test]
fn a_trace_goes_from_a_record_to_its_worker_and_into_every_log() {
    let site = Site::new(1);
    site.kcat(0, &[&header(TRACE), "tracestate=rojo=1,congo=t61"], ["good".to_owned()]);
    site.kcat(0, &["traceparent=00-xyz-00f067aa0ba902b7-01"], ["malformed".to_owned()]);
    site.kcat(0, &[], ["none".to_owned()]);
    let doomed = TRACE.replace("4bf9", "5bf9");
    site.kcat(0, &[&header(&doomed)], ["hopeless".to_owned()]);
    let output = format!("{}/out/{{name}}/", site.path().display());
    let line = r#"grep -q hopeless "$WORK_ITEM_FILE" && exit 9
        printf '%s %s\n' "$TRACEPARENT" "$TRACESTATE" >"$OUTPUT_DIR/trace""#;
    let worker = program("script-worker").display().to_string();
    let worker =
        [&worker, "--log-format", "json", "--permanent-exit", "9", "--output", &output, "--", "sh", "-c", line];
    let flags = ["--mode", "group", "--group", &site.group];
    let copy = site.copy("one", &flags, &["--until-empty", "--parallelism", "1"], &worker);
    let dir = copy.dir.clone();
    assert_eq!(copy.ends(), Ended::Code(3));
    let (manager, ambassador) = (lines(&dir.join("manager.log")), lines(&dir.join("ambassador.log")));
    let named = |offset: u32| {
        let part = format!("-0-{offset}-");
        let mut items = manager.iter().filter_map(|line| line["item"].as_str());
        items.find(|item| item.contains(&part)).unwrap_or_else(|| panic!("no item {offset} in {manager:?}")).to_owned()
    };
    let [good, malformed, none, hopeless] = [0, 1, 2, 3].map(named);
    let found = |name: &str| fs::read_to_string(site.path().join("out").join(name).join("trace")).expect("an output");
    assert_eq!(found(&good), format!("00-{TRACE}-00f067aa0ba902b7-01 rojo=1,congo=t61\n"));
    assert_eq!((found(&malformed).as_str(), found(&none).as_str()), (" \n", " \n"));
    for message in ["started", "done"] {
        assert_eq!(traced(&manager, message, &good), [Some(TRACE)], "{message}");
        assert_eq!(traced(&manager, message, &malformed), [None], "{message}");
    }
    assert_eq!(traced(&manager, "dead", &hopeless), [Some(doomed.as_str())]);
    let stays =
        ambassador.iter().filter(|line| line["message"].as_str().is_some_and(|m| m.contains("failed for good")));
    assert_eq!(stays.map(|line| line["trace_id"].as_str()).collect::<Vec<_>>(), [Some(doomed.as_str())]);
    // What workers said is in the logs that the manager keeps of attempts.
    let kept = fs::read_dir(dir.join("state/logs")).expect("logs").map(|entry| entry.expect("an entry").path());
    let worker: Vec<Value> = kept.flat_map(|path| lines(&path)).collect();
    for message in ["item read", "item over"] {
        assert_eq!(traced(&worker, message, &good), [Some(TRACE)], "{message} in {worker:?}");
        assert_eq!(traced(&worker, message, &none), [None], "{message}");
    }
    let commands = worker.iter().filter(|line| line["message"] == "command started");
    assert_eq!(commands.filter(|line| line["trace_id"].as_str() == Some(TRACE)).count(), 1);
}

/// The folders of outputs below a root.
fn outputs(root: &Path) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(root).expect("outputs").map(|entry| entry.expect("an entry").path());
    all.filter(|path| !path.ends_with(".longshore")).collect()
}

#[test]
fn a_trace_of_a_log_reaches_every_stage_of_a_pipeline() {
    let site = Site::new(1);
    site.kcat(0, &[&header(TRACE)], ["good".to_owned()]);
    let script = site.path().join("stage.sh");
    fs::write(&script, r#"printf '%s %s' "$TRACEPARENT" "${TRACESTATE-none}" >"$OUTPUT_DIR/trace""#).expect("written");
    let stage = |name: &str, more: &str| format!("  - name: {name}\n    command: [sh, {}]\n{more}", script.display());
    let stages = [stage("one", ""), stage("two", "    needs: [one]\n")].concat();
    let file = site.path().join("pipeline.yaml");
    fs::write(
        &file,
        format!("apiVersion: longshore.dev/v1\nkind: Pipeline\nname: traced\nstages:\n{stages}publish: [one, two]\n"),
    )
    .expect("written");
    let output = format!("{}/out/{{name}}/", site.path().display());
    let worker = program("multi-worker").display().to_string();
    let worker = [&worker, "local", file.to_str().expect("text"), "--output", &output];
    let copy = site.copy("one", &[], &["--until-empty", "--max-attempts", "1"], &worker);
    let dir = copy.dir.clone();
    assert_eq!(copy.ends(), Ended::Code(0), "{:?}", lines(&dir.join("manager.log")));
    let outputs = outputs(&site.path().join("out"));
    let [output] = outputs.as_slice() else { panic!("{outputs:?}") };
    for stage in ["one", "two"] {
        let found = fs::read_to_string(output.join(stage).join("trace")).expect("an output");
        assert_eq!(found, format!("00-{TRACE}-00f067aa0ba902b7-01 none"), "{stage}");
    }
}
