//! `kill -9` of the adapter at every place where its state changes hands. The places are read from the sources, so that one which is
//! never passed fails the test as surely as one that is not survived.

use longshore_tests::sources::fault_points_below;

use crate::world::{Layout, World};

#[test]
fn the_adapter_is_killed_wherever_it_may_be_and_the_next_one_does_the_item() {
    let points: Vec<_> =
        fault_points_below("workers/multi/src").into_iter().filter(|point| point.starts_with("multi.")).collect();
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
