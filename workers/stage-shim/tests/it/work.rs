//! What a command is given, and what becomes of what it writes.

use stage::protocol::Reason;

use crate::tools::{Pod, Shim, mode, read, runs};

#[test]
fn a_command_runs_on_a_go_and_hands_over() {
    let pod = Pod::new();
    let shim = pod.shim(&["/bin/sh", "-c", "echo said; echo told >&2; cp $0 $OUTPUT_DIR/out.txt; mkdir $OUTPUT_DIR/d; head -c 64m /dev/zero | tail -n 1 >/dev/null; echo $TMPDIR $1 >$OUTPUT_DIR/d/x; touch $TMPDIR/t", "/etc/hostname", "$(INPUT_FILE)"]);
    let adapter = pod.adapter();
    let boot = adapter.go(1);
    let started = adapter.started(1);
    assert_eq!(started.boot, boot);
    let ended = adapter.result(1);
    assert_eq!(ended.reason, Reason::Completed, "{ended:?}");
    assert_eq!((ended.exit_code, ended.signal), (Some(0), None));
    assert_eq!((ended.stdout_tail.as_str(), ended.stderr_tail.as_str()), ("said\n", "told\n"));
    assert_eq!(ended.started_at, Some(started.at));
    assert_eq!(ended.outputs.files, 2);
    assert!(ended.peak_memory.is_some_and(|bytes| bytes > 64 << 20), "{ended:?}");
    assert_eq!(read(pod.dir.out().join("out.txt")), read("/etc/hostname".into()));
    assert_eq!(read(pod.dir.out().join("d/x")), format!("{} /in/a.mp4\n", pod.dir.temporary().display()));
    adapter.done();
    let (status, said) = shim.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("said\n") && said.contains("told\n"), "{said}");
    assert!(!pod.dir.temporary().exists() && !pod.dir.partial(1).exists());
}

#[test]
fn a_command_gets_what_it_is_told_and_none_of_our_settings() {
    let pod = Pod::new();
    let mut command = pod.command(&["/bin/sh", "-c", "env | sort >$OUTPUT_DIR/env; cat >$OUTPUT_DIR/stdin"]);
    command.env_clear().envs([("PATH", "/usr/bin:/bin"), ("INPUT_FILE", "of the image"), ("MODEL", "small")]);
    command.envs([("LONGSHORE_GRACE", "3s"), ("LONGSHORE_STAGE", "other"), ("LONGSHORE_FAULT_LOG", "/dev/null")]);
    let _shim = Shim::start(command);
    let adapter = pod.adapter();
    let boot = pod.hello(None).boot;
    let mut go = adapter.order(&boot, 3);
    go.environment.insert("NEEDS_CUT".into(), "/longshore/stages/cut/out".into());
    go.environment.insert("OUTPUT_DIR".into(), "/elsewhere".into());
    adapter.send(&go);
    assert_eq!(adapter.result(3).reason, Reason::Completed);
    let env = read(pod.dir.out().join("env"));
    let env: Vec<&str> = env.lines().filter(|line| !line.starts_with("_=") && !line.starts_with("PWD=")).collect();
    let partial = format!("OUTPUT_DIR={}", pod.dir.partial(3).display());
    let (mark, temporary) =
        (format!("LONGSHORE_STAGE_RUN={boot}"), format!("TMPDIR={}", pod.dir.temporary().display()));
    assert_eq!(
        env,
        [
            "INPUT_FILE=/in/a.mp4",
            &mark,
            "MODEL=small",
            "NEEDS_CUT=/longshore/stages/cut/out",
            &partial,
            "PATH=/usr/bin:/bin",
            &temporary,
        ]
    );
    assert_eq!(read(pod.dir.out().join("stdin")), "");
}

#[test]
fn an_attempt_begins_with_nothing_of_the_one_before() {
    let pod = Pod::new();
    let script = "[ -z \"$(ls -A $OUTPUT_DIR $TMPDIR | grep -v : )\" ] || exit 9; touch $OUTPUT_DIR/x $TMPDIR/x; case $STAGE_ATTEMPT in 1|4) exit 1; esac";
    let _shim = pod.script(script);
    let adapter = pod.adapter();
    let boot = pod.hello(None).boot;
    for (attempt, code) in [(1, 1), (2, 0), (3, 0), (4, 1)] {
        let mut go = adapter.order(&boot, attempt);
        go.environment.insert("STAGE_ATTEMPT".into(), attempt.to_string());
        adapter.send(&go);
        let ended = adapter.result(attempt);
        assert_eq!(ended.exit_code, Some(code), "{ended:?}");
        assert_eq!(pod.dir.out().join("x").exists(), code == 0);
    }
}

#[test]
fn how_a_command_ends_is_said_in_one_word() {
    for (script, reason, code, signal) in [
        ("exit 3", Reason::Error, Some(3), None),
        ("kill -9 $$", Reason::Killed, None, Some(9)),
        ("kill -TERM $$", Reason::Killed, None, Some(15)),
        ("rmdir $OUTPUT_DIR", Reason::OutputUnusable, Some(0), None),
        ("rmdir $OUTPUT_DIR; ln -s /etc $OUTPUT_DIR", Reason::OutputUnusable, Some(0), None),
        ("mkfifo $OUTPUT_DIR/pipe", Reason::OutputUnusable, Some(0), None),
        ("ln -s /etc/passwd $OUTPUT_DIR/x", Reason::OutputUnusable, Some(0), None),
        // What was there, made anew: fine.
        ("rmdir $OUTPUT_DIR; mkdir -m 700 $OUTPUT_DIR", Reason::Completed, Some(0), None),
    ] {
        let pod = Pod::new();
        let _shim = pod.script(script);
        let ended = pod.adapter().run(1);
        assert_eq!((ended.reason, ended.exit_code, ended.signal), (reason, code, signal), "{script}: {ended:?}");
        assert_eq!(pod.dir.out().exists(), reason == Reason::Completed, "{script}");
    }
}

#[test]
fn a_command_that_cannot_be_run_is_told_from_one_that_is_not_there() {
    for (word, reason) in [
        ("no-such-command", Reason::CommandNotFound),
        ("/no/such/command", Reason::CommandNotFound),
        ("/etc/hostname", Reason::CommandNotExecutable),
        ("/etc", Reason::CommandNotExecutable),
    ] {
        let pod = Pod::new();
        let _shim = pod.shim(&[word]);
        let ended = pod.adapter().run(1);
        assert_eq!(ended.reason, reason, "{ended:?}");
        assert!(ended.message.contains(word) && ended.started_at.is_none(), "{ended:?}");
    }
}

#[test]
fn a_grandchild_that_holds_the_pipes_is_ended_and_not_waited_for() {
    let pod = Pod::new();
    let _shim = pod.script("setsid sleep 1000 & echo $! >$OUTPUT_DIR/pid; sleep 1000 & echo $! >>$OUTPUT_DIR/pid");
    let ended = pod.adapter().run(1);
    assert_eq!(ended.reason, Reason::Completed, "{ended:?}");
    for pid in read(pod.dir.out().join("pid")).lines() {
        assert!(!runs(pid.parse().expect("a pid")), "{pid} lives on and may write to what was handed over");
    }
}

#[test]
fn an_endless_output_is_kept_by_its_end() {
    let pod = Pod::new();
    // 4 MiB of what takes six bytes each in JSON.
    let _shim = pod.script("head -c 4194304 /dev/zero; head -c 4194304 /dev/zero >&2; echo; echo the end; exit 5");
    let adapter = pod.adapter();
    let mut go = adapter.order(&pod.hello(None).boot, 1);
    go.tail_bytes = u64::MAX;
    adapter.send(&go);
    let ended = adapter.result(1);
    assert_eq!((ended.reason, ended.exit_code), (Reason::Error, Some(5)));
    assert!(ended.stdout_tail.ends_with("the end\n"), "{} bytes", ended.stdout_tail.len());
}

#[test]
fn an_out_of_memory_kill_is_told_by_the_kernels_count() {
    for (grows, reason) in [(true, Reason::OomKilled), (false, Reason::Killed)] {
        let pod = Pod::new();
        let counter = pod.top.path().join("memory.events");
        std::fs::write(&counter, "low 0\noom 1\noom_kill 1\n").expect("written");
        let script = if grows { "echo 'oom_kill 2' >\"$COUNTER\"; kill -9 $$" } else { "kill -9 $$" };
        let mut command = pod.command(&["/bin/sh", "-c", script]);
        command.env("COUNTER", &counter).env("LONGSHORE_OOM_COUNTER", &counter);
        let _shim = Shim::start(command);
        let ended = pod.adapter().run(1);
        assert_eq!((ended.reason, ended.signal), (reason, Some(9)), "{ended:?}");
    }
}

#[test]
fn what_is_written_is_everybodys_to_read_whatever_the_umask() {
    let pod = Pod::new();
    let shim = env!("CARGO_BIN_EXE_stage-shim");
    let script = "mkdir $OUTPUT_DIR/d; echo x >$OUTPUT_DIR/d/f; cp /bin/true $OUTPUT_DIR/tool; chmod 0 $OUTPUT_DIR/d/f; ln -s d/f $OUTPUT_DIR/l";
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "umask 077; exec \"$@\"", "sh", shim, "--stage", "detect", "--root"]);
    command.arg(pod.top.path()).args(["--", "/bin/sh", "-c", script]);
    let _shim = Shim::start(command);
    let ended = pod.adapter().run(1);
    assert_eq!(ended.reason, Reason::Completed, "{ended:?}");
    let out = pod.dir.out();
    assert_eq!((mode(&out) & 0o777, mode(&out.join("d")) & 0o777), (0o755, 0o755));
    assert_eq!((mode(&out.join("d/f")), mode(&out.join("tool")) & 0o555), (0o444, 0o555));
    for message in ["hello.json", "heartbeat", "1.started.json", "1.result.json"] {
        assert_eq!(mode(&pod.dir.path().join(message)), 0o644, "{message}");
    }
}
