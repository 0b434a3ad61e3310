//! Ending what carries a mark, whoever's child it is.

use std::process::{Command, Stdio};
use std::time::Duration;

use process::Mark;

use crate::tools::{count, unique, until};

/// A child that is not the library's; a test that fails leaves none behind.
struct Foreign(std::process::Child);

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn foreign(script: &str) -> (Foreign, Mark) {
    let mark = unique();
    let child = Command::new("/bin/bash")
        .args(["-c", script])
        .env("TEST_MARK", &mark)
        .stdin(Stdio::null())
        .spawn()
        .expect("starts");
    (Foreign(child), Mark::environment("TEST_MARK", mark))
}

#[tokio::test]
async fn carriers_are_found_whatever_they_did_to_get_away() {
    let (mut child, mark) = foreign("(setsid sh -c 'sleep 1000; :' &) ; exec -a 'other name' sleep 1000");
    // Its name is changed last: what it was before has a shell beside it that is about to end.
    let comm = format!("/proc/{}/comm", child.0.id());
    let is_renamed = || std::fs::read_to_string(&comm).is_ok_and(|comm| comm == "sleep\n");
    until("three run", || is_renamed() && count(&mark) == 3).await;
    let purged = process::end(std::slice::from_ref(&mark), Duration::from_secs(5)).await.expect("ends them");
    assert_eq!((purged.ended, purged.survivors.len(), count(&mark)), (3, 0, 0));
    assert!(!child.0.wait().expect("is ours to reap").success());
    assert_eq!(process::end(&[mark], Duration::ZERO).await.expect("finds none").ended, 0);
}

#[tokio::test]
async fn a_value_that_begins_alike_is_another_mark() {
    let (mut child, mark) = foreign("exec sleep 1000");
    until("it runs", || count(&mark) == 1).await;
    let Mark::Environment { name, value } = &mark else { panic!("another kind") };
    let longer = Mark::environment(name, format!("{}0", value.display()));
    let shorter = Mark::environment(name, &value.to_string_lossy()[1..]);
    let other = Mark::environment("EST_MARK", value);
    assert_eq!([count(&longer), count(&shorter), count(&other)], [0, 0, 0]);
    process::end(&[mark], Duration::ZERO).await.expect("ends it");
    child.0.wait().expect("reaped");
}

#[tokio::test]
async fn who_ignores_term_gets_kill_and_who_breeds_is_outrun() {
    let (mut child, mark) = foreign("trap '' TERM; while :; do setsid sleep 1000 & sleep 0.01; done");
    until("some run", || count(&mark) > 5).await;
    process::end(std::slice::from_ref(&mark), Duration::from_millis(50)).await.expect("ends them");
    assert_eq!(count(&mark), 0);
    child.0.wait().expect("reaped");
}

#[tokio::test]
async fn terminate_asks_once_and_does_not_wait() {
    let (mut child, mark) = foreign("trap 'exit 5' TERM; kill -STOP $$; exit 1");
    let stat = format!("/proc/{}/stat", child.0.id());
    until("it is stopped", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))).await;
    assert_eq!(process::terminate(&[mark]).await.expect("asks"), 1);
    until("it has ended", || child.0.try_wait().expect("is ours to reap").is_some()).await;
    assert_eq!(child.0.wait().expect("reaped").code(), Some(5));
}

#[tokio::test]
async fn an_open_file_is_a_mark_even_when_it_is_unlinked() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lock");
    let file = std::fs::File::create(&path).expect("made");
    let mark = Mark::open_file(&path).expect("resolves");
    let child = Command::new("/bin/sleep").arg("1000").env_clear().stdin(file).spawn();
    let mut child = Foreign(child.expect("starts"));
    until("it runs", || count(&mark) == 1).await;
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(process::end(&[mark], Duration::from_secs(5)).await.expect("ends it").ended, 1);
    child.0.wait().expect("reaped");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_just_being_spawned_is_not_taken_for_a_holder_of_what_we_have_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("lock");
    let _open = std::fs::File::create(&path).expect("made");
    let mark = Mark::open_file(&path).expect("resolves");
    let spawning = tokio::task::spawn_blocking(|| {
        for _ in 0..300 {
            assert!(Command::new("/bin/true").status().expect("runs").success());
        }
    });
    while !spawning.is_finished() {
        assert_eq!(process::end(std::slice::from_ref(&mark), Duration::ZERO).await.expect("looks").ended, 0);
    }
    spawning.await.expect("nobody was killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_executes_one_program_after_another_is_found_at_any_instant() {
    let script = "n=${1:-0}; [ $n -lt 2000 ] && exec sh -c \"$2\" sh $((n + 1)) \"$2\"; exec sleep 1000";
    let mark = unique();
    let mut command = Command::new("/bin/sh");
    let child = command.args(["-c", script, "sh", "0", script]).env("TEST_MARK", &mark).spawn();
    let mut child = Foreign(child.expect("starts"));
    let mark = Mark::environment("TEST_MARK", mark);
    for _ in 0..300 {
        assert_eq!(count(&mark), 1);
    }
    process::end(&[mark], Duration::ZERO).await.expect("ends it");
    child.0.wait().expect("reaped");
}

mod needs_python {
    use super::*;

    #[tokio::test]
    async fn a_process_whose_first_thread_has_ended_is_found() {
        let script = "import ctypes, platform, threading, time\n\
                      threading.Thread(target=lambda: time.sleep(1000)).start()\n\
                      ctypes.CDLL(None).syscall(60 if platform.machine() == 'x86_64' else 93, 0)";
        let mark = unique();
        let child = Command::new("python3").args(["-c", script]).env("TEST_MARK", &mark).spawn();
        let mut child = Foreign(child.expect("starts"));
        let mark = Mark::environment("TEST_MARK", mark);
        let stat = format!("/proc/{}/stat", child.0.id());
        until("its first thread has ended", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")))
            .await;
        assert_eq!(count(&mark), 1);
        assert_eq!(
            process::end(std::slice::from_ref(&mark), Duration::from_millis(20)).await.expect("ends it").ended,
            1
        );
        assert_eq!(count(&mark), 0);
        child.0.wait().expect("reaped");
    }
}
