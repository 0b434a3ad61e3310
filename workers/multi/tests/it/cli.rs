//! The command line, and what the program says about itself.

use std::fs;

use contract::Report;

use crate::world::{Layout, Program, World};

#[test]
fn every_subcommands_help_has_examples() {
    for verb in [&["run"][..], &["local"], &["render"], &["schema"], &[]] {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_multi-worker"));
        let output = std::process::Command::new(program).args(verb).arg("--help").output().expect("runs");
        let text = String::from_utf8(output.stdout).expect("is text");
        assert!(output.status.success() && text.contains("Examples:"), "{verb:?}: {text}");
    }
}

/// A refusal leaves a report and a line for the kubelet, wherever the word that is refused came from, and where they are to be written.
#[test]
fn what_is_refused_before_anything_is_begun_is_reported() {
    let world = World::new(Layout::Local);
    let spoilt = world.pipeline("  - {name: detect, comand: [\"true\"]}\n");
    let spoilt = || spoilt.clone();
    let text = fs::read_to_string(spoilt()).expect("reads");
    let bare = |verb: &str| world.bare(&[verb]);
    let good = |verb: &str| bare(verb).args(["--stages", "detect"]);
    let cases: [(&str, Program, i32, &str); 13] = [
        ("an argument", bare("local").arg(spoilt()), 64, "comand"),
        ("a flag", bare("run").arg("--pipeline").arg(spoilt()), 64, "comand"),
        ("a variable with a file", bare("run").env("LONGSHORE_PIPELINE", spoilt()), 64, "comand"),
        ("a variable with a text", bare("run").env("LONGSHORE_PIPELINE_TEXT", &text), 64, "comand"),
        ("a variable with a text, of commit", bare("commit").env("LONGSHORE_PIPELINE_TEXT", &text), 64, "comand"),
        ("a variable with names", bare("run").env("LONGSHORE_STAGES", "detect,detect"), 64, "detect"),
        ("no pipeline", bare("run"), 64, "--stages"),
        ("two pipelines", good("run").arg("--pipeline").arg(spoilt()), 64, "comand"),
        ("no file", bare("local").arg(world.path("none.yaml")), 64, "none.yaml"),
        ("another setting, by a flag", good("run").args(["--timeout", "soon"]), 64, "soon"),
        ("another setting, by a variable", good("run").env("LONGSHORE_TIMEOUT", "soon"), 64, "soon"),
        ("a setting of fetch", bare("fetch").env("LONGSHORE_ROOT", "here"), 64, "slash"),
        ("a log filter", good("run").env("RUST_LOG", "multi_worker=loudest"), 78, "loudest"),
    ];
    for (what, program, code, says) in cases {
        fs::write(world.path("termination"), "").expect("emptied");
        let program = program.env("LONGSHORE_ATTEMPT_ID", "n-1").env("LONGSHORE_REVISION", "3");
        let ended = program.env("WORK_ITEM_NAME", "a-mp4").run();
        let report = ended.report();
        assert_eq!((ended.code, i32::from(report.exit_code)), (code, code), "{what}: {}", ended.log);
        assert!(report.permanent && report.message.contains(says), "{what}: {report:?}");
        assert_eq!((report.attempt.as_str(), report.revision), ("n-1", 3), "{what}: nobody's report");
        let last = fs::read_to_string(world.path("termination")).expect("reads");
        let last: serde_json::Value = serde_json::from_str(&last).unwrap_or_else(|_| panic!("{what}: {last:?}"));
        assert_eq!(last["exitCode"], code, "{what}");
    }
    // By flags, in both spellings, behind the word that is refused and before it.
    let (report, termination) = (world.path("by-flag.json"), world.path("termination"));
    fs::write(&termination, "").expect("emptied");
    let program = bare("local").arg(spoilt()).arg("--report").arg(&report);
    let program = program.arg(format!("--termination-log={}", termination.display()));
    assert_eq!(
        program.env("LONGSHORE_REPORT", world.path("no")).env("LONGSHORE_TERMINATION_LOG", "/no").run_unreported(),
        64
    );
    let told: Report = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("whole");
    assert!(told.message.contains("comand") && termination.metadata().expect("is there").len() > 0, "{told:?}");
}

#[test]
fn the_first_line_of_the_log_says_what_runs_and_how() {
    let world = World::new(Layout::Local);
    world.pipeline("  - {name: detect, command: [\"true\"]}\n");
    let ended = world.worker().arg("--allow-empty").run().assert(0, "Published");
    let first = ended.log.lines().next().expect("a line");
    let (version, output) = (env!("CARGO_PKG_VERSION"), world.path("out/{key}/"));
    let said = [
        " INFO starting program=\"multi-worker local\" version=".to_owned() + version + " ",
        format!(" output={} ", output.display()),
        format!(" pipeline={} ", world.path("pipeline.yaml").display()),
        " allow-empty=true ".to_owned(),
        " grace=60s".to_owned(),
    ];
    for said in said {
        assert!(first.contains(&said), "{said:?} is not in {first}");
    }
}
