use std::fs;

use crate::Root;

use super::*;

/// A shell's script as attempt 1 at a stage below `top`.
fn work(top: &std::path::Path, script: &str) -> Work {
    let stage = Root::new(top).stage(&"detect".parse().expect("a name"));
    fs::create_dir_all(stage.path()).expect("made");
    Work {
        command: ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
        directory: None,
        inherited: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        environment: BTreeMap::new(),
        stage,
        attempt: 1,
        timeout: None,
        grace: Duration::from_secs(60),
        tail_bytes: 1 << 10,
        mark: Boot::new(),
        oom: OomCounter::default(),
    }
}

#[tokio::test]
async fn who_cannot_say_that_it_runs_stops_it() {
    let top = tempfile::tempdir().expect("a directory");
    let (_stopper, stop) = stop();
    let full = |_, _| Err(io::Error::from(io::ErrorKind::StorageFull));
    let ended = run(work(top.path(), "exec sleep 1000"), stop, full).await;
    assert_eq!(ended.reason, Reason::MachineError, "{ended:?}");
    assert!(ended.message.contains("its volume is full") && ended.signal.is_some(), "{ended:?}");
}

#[tokio::test]
async fn several_run_beside_one_another_and_end_only_their_own() {
    let tops = [(); 4].map(|()| tempfile::tempdir().expect("a directory"));
    let mut running = Vec::new();
    for (n, top) in tops.iter().enumerate() {
        let pause = if n == 0 { "sleep 0.3" } else { "true" };
        let script = format!("sleep 1000 & {pause}; touch $OUTPUT_DIR/x; sleep 0.0{n}");
        let (stopper, stop) = stop();
        // Nobody is left who could stop it.
        drop(stopper);
        running.push(tokio::spawn(run(work(top.path(), &script), stop, |_, _| Ok(()))));
    }
    for run in running {
        let ended = run.await.expect("no panic");
        assert_eq!((ended.reason, ended.outputs.files), (Reason::Completed, 1), "{ended:?}");
    }
}

#[tokio::test]
async fn asked_again_the_shorter_grace_counts() {
    let top = tempfile::tempdir().expect("a directory");
    let (stopper, stop) = stop();
    let deaf = work(top.path(), "trap '' TERM; touch $OUTPUT_DIR/up; while :; do sleep 0.01; done");
    let up = deaf.stage.partial(1).join("up");
    let running = tokio::spawn(run(deaf, stop, |_, _| Ok(())));
    while !up.exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // A grace that nobody can reckon with is no grace for ever.
    stopper.stop(Duration::MAX);
    stopper.stop(Duration::ZERO);
    let ended = running.await.expect("no panic");
    assert_eq!((ended.reason, ended.signal), (Reason::Cancelled, Some(9)), "{ended:?}");
    assert!(up.exists(), "what it left lies there until it is cleared away");
    clear(&Root::new(top.path()).stage(&"detect".parse().expect("a name"))).await.expect("cleared");
    assert!(!up.exists());
}

#[tokio::test]
async fn what_dead_lives_have_left_running_is_ended_and_nobody_elses() {
    let top = tempfile::tempdir().expect("a directory");
    let (_stopper, stop) = stop();
    let living = work(top.path(), "touch $OUTPUT_DIR/up; sleep 1000");
    let (mark, up) = (living.mark.clone(), living.stage.partial(1).join("up"));
    let running = tokio::spawn(run(living, stop, |_, _| Ok(())));
    while !up.exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(end_leftovers(&[Boot::new(), Boot::new()]).await.expect("looks"), 0);
    assert!(!running.is_finished());
    assert!(end_leftovers(&[mark]).await.expect("looks") > 0);
    assert_eq!(running.await.expect("no panic").reason, Reason::Killed);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let top = tempfile::tempdir().expect("a directory");
    let (_stopper, stop) = stop();
    let work = work(top.path(), "true");
    fs::remove_dir(work.stage.path()).expect("removed");
    let ended = run(work, stop, |_, _| Ok(())).await;
    assert_eq!(ended.reason, Reason::MachineError);
    assert!(ended.message.contains("stages/detect") && ended.started_at.is_none(), "{ended:?}");
}
