//! Real processes: how they end, and that a manager which dies in the middle finds them again.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use contract::ItemName;
use contract::attempt as variable;
use process::Mark;
use tokio::time::timeout;

use super::*;

/// Longer than anything here takes, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(240);

fn config(state: &Path, command: &[&str]) -> LocalConfig {
    LocalConfig {
        state: state.to_owned(),
        command: command.iter().map(OsString::from).collect(),
        environment: vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("INHERITED".into(), "yes".into()),
            ("LONGSHORE_PARALLELISM".into(), "8".into()),
            ("LONGSHORE_FAULT".into(), "x=kill".into()),
        ],
        withheld: vec!["LONGSHORE_PARALLELISM".into()],
        keep_logs: KeepLogs::default(),
    }
}

async fn shell(state: &Path, script: &str) -> LocalExecutor {
    LocalExecutor::open(config(state, &["sh", "-c", script])).await.expect("opens")
}

fn attempt(id: &str) -> Attempt {
    Attempt {
        id: AttemptId(id.to_owned()),
        item: ItemName::parse("$(touch owned);\"' \u{202e}|\\ item").expect("a name"),
        number: 2,
        revision: 7,
        data: r#"{"uri":"file:///a"}"#.to_owned(),
        trace: None,
    }
}

/// Unique among tests that run at once: attempts are told apart machine-wide by their ids.
fn unique(name: &str) -> String {
    format!("{name}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}

/// Waits by what is observed, as the manager does, and asserts by what `look` says.
async fn over(executor: &LocalExecutor, id: &str) -> Phase {
    let id = AttemptId(id.to_owned());
    let mut seen = executor.observe();
    let over = async {
        loop {
            let phase = executor.look(&id).await.expect("looks");
            if !is_live(&phase) {
                return phase;
            }
            seen.next().await.expect("observes");
        }
    };
    timeout(PATIENCE, over).await.expect("over in time")
}

async fn exit(executor: &LocalExecutor, id: &str) -> Ended {
    match over(executor, id).await {
        Phase::Over(ended) => ended,
        other => panic!("{id} is {other:?}"),
    }
}

fn carriers(id: &str) -> Vec<u32> {
    Mark::environment(variable::ATTEMPT_ID, id).carriers().expect("reads /proc")
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_plain_command_runs_in_the_stated_environment_and_leaves_its_exit() {
    let state = tempfile::tempdir().expect("a directory");
    let executor = shell(state.path(), "env | sort; cat $WORK_ITEM_FILE; cat; echo oops >&2; exit 3").await;
    let id = unique("plain");
    executor.start(&attempt(&id)).await.expect("starts");
    let ended = exit(&executor, &id).await;
    assert_eq!((ended.exit, ended.report, ended.log_tail.as_str()), (3, None, "oops"));
    let dir = state.path().join("attempts").join(&id).canonicalize().expect("is there");
    let at = |name: &str| dir.join(name).display().to_string();
    let stdout = read(dir.join("stdout.log"));
    for line in [
        format!("WORK_ITEM_FILE={}", at("item.json")),
        "WORK_ITEM_NAME=$(touch owned);\"' \u{202e}|\\ item".to_owned(),
        "ATTEMPT=2".to_owned(),
        format!("LONGSHORE_ATTEMPT_ID={id}"),
        "LONGSHORE_REVISION=7".to_owned(),
        format!("LONGSHORE_REPORT={}", at("report.json")),
        format!("TMPDIR={}", at("tmp")),
        "INHERITED=yes".to_owned(),
    ] {
        assert!(stdout.lines().any(|had| had == line), "no {line} in\n{stdout}");
    }
    assert!(!stdout.contains("LONGSHORE_PARALLELISM") && !stdout.contains("LONGSHORE_FAULT"), "{stdout}");
    // Nothing came from stdin, which is the lock.
    assert!(stdout.ends_with(r#"{"uri":"file:///a"}"#), "{stdout}");
    let mode = |name: &str| fs::metadata(dir.join(name)).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("item.json"), mode("tmp"), mode("lock")), (0o700, 0o600, 0o700, 0o600));

    executor.forget(&[AttemptId(id.clone())]).await.expect("forgets");
    executor.forget(&[AttemptId(id.clone())]).await.expect("forgets again");
    assert_eq!(executor.look(&AttemptId(id.clone())).await.expect("looks"), Phase::Absent);
    assert!(!dir.exists());
    assert_eq!(fs::read_dir(state.path().join("trash")).expect("lists").count(), 0);
    assert_eq!(read(state.path().join(format!("logs/{id}.stderr.log"))), "oops\n");
}

#[tokio::test]
async fn the_same_attempt_is_never_started_twice() {
    let state = tempfile::tempdir().expect("a directory");
    let executor = shell(state.path(), "true").await;
    let id = unique("twice");
    executor.start(&attempt(&id)).await.expect("starts");
    assert!(matches!(executor.start(&attempt(&id)).await, Err(StartError::Conflict)));
    exit(&executor, &id).await;
    assert!(matches!(executor.start(&attempt(&id)).await, Err(StartError::Conflict)));
    let again = shell(state.path(), "true").await;
    assert!(matches!(again.start(&attempt(&id)).await, Err(StartError::Conflict)));
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_the_code_a_shell_would_give() {
    let state = tempfile::tempdir().expect("a directory");
    let text = state.path().join("text");
    fs::write(&text, "no program").expect("written");
    let dir = state.path().display().to_string();
    let text = text.display().to_string();
    for (command, code) in [("no-such-command-here", 127), (dir.as_str(), 126), (text.as_str(), 126), ("/no/such", 127)]
    {
        let executor = LocalExecutor::open(config(state.path(), &[command])).await.expect("opens");
        let id = unique("refused");
        match executor.start(&attempt(&id)).await {
            Err(StartError::Refused { exit, why }) => {
                assert_eq!(exit, code, "{why}");
                assert!(why.contains(command), "{why}");
            }
            other => panic!("{command}: {other:?}"),
        }
        assert_eq!(executor.look(&AttemptId(id)).await.expect("looks"), Phase::Absent);
        assert_eq!(fs::read_dir(state.path().join("attempts")).expect("lists").count(), 0);
    }
}

#[tokio::test]
async fn stopping_is_gentle_then_not() {
    let state = tempfile::tempdir().expect("a directory");
    let ready = state.path().join("ready");
    let script = |trap: &str| format!("trap '{trap}' TERM; touch {}; while :; do sleep 0.01; done", ready.display());
    for (trap, grace, code) in [("exit 9", PATIENCE, 9), ("", Duration::from_millis(100), 137)] {
        let _ = fs::remove_file(&ready);
        let executor = shell(state.path(), &script(trap)).await;
        let id = unique("stop");
        executor.start(&attempt(&id)).await.expect("starts");
        until("the trap is set", || ready.exists()).await;
        executor.stop(&AttemptId(id.clone()), grace).await.expect("stops");
        assert_eq!(exit(&executor, &id).await.exit, code);
        executor.stop(&AttemptId(id.clone()), grace).await.expect("is over already");
        assert_eq!(carriers(&id), [0u32; 0]);
    }
    let executor = shell(state.path(), "true").await;
    executor.stop(&AttemptId("never".to_owned()), PATIENCE).await.expect("is absent");
}

#[tokio::test]
async fn what_sheds_the_lock_or_the_environment_is_ended_all_the_same() {
    let state = tempfile::tempdir().expect("a directory");
    let file = |name: &str| state.path().join(name).display().to_string();
    let script = format!(
        "exec 9<&0; setsid sh -c 'trap \"\" TERM; touch {}; sleep 1000; sleep 1000' </dev/null 9<&- & \
         env -i /usr/bin/setsid /bin/sh -c 'echo $$ > {}; while :; do /bin/sleep 1000; done' & \
         while ! test -e {} || ! test -s {}; do sleep 0.01; done; exit 4",
        file("a"),
        file("b"),
        file("a"),
        file("b")
    );
    let executor = shell(state.path(), &script).await;
    let id = unique("shed");
    executor.start(&attempt(&id)).await.expect("starts");
    assert_eq!(exit(&executor, &id).await.exit, 4);
    assert_eq!(carriers(&id), [0u32; 0]);
    let bare: u32 = read(state.path().join("b")).trim().parse().expect("a pid");
    let stat = read(format!("/proc/{bare}/stat"));
    assert!(
        stat.is_empty(),
        "it lives on: {stat} {:?} {:?}",
        fs::read_link(format!("/proc/{bare}/fd/0")),
        fs::read_to_string("/proc/locks")
    );
}

fn report(id: &str, exit: u8) -> String {
    format!(
        r#"{{"kind":"Report","apiVersion":"v1","attempt":"{id}","revision":7,"outcome":"superseded","exitCode":{exit},
            "permanent":false,"reason":"Superseded","message":"m","startedAt":"2026-01-01T00:00:00Z",
            "endedAt":"2026-01-01T00:00:00Z"}}"#
    )
}

#[tokio::test]
async fn a_report_counts_when_it_is_this_attempts_and_whole() {
    let state = tempfile::tempdir().expect("a directory");
    for (text, is_used) in [
        (report("@", 5), true),
        (report("another", 5), false),
        // A command around the worker has the last word.
        (report("@", 0), false),
        ("{".to_owned(), false),
        (" ".repeat(9 << 20), false),
        (String::new(), false),
    ] {
        let id = unique("report");
        let source = state.path().join("source");
        fs::write(&source, text.replace('@', &id)).expect("written");
        let executor = shell(state.path(), &format!("cp {} $LONGSHORE_REPORT; exit 5", source.display())).await;
        executor.start(&attempt(&id)).await.expect("starts");
        let ended = exit(&executor, &id).await;
        assert_eq!((ended.exit, ended.report.is_some()), (5, is_used), "{text:.80}");
    }
    let id = unique("report");
    let source = state.path().join("source");
    fs::write(&source, report(&id, 0)).expect("written");
    let killed = format!("cp {} $LONGSHORE_REPORT; kill -9 $$", source.display());
    let executor = shell(state.path(), &killed).await;
    executor.start(&attempt(&id)).await.expect("starts");
    assert_eq!(exit(&executor, &id).await.exit, 0, "it was killed when all was done and said");
    for place in ["mkfifo", "mkdir", "ln -s /etc/passwd"] {
        let id = unique("report");
        let executor = shell(state.path(), &format!("{place} $LONGSHORE_REPORT; exit 5")).await;
        executor.start(&attempt(&id)).await.expect("starts");
        assert_eq!(exit(&executor, &id).await.report, None);
    }
}

#[tokio::test]
async fn whatever_an_attempt_leaves_in_its_directory_goes_away() {
    let state = tempfile::tempdir().expect("a directory");
    let script = "cd $TMPDIR; mkdir -p 'a b/c' -- '-rf'; touch \"$(printf 'x\\ny')\"; ln -s / root; mkfifo p; \
                  chmod 000 'a b' ; chmod 500 . ..; exit 0";
    let executor = shell(state.path(), script).await;
    let id = unique("mess");
    executor.start(&attempt(&id)).await.expect("starts");
    exit(&executor, &id).await;
    executor.forget(&[AttemptId(id)]).await.expect("forgets");
    for place in ["attempts", "trash"] {
        assert_eq!(fs::read_dir(state.path().join(place)).expect("lists").count(), 0, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_short_attempts_leave_no_descriptor_and_no_zombie() {
    let state = tempfile::tempdir().expect("a directory");
    let executor = shell(state.path(), "sleep 0.01 & exit $(($$ % 3))").await;
    let open = || fs::read_dir("/proc/self/fd").expect("lists").count();
    let prefix = unique("many");
    let mut before = None;
    let mut running = tokio::task::JoinSet::new();
    for n in 0..200 {
        if running.len() == 8 {
            running.join_next().await.expect("one").expect("no panic");
        }
        let (executor, id) = (executor.clone(), format!("{prefix}-{n}"));
        running.spawn(async move {
            executor.start(&attempt(&id)).await.expect("starts");
            let ended = exit(&executor, &id).await;
            assert!(ended.exit < 3, "{ended:?}");
            executor.forget(&[AttemptId(id)]).await.expect("forgets");
        });
        // By then the runtime and the first eight have opened what they keep.
        if n == 50 {
            before = Some(open());
        }
    }
    while let Some(done) = running.join_next().await {
        done.expect("no panic");
    }
    // Other tests of this process open and close theirs meanwhile.
    let allowed = before.expect("was counted") + 64;
    until("descriptors are closed", || open() <= allowed).await;
    assert_eq!(fs::read_dir(state.path().join("attempts")).expect("lists").count(), 0);
}

/// The manager's part in the tests below: this very binary, running one ignored test, so that it can be killed.
#[tokio::test]
#[ignore = "run by the tests below in a process of its own"]
async fn host() {
    let variable = |name: &str| {
        std::env::vars_os().find(|(key, _)| key == name).map(|(_, value)| value.into_string().expect("text"))
    };
    let (state, script) = (variable("HOST_STATE").expect("set"), variable("HOST_SCRIPT").expect("set"));
    let executor = shell(Path::new(&state), &script).await;
    for id in variable("HOST_ATTEMPTS").expect("set").split(',') {
        executor.start(&attempt(id)).await.expect("starts");
    }
    std::future::pending::<()>().await;
}

struct Host(std::process::Child);

impl Host {
    fn run(state: &Path, script: &str, attempts: &[&str], fault: &str) -> Self {
        let child = Command::new(std::env::current_exe().expect("own path"))
            .args(["--exact", "executor::local::tests::host", "--ignored", "--nocapture"])
            .env("HOST_STATE", state)
            .env("HOST_SCRIPT", script)
            .env("HOST_ATTEMPTS", attempts.join(","))
            .env("LONGSHORE_FAULT", fault)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("kills");
        self.0.wait().expect("is reaped");
    }
}

#[tokio::test]
async fn a_killed_managers_attempts_are_adopted_and_finish() {
    let state = tempfile::tempdir().expect("a directory");
    let (report_of, plain) = (unique("adopt-report"), unique("adopt-plain"));
    let (ready, go) = (state.path().join("ready"), state.path().join("go"));
    fs::create_dir(&ready).expect("made");
    fs::write(state.path().join(&report_of), report(&report_of, 0)).expect("written");
    let script = format!(
        "touch {ready}/$LONGSHORE_ATTEMPT_ID; while ! test -e {go}; do sleep 0.01; done; \
         cp {state}/$LONGSHORE_ATTEMPT_ID $LONGSHORE_REPORT; exit 6",
        ready = ready.display(),
        go = go.display(),
        state = state.path().display()
    );
    let host = Host::run(state.path(), &script, &[&report_of, &plain], "");
    until("both run", || fs::read_dir(&ready).expect("lists").count() == 2).await;
    host.kill();

    let executor = shell(state.path(), &script).await;
    for id in [&report_of, &plain] {
        assert_eq!(executor.look(&AttemptId(id.clone())).await.expect("looks"), Phase::Running);
        assert!(matches!(executor.start(&attempt(id)).await, Err(StartError::Conflict)));
    }
    fs::write(&go, "").expect("written");
    let ended = exit(&executor, &report_of).await;
    assert_eq!((ended.exit, ended.report.map(|report| report.reason)), (0, Some("Superseded".to_owned())));
    assert_eq!(over(&executor, &plain).await, Phase::Lost);
    executor.forget(&[AttemptId(plain.clone())]).await.expect("forgets");
    assert_eq!(executor.look(&AttemptId(plain)).await.expect("looks"), Phase::Absent);
}

#[tokio::test]
async fn an_adopted_attempt_can_be_stopped() {
    let state = tempfile::tempdir().expect("a directory");
    let (id, ready) = (unique("adopt-stop"), state.path().join("ready"));
    let script = format!(
        "trap '' TERM; sh -c 'trap \"\" TERM; touch {}; sleep 1000; sleep 1000' </dev/null & wait; wait; sleep 1000",
        ready.display()
    );
    let host = Host::run(state.path(), &script, &[&id], "");
    until("it runs", || ready.exists()).await;
    host.kill();
    let executor = shell(state.path(), &script).await;
    executor.stop(&AttemptId(id.clone()), Duration::from_millis(100)).await.expect("stops");
    assert_eq!(over(&executor, &id).await, Phase::Lost);
    assert_eq!(carriers(&id), [0u32; 0]);
}

#[tokio::test]
async fn a_dead_workers_script_is_ended_before_its_attempt_is_lost() {
    let state = tempfile::tempdir().expect("a directory");
    let (id, ready) = (unique("orphan"), state.path().join("ready"));
    // The worker dies, and what it ran has neither its lock nor its group.
    let script = format!("setsid sh -c 'touch {}; sleep 1000' </dev/null & wait", ready.display());
    let host = Host::run(state.path(), &script, &[&id], "");
    until("it runs", || ready.exists()).await;
    let lock = Mark::open_file(&state.path().join("attempts").join(&id).join("lock")).expect("is there");
    let workers = lock.carriers().expect("reads");
    host.kill();
    for pid in workers {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kills");
    }
    assert!(!carriers(&id).is_empty(), "the script died with its worker, and nothing is tested");
    let executor = shell(state.path(), &script).await;
    assert_eq!(over(&executor, &id).await, Phase::Lost);
    assert_eq!(carriers(&id), [0u32; 0]);
}

#[tokio::test]
async fn a_manager_killed_at_any_step_of_a_start_leaves_nothing_doubtful() {
    for (point, phase) in [
        ("executor.prepare.before", Phase::Absent),
        ("executor.prepare.after", Phase::Absent),
        ("executor.lock.before", Phase::Absent),
        ("executor.lock.after", Phase::Lost),
        ("executor.spawn.before", Phase::Lost),
        ("executor.spawn.after", Phase::Lost),
        ("executor.over.before", Phase::Lost),
    ] {
        let state = tempfile::tempdir().expect("a directory");
        let id = unique("killed");
        let mut host = Host::run(state.path(), "exit 0", &[&id], &format!("{point}=kill"));
        assert!(!host.0.wait().expect("ends").success(), "{point} was not passed");
        let executor = shell(state.path(), "exit 0").await;
        assert_eq!(over(&executor, &id).await, phase, "{point}");
        let others = fs::read_dir(state.path().join("attempts")).expect("lists").count();
        assert_eq!(others, usize::from(phase == Phase::Lost), "{point}");
        if phase == Phase::Absent {
            executor.start(&attempt(&id)).await.expect("the same attempt can be started again");
            assert_eq!(exit(&executor, &id).await.exit, 0);
        }
    }
}

#[tokio::test]
async fn an_exit_that_was_seen_survives_the_manager() {
    let state = tempfile::tempdir().expect("a directory");
    let id = unique("seen");
    let mut host = Host::run(state.path(), "exit 6", &[&id], "executor.over.after=kill");
    assert!(!host.0.wait().expect("ends").success());
    let executor = shell(state.path(), "exit 0").await;
    assert_eq!(exit(&executor, &id).await.exit, 6);
}

#[tokio::test]
async fn the_sweep_ends_and_clears_what_the_ledger_does_not_know() {
    let state = tempfile::tempdir().expect("a directory");
    let (known, unknown, ready) = (unique("known"), unique("unknown"), state.path().join("ready"));
    fs::create_dir(&ready).expect("made");
    let script = format!("touch {}/$LONGSHORE_ATTEMPT_ID; exec sleep 1000", ready.display());
    let host = Host::run(state.path(), &script, &[&known, &unknown], "");
    until("both run", || fs::read_dir(&ready).expect("lists").count() == 2).await;
    host.kill();
    let executor = shell(state.path(), &script).await;
    assert_eq!(executor.sweep(|id| id.0 == known).await.expect("sweeps"), 1);
    assert_eq!(carriers(&unknown), [0u32; 0]);
    assert_eq!(executor.look(&AttemptId(unknown)).await.expect("looks"), Phase::Absent);
    assert_eq!(executor.look(&AttemptId(known.clone())).await.expect("looks"), Phase::Running);
    executor.stop(&AttemptId(known.clone()), Duration::ZERO).await.expect("stops");
    over(&executor, &known).await;
}

#[tokio::test]
async fn an_id_that_is_no_file_name_is_refused() {
    let state = tempfile::tempdir().expect("a directory");
    let executor = shell(state.path(), "true").await;
    let long = "x".repeat(300);
    for id in ["", ".", "..", "a/b", ".hidden", "a\nb", &long] {
        assert!(matches!(executor.start(&attempt(id)).await, Err(StartError::Refused { .. })), "{id:?}");
        assert_eq!(executor.look(&AttemptId(id.to_owned())).await.expect("looks"), Phase::Absent);
    }
}

/// What each run of an item's script wrote: pairs of start and end, by item, or a start alone where it was killed.
fn overlapping(log: &str) -> Vec<String> {
    let mut running: HashMap<&str, &str> = HashMap::new();
    let mut wrong = Vec::new();
    for line in log.lines() {
        let [what, item, id] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("a torn line: {line:?}") };
        match what {
            "start" => {
                // One that never came to its end was killed: it overlaps when a line of it follows.
                running.insert(item, id);
            }
            _ if running.get(item) == Some(&id) => drop(running.remove(item)),
            _ => wrong.push(line.to_owned()),
        }
    }
    wrong
}

#[tokio::test]
async fn managers_killed_at_random_overlap_nothing_and_lose_nothing() {
    let state = tempfile::tempdir().expect("a directory");
    let log = state.path().join("runs");
    fs::write(&log, "").expect("made");
    // The item is what the id begins with; the child that outlives the script's own end sheds the lock.
    let script = format!(
        "item=${{LONGSHORE_ATTEMPT_ID%.*}}; echo start $item $LONGSHORE_ATTEMPT_ID >> {log}; \
         (setsid sleep 1000 </dev/null &); sleep 0.0$(($$ % 9)); echo end $item $LONGSHORE_ATTEMPT_ID >> {log}",
        log = log.display()
    );
    let prefix = unique("random");
    let mut open: HashMap<String, u32> = (0..24).map(|n| (format!("{prefix}-{n}"), 0)).collect();
    for round in 0.. {
        let attempts: Vec<String> = open.iter().map(|(item, n)| format!("{item}.{n}")).collect();
        let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();
        if round < 8 {
            let host = Host::run(state.path(), &script, &attempts, "");
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..400))).await;
            host.kill();
        }
        let executor = shell(state.path(), &script).await;
        for (item, n) in open.clone() {
            let id = format!("{item}.{n}");
            let phase = over(&executor, &id).await;
            let phase = if phase == Phase::Absent && round >= 8 {
                executor.start(&attempt(&id)).await.expect("starts");
                over(&executor, &id).await
            } else {
                phase
            };
            assert_eq!(carriers(&id), [0u32; 0], "{id} is {phase:?}");
            match phase {
                Phase::Over(ended) => {
                    assert_eq!(ended.exit, 0);
                    open.remove(&item);
                }
                Phase::Lost => drop(open.insert(item, n + 1)),
                other => assert_eq!(other, Phase::Absent),
            }
            executor.forget(&[AttemptId(id)]).await.expect("forgets");
        }
        if open.is_empty() {
            break;
        }
    }
    let log = read(&log);
    assert_eq!(overlapping(&log), [""; 0], "{log}");
    for n in 0..24 {
        assert!(log.contains(&format!("end {prefix}-{n} ")), "item {n} was lost:\n{log}");
    }
    assert_eq!(fs::read_dir(state.path().join("attempts")).expect("lists").count(), 0);
}

/// Runs an ignored test in a process of its own: other tests here have children that no executor knows, with which the
/// kernel proves nothing.
fn alone(test: &str) {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", &format!("executor::local::tests::{test}"), "--ignored", "--nocapture"]);
    assert!(command.stdin(Stdio::null()).status().expect("runs").success());
}

#[test]
fn the_next_attempt_finds_nothing_of_the_last_in_its_directory() {
    alone("in_the_last_directory");
}

#[test]
fn who_may_have_left_somebody_leaves_no_directory() {
    alone("after_a_stray");
}

#[tokio::test]
#[ignore = "run by who_may_have_left_somebody_leaves_no_directory in a process of its own"]
async fn after_a_stray() {
    let state = tempfile::tempdir().expect("a directory");
    let (dir, kept) = (state.path().canonicalize().expect("is there"), tempfile::tempdir().expect("a directory"));
    let kept = kept.path().to_str().expect("is text");
    // Of neither the lock, nor the environment, group, session and parent of its attempt, and not of an only child.
    let script = "case $ATTEMPT in\n\
                  1) cd $TMPDIR; ( env -i setsid sh -c 'echo $$ >$0/pid.new; mv $0/pid.new $0/pid; exec sleep 1000' $0 </dev/null & )\n\
                  until test -e $0/pid; do sleep 0.01; done;;\n\
                  2) until test -e $0/over; do sleep 0.01; done;;\n\
                  esac";
    let executor = LocalExecutor::open(config(&dir, &["sh", "-c", script, kept])).await.expect("opens");
    let [beside, first, next] = ["beside", "first", "next"].map(unique);
    executor.start(&attempt(&beside)).await.expect("starts");
    executor.start(&Attempt { number: 1, ..attempt(&first) }).await.expect("starts");
    assert_eq!(exit(&executor, &first).await.exit, 0);
    let stray = read(Path::new(kept).join("pid")).trim().to_owned();
    let cwd = || fs::read_link(format!("/proc/{stray}/cwd")).expect("it lives");
    assert_eq!(cwd(), dir.join("attempts").join(&first).join("tmp"));
    executor.forget(&[AttemptId(first)]).await.expect("forgets");
    executor.start(&Attempt { number: 3, ..attempt(&next) }).await.expect("starts");
    assert_eq!(exit(&executor, &next).await.exit, 0);
    let at = cwd();
    assert!(at.to_str().is_some_and(|at| at.ends_with("(deleted)")), "it sees the next item from {}", at.display());
    fs::write(Path::new(kept).join("over"), "").expect("written");
    assert_eq!(exit(&executor, &beside).await.exit, 0);
    // Of the only child it could be, and so ended.
    assert!(!Path::new("/proc").join(&stray).exists());
}

#[test]
fn an_adopted_attempt_leaves_no_directory() {
    alone("after_an_adopted_one");
}

#[tokio::test]
#[ignore = "run by an_adopted_attempt_leaves_no_directory in a process of its own"]
async fn after_an_adopted_one() {
    let state = tempfile::tempdir().expect("a directory");
    let id = unique("adopted");
    fs::write(state.path().join("wait"), "").expect("written");
    let host = Host::run(state.path(), "while test -e $TMPDIR/../../../wait; do sleep 0.01; done", &[&id], "");
    let dir = state.path().join("attempts").join(&id);
    until("it runs", || dir.join("lock").exists()).await;
    host.kill();
    let executor = shell(state.path(), ":").await;
    fs::remove_file(state.path().join("wait")).expect("removed");
    assert_eq!(over(&executor, &id).await, Phase::Lost);
    executor.forget(&[AttemptId(id)]).await.expect("forgets");
    assert_eq!(fs::read_dir(state.path().join("spare")).expect("lists").count(), 0, "nobody saw what it left");
}

#[tokio::test]
#[ignore = "run by the_next_attempt_finds_nothing_of_the_last_in_its_directory in a process of its own"]
async fn in_the_last_directory() {
    let state = tempfile::tempdir().expect("a directory");
    // A number of an inode alone comes back at once.
    let inode = |id: &str| {
        let found = fs::metadata(state.path().join("attempts").join(id)).expect("is there");
        (found.ino(), found.created().expect("is told"))
    };
    // What the attempt does, and whether the next one gets its directory.
    for (nth, (script, reused)) in [
        (":", true),
        ("echo '{}' >$LONGSHORE_REPORT", true),
        ("exit 3", true),
        ("echo out", true),
        ("touch $TMPDIR/a", false),
        ("touch $TMPDIR/../more", false),
        ("ln $WORK_ITEM_FILE $0/kept", false),
        ("chmod 644 $WORK_ITEM_FILE", false),
        ("ln -sf /etc/hostname $WORK_ITEM_FILE", false),
        ("rmdir $TMPDIR", false),
    ]
    .into_iter()
    .enumerate()
    {
        let kept = tempfile::tempdir().expect("a directory");
        let kept = kept.path().to_str().expect("is text");
        // The first runs the script; the next ones look around.
        let look =
            "if test $ATTEMPT = 1; then eval \"$1\"; else cat $WORK_ITEM_FILE; cd $TMPDIR/..; ls -AR; fi; exit 5";
        let executor =
            LocalExecutor::open(config(state.path(), &["sh", "-c", look, kept, script])).await.expect("opens");
        let (first, next) = (unique(&format!("first-{nth}")), unique(&format!("next-{nth}")));
        let long =
            Attempt { data: format!("{{\"uri\":\"file:///{}\"}}", "a".repeat(9000)), number: 1, ..attempt(&first) };
        executor.start(&long).await.expect("starts");
        exit(&executor, &first).await;
        let old = inode(&first);
        executor.forget(&[AttemptId(first.clone())]).await.expect("forgets");
        executor.start(&attempt(&next)).await.expect("starts");
        assert_eq!(inode(&next) == old, reused, "{script}");
        assert_eq!(exit(&executor, &next).await.exit, 5, "{script}");
        let saw = read(state.path().join("attempts").join(&next).join("stdout.log"));
        let others: Vec<_> = saw.lines().skip(1).filter(|line| !line.is_empty() && *line != "exit").collect();
        assert_eq!(saw.lines().next(), Some(r#"{"uri":"file:///a"}.:"#), "{script}");
        assert_eq!(others, ["item.json", "lock", "stderr.log", "stdout.log", "tmp", "./tmp:"], "{script}");
        executor.forget(&[AttemptId(next)]).await.expect("forgets");
        drop(executor);
        until("what was spare is gone", || fs::read_dir(state.path().join("spare")).expect("lists").count() == 0).await;
    }
}

#[tokio::test]
async fn an_exit_code_is_of_the_attempt_it_was_written_for() {
    let state = tempfile::tempdir().expect("a directory");
    let executor = shell(state.path(), "exit 3").await;
    let (first, next) = (unique("first"), unique("next"));
    executor.start(&attempt(&first)).await.expect("starts");
    exit(&executor, &first).await;
    executor.forget(&[AttemptId(first.clone())]).await.expect("forgets");
    executor.start(&attempt(&next)).await.expect("starts");
    exit(&executor, &next).await;
    // As a manager leaves it that is killed before it saw the end.
    let dir = state.path().join("attempts").join(&next);
    let exit = read(dir.join("exit"));
    assert!(exit.starts_with(&format!("{next} 3\n")), "{exit}");
    drop(executor);
    fs::write(dir.join("exit"), exit.replace(&next, &first)).expect("written");
    let executor = shell(state.path(), "exit 3").await;
    assert_eq!(over(&executor, &next).await, Phase::Lost);
}
