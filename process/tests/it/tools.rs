//! What several tests need.

use std::time::Duration;

use process::{Mark, Output, Spec};

/// Longer than anything here takes, on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A text no other test has.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A marked shell that runs `script`, and its mark.
pub(crate) fn shell(script: &str) -> (Spec, Mark) {
    let mark = unique();
    let spec = Spec::new("/bin/sh")
        .args(["-c", script])
        .env("PATH", "/usr/bin:/bin")
        .mark("TEST_MARK", &mark)
        .stdout(Output::Tail { keep: 1 << 20 });
    (spec, Mark::environment("TEST_MARK", &mark))
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// How many processes carry a mark.
pub(crate) fn count(mark: &Mark) -> usize {
    mark.carriers().expect("reads /proc").len()
}

/// Whether there is a process of this pid, a zombie included.
pub(crate) fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
