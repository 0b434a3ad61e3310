//! Scripts of every kind, and what their ends are made of.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::world::{World, until};

const WRITE: &str = r#"echo x > "$OUTPUT_DIR/x""#;

#[test]
fn every_exit_code_has_its_meaning() {
    let world = World::new();
    let script = world.script("exit \"$1\"");
    std::thread::scope(|scope| {
        for part in 0..2 {
            let (world, script) = (&world, &script);
            scope.spawn(move || {
                for code in (0..=255).filter(|code| code % 2 == part) {
                    let item = world.path(format!("items/exit-{code}.json"));
                    fs::write(&item, r#"{"value":""}"#).expect("an item");
                    let ended = world
                        .bare(&item)
                        .env("LONGSHORE_REPORT", world.path(format!("exit-{code}")))
                        .env("WORK_ITEM_NAME", format!("exit-{code}"))
                        .arg("--output")
                        .arg(world.path("out/{name}"))
                        .args(["--allow-empty", "--permanent-exit", "3,200", "--termination-log", "/nonexistent"])
                        .script(script)
                        .script(code.to_string())
                        .run();
                    let want = match code {
                        3 | 200 => 65,
                        0..=63 => code,
                        _ => 1,
                    };
                    assert_eq!(ended.code, Some(want), "of {code}: {}", ended.stderr);
                    let report = fs::read(world.path(format!("exit-{code}"))).expect("a report");
                    let report: contract::Report = serde_json::from_slice(&report).expect("whole");
                    assert_eq!(report.command_exit_code, Some(code), "the report keeps the command's own code");
                    assert_eq!(report.permanent, want == 65);
                }
            });
        }
    });
    let published = fs::read_dir(world.path("out")).expect("lists").flatten();
    assert_eq!(
        published.filter(|entry| entry.file_name() != ".longshore").count(),
        1,
        "only the one that exited with 0"
    );
    world.assert_clean();
}

#[test]
fn a_command_that_cannot_run_is_127_or_126() {
    let world = World::new();
    let item = world.item("a", "x");
    let bare = || world.bare(&item).arg("--output").arg(world.path("out/{key}/"));
    bare().script("no-such-program").run().expect_saying(127, "CommandNotFound", &["no-such-program"]);
    bare().script(world.path("no.sh")).run().expect_saying(127, "CommandNotFound", &["no.sh"]);
    bare().arg("--script").arg(world.path("no.sh")).run().expect(127, "CommandNotFound");

    let script = world.script(WRITE);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).expect("changed");
    bare().script(&script).run().expect_saying(126, "CommandNotExecutable", &["chmod +x"]);
    let mounted = bare().arg("--script").arg(&script).run();
    mounted.expect_saying(126, "CommandNotExecutable", &["defaultMode: 0555"]);

    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("changed");
    bare().arg("--script").arg(&script).script("an argument").run().expect(0, "Published");
    let dangling = world.path("dangling.sh");
    fs::write(&dangling, "#!/no/such/interpreter\n").expect("a script");
    fs::set_permissions(&dangling, fs::Permissions::from_mode(0o755)).expect("changed");
    let item = world.item("b", "x");
    let ended = world.bare(&item).arg("--output").arg(world.path("out/{key}/")).script(dangling).run();
    ended.expect_saying(126, "CommandNotExecutable", &["interpreter"]);
    world.assert_clean();
}

#[test]
fn what_a_script_leaves_running_is_ended() {
    let world = World::new();
    let item = world.item("a", "x");
    // One in the background that holds the pipes, one in a session of its own, one that ignores TERM.
    let body = format!("sleep 300 & setsid sh -c 'sleep 301' & (trap '' TERM; sleep 302 & wait) & {WRITE}; exit 0");
    world.worker(&item, &body).run().expect(0, "Published");
    world.assert_clean();
    assert_eq!(world.published("a").outputs.len(), 1);
}

#[test]
fn a_timeout_is_124_whatever_the_script_thinks_of_it() {
    let world = World::new();
    let item = world.item("a", "x");
    let body = format!("{WRITE}; trap '' TERM; setsid sleep 300 & while :; do sleep 1; done");
    let ended = world.worker(&item, &body).args(["--timeout", "300ms", "--grace", "200ms"]).run();
    ended.expect_saying(124, "Timeout", &["--timeout 300ms"]);
    assert!(world.try_published("a").is_none());
    world.assert_clean();

    // Ending well after the TERM is no success: nobody knows whether it had finished.
    let body = format!("{WRITE}; trap 'exit 0' TERM; while :; do sleep 0.1; done");
    world.worker(&item, &body).args(["--timeout", "200ms"]).run().expect(124, "Timeout");
    assert!(world.try_published("a").is_none());
    world.assert_clean();
}

#[test]
fn told_to_stop_a_worker_stops_its_script_first() {
    // Who obeys has an hour for it, of which nobody waits out the rest; who does not is killed.
    for (signal, trap, grace) in
        [(Signal::TERM, "trap 'echo bye > said; exit 0' TERM", "1h"), (Signal::INT, "trap '' TERM INT", "300ms")]
    {
        let world = World::new();
        let item = world.item("a", "x");
        let body = format!(
            "cd {}; {trap}; {WRITE}; setsid sleep 300 & touch started; while :; do sleep 0.1; done",
            world.root().display()
        );
        let running = world.worker(&item, &body).args(["--grace", grace]).start();
        until("the script runs", || world.path("started").exists());
        running.signal(signal);
        let ended = running.wait();
        ended.expect(143, "Cancelled");
        assert_eq!(world.path("said").exists(), signal == Signal::TERM, "the script was asked before it was killed");
        assert!(world.try_published("a").is_none());
        world.assert_clean();
    }
}

#[test]
fn told_twice_it_stops_at_once() {
    let world = World::new();
    let item = world.item("a", "x");
    let body = format!("trap '' TERM; touch {}/started; while :; do sleep 0.1; done", world.root().display());
    // Nobody waits for an hour of grace: the test would not end.
    let running = world.worker(&item, &body).args(["--grace", "1h"]).start();
    until("the script runs", || world.path("started").exists());
    running.signal(Signal::TERM);
    until("the first signal was heard", || running.logged("draining"));
    running.signal(Signal::TERM);
    running.wait().expect(143, "Cancelled");
    world.assert_clean();
}

#[test]
fn a_script_killed_by_a_signal_is_128_more() {
    let world = World::new();
    let item = world.item("a", "x");
    for (signal, code) in [("KILL", 137), ("SEGV", 139), ("TERM", 143)] {
        let ended = world.worker(&item, &format!("{WRITE}; kill -{signal} $$")).run();
        let report = ended.expect(code, "CommandKilled");
        assert_eq!(report.command_signal, Some(code - 128));
        assert!(!report.permanent);
    }
    world.assert_clean();
}

#[test]
fn a_script_gets_the_environment_that_was_stated() {
    let world = World::new();
    let item = world.item("dir/a.txt", "x");
    let body = r#"env > "$OUTPUT_DIR/env"; readlink /proc/self/fd/0 > "$OUTPUT_DIR/stdin""#;
    let ended = world
        .worker(&item, body)
        .env("SECRET", "s")
        .env("KEPT", "k")
        .env("RUST_LOG", "warn")
        .env("LONGSHORE_REVISION", "4")
        .env("LONGSHORE_ATTEMPT_ID", "n-7")
        .env("ATTEMPT", "3")
        .env("WORK_ITEM_NAME", "a-name")
        .env("INPUT_FILE", "/inherited")
        .args(["--env-deny", "SECRET,OTHER"])
        .run();
    ended.expect(0, "Published");
    let env = fs::read_to_string(world.path("out/dir/a.txt/env")).expect("is there");
    let of = |name: &str| env.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
    assert_eq!((of("KEPT"), of("RUST_LOG"), of("SECRET")), (Some("k"), Some("warn"), None));
    assert_eq!((of("LONGSHORE_ATTEMPT_ID"), of("ATTEMPT")), (Some("n-7"), Some("3")));
    assert_eq!((of("LONGSHORE_REVISION"), of("LONGSHORE_REPORT"), of("LONGSHORE_TERMINATION_LOG")), (None, None, None));
    assert_eq!(of("INPUT_FILE"), world.path("in/dir/a.txt").to_str());
    assert_eq!(of("WORK_ITEM_NAME"), Some("a-name"));
    assert_eq!(of("WORK_ITEM_FILE"), item.to_str());
    assert!(of("TMPDIR").is_some_and(|dir| dir.starts_with(world.path("tmp").to_str().expect("is text"))));
    assert_eq!(fs::read_to_string(world.path("out/dir/a.txt/stdin")).expect("is there").trim(), "/dev/null");
    assert_eq!(world.published("dir/a.txt").revision, 4);
}

#[test]
fn an_ordinary_user_is_enough_and_gets_rid_of_what_took_its_own_rights_away() {
    const NOBODY: u32 = 65_534;
    let world = World::new();
    let item = world.item("a", "x");
    let lock_up =
        r#"for dir in "$TMPDIR/a/b" "$OUTPUT_DIR/c/d"; do mkdir -p "$dir"; echo x > "$dir/x"; chmod 500 "$dir"; done"#;
    let own = || {
        if rustix::process::geteuid().is_root() {
            let chown = std::process::Command::new("chown").args(["-R", "65534"]).arg(world.root()).status();
            assert!(chown.expect("chown runs").success());
        }
    };
    for (body, code, reason) in
        [(format!("{lock_up}; exit 5"), 5, "CommandFailed"), (format!("{lock_up}; {WRITE}"), 0, "Published")]
    {
        let worker = world.worker(&item, &body);
        own();
        worker.under_user(NOBODY).run().expect(code, reason);
        world.assert_clean();
    }
    // Replacing it means removing it.
    let item = world.item("a", "another");
    let worker = world.worker(&item, WRITE);
    own();
    worker.under_user(NOBODY).run().expect(0, "Published");
    world.assert_clean();

    fs::set_permissions(world.path("in/a"), fs::Permissions::from_mode(0o000)).expect("changed");
    let worker = world.worker(&item, WRITE).args(["--revision", "1"]);
    worker.under_user(NOBODY).run().expect_saying(77, "Forbidden", &["in/a", "may not be read by this user"]);

    fs::set_permissions(&item, fs::Permissions::from_mode(0o000)).expect("changed");
    let unreadable = world.worker(&item, WRITE).under_user(NOBODY).run();
    unreadable.expect_saying(78, "ItemFileUnreadable", &["items/", "let the user that the worker runs as read it"]);
}

#[test]
fn a_tree_deeper_than_there_are_descriptors_goes_away() {
    let world = World::new();
    let item = world.item("a", "x");
    let dig = r#"for dir in "$TMPDIR" "$OUTPUT_DIR"; do
        cd "$dir"; n=0; while [ $n -lt 300 ]; do mkdir d; cd -P d; n=$((n + 1)); done
    done; exit 5"#;
    let worker = world.worker(&item, dig);
    worker.under("prlimit", &["--nofile=128"]).run().expect(5, "CommandFailed");
    world.assert_clean();
}

#[test]
fn told_to_stop_a_worker_reports_before_it_removes_what_it_made() {
    let world = World::new();
    let body = format!("touch \"$TMPDIR/made\" \"$OUTPUT_DIR/made\" {}/runs; sleep 100", world.root().display());
    let worker = world.worker(&world.item("a", "x"), &body);
    // It stops itself once the report is written: what lies there then was not waited for.
    let worker = worker.env("LONGSHORE_FAULT", "worker.report.after=stop").start();
    until("the script runs", || world.path("runs").exists());
    worker.signal(rustix::process::Signal::TERM);
    until("the report is written", || worker.is_stopped());
    let left = |dir: &str| std::fs::read_dir(world.path(dir)).expect("lists").count();
    assert!(left("tmp") > 0, "the scratch directory was removed before the report was written");
    assert!(left("out/.longshore") > 0, "the output was removed before the report was written");
    worker.signal(rustix::process::Signal::CONT);
    worker.wait().expect(143, "Cancelled");
    world.assert_clean();
}
