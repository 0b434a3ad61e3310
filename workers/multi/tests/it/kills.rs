//! `kill -9` of the adapter at every place where its state changes hands. The places are read from the sources, so that one which is
//! never passed fails the test as surely as one that is not survived.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::world::{Layout, World};

fn points() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(dir) = todo.pop() {
        for entry in dir.read_dir().expect("sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let text = fs::read_to_string(&path).expect("a source file");
                let calls = text.split("point(\"").skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(calls.filter(|name| name.starts_with("multi.")).map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn the_adapter_is_killed_wherever_it_may_be_and_the_next_one_does_the_item() {
    let points = points();
    assert!(points.len() > 5, "{points:?}");
    for point in &points {
        let world = World::new(Layout::Pod);
        let shims = world.shims(
            "
  - {name: first, command: [sh, -c, 'echo whole > $OUTPUT_DIR/x']}
  - {name: second, needs: [first], command: [cp, $(INPUT_FILE), $(OUTPUT_DIR)/y]}
",
        );
        let first = world.worker().env("LONGSHORE_FAULT", format!("{point}=kill")).start();
        assert_eq!(first.wait_unreported(), 137, "{point} is never passed");
        let published = world.names();
        assert!(published.is_empty() || (point == "multi.done.before" && published == ["y"]), "{point}: {published:?}");
        // As the kubelet does, where it may.
        let ended = world.worker().run();
        assert_eq!(ended.code, 0, "{point}: {}", ended.log);
        assert_eq!(world.published("y"), "whole\n");
        if point != "multi.done.before" {
            shims.into_iter().for_each(|shim| assert_eq!(shim.wait().code, 0, "{point}"));
            world.assert_clean();
        }
    }
}
