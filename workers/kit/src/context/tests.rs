//! Commands as a job runs them.

use std::sync::{Arc, Mutex};

use super::*;

fn runner(timeout: Option<Duration>) -> Runner {
    let path = [("PATH".into(), "/usr/bin:/bin".into())];
    Runner {
        environment: Environment::new(path, &[], &[]),
        nonce: format!("test{}", fastrand::u64(..)),
        shutdown: Shutdown::new(Duration::from_millis(200)),
        timeout,
        deadline: None,
        tail: 64,
        last: LastCommand::default(),
    }
}

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

#[tokio::test]
async fn captured_output_is_cut_and_the_rest_is_read() {
    let mut runner = runner(None);
    let exit = runner.run(sh("seq 100000; echo done >&2").capture_stdout(6)).await.expect("it runs");
    assert_eq!((exit.stdout.as_slice(), exit.stderr_tail.as_str()), (&b"1\n2\n3\n"[..], "done\n"));
    assert!(exit.success(), "it was not stopped by a full pipe");
    assert_eq!(runner.last.stdout_tail, "", "what a job parses is not what its report shows");
}

#[tokio::test]
async fn lines_come_one_by_one_and_long_ones_are_cut() {
    let mut runner = runner(None);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let script = "echo one; echo; head -c 200000 /dev/zero | tr '\\0' x; echo; printf last";
    let each = move |line: &[u8]| seen.lock().expect("no panic holds it").push((line.len(), line.first().copied()));
    runner.run(sh(script).stdout_lines(each)).await.expect("it runs").ok().expect("it ended well");
    let want = [(3, Some(b'o')), (0, None), (LONGEST_LINE, Some(b'x')), (4, Some(b'l'))];
    assert_eq!(*lines.lock().expect("no panic holds it"), want);
}

#[tokio::test]
async fn a_tail_begins_with_a_whole_line() {
    let mut runner = runner(None);
    let exit = runner.run(sh("for n in $(seq 100); do echo line $n >&2; done; exit 7")).await.expect("it runs");
    assert!(
        exit.stderr_tail.starts_with("line 9") && exit.stderr_tail.ends_with("line 100\n"),
        "{:?}",
        exit.stderr_tail
    );
    let error = exit.ok().expect_err("it failed");
    assert_eq!((error.code, error.command_code), (7, Some(7)));
    assert!(error.message.contains("line 100"), "{}", error.message);
}

#[tokio::test]
async fn the_timeout_is_for_all_commands_of_an_item_together() {
    let mut runner = runner(Some(Duration::from_secs(3600)));
    runner.run(sh("true")).await.expect("in time");
    // Most of the hour that has begun with the first is over.
    let end = runner.deadline.as_mut().expect("it has begun");
    *end = Instant::now() + Duration::from_millis(300);
    let error = runner.run(sh("sleep 30")).await.expect_err("the rest is too little");
    assert_eq!(error.code, exit::TIMEOUT);
    let error = runner.run(sh("sleep 30")).await.expect_err("nothing is left");
    assert_eq!(error.code, exit::TIMEOUT);
}

#[tokio::test]
async fn what_was_told_to_stop_starts_nothing_more() {
    let mut runner = runner(None);
    runner.shutdown.drain();
    let dir = tempfile::tempdir().expect("a directory");
    let error = runner.run(Command::new("touch").arg(dir.path().join("ran"))).await.expect_err("refused");
    assert_eq!((error.code, dir.path().join("ran").exists()), (143, false));
}

#[tokio::test]
async fn a_jobs_own_variables_come_on_top() {
    let mut runner = runner(None);
    runner.environment.set("A", "inherited");
    let command = sh("echo $A $B").env("A", "own").env("B", "more").capture_stdout(100);
    assert_eq!(runner.run(command).await.expect("it runs").stdout, b"own more\n");
}

#[tokio::test]
async fn captured_errors_are_kept_whatever_the_report_shows() {
    let mut runner = runner(None);
    let script = "for n in $(seq 1000); do echo line $n >&2; done";
    let exit = runner.run(sh(script).capture_stderr(1 << 20)).await.expect("it runs");
    assert!(exit.stderr_tail.starts_with("line 1\n") && exit.stderr_whole, "{:?}", exit.stderr_tail);
    let shown = &runner.last.stderr_tail;
    assert!(shown.starts_with("line 99") && shown.ends_with("line 1000\n") && shown.len() <= 64, "{shown:?}");
    let exit = runner.run(sh(script).capture_stderr(70)).await.expect("it runs");
    assert!(exit.stderr_tail.starts_with("line 99") && !exit.stderr_whole, "{:?}", exit.stderr_tail);
}

#[test]
fn the_last_lines_are_whole() {
    assert_eq!(last_lines("one\ntwo\n", 8), "one\ntwo\n");
    assert_eq!(last_lines("one\ntwo\n", 7), "two\n");
    assert_eq!(last_lines("one\ntwo\n", 4), "two\n");
    assert_eq!(last_lines("one\ntwo\n", 3), "");
    assert_eq!(last_lines("\u{e9}\u{e9}\u{e9}", 3), "");
}

#[tokio::test]
async fn a_command_ends_on_the_jobs_own_condition() {
    let mut runner = runner(None);
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let condition = async move {
        told.await.expect("the sender lives until it has sent");
        JobError::new(exit::CANT_CREATE, "TooMuch", "it is too much")
    };
    let mut tell = Some(tell);
    let command = sh("echo ready; exec sleep 1000").stdout_lines(move |_| {
        tell.take().expect("one line").send(()).expect("the condition is waited for");
    });
    let error = runner.run(command.stop_when(condition)).await.expect_err("it was stopped");
    assert_eq!((error.code, error.reason), (exit::CANT_CREATE, "TooMuch"));
    assert_eq!(runner.last.signal, Some(15));
}

#[tokio::test]
async fn a_command_runs_where_and_within_what_it_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = process::Limits { file: Some(8192), ..process::Limits::default() };
    let wait = "n=0; while [ \"$(ulimit -f)\" = unlimited ] && [ $n -lt 100000 ]; do n=$((n+1)); done";
    let command = sh(&format!("{wait}; exec head -c 9000 /dev/zero >file")).cwd(dir.path()).limits(limits);
    let exit = runner(None).run(command).await.expect("it runs");
    assert_eq!(exit.signal, Some(25), "SIGXFSZ");
    assert_eq!(dir.path().join("file").metadata().expect("it is there").len(), 8192);
}

#[tokio::test]
async fn a_command_may_be_kept_from_a_variable() {
    let mut runner = runner(None);
    runner.environment.set("REPORT", "yes");
    let say = || sh("echo ${REPORT-none} ${OTHER-none}").env("OTHER", "yes").capture_stdout(64);
    let exit = runner.run(say().env_remove("REPORT")).await.expect("it runs");
    assert_eq!(exit.stdout, b"none yes\n");
    assert_eq!(runner.run(say()).await.expect("it runs").stdout, b"yes yes\n");
}
