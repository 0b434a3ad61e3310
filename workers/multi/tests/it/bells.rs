//! Bells, by which stages are told that something was written for them, and tell it.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, openat};
use stage::protocol::{Ended, Go, Reason, Result as Told};
use stage::{Life, files};

use crate::world::{Layout, World, until};

/// How many bells were rung that hang at `side`, which is a side that this test is.
fn hang(side: &Path) -> impl FnMut() -> usize {
    let bell = stage::root::bell(side);
    mkfifoat(CWD, &bell, Mode::RUSR | Mode::WUSR).expect("made");
    let pipe = openat(CWD, &bell, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).expect("opens");
    let mut times = 0;
    move || {
        while let Ok(read) = rustix::io::read(&pipe, &mut [0; 64]) {
            times += read;
        }
        times
    }
}

/// A stage of this test's making is asked once, and answers, with or without a ring.
fn one_answer(rings: bool) {
    let world = World::new(Layout::Pod);
    world.pipeline("  - {name: stage, command: ['true']}\n");
    let name = world.stages().remove(0).name;
    let (dir, adapter) = (world.root().stage(&name), world.root().adapter());
    fs::create_dir_all(dir.path()).expect("made");
    let times = std::cell::RefCell::new(hang(dir.path()));
    let rung = |n: usize| times.borrow_mut()() == n;
    let life = Life::begin(dir.path(), "a test", true).expect("begins");
    let worker = world.worker().arg("--allow-empty").start();
    until("it has rung for its hello and for an order", || rung(2));
    let go: Go = files::read(&adapter.go(&name, 1)).expect("reads").expect("is there");
    fs::create_dir(dir.out()).expect("made");
    let ended = Ended::without_command(Reason::Completed, String::new());
    let told = Told { boot: life.boot().clone(), adapter: go.adapter, attempt: 1, ended };
    files::write(&dir.result(1), &told).expect("written");
    if rings {
        stage::ring(adapter.path());
    }
    worker.wait().assert(0, "Published");
    assert!(rung(3), "and for its being done: {}", times.borrow_mut()());
}

#[test]
fn each_message_is_rung_for_once() {
    one_answer(true);
}

#[test]
fn a_stage_that_does_not_ring_is_heard_all_the_same() {
    one_answer(false);
}

#[test]
fn who_rings_and_rings_keeps_the_pipeline_from_nothing() {
    let world = World::new(Layout::Pod);
    // More than a pipe holds: it goes on once somebody has emptied it.
    world
        .does(
            "  - {name: loud, command: [sh, -c, 'head -c 300000 /dev/zero >pod/adapter/bell; touch $OUTPUT_DIR/x']}\n",
        )
        .assert(0, "Published");
    assert_eq!(world.names(), ["x"]);
}

#[test]
fn where_the_adapter_can_hang_no_bell_it_looks() {
    let world = World::new(Layout::Pod);
    fs::create_dir_all(stage::root::bell(world.root().adapter().path()).join("in the way")).expect("made");
    world.does("  - {name: stage, command: [sh, -c, 'touch $OUTPUT_DIR/x']}\n").assert(0, "Published");
}
