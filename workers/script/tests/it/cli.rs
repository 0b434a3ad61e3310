//! The command line, `--check`, and what a worker says about itself.

use std::fs;

use contract::{Outcome, Report};

use crate::world::World;

#[test]
fn wrong_usage_is_64_and_leaves_a_report() {
    let world = World::new();
    let item = world.item("a", "x");
    for (flags, says) in [
        (&["--output", "/o/{key}/", "--nonsense"][..], "--nonsense"),
        (&["--output", "/o/"], "at least one of {key}"),
        (&["--output", "/o/{kye}/"], "{kye}"),
        (&["--output", "/o/{key}/", "--timeout", "soon"], "soon"),
        (&["--output", "/o/{key}/", "--permanent-exit", "0"], "0"),
        (&["--output", "/o/{key}/", "--attempt-id", "../x"], "nonce"),
        (&["--output", "/o/{key}/", "--allow-input", "file://host/x"], "another host"),
        (&[], "--output"),
    ] {
        let ended = world.bare(&item).args(flags).script("true").run();
        ended.expect(64, "Usage");
        assert!(ended.stderr.contains(says), "{flags:?}: {}", ended.stderr);
    }
    let report = world.path("by-flag.json");
    let told = || -> Report { serde_json::from_slice(&fs::read(&report).expect("a report")).expect("whole") };
    let ended = world.bare(&item).arg("--report").arg(&report).args(["--attempt-id", "n-1", "--nonsense"]).run();
    assert_eq!(ended.code, Some(64));
    assert!(told().permanent && told().message.contains("--nonsense"), "{:?}", told());
    assert_eq!(told().attempt, "n-1", "a report of another attempt would be nobody's");
    let by_variable = world.bare(&item).env("LONGSHORE_REPORT", &report).env("LONGSHORE_ATTEMPT_ID", "n-2");
    let ended = by_variable.arg("--nonsense").run();
    assert_eq!((ended.code, told().attempt.as_str()), (Some(64), "n-2"));
}

#[test]
fn help_shows_how_and_the_variables() {
    let world = World::new();
    let ended = world.bare(&world.path("none")).arg("--help").run();
    assert_eq!(ended.code, Some(0));
    for word in [
        "Examples:",
        "LONGSHORE_OUTPUT",
        "WORK_ITEM_FILE",
        "LONGSHORE_PERMANENT_EXIT",
        "INPUT_FILE",
        "LONGSHORE_PUBLISH",
        "s3://",
    ] {
        assert!(ended.stdout.contains(word), "{word} is not in the help");
    }
}

#[test]
fn check_looks_at_everything_and_does_nothing() {
    let world = World::new();
    let item = world.path("no item is needed");
    let ended = world.worker(&item, "touch \"$OUTPUT_DIR/ran\"").arg("--check").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    world.assert_clean();
    assert_eq!(fs::read_dir(world.path("out")).expect("lists").count(), 1, "only the lock's directory");

    let bare = || world.bare(&item).arg("--check").arg("--output").arg(world.path("out/{key}/"));
    for (worker, code, says) in [
        (bare().script("no-such-program"), 127, "no-such-program"),
        (bare().script(world.path("termination")), 126, "chmod +x"),
        (bare().arg("--allow-input").arg(world.path("unmounted")).script("true"), 74, "unmounted"),
        (bare().args(["--allow-input", "gs://bucket/"]).script("true"), 78, "gs://bucket/"),
        (world.bare(&item).args(["--check", "--output", "gs://b/{key}/"]).script("true"), 78, "gs://b/"),
        (world.bare(&item).args(["--check", "--output", "/proc/x/{key}/"]).script("true"), 74, "/proc/x"),
    ] {
        let ended = worker.run();
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
}

#[test]
fn the_termination_log_gets_one_line() {
    let world = World::new();
    let item = world.item("a", "x");
    world.worker(&item, "exit 3").run().expect(3, "CommandFailed");
    let line = fs::read_to_string(world.path("termination")).expect("is there");
    let told: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
    assert_eq!((&told["exitCode"], &told["reason"]), (&3.into(), &"CommandFailed".into()), "{line}");

    world.worker(&item, "echo x > \"$OUTPUT_DIR/x\"").run().expect(0, "Published");
    let line = fs::read_to_string(world.path("termination")).expect("is there");
    let told: serde_json::Value = serde_json::from_str(&line).expect("the shorter line replaced the longer one");
    assert_eq!(told["outcome"], "published");
}

#[test]
fn the_report_holds_the_result_and_the_tails() {
    let world = World::new();
    let item = world.item("a b", "hello");
    let body = r#"echo out; echo err >&2; cp "$INPUT_FILE" "$OUTPUT_DIR/copy"; echo '{"faces": 3}' > "$RESULT_FILE""#;
    let ended = world.worker(&item, body).env("ATTEMPT", "2").env("LONGSHORE_ATTEMPT_ID", "n-1").run();
    let report = ended.expect(0, "Published");
    assert_eq!(report.outcome, Outcome::Published);
    assert_eq!((report.attempt.as_str(), report.command_exit_code), ("n-1", Some(0)));
    assert_eq!(report.result, Some(serde_json::json!({"faces": 3})));
    assert_eq!((report.stdout_tail.as_str(), report.stderr_tail.as_str()), ("out\n", "err\n"));
    assert_eq!(report.output.as_deref(), Some(crate::world::uri(&world.path("out/a b")).as_str()));
    assert!(ended.stdout.contains("out\n") && ended.stderr.contains("err\n"), "output passes through as well");
    let marker = world.published("a b");
    assert_eq!((marker.result, marker.attempt.as_str()), (report.result.clone(), "n-1"));
    assert_eq!(marker.outputs, report.outputs);

    for (written, what) in [("not json", "text"), (&"9".repeat(70_000), "too much")] {
        let body = format!("echo '{written}' > \"$RESULT_FILE\"; echo {what} > \"$OUTPUT_DIR/x\"");
        let item = world.item(what, "x");
        let ended = world.worker(&item, &body).run();
        assert_eq!(ended.expect(0, "Published").result, None);
        assert!(ended.stderr.contains("RESULT_FILE"), "{}", ended.stderr);
    }
    for what in ["mkfifo", "mkdir"] {
        let item = world.item(what, "x");
        let worker = world.worker(&item, &format!("{what} \"$RESULT_FILE\"; echo x > \"$OUTPUT_DIR/x\""));
        // One that waited for somebody to write to the pipe would hear no signal but this.
        let ended = worker.under("timeout", &["-s", "KILL", "60"]).run();
        assert_eq!(ended.expect(0, "Published").result, None);
        assert!(ended.stderr.contains("RESULT_FILE is no regular file"), "{}", ended.stderr);
    }
    world.assert_clean();
}

#[test]
fn the_readme_works_as_it_stands() {
    let world = World::new();
    let readme = include_str!("../../README.md");
    let example = readme.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_script-worker")).parent().expect("a directory");
    let ended = std::process::Command::new("sh")
        .args(["-ec", example])
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .current_dir(world.root())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.starts_with("6\n{") && said.contains("\"key\": \"greeting.txt\""), "{said}");
}
