//! Who is silent and not dead, and who is dead where no lock tells: processes that are stopped for longer than anybody's heart
//! may stand still, locks that do not cross containers, and clocks that jump. These take as long as a heartbeat does.

use std::fs::{self, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use longshore_tests::wait_until;
use rustix::process::Signal;

use crate::stages::pod::{Pod, each, heart};

/// So often the number of a side that lives has grown when a side that is silent for as long is dead: five looks, of two
/// seconds each, and one or two more.
const TOO_LONG: u64 = 7;

fn pod(fields: &str) -> Pod {
    let detect = "until [ -e $IN/open ]; do sleep 0.01; done; echo whole >$OUTPUT_DIR/x";
    Pod::chain(&[("detect", detect, fields), ("blur", "cp $INPUT_FILE $OUTPUT_DIR/y", "startTimeout: 8s")])
}

/// Waits until a heart has beaten so often that everybody who was silent meanwhile might be taken for dead.
fn silence(dir: &Path) {
    let begun = heart(dir).expect("somebody lives");
    wait_until("a heart to beat", || heart(dir).filter(|number| *number >= begun + TOO_LONG));
}

/// Gives everything in a side's directory a time, as a clock that jumps would.
fn stamp(dir: &Path, time: SystemTime) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // It may be replaced as we look.
        if let Ok(file) = fs::File::open(entry.path()) {
            let _ = file.set_times(FileTimes::new().set_accessed(time).set_modified(time));
        }
    }
}

#[test]
fn silence_is_not_death_and_death_is_known_without_locks() {
    let cases: [(&str, fn()); 10] = [
        ("the adapter is stopped while a stage runs", || stopped_adapter(&[])),
        ("the adapter is stopped, and no stage has a lock", || stopped_adapter(&["--no-lock"])),
        ("the adapter is stopped before anybody is there", stopped_before_anybody),
        ("the adapter is stopped where its stages see no lock of its own", || stopped_without_a_lock("", 137, "Lost")),
        ("the same, and the stage may be retried", || {
            stopped_without_a_lock("retries: {limit: 1, backoff: 1ms, on: [Lost]}", 0, "Published");
        }),
        ("a shim is stopped", stopped_shim),
        ("a shim is stopped for longer than one may hang", hanging_shim),
        ("a shim without a lock is killed", || killed_without_a_lock("stages/detect")),
        ("an adapter without a lock is killed", || killed_without_a_lock("adapter")),
        ("clocks jump", jumps),
    ];
    each(cases, |(_, case)| case());
}

fn stopped_adapter(flags: &[&str]) {
    let pod = pod("");
    let mut sidecars = pod.sidecars_but("detect", |shim| shim.args(flags));
    let adapter = pod.adapter().start();
    pod.started("detect", 1);
    adapter.signal(Signal::STOP);
    silence(&pod.stage("detect"));
    adapter.signal(Signal::CONT);
    pod.open();
    sidecars.finish(adapter).assert(&pod, "stopped", 0, "Published");
    pod.assert_clean();
}

/// Its patience for those who have not come yet counts what it was awake for only.
fn stopped_before_anybody() {
    let pod = pod("startTimeout: 8s");
    pod.open();
    let clock = Pod::chain(&[("other", "exit 0", "")]);
    let _other = clock.sidecars();
    clock.hello("other", None);
    let adapter = pod.adapter().start();
    wait_until("the adapter lives", || pod.said("adapter/hello.json"));
    adapter.signal(Signal::STOP);
    silence(&clock.stage("other"));
    // However long these take to start: it is not awake, and by its own count hardly any time has gone by.
    let mut sidecars = pod.sidecars();
    for stage in ["detect", "blur"] {
        pod.hello(stage, None);
    }
    adapter.signal(Signal::CONT);
    sidecars.finish(adapter).assert(&pod, "stopped before anybody came", 0, "Published");
}

/// The stages cannot but take it for dead. It hears that they did.
fn stopped_without_a_lock(retries: &str, code: i32, reason: &str) {
    let pod = pod(retries);
    let mut sidecars = pod.sidecars();
    let adapter = pod.adapter().args(&["--no-lock"]).start();
    pod.started("detect", 1);
    adapter.signal(Signal::STOP);
    wait_until("the stage to take it for dead", || {
        sidecars.tend();
        pod.log().contains("its heartbeat stands still").then_some(())
    });
    adapter.signal(Signal::CONT);
    pod.open();
    sidecars.finish(adapter).assert(&pod, "stopped without a lock", code, reason);
}

fn stopped_shim() {
    let pod = pod("");
    let mut sidecars = pod.sidecars();
    let adapter = pod.adapter().start();
    pod.started("detect", 1);
    sidecars.of("detect").signal(Signal::STOP);
    pod.open();
    silence(&pod.path("pod/adapter"));
    sidecars.of("detect").signal(Signal::CONT);
    sidecars.finish(adapter).assert(&pod, "a stopped shim", 0, "Published");
}

/// Its lock says that it lives; what it was asked for is done elsewhere, or not at all.
fn hanging_shim() {
    let pod = pod("");
    let mut sidecars = pod.sidecars();
    let adapter = pod.adapter().args(&["--hang-timeout", "6s"]).start();
    pod.started("detect", 1);
    sidecars.of("detect").signal(Signal::STOP);
    let outcome = sidecars.finish(adapter).assert(&pod, "a shim that hangs", 137, "Lost");
    assert!(outcome.message.contains("its shim hangs"), "{}", outcome.message);
    assert!(pod.said("adapter/stages/detect/1.cancel.json").is_some(), "it is to stop if it goes on");
    sidecars.of("detect").signal(Signal::CONT);
    assert_eq!(sidecars.of("detect").wait(), longshore_tests::Ended::Code(0), "there is no more work");
    pod.again_with(sidecars);
}

fn killed_without_a_lock(whose: &str) {
    let pod = pod("");
    let mut sidecars = pod.sidecars_but("detect", |shim| shim.args(&["--no-lock"]));
    let mut adapter = pod.adapter().args(&["--no-lock", "--log", "multi_worker=debug,info"]).start();
    pod.started("detect", 1);
    if whose == "adapter" {
        adapter.kill();
        // The next one begins before the stages have noticed: its hello tells them.
        pod.again_with(sidecars);
        return;
    }
    wait_until("the adapter to see a heartbeat", || pod.log().contains("sign=Heartbeat").then_some(()));
    sidecars.of("detect").kill();
    // Nobody begins another life there, which would tell it at once.
    let outcome = crate::stages::pod::Outcome::new(&pod, adapter.wait());
    outcome.assert(&pod, "killed without a lock", 137, "Lost");
    pod.again();
}

/// Every file's time says 1970, then 2100, and the adapter's own clock of running time is days ahead of the stages'.
fn jumps() {
    let pod = pod("");
    let mut sidecars = pod.sidecars_but("detect", |shim| shim.args(&["--no-lock"]));
    let adapter = pod.adapter().args(&["--no-lock"]);
    let adapter = adapter.unshare(&["--time", "--monotonic", "1000000", "--boottime", "1000000"]).start();
    pod.started("detect", 1);
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    for time in [SystemTime::UNIX_EPOCH, SystemTime::now() + century] {
        let begun = heart(&pod.stage("detect")).expect("it lives");
        wait_until("a heart to beat", || {
            for dir in ["adapter", "stages/detect", "stages/blur"] {
                stamp(&pod.path("pod").join(dir), time);
            }
            heart(&pod.stage("detect")).filter(|number| *number >= begun + 4)
        });
    }
    pod.open();
    sidecars.finish(adapter).assert(&pod, "clocks jump", 0, "Published");
    pod.assert_clean();
}
