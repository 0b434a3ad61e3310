//! Several workers at once, and ones that sleep through the others' commits.

use std::fs;

use contract::Outcome;
use rustix::process::Signal;

use crate::world::{World, until};

const COPY: &str = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy"; cp "$INPUT_FILE" "$OUTPUT_DIR/$LONGSHORE_ATTEMPT_ID""#;

#[test]
fn of_several_workers_at_one_item_one_publishes() {
    let world = World::new();
    let item = world.item("a", "x");
    // Each waits until all have begun, so that none finds the item published before it runs.
    let body = format!(
        "touch {0}/began-$LONGSHORE_ATTEMPT_ID; while [ $(ls {0}/began-* | wc -l) -lt 6 ]; do sleep 0.01; done; {COPY}",
        world.root().display()
    );
    let workers: Vec<_> =
        (0..6).map(|n| world.worker(&item, &body).env("LONGSHORE_ATTEMPT_ID", format!("n-{n}")).start()).collect();
    let ended: Vec<_> = workers.into_iter().map(crate::world::Running::wait).collect();
    let outcomes: Vec<_> = ended.iter().map(|one| one.report().outcome).collect();
    assert!(ended.iter().all(|one| one.code == Some(0)), "{ended:#?}");
    let published: Vec<_> = ended.iter().filter(|one| one.report().outcome == Outcome::Published).collect();
    assert_eq!(published.len(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::AlreadyPublished).count(), 5);
    let marker = world.published("a");
    assert_eq!(marker.attempt, published[0].report().attempt);
    assert!(marker.outputs.iter().any(|output| output.path == marker.attempt), "the output is of one attempt alone");
    assert_eq!(marker.outputs.len(), 2);
    world.assert_clean();
}

#[test]
fn workers_at_different_items_do_not_disturb_each_other() {
    let world = World::new();
    let workers: Vec<_> = (0..12)
        .map(|n| world.worker(&world.item(format!("d{}/k{n}", n % 2), &n.to_string()), COPY))
        .map(crate::world::Worker::start)
        .collect();
    for worker in workers {
        worker.wait().expect(0, "Published");
    }
    for n in 0..12 {
        world.published(&format!("d{}/k{n}", n % 2));
    }
    world.assert_clean();
}

/// Starts a worker that stops itself once its output is sealed, and waits until it sleeps.
fn asleep(world: &World, item: &std::path::Path) -> crate::world::Running {
    let fault = "worker.marker.after=stop";
    let zombie = world.worker(item, COPY).env("LONGSHORE_ATTEMPT_ID", "zombie").env("LONGSHORE_FAULT", fault).start();
    until("the worker has stopped itself", || zombie.is_stopped());
    zombie
}

#[test]
fn a_zombie_that_wakes_finds_the_item_done() {
    let world = World::new();
    let item = world.item("a", "x");
    let zombie = asleep(&world, &item);
    world.worker(&item, COPY).env("LONGSHORE_ATTEMPT_ID", "second").run().expect(0, "Published");
    let marker = world.published("a");
    assert_eq!(
        fs::read_dir(world.path("out/.longshore")).expect("lists").count(),
        2,
        "a sleeper's staging is not swept"
    );
    zombie.signal(Signal::CONT);
    let ended = zombie.wait();
    assert_eq!(ended.expect(0, "AlreadyPublished").outcome, Outcome::AlreadyPublished);
    assert_eq!(world.published("a"), marker);
    world.assert_clean();
}

#[test]
fn a_zombie_of_an_old_version_changes_nothing() {
    let world = World::new();
    let zombie = asleep(&world, &world.item("a", "old"));
    let item = world.item("a", "newer");
    world.worker(&item, COPY).env("LONGSHORE_ATTEMPT_ID", "second").run().expect(0, "Published");
    let marker = world.published("a");
    zombie.signal(Signal::CONT);
    assert_eq!(zombie.wait().expect(0, "Superseded").outcome, Outcome::Superseded);
    assert_eq!(world.published("a"), marker);
    world.assert_clean();
}

#[test]
fn a_zombie_of_a_lower_revision_changes_nothing() {
    let world = World::new();
    let item = world.item("a", "x");
    let zombie = asleep(&world, &item);
    world.worker(&item, COPY).args(["--revision", "1"]).run().expect(0, "Published");
    zombie.signal(Signal::CONT);
    zombie.wait().expect(0, "Superseded");
    assert_eq!(world.published("a").revision, 1);
    world.assert_clean();
}

#[test]
fn a_place_taken_while_the_script_ran_is_left_alone() {
    let world = World::new();
    let (mp4, mov) = (world.item("a.mp4", "1"), world.item("a.mov", "2"));
    let by_stem = |item, fault: &str| {
        let script = world.script(COPY);
        world.bare(item).env("LONGSHORE_FAULT", fault).arg("--output").arg(world.path("out/{stem}/")).script(script)
    };
    let zombie = by_stem(&mp4, "worker.marker.after=stop").start();
    until("the worker has stopped itself", || zombie.is_stopped());
    by_stem(&mov, "").run().expect(0, "Published");
    zombie.signal(Signal::CONT);
    zombie.wait().expect_saying(73, "OutputTaken", &["a.mov"]);
    assert_eq!(world.published("a").item.key.to_string(), "a.mov");
    world.assert_clean();
}

#[test]
fn told_to_stop_while_it_commits_a_worker_finishes_the_commit() {
    let world = World::new();
    let item = world.item("a", "x");
    let worker = asleep(&world, &item);
    worker.signal(Signal::TERM);
    worker.signal(Signal::CONT);
    worker.wait().expect(0, "Published");
    world.published("a");
    world.assert_clean();
}
