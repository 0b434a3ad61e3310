//! How many at a time, by the real program.

use std::fs;

use rustix::process::Signal;

use super::{Queue, Running, until};

/// A metric without labels, or the one with these.
fn metric(manager: &Running, name: &str) -> f64 {
    let text = manager.probe("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().expect("is a number")
}

/// The most items that were under way at a time, by what their workers wrote down.
fn at_once(notes: &[String]) -> usize {
    let mut running = 0_usize;
    let levels = notes.iter().map(|line| {
        running = if line.starts_with('+') { running + 1 } else { running - 1 };
        running
    });
    levels.max().unwrap_or_default()
}

#[test]
fn a_backlog_raises_it_as_far_as_the_drain_target_asks_and_what_runs_outlives_its_fall() {
    let queue = Queue::new("/items", 60);
    // The last one runs on until it is let go. The others take long beside what starting them costs a machine that is busy, which would
    // be taken for saturated otherwise.
    let body = "case $WORK_ITEM_NAME in *59) until [ -e \"$NOTES.go\" ]; do sleep 0.05; done;; *) sleep 0.6;; esac";
    let flags = ["--parallelism", "1..4", "--drain-target", "5s", "--adjust-every", "100ms"];
    let mut manager = queue.local(&flags, body);
    until("it is raised", || metric(&manager, "longshore_manager_parallelism_current") > 1.0);
    assert!(at_once(&queue.notes()) <= 4);
    until("all but one are done", || queue.notes().iter().filter(|line| line.starts_with('-')).count() == 59);
    until("it is as low as it may be", || metric(&manager, "longshore_manager_parallelism_current") == 1.0);
    let notes = queue.notes();
    assert!((2..=4).contains(&at_once(&notes)), "{} at once", at_once(&notes));
    assert!(!notes.contains(&"-item-59".to_owned()), "it still runs");

    let prefix = "longshore_manager_parallelism_";
    for (name, value) in [("min", 1.0), ("max", 4.0), ("backlog", 1.0), ("saturated", 0.0)] {
        assert_eq!(metric(&manager, &format!("{prefix}{name}")), value, "{name}");
    }
    assert!(metric(&manager, &format!("{prefix}processing_seconds")) >= 0.2);
    assert_eq!(metric(&manager, &format!("{prefix}interarrival_seconds")), f64::INFINITY, "the first list is stock");
    for (reason, least) in [("backlog", 1.0), ("spare", 1.0), ("enough", 1.0), ("unmeasured", 1.0)] {
        let decisions = metric(&manager, &format!("{prefix}decisions_total{{reason=\"{reason}\"}}"));
        assert!(decisions >= least, "{decisions} for {reason}");
    }
    let said = manager.said();
    let changes: Vec<_> = said.lines().filter(|line| line.contains("parallelism changed")).collect();
    let first = changes.first().expect("a line for each change");
    for part in ["from=1", "reason=\"backlog\"", "--drain-target", "processing=", "backlog=", "drain_floor="] {
        assert!(first.contains(part), "{part} in {first}");
    }
    assert!(changes.iter().any(|line| line.contains("reason=\"spare\"") && line.contains("to=1")), "{changes:#?}");

    fs::write(queue.dir.path().join("notes.go"), "").expect("writes");
    until("the last one is done", || queue.notes().contains(&"-item-59".to_owned()));
    manager.signal(Signal::TERM);
    manager.ends_with(0);
    assert_eq!(queue.states(), ["done"; 60], "and none had to be done twice");
    assert_eq!(queue.notes().len(), 120);
}

#[test]
fn a_plan_begins_with_the_fewest_and_a_wrong_value_is_named() {
    let queue = Queue::new("/items", 3);
    let url = queue.server.url();
    let plan = |value: &str| queue.ask(&["plan", "--source", &url, "--parallelism", value]);
    let (_, out, _) = plan("2..16");
    assert!(out.contains("(2 at once)") && out.contains("--parallelism 2..16: 2 to begin with"), "{out}");
    let (_, out, _) = plan("3");
    assert!(out.trim_end().ends_with("--parallelism 3"), "{out}");
    for wrong in ["2..", "16..2", "none", "0"] {
        let (code, _, error) = plan(wrong);
        assert!(code == Some(64) && error.contains(&format!("'{wrong}'")) && error.contains("write"), "{error}");
    }
}
