//! What needs a process of its own: this very binary, running one ignored test.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use process::{Exit, Output, Spec};

use crate::tools::{exists, shell, unique, until};

fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args(["--exact", &format!("alone::{test}"), "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

#[tokio::test]
#[ignore = "run by the_only_child_s_strays_are_ended in a process of its own"]
async fn stray() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("pid");
    // Neither mark, nor group, nor session, nor parent is left to know it by.
    let script = format!(
        "(env -i /usr/bin/setsid /bin/sh -c 'echo $$ > {p}; exec /bin/sleep 1000' &); while ! test -s {p}; do sleep 0.01; done",
        p = file.display()
    );
    let (spec, _) = shell(&script);
    let ended = spec.spawn().expect("starts").wait().await.expect("ends");
    let pid = std::fs::read_to_string(&file).expect("written").trim().parse().expect("a pid");
    assert!(!exists(pid), "{pid} lives on after {ended:?}");
}

#[test]
fn the_only_child_s_strays_are_ended() {
    assert!(alone("stray").status().expect("runs").success());
}

#[tokio::test]
#[ignore = "run by the tests of tee in a process of its own"]
async fn teeing() {
    let (spec, _) = shell("printf '\\0\\377'; yes | head -n 100000 | tr -d '\\n'; echo end; exit 4");
    let child = spec.stdout(Output::Tee { keep: 4 }).stderr(Output::Tee { keep: 4 }).spawn().expect("starts");
    let ended = child.wait().await.expect("ends");
    assert_eq!((ended.exit, &ended.stdout.bytes[..], ended.stdout.total), (Exit::Code(4), &b"end\n"[..], 100_006));
}

#[test]
fn a_tee_passes_every_byte() {
    let output = alone("teeing").output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let at = output.stdout.windows(2).position(|two| two == b"\0\xff").expect("passed on");
    let passed = &output.stdout[at + 2..][..100_004];
    assert!(passed.starts_with(b"yyyy") && passed.ends_with(b"yend\n"));
}

#[test]
fn a_reader_that_is_gone_does_not_end_the_child_behind_a_tee() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    // The harness itself must not write to it: its own lines go to stdout, so stdout is replaced for the tee alone.
    let mut child = alone("teeing_to_nobody").stderr(writer).stdout(Stdio::null()).spawn().expect("runs");
    assert!(child.wait().expect("ends").success());
}

#[tokio::test]
#[ignore = "run by a_reader_that_is_gone_does_not_end_the_child_behind_a_tee in a process of its own"]
async fn teeing_to_nobody() {
    let (spec, _) = shell("yes | head -n 100000 >&2; echo end >&2; exit 4");
    let ended = spec.stderr(Output::Tee { keep: 4 }).spawn().expect("starts").wait().await.expect("ends");
    assert_eq!((ended.exit, &ended.stderr.bytes[..]), (Exit::Code(4), &b"end\n"[..]));
}

#[test]
fn a_reader_that_hangs_slows_the_child_and_does_not_hang_the_end() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut child = alone("teeing_to_a_sleeper").stderr(writer).stdout(Stdio::null()).spawn().expect("runs");
    assert!(child.wait().expect("ends").success());
    let mut first = [0; 2];
    reader.read_exact(&mut first).expect("something had come");
    assert_eq!(&first, b"y\n");
}

#[test]
#[ignore = "run by a_reader_that_hangs_slows_the_child_and_does_not_hang_the_end in a process of its own"]
fn teeing_to_a_sleeper() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runs");
    runtime.block_on(async {
        // More than all buffers on the way hold: the child can only end by being stopped.
        let (spec, _) = shell("exec yes >&2");
        let child = spec.stderr(Output::Tee { keep: 4 }).spawn().expect("starts");
        assert!(tokio::time::timeout(Duration::from_millis(300), child.wait()).await.is_err());
        let ended = child.stop(Duration::from_secs(60)).await.expect("ends");
        assert_eq!(ended.exit, Exit::Signal(15));
        assert!(ended.stderr.total < 10_000_000, "the reader slowed nothing down");
    });
    // As every program of ours ends: a write that hangs is not waited for.
    runtime.shutdown_background();
}

mod needs_strace {
    use super::*;

    #[tokio::test]
    #[ignore = "run by a_child_is_spawned_without_forking_this_process under strace"]
    async fn spawning() {
        let spec = Spec::new("true").arg("spawned").env("PATH", "/usr/bin:/bin").cwd("/").mark("TEST_MARK", unique());
        let spec = spec.stdin(File::open("/dev/null").expect("opens")).stdout(Output::Tail { keep: 1 });
        assert_eq!(spec.spawn().expect("starts").wait().await.expect("ends").exit, Exit::Code(0));
    }

    #[test]
    fn a_child_is_spawned_without_forking_this_process() {
        let dir = tempfile::tempdir().expect("a directory");
        let trace = dir.path().join("trace");
        let test = alone("needs_strace::spawning");
        let status = Command::new("strace")
            .args(["-f", "-e", "trace=clone,clone3,fork,vfork,execve,openat", "-o"])
            .arg(&trace)
            .arg(test.get_program())
            .args(test.get_args())
            .stdout(Stdio::null())
            .status()
            .expect("strace is installed");
        assert!(status.success());
        let trace = std::fs::read_to_string(&trace).expect("traced");
        let pid = trace
            .lines()
            .find(|line| line.contains("execve(") && line.contains("spawned"))
            .and_then(|line| line.split_whitespace().next())
            .expect("it was executed");
        let made = trace.lines().find(|line| line.contains("clone") && line.contains("VFORK")).expect("no vfork");
        assert!(made.contains("CLONE_VM"), "{made}");
        assert!(!trace.lines().any(|line| line.contains("fork(")), "{pid} was forked:\n{trace}");
        let scanned = trace.lines().find(|line| line.contains("\"/proc\"") || line.contains("/environ"));
        assert_eq!(scanned, None, "it left nothing behind, and the whole process table was looked through");
    }
}

mod needs_python {
    use super::*;

    #[tokio::test]
    #[ignore = "run by a_sibling_it_made_itself_is_ended in a process of its own"]
    async fn sibling() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        // CLONE_PARENT: its child is ours from the beginning, and never an orphan.
        let script = "import ctypes, os, platform, time\n\
                      clone = 56 if platform.machine() == 'x86_64' else 220\n\
                      pid = ctypes.CDLL(None).syscall(clone, 0x8000 | 17, 0, 0, 0, 0)\n\
                      if pid == 0:\n\
                      \x20 os.setsid()\n\
                      \x20 os.execve('/bin/sleep', ['sleep', '1000'], {})\n\
                      while 'sleep' not in open(f'/proc/{pid}/comm').read(): time.sleep(0.001)\n\
                      open(os.environ['FILE'], 'w').write(str(pid))";
        let path = std::env::vars_os().find(|(name, _)| name == "PATH").expect("there is one").1;
        let spec = Spec::new("python3").args(["-c", script]).env("PATH", path).env("FILE", &file);
        let ended = spec.spawn().expect("starts").wait().await.expect("ends");
        let pid = std::fs::read_to_string(&file).expect("written").trim().parse().expect("a pid");
        assert!(!exists(pid), "{pid} lives on after {ended:?}");
        assert_eq!((ended.exit, ended.leftovers), (Exit::Code(0), 1));
    }

    /// Whoever opens the file hangs until there is one named `release` beside it, as on a server that is away.
    const HOLDS: &str = "import fcntl, os, signal, sys, time\n\
                         signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
                         os.chdir(sys.argv[1])\n\
                         held = os.open('program', os.O_RDONLY)\n\
                         fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
                         open('held', 'x')\n\
                         while not os.path.exists('release'): time.sleep(0.005)\n\
                         fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)";

    #[tokio::test]
    #[ignore = "run by an_exec_that_hangs_keeps_nobody_else_waiting in a process of its own"]
    async fn hanging() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::copy("/bin/true", at("program")).expect("copied");
        let path = std::env::vars_os().find(|(name, _)| name == "PATH").expect("there is one").1;
        let holder = Spec::new("python3").args(["-c", HOLDS]).arg(dir.path()).env("PATH", path);
        let holder = holder.spawn().expect("starts");
        let stray = "(env -i setsid sh -c 'echo $$ >stray; exec sleep 1000' </dev/null >/dev/null 2>&1 &)";
        let waiting = |script: &str| {
            let script = format!("while ! test -e hangs; do sleep 0.01; done; {script}");
            shell(&script).0.cwd(dir.path()).spawn().expect("starts")
        };
        let clean = waiting("exit 3");
        let dirty =
            waiting(&format!("while ! test -e next; do sleep 0.01; done; {stray}; until test -s stray; do :; done"));
        until("the program is held", || at("held").exists()).await;

        let (program, runtime) = (at("program"), tokio::runtime::Handle::current());
        let hung = std::thread::spawn(move || {
            let _entered = runtime.enter();
            Spec::new(program).spawn().expect("starts at last")
        });
        let children = || {
            let tasks = std::fs::read_dir("/proc/self/task").expect("lists").flatten();
            let of =
                |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            tasks.map(|task| of(task).split_whitespace().count()).sum::<usize>()
        };
        until("it is being spawned", || children() == 4).await;

        File::create_new(at("hangs")).expect("made");
        let ended = clean.wait().await.expect("ends");
        assert_eq!((ended.exit, ended.alone), (Exit::Code(3), true));
        let (later, _) = shell("exit 4");
        let ended = later.spawn().expect("starts").wait().await.expect("ends");
        assert_eq!((ended.exit, ended.alone), (Exit::Code(4), true));
        File::create_new(at("next")).expect("made");
        let ended = dirty.wait().await.expect("ends");
        assert_eq!((ended.exit, ended.alone), (Exit::Code(0), false), "it left somebody behind");
        assert!(!hung.is_finished(), "the exec did not hang so long");

        File::create_new(at("release")).expect("made");
        let hung = hung.join().expect("spawned").wait().await.expect("ends");
        assert_eq!(hung.exit, Exit::Code(0), "it was taken for something left behind");
        assert_eq!(holder.wait().await.expect("ends").exit, Exit::Code(0));
        let stray = std::fs::read_to_string(at("stray")).expect("written");
        // Unless one of the two was the only child when it ended.
        Command::new("kill").args(["-9", stray.trim()]).stderr(Stdio::null()).status().expect("runs");
    }

    #[test]
    fn an_exec_that_hangs_keeps_nobody_else_waiting() {
        assert!(alone("needs_python::hanging").status().expect("runs").success());
    }

    #[test]
    fn a_sibling_it_made_itself_is_ended() {
        assert!(alone("needs_python::sibling").status().expect("runs").success());
    }
}

mod needs_mount {
    use super::*;

    /// As in a container: the runtime that put us into the pid namespace stays outside, and our session and group are its.
    #[test]
    fn a_session_whose_leader_is_in_another_pid_namespace_is_as_good() {
        let within = alone("stray");
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]).arg(within.get_program());
        assert!(unshare.args(within.get_args()).status().expect("util-linux is there").success());
    }
}
