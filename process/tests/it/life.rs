//! How children end, and that nothing of them is left.

use std::time::Duration;

use process::{Child, Exit, Mark, Output, Spec};

/// A mark no other test has.
fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn shell(script: &str) -> (Spec, Mark) {
    let mark = unique();
    let spec = Spec::new("/bin/sh")
        .args(["-c", script])
        .env("PATH", "/usr/bin:/bin")
        .mark("TEST_MARK", &mark)
        .stdout(Output::Tail { keep: 1 << 20 });
    (spec, Mark::environment("TEST_MARK", &mark))
}

async fn ready(child: &Child, mark: &Mark, processes: usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while mark.carriers().expect("reads /proc").len() < processes {
        assert!(tokio::time::Instant::now() < deadline, "child {} never had {processes} processes", child.id());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn codes_and_signals_are_told_apart() {
    for code in [0u8, 1, 63, 127, 255] {
        let (spec, _) = shell(&format!("exit {code}"));
        assert_eq!(spec.spawn().expect("starts").wait().await.expect("ends").exit, Exit::Code(code));
    }
    let (spec, _) = shell("kill -9 $$");
    let ended = spec.spawn().expect("starts").wait().await.expect("ends");
    assert_eq!((ended.exit, ended.exit.code()), (Exit::Signal(9), 137));
}

#[tokio::test]
async fn a_grandchild_that_left_the_session_and_holds_the_pipe_is_ended() {
    let (spec, mark) = shell("setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' & echo up; exit 3");
    let ended = spec.leftover_grace(Duration::from_millis(50)).spawn().expect("starts").wait().await.expect("ends");
    assert_eq!(ended.exit, Exit::Code(3));
    assert_eq!(ended.stdout.bytes, b"up\n");
    assert!(ended.leftovers >= 1, "{ended:?}");
    assert_eq!(mark.carriers().expect("reads"), [0u32; 0]);
}

#[tokio::test]
async fn who_ignores_term_is_killed_after_the_grace() {
    let (spec, mark) = shell("trap '' TERM; while :; do sleep 1000; done");
    let child = spec.spawn().expect("starts");
    ready(&child, &mark, 2).await;
    let ended = child.stop(Duration::from_millis(50)).await.expect("ends");
    assert_eq!(ended.exit, Exit::Signal(9));
    assert_eq!(mark.carriers().expect("reads"), [0u32; 0]);
}
