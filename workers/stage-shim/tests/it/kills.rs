//! `kill -9` of the shim at every place where its state changes hands. The places are read from the sources, so that one which
//! is never passed fails the test as surely as one that is not survived.

use std::collections::BTreeSet;

use longshore_tests::sources::fault_points_below;
use stage::protocol::Reason;

use crate::tools::{Pod, Shim, read, until};

/// What a shim's life passes.
fn points() -> BTreeSet<String> {
    let all = ["workers/stage-shim/src", "workers/stage/src"].into_iter().flat_map(fault_points_below);
    all.filter(|point| point.starts_with("stage.")).collect()
}

/// One pod's life with a kill at `point`: the shim is started again as a kubelet does, and asked again as an adapter does.
fn survive(point: &str) -> BTreeSet<String> {
    let pod = Pod::new();
    let log = pod.top.path().join("points");
    let start = |fault: Option<&str>| {
        let mut command = pod.command(&["/bin/sh", "-c", "echo whole >$OUTPUT_DIR/x"]);
        command.env("LONGSHORE_FAULT_LOG", &log);
        if let Some(point) = fault {
            command.env("LONGSHORE_FAULT", format!("{point}=kill"));
        }
        Shim::start(command)
    };
    let adapter = pod.adapter();
    let mut first = Some(start(Some(point)));
    let mut second = None;
    let (mut asked, mut attempt) = (None, 0);
    let ended = until("a result", || {
        if first.as_mut().is_some_and(Shim::is_over) {
            let (status, said) = first.take().expect("it was there").end();
            assert_eq!(status.code(), None, "{point}: {said}");
            second = Some(start(None));
        }
        let hello = stage::hello(pod.dir.path()).expect("reads")?;
        if asked.as_ref() != Some(&hello.boot) && adapter.result_now(attempt).is_none() {
            attempt += 1;
            adapter.send(&adapter.order(&hello.boot, attempt));
            asked = Some(hello.boot);
        }
        let ended = adapter.result_now(attempt)?;
        (first.is_none() || second.is_some()).then_some(ended)
    });
    assert_eq!(ended.reason, Reason::Completed, "{point}: {ended:?}");
    assert_eq!(read(pod.dir.out().join("x")), "whole\n", "{point}");
    adapter.done();
    assert_eq!(second.expect("the first was killed").code(), 0, "{point}");
    let left: BTreeSet<_> =
        pod.dir.path().read_dir().expect("lists").flatten().map(|entry| entry.file_name()).collect();
    let partial = left.iter().find(|name| name.to_string_lossy().ends_with(".partial"));
    assert_eq!(partial, None, "{point}: {left:?}");
    read(log).lines().map(str::to_owned).collect()
}

#[test]
fn every_place_is_passed_and_survived() {
    let points = points();
    assert!(points.len() > 8, "only {points:?}");
    let mut passed = BTreeSet::new();
    for point in &points {
        passed.extend(survive(point));
    }
    let never: Vec<_> = points.difference(&passed).collect();
    assert!(never.is_empty(), "never passed: {never:?}");
}
