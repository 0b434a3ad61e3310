//! What a command is given, and what becomes of what it writes.

use stage::protocol::Reason;

use crate::tools::{Pod, read};

#[test]
fn a_command_runs_on_a_go_and_hands_over() {
    let pod = Pod::new();
    let shim = pod.shim(&["/bin/sh", "-c", "echo said; echo told >&2; cp $0 $OUTPUT_DIR/out.txt; mkdir $OUTPUT_DIR/d; echo $TMPDIR $1 >$OUTPUT_DIR/d/x; touch $TMPDIR/t", "/etc/hostname", "$(INPUT_FILE)"]);
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
    assert!(ended.peak_memory.is_some_and(|bytes| bytes > 100_000), "{ended:?}");
    assert_eq!(read(pod.dir.out().join("out.txt")), read("/etc/hostname".into()));
    assert_eq!(read(pod.dir.out().join("d/x")), format!("{} /in/a.mp4\n", pod.dir.temporary().display()));
    adapter.done();
    let (status, said) = shim.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("said\n") && said.contains("told\n"), "{said}");
    assert!(!pod.dir.temporary().exists() && !pod.dir.partial(1).exists());
}
