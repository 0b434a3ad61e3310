//! What a child may use at the most.

use process::{Exit, Limits};

use crate::tools::shell;

/// Runs `script` once the limit that `ulimit` calls `flag` is set: it is, a moment after the start.
async fn limited(flag: &str, limits: Limits, script: &str) -> (Exit, String) {
    let until = format!("n=0; while [ \"$(ulimit {flag})\" = unlimited ] && [ $n -lt 100000 ]; do n=$((n+1)); done");
    let (spec, _) = shell(&format!("{until}; {script}"));
    let ended = spec.limits(limits).spawn().expect("starts").wait().await.expect("ends");
    (ended.exit, String::from_utf8_lossy(&ended.stdout.bytes).into_owned())
}

#[tokio::test]
async fn a_file_ends_at_its_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    let limits = Limits { file: Some(8192), ..Limits::default() };
    let (exit, _) = limited("-f", limits, &format!("exec head -c 100000 /dev/zero >{}", file.display())).await;
    assert_eq!(exit, Exit::Signal(25), "SIGXFSZ");
    assert_eq!(file.metadata().expect("is there").len(), 8192);
}

#[tokio::test]
async fn memory_ends_at_its_limit_also_for_what_the_child_starts() {
    let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    // tail holds all of a line that does not end.
    let (_, counted) = limited("-d", limits, "head -c 200000000 /dev/zero | tail -n 1 2>&1 | tail -c 100").await;
    assert!(counted.contains("exhausted") || counted.contains("allocate"), "{counted:?}");
    let (_, counted) = limited("-d", limits, "head -c 2000000 /dev/zero | tail -n 1 | wc -c").await;
    assert_eq!(counted.trim(), "2000000");
}

#[tokio::test]
async fn what_a_child_held_at_most_is_told_also_of_those_it_waited_for() {
    let peak = async |script: &str| {
        let (spec, _) = shell(script);
        spec.spawn().expect("starts").wait().await.expect("ends").peak_memory
    };
    // A line has no end here, so that tail holds all of it.
    let large = peak("head -c 150m /dev/zero | tail -n 1 >/dev/null").await.expect("this kernel counts");
    assert!(large > 150 << 20 && large < 1 << 30, "{large}");
}

#[tokio::test]
async fn what_we_held_ourselves_is_not_told_of_a_child() {
    let held = vec![1u8; 32 << 20];
    let (spec, _) = shell("true");
    let ended = spec.spawn().expect("starts").wait().await.expect("ends");
    assert_eq!((ended.exit, ended.peak_memory), (Exit::Code(0), None));
    drop(std::hint::black_box(held));
}
