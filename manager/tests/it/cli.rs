//! The real program over a real server and real commands.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Mood, Server};

mod scaling;

/// A queue's directory, and what its workers write down.
struct Queue {
    dir: tempfile::TempDir,
    server: Server,
}

/// Appends `+name` at its start and `-name` at its end, so that overlaps and repetitions can be seen.
const NOTE: &str = r#"echo "+$WORK_ITEM_NAME" >> "$NOTES"; BODY; echo "-$WORK_ITEM_NAME" >> "$NOTES""#;

impl Queue {
    fn new(path: &'static str, items: usize) -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), server: Server::new(path, items) }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn notes(&self) -> Vec<String> {
        let notes = fs::read_to_string(self.dir.path().join("notes")).unwrap_or_default();
        notes.lines().map(str::to_owned).collect()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_queue-manager"));
        command.args(words).arg("--state").arg(self.state()).env("NOTES", self.dir.path().join("notes"));
        command
    }

    /// `local` with short waits, whose workers run `body` in a shell.
    fn local(&self, flags: &[&str], body: &str) -> Running {
        Running::new(self.prepared(flags, body))
    }

    /// The same, not started yet.
    fn prepared(&self, flags: &[&str], body: &str) -> Command {
        let mut command = self.command(&["local", "--source", &self.server.url()]);
        // By variables, which the flags of a test then override.
        let defaults =
            [("PROBE_LISTEN", "127.0.0.1:0"), ("POLL", "100ms"), ("BACKOFF", "1ms..50ms"), ("PARALLELISM", "4")];
        command.envs(defaults.map(|(flag, value)| (format!("LONGSHORE_{flag}"), value)));
        command.args(flags).args(["--", "sh", "-c", &NOTE.replace("BODY", body)]);
        command
    }

    /// A command that ends by itself.
    fn ask(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(words).output().expect("runs");
        let text = |bytes| String::from_utf8(bytes).expect("is text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        let (code, out, err) = self.ask(words);
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    fn states(&self) -> Vec<String> {
        let list = self.json(&["ledger", "list", "-o", "json"]);
        let items = list.get("items").and_then(serde_json::Value::as_array).expect("a list").clone();
        items.iter().map(|item| item.get("state").expect("a state").as_str().expect("a word").to_owned()).collect()
    }
}

/// A manager under way, killed with the test.
struct Running {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Running {
    fn new(mut command: Command) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let stderr = log.reopen().expect("opens");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().expect("starts");
        Self { child, log }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log.path()).expect("is text")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("is no zero");
        kill_process(pid, signal).expect("is alive");
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(240);
        loop {
            if let Some(status) = self.child.try_wait().expect("can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ends_with(&mut self, code: i32) -> String {
        let status = self.wait();
        assert_eq!(status.code(), Some(code), "{status}:\n{}", self.said());
        self.said()
    }

    fn probe(&self, path: &str) -> String {
        until("it says where it listens", || self.said().contains("probes and metrics"));
        let said = self.said();
        let address =
            said.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
        let mut stream = std::net::TcpStream::connect(address).expect("answers");
        use std::io::Write;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("is asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answers");
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(240);
    while !holds() {
        assert!(Instant::now() < deadline, "not within four minutes: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Each item ran once from start to end, and no two attempts of one overlapped.
fn assert_once(notes: &[String], items: usize) {
    let starts = notes.iter().filter(|line| line.starts_with('+')).count();
    let ends: std::collections::BTreeSet<_> = notes.iter().filter(|line| line.starts_with('-')).collect();
    assert_eq!((starts, ends.len(), notes.len()), (items, items, 2 * items), "{notes:?}");
}

#[test]
fn any_get_only_source_is_worked_through_by_each_of_the_three_paths() {
    for path in ["/v1/items", "/api/v1/items", "/items"] {
        let queue = Queue::new(path, 10);
        queue.local(&["--until-empty"], "grep -q '\"n\":' \"$WORK_ITEM_FILE\"").ends_with(0);
        assert_once(&queue.notes(), 10);
        assert_eq!(queue.states(), ["done"; 10]);
        assert_eq!(queue.server.shelf().others, [""; 0], "a source that does not say so is only read");
        let said = queue.local(&["--until-empty"], "exit 9").ends_with(0);
        assert!(said.contains("finished: 0 done, 0 failed"), "{said}");
    }
}

#[test]
fn what_fails_is_in_the_dead_letter_with_its_last_words_and_can_be_done_again() {
    let queue = Queue::new("/items", 6);
    let body = "case $WORK_ITEM_NAME in *2) echo on fire >&2; exit 3;; *3) exit 65;; esac";
    let said = queue.local(&["--until-empty", "--max-attempts", "2"], body).ends_with(3);
    assert!(said.contains("finished: 4 done, 2 failed"), "{said}");

    let shown = queue.json(&["ledger", "show", "item-02", "-o", "json"]);
    assert_eq!((shown["state"].as_str(), shown["attempts"].as_u64()), (Some("dead"), Some(2)));
    assert_eq!(shown["history"][1]["exit"], 3);
    assert!(shown["history"][1]["log"].as_str().expect("has a log").contains("on fire"));
    assert_eq!(queue.json(&["ledger", "show", "item-03", "-o", "json"])["attempts"], 1, "65 is permanent");
    let (_, table, _) = queue.ask(&["ledger", "list", "--only", "dead"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("NAME ") && lines[2].starts_with("item-03"), "{table}");
    let (_, text, _) = queue.ask(&["ledger", "show", "item-02"]);
    assert!(text.contains("on fire") && text.contains("3 (the command failed)"), "{text}");

    let (code, out, _) = queue.ask(&["ledger", "retry", "--dead"]);
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}");
    queue.local(&["--until-empty"], "true").ends_with(0);
    assert_eq!(queue.states(), ["done"; 6]);
    let (code, _, error) = queue.ask(&["ledger", "retry", "item-99"]);
    assert!(code == Some(1) && error.contains("item-99"), "{error}");
}

#[test]
fn a_plan_says_what_would_be_done_and_leaves_nothing_behind() {
    let queue = Queue::new("/items", 3);
    let url = queue.server.url();
    let plan = ["plan", "--source", &url];
    let (code, out, error) = queue.ask(&[&plan[..], &["--parallelism", "2"]].concat());
    assert_eq!(code, Some(0), "{error}");
    assert!(out.lines().any(|line| line.starts_with("item-02   start") && line.contains("--parallelism")), "{out}");
    assert!(out.contains("3 to start (2 at once), 0 to settle, 0 to leave"), "{out}");
    let (_, out, _) = queue.ask(&[&plan[..], &["--parallelism", "1", "--limit", "2", "-o", "name"]].concat());
    assert_eq!(out, "item-00\nitem-01\n", "what would be run, and no more");
    assert!(!queue.state().exists(), "nothing is written");

    queue.local(&["--until-empty"], "true").ends_with(0);
    let before = fs::read(queue.state().join("ledger.sqlite")).expect("is there");
    queue.server.shelf().items.insert("item-99".into(), serde_json::json!({}));
    let planned = queue.json(&[&plan[..], &["-o", "json"]].concat());
    let acts: Vec<_> = planned["items"].as_array().expect("a list").iter().map(|p| p["act"].as_str()).collect();
    assert_eq!(acts, [Some("leave"), Some("leave"), Some("leave"), Some("start")]);
    assert_eq!(fs::read(queue.state().join("ledger.sqlite")).expect("is there"), before, "nothing is written");

    queue.server.shelf().mood = Mood::Failing;
    let (code, _, error) = queue.ask(&plan);
    assert!(code == Some(69) && error.contains("list the source"), "{error}");
}

#[test]
fn looking_at_a_ledger_needs_no_right_to_write() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    let queue = Queue::new("/items", 2);
    queue.local(&["--until-empty"], "true").ends_with(0);
    let (open, shut) = (|mode| fs::Permissions::from_mode(mode), queue.state());
    fs::set_permissions(queue.dir.path(), open(0o755)).expect("can be set");
    fs::set_permissions(shut.join("ledger.sqlite"), open(0o444)).expect("can be set");
    fs::set_permissions(&shut, open(0o555)).expect("can be set");
    // Root may write whatever the modes say, so somebody else looks, with a program that he may run.
    let program = queue.dir.path().join("queue-manager");
    // By another process: what this one has open to write, a child of another test may hold for a moment, and then it cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_queue-manager")).arg(&program).status().expect("cp runs");
    assert!(copied.success());
    let ask = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.args(words).arg("--state").arg(&shut).current_dir("/");
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        command.output().expect("runs")
    };
    for (words, shows) in [
        (&["ledger", "list"][..], "item-01"),
        (&["ledger", "show", "item-01"], "succeeded"),
        (&["plan", "--source", &queue.server.url()], "0 to start"),
    ] {
        let output = ask(words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains(shows), "{words:?}: {out}{err}");
    }
    let output = ask(&["ledger", "retry", "--done"]);
    assert_eq!(output.status.code(), Some(74), "{}", String::from_utf8_lossy(&output.stderr));
    fs::set_permissions(&shut, open(0o755)).expect("can be set");
}

#[test]
fn a_source_that_does_not_answer_is_named_and_waited_for_as_long_as_was_said() {
    let queue = Queue::new("/items", 2);
    queue.server.shelf().mood = Mood::Failing;
    let said = queue.local(&["--until-empty", "--source-wait", "1s"], "true").ends_with(69);
    assert!(said.contains("the source fails") && said.contains("--source-wait"), "{said}");
    assert_eq!(queue.notes(), [""; 0]);
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_listing_quietly() {
    let queue = Queue::new("/items", 1_000);
    let url = queue.server.url();
    let mut plan = queue.command(&["plan", "--source", &url]);
    // Gone before it writes: a pipe has room for much of it.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = plan.stdout(writer).stderr(Stdio::piped()).spawn().expect("starts");
    let output = child.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(141), ""));
}

#[test]
fn a_run_of_so_many_items_ends_with_them() {
    let queue = Queue::new("/items", 5);
    let said = queue.local(&["--limit", "2"], "true").ends_with(0);
    assert!(said.contains("2 done, 0 failed, 0 skipped, 3 left to do"), "{said}");
    assert_once(&queue.notes(), 2);
}

#[test]
fn whatever_the_source_answers_nothing_is_lost_and_it_goes_on_when_that_is_over() {
    let queue = Queue::new("/items", 3);
    let mut manager = queue.local(&["--source-timeout", "1s"], "true");
    until("the first are done", || queue.notes().len() == 6);
    for mood in [Mood::Failing, Mood::Empty, Mood::Blind, Mood::Babbling, Mood::Endless, Mood::Silent] {
        let lists = queue.server.shelf().lists;
        queue.server.shelf().mood = mood;
        until("it was asked twice", || queue.server.shelf().lists >= lists + 2);
        let new = {
            let mut shelf = queue.server.shelf();
            shelf.mood = Mood::Well;
            let new = format!("new-{}", shelf.items.len());
            shelf.items.insert(new.clone(), serde_json::json!({}));
            new
        };
        until("what is new is done", || queue.notes().contains(&format!("-{new}")));
    }
    manager.signal(Signal::TERM);
    let said = manager.ends_with(0);
    assert_once(&queue.notes(), 9);
    assert!(said.contains("the source fails; nothing changes until it answers again"), "{said}");
    let (_, list, _) = queue.ask(&["ledger", "list", "-o", "json"]);
    assert!(!list.contains("absentSince"), "{list}");
}

#[test]
fn an_item_too_large_or_none_at_all_is_dead_and_says_why() {
    let queue = Queue::new("/items", 2);
    queue.server.shelf().items.insert("large".into(), serde_json::json!({"x": "y".repeat(2 << 20)}));
    queue.server.shelf().items.insert("text".into(), serde_json::json!("no object"));
    queue.local(&["--until-empty", "--max-attempts", "2"], "true").ends_with(3);
    assert_once(&queue.notes(), 2);
    for (name, says) in [("large", "1048576"), ("text", "not what the contract says")] {
        let shown = queue.json(&["ledger", "show", name, "-o", "json"]);
        assert_eq!(shown["state"], "dead");
        assert!(shown["history"][1]["log"].as_str().expect("has a log").contains(says), "{shown}");
    }
}

#[test]
fn two_managers_never_share_a_ledger_and_a_busy_port_is_named() {
    let queue = Queue::new("/items", 1);
    let first = queue.local(&[], "true");
    until("it is at work", || queue.notes().len() == 2);
    let said = queue.local(&[], "true").ends_with(78);
    assert!(said.contains(&format!("pid {}", first.child.id())) && said.contains("--state"), "{said}");

    let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = busy.local_addr().expect("is bound").to_string();
    let other = Queue::new("/items", 1);
    let said = other.local(&["--probe-listen", &address], "true").ends_with(78);
    assert!(said.contains(&address) && said.contains("--probe-listen"), "{said}");
}

#[test]
fn the_first_signal_lets_what_runs_end_and_the_second_does_not() {
    let queue = Queue::new("/items", 20);
    let release = queue.dir.path().join("release");
    let body = format!("while ! test -e {}; do sleep 0.02; done", release.display());
    let mut manager = queue.local(&[], &body);
    until("four run", || queue.notes().len() == 4);
    manager.signal(Signal::TERM);
    until("it drains", || manager.said().contains("nothing more is started"));
    assert!(manager.probe("/readyz").contains("503"));
    assert!(manager.probe("/livez").contains("200 OK"));
    fs::write(&release, "").expect("written");
    manager.ends_with(0);
    assert_once(&queue.notes(), 4);

    fs::remove_file(&release).expect("removed");
    let mut manager = queue.local(&["--until-empty"], &body);
    until("four more run", || queue.notes().len() == 12);
    manager.signal(Signal::TERM);
    until("it drains", || manager.said().contains("nothing more is started"));
    manager.signal(Signal::TERM);
    manager.ends_with(75);
    let states = queue.states();
    assert!(!states.contains(&"running".to_owned()), "recorded: {states:?}");
    let show = queue.json(&["ledger", "list", "-o", "json"]);
    assert!(show.to_string().contains("\"cause\":\"stopped\""), "{show}");
    fs::write(&release, "").expect("written");
    queue.local(&["--until-empty"], &body).ends_with(0);
    assert_eq!(queue.states(), ["done"; 20]);
}

#[test]
fn what_ignores_the_signal_is_killed_within_the_grace() {
    let queue = Queue::new("/items", 1);
    let flags = ["--grace", "2s", "--stop-grace", "500ms", "--max-attempts", "1"];
    let mut manager = queue.local(&flags, "trap '' TERM; while :; do sleep 0.1; done");
    until("it runs", || queue.notes().len() == 1);
    manager.signal(Signal::TERM);
    let said = manager.ends_with(0);
    assert!(said.contains("stopping what still runs"), "{said}");
    let shown = queue.json(&["ledger", "show", "item-00", "-o", "json"]);
    assert_eq!((shown["state"].as_str(), shown["attempts"].as_u64()), (Some("todo"), Some(0)), "{shown}");
    assert_eq!(shown["history"][0]["cause"], "stopped");
}

#[test]
fn a_manager_that_is_killed_finds_its_attempts_again() {
    let queue = Queue::new("/items", 12);
    for _ in 0..3 {
        let before = queue.notes().len();
        let mut manager = queue.local(&[], "sleep 0.3");
        until("some run", || queue.notes().len() > before);
        manager.signal(Signal::KILL);
        manager.wait();
    }
    queue.local(&["--until-empty"], "sleep 0.3").ends_with(0);
    let mut running = std::collections::BTreeSet::new();
    for line in queue.notes() {
        let name = line[1..].to_owned();
        match line.starts_with('+') {
            true => assert!(running.insert(name), "{line} overlaps"),
            false => assert!(running.remove(&name), "{line} ended twice"),
        }
    }
    assert_eq!(queue.states(), ["done"; 12]);
    let left: Vec<_> = fs::read_dir(queue.state().join("attempts")).expect("is there").collect();
    assert_eq!(left.len(), 0, "nothing is left: {left:?}");
}

#[test]
fn whoever_goes_on_with_an_attempt_says_which_trace_it_is_part_of() {
    let queue = Queue::new("/items", 1);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let data = serde_json::json!({ "traceparent": format!("00-{trace}-00f067aa0ba902b7-01") });
    queue.server.shelf().items.insert("item-00".to_owned(), data);
    let go = queue.dir.path().join("go");
    let body = format!("until [ -e '{}' ]; do sleep 0.02; done", go.display());
    let flags = ["--log-format", "json", "--until-empty"];

    let mut intended = queue.prepared(&flags, &body);
    intended.env("LONGSHORE_FAULT", "manager.intend.after=kill");
    Running::new(intended).wait();
    let mut started = queue.local(&flags, &body);
    until("it runs", || !queue.notes().is_empty() && started.said().contains("\"started\""));
    started.signal(Signal::KILL);
    started.wait();
    let mut finished = queue.local(&flags, &body);
    until("it is found", || finished.said().contains("looking after an attempt left open"));
    fs::write(&go, "").expect("is written");
    finished.ends_with(0);

    let traced = |log: &Running, message: &str| {
        let said = log.said();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let line = lines.into_iter().find(|line| line["message"] == message);
        line.unwrap_or_else(|| panic!("no line says {message:?}: {said}"))["trace_id"] == trace
    };
    assert!(traced(&started, "started"), "of what the source gave anew: {}", started.said());
    // How a plain command ended that no manager saw, nobody knows.
    for message in ["looking after an attempt left open", "to be done again", "done"] {
        assert!(traced(&finished, message), "{message}, of what the attempt was started with: {}", finished.said());
    }
}

#[test]
fn a_queue_is_paused_and_resumed_while_the_manager_runs() {
    let queue = Queue::new("/items", 0);
    let (code, out, error) = queue.ask(&["pause"]);
    assert_eq!((code, out.as_str()), (Some(0), "queue/default paused\n"), "{error}");
    let release = queue.dir.path().join("release");
    let busy = format!("while ! test -e {}; do sleep 0.02; done", release.display());
    let manager = queue.local(&[], &format!("case $WORK_ITEM_NAME in bad) exit 65;; busy) {busy};; esac"));
    until("it is ready", || manager.said().contains("the source answers"));
    queue.server.shelf().items.insert("a".into(), serde_json::json!({}));
    until("it is listed", || queue.states() == ["todo"]);
    let says = |line: &str| manager.probe("/metrics").lines().any(|found| found == line);
    for line in ["longshore_manager_paused 1", "queue_length 1", "messages_processed_total 0"] {
        until(line, || says(line));
    }
    assert_eq!(queue.ask(&["resume"]).0, Some(0));
    until("it is done", || queue.states() == ["done"]);
    for name in ["bad", "busy"] {
        queue.server.shelf().items.insert(name.into(), serde_json::json!({}));
    }
    // What is being attempted is in the queue still.
    let both = ["messages_failed_total 1", "longshore_manager_items{state=\"running\"} 1", "queue_length 1"];
    until("one failed and one runs", || both.into_iter().all(says));
    fs::write(&release, "").expect("written");
    for line in [
        "queue_length 0",
        "messages_processed_total 2",
        "messages_failed_total 1",
        "longshore_manager_items{state=\"dead\"} 1",
        "longshore_manager_items{state=\"done\"} 2",
        "longshore_manager_attempts_total{outcome=\"succeeded\"} 2",
        "longshore_manager_attempts_total{outcome=\"permanent\"} 1",
        "longshore_manager_attempt_duration_seconds_count 3",
        "longshore_manager_source_up 1",
        "longshore_manager_breaker_open 0",
        "longshore_manager_paused 0",
    ] {
        until(line, || says(line));
    }
    assert!(manager.probe("/readyz").contains("200 OK"));
}

#[test]
fn items_are_skipped_and_done_again_while_the_manager_runs() {
    let queue = Queue::new("/items", 1);
    let _manager = queue.local(&[], "true");
    until("it is done", || queue.notes().len() == 2);
    assert_eq!(queue.ask(&["ledger", "skip", "later"]).0, Some(0));
    queue.server.shelf().items.insert("later".into(), serde_json::json!({}));
    let lists = queue.server.shelf().lists;
    until("it was listed", || queue.server.shelf().lists > lists + 2);
    assert_eq!(queue.notes().len(), 2);
    assert_eq!(queue.ask(&["ledger", "retry", "later", "item-00"]).0, Some(0));
    until("both are done", || queue.notes().len() == 6);
}

#[test]
fn when_everything_fails_alike_the_rest_is_left_and_the_code_says_so() {
    let queue = Queue::new("/items", 20);
    let said = queue.local(&["--until-empty", "--breaker", "3", "--parallelism", "1"], "exit 64").ends_with(4);
    assert!(said.contains("exit 64 Usage") && said.contains("retry --dead"), "{said}");
    let states = queue.states();
    assert_eq!(states.iter().filter(|state| *state == "todo").count(), 17, "{states:?}");
}

#[test]
fn a_command_that_cannot_run_is_found_before_anything_is_started() {
    let queue = Queue::new("/items", 3);
    let script = queue.dir.path().join("script");
    fs::write(&script, "#!/bin/sh\n").expect("written");
    let (script, dir) = (script.to_str().expect("is text"), queue.dir.path().to_str().expect("is text"));
    for (program, code, says) in [
        ("no-such-program", 127, "in no directory of PATH"),
        ("/no/such/program", 127, "No such file"),
        (script, 126, "chmod +x"),
        (dir, 126, "is a directory"),
    ] {
        let mut command = queue.command(&["local", "--source", &queue.server.url(), "--probe-listen", "127.0.0.1:0"]);
        command.args(["--", program]);
        let said = Running::new(command).ends_with(code);
        assert!(said.contains(program) && said.contains(says), "{said}");
    }
    assert_eq!(queue.server.shelf().lists, 0);
}

#[test]
fn a_damaged_ledger_stops_it_and_is_left_as_it_is() {
    let queue = Queue::new("/items", 1);
    fs::create_dir(queue.state()).expect("made");
    let ledger = queue.state().join("ledger.sqlite");
    fs::write(&ledger, "this is no ledger".repeat(1_000)).expect("written");
    let said = queue.local(&[], "true").ends_with(74);
    assert!(said.contains("is damaged") && said.contains(".recover"), "{said}");
    assert_eq!(fs::read_to_string(&ledger).expect("is there"), "this is no ledger".repeat(1_000));
}

#[test]
fn the_ledger_is_where_the_xdg_specification_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let pause = |home: &str, path: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_queue-manager"));
        command.env_clear().env(home, path).args(["pause", "--queue", "films"]);
        command.output().expect("runs").status.code()
    };
    assert_eq!(pause("XDG_STATE_HOME", dir.path()), Some(0));
    assert!(dir.path().join("longshore/films/ledger.sqlite").exists());
    assert_eq!(pause("HOME", dir.path()), Some(0));
    assert!(dir.path().join(".local/state/longshore/films/ledger.sqlite").exists());
    assert_eq!(pause("NOTHING", dir.path()), Some(78));
}

#[test]
fn on_a_terminal_a_bar_shows_how_far_it_is_and_log_lines_stay_whole() {
    let queue = Queue::new("/items", 8);
    let program = env!("CARGO_BIN_EXE_queue-manager");
    let url = queue.server.url();
    let line = format!(
        "{program} local --source {url} --state {} --probe-listen 127.0.0.1:0 --parallelism 1 --until-empty -- sleep 0.2",
        queue.state().display()
    );
    // script(1) gives it a terminal; it is part of every Debian.
    let shown =
        Command::new("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null()).output();
    let shown = shown.expect("script(1) from bsdutils is installed");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("/8 "), "no bar: {text}");
    assert!(text.contains(" running, 0 failed"), "no counts: {text}");
    for n in 0..8 {
        let whole = |line: &str| line.contains("done") && line.contains(&format!("item-0{n}"));
        assert!(text.lines().any(whole), "item-0{n} is not in\n{text}");
    }
}
