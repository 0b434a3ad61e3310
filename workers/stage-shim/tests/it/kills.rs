//! `kill -9` of the shim at every place where its state changes hands. The places are read from the sources, so that one which
//! is never passed fails the test as surely as one that is not survived.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use stage::protocol::Reason;

use crate::tools::{Pod, Shim, read, until};

/// What a shim's life passes.
fn points() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut todo = vec![own.join("src"), own.join("../stage/src")];
    while let Some(dir) = todo.pop() {
        for entry in dir.read_dir().expect("sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let text = fs::read_to_string(&path).expect("a source file");
                let calls = text.split("point(\"").skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(calls.filter(|name| name.starts_with("stage.")).map(str::to_owned));
            }
        }
    }
    found
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
