//! The loads, and what is promised for each.

use std::f64::consts::TAU;
use std::time::Duration;

use queue_manager::parallelism::Why;

use super::world::{DAY, HOUR, Work, World, around, exponential};

/// What someone would have who knew the load: nine tenths busy, and never none.
fn knowing(load: f64) -> f64 {
    (load / 0.9).ceil().max(1.0)
}

#[test]
fn steady() {
    for (seed, load) in [(1, 0.5), (2, 3.0), (3, 8.1), (4, 8.9), (5, 20.0)] {
        let mut world =
            World::new("1..64", 12.0 * HOUR, around(seed, |_| 10.0)).arriving(seed, load / 10.0, move |_| load / 10.0);
        world.oracle = Box::new(move |_| knowing(load));
        let story = world.run("steady");
        let (least, most) = (story.least(HOUR, 12.0 * HOUR), story.most(HOUR, 12.0 * HOUR));
        assert!(least as f64 >= load, "{least} slots for a load of {load}");
        assert!(most as f64 <= 1.5 * load + 2.0, "{most} slots for a load of {load}");
        assert!(story.changes(HOUR, 12.0 * HOUR) <= 44, "they come and go");
        assert!(story.provision() < 1.25, "{}", story.provision());
        assert!(story.within(0.99) < 10.0 * 60.0, "items wait");
    }
}

#[test]
fn a_bucket_is_drained_in_the_time_asked_for_and_no_sooner_than_need_be() {
    for (seed, items, seconds) in [(1, 5_000, 30.0), (2, 200_000, 1.0), (3, 40, 900.0), (4, 20, 1.0)] {
        let mut world = World::new("1..64", 2.0 * HOUR, around(seed, move |_| seconds)).at_once(items, 0.0);
        let slots = (items as f64 * seconds / HOUR).ceil();
        world.oracle = Box::new(move |now| if now < HOUR { slots } else { 1.0 });
        let story = world.run("bucket");
        assert_eq!(story.left, 0);
        assert!(story.last_done() < 1.1 * HOUR + 3.0 * seconds, "after {:.0} s", story.last_done());
        assert!(story.provision() < 1.3, "{}", story.provision());
        assert!(story.slots(2.0 * HOUR) < story.most(0.0, HOUR) || story.most(0.0, HOUR) == 1, "and then fewer");
    }
}

#[test]
fn a_bucket_that_cannot_be_drained_in_time_gets_all_there_is() {
    let world = World::new("1..8", 4.0 * HOUR, around(1, |_| 10.0)).at_once(10_000, 0.0);
    let story = world.run("too much");
    assert_eq!(story.least(100.0, 3.4 * HOUR), 8);
}

#[test]
fn a_burst_is_drained_in_time_and_then_there_are_few_again() {
    let (end, burst) = (6.0 * HOUR, 2.0 * HOUR);
    let mut world = World::new("1..64", end, around(7, |_| 5.0)).arriving(7, 0.2, |_| 0.2).at_once(10_000, burst);
    world.oracle =
        Box::new(move |now| if (burst..burst + HOUR).contains(&now) { 1.0 + 10_000.0 * 5.0 / HOUR } else { 2.0 });
    let story = world.run("burst");
    assert!(story.within(1.0) < 1.1 * HOUR, "{}", story.within(1.0));
    assert!(story.most(0.0, burst) <= 4 && story.most(burst, end) <= 24);
    assert!(story.slots(end) <= 4, "{} slots", story.slots(end));
    assert!(story.provision() < 1.6, "{}", story.provision());
}

#[test]
fn day_and_night() {
    let rate = |now: f64| 0.45 - 0.35 * (now / DAY * TAU).cos();
    let mut world = World::new("1..32", 3.0 * DAY, around(11, |_| 10.0)).arriving(11, 0.8, rate);
    world.oracle = Box::new(move |now| knowing(rate(now) * 10.0));
    let story = world.run("day and night");
    assert!(story.within(0.5) < 60.0 && story.within(0.99) < HOUR / 2.0, "items wait");
    assert!((0.9..1.3).contains(&story.provision()), "{}", story.provision());
    assert!(story.changes(0.0, 3.0 * DAY) <= 3 * 40, "{}", story.changes(0.0, 3.0 * DAY));
    for day in 0..3 {
        let midnight = f64::from(day) * DAY;
        assert!(story.mean(midnight + 11.0 * HOUR, midnight + 13.0 * HOUR) > 8.0, "by day");
        assert!(story.mean(midnight + 22.0 * HOUR, midnight + 24.0 * HOUR) < 4.0, "by night");
    }
}

#[test]
fn slow_growth() {
    let rate = |now: f64| 0.1 + 1.1 * now / DAY;
    let mut world = World::new("1..32", DAY, around(13, |_| 10.0)).arriving(13, 1.2, rate);
    world.oracle = Box::new(move |now| knowing(rate(now) * 10.0));
    let story = world.run("slow growth");
    assert!(story.within(0.99) < 600.0 && story.within(1.0) < HOUR);
    assert!((0.9..1.25).contains(&story.provision()), "{}", story.provision());
    assert!(story.slots(DAY) >= 12);
}

#[test]
fn sick_workers_that_are_slow() {
    let (sick, well, end) = (3.0 * HOUR, 5.0 * HOUR, 9.0 * HOUR);
    let slow = move |now: f64| if (sick..well).contains(&now) { 100.0 } else { 10.0 };
    let mut world = World::new("1..64", end, around(17, slow)).arriving(17, 0.3, |_| 0.3);
    world.oracle = Box::new(move |now| knowing(slow(now) * 0.3));
    let story = world.run("slow workers");
    assert!(story.slots(sick) <= 6);
    assert!(story.mean(sick + HOUR, well) > 28.0, "{}", story.mean(sick + HOUR, well));
    assert!(story.within(1.0) < 1.1 * HOUR, "{}", story.within(1.0));
    assert!(story.slots(end) <= 6, "{} slots when they are well again", story.slots(end));
}

#[test]
fn sick_workers_that_all_fail_at_once() {
    let (sick, well, end) = (3.0 * HOUR, 4.0 * HOUR, 9.0 * HOUR);
    let mut random = fastrand::Rng::with_seed(19);
    let work = move |now: f64| match (sick..well).contains(&now) {
        true => Work { seconds: 0.1, fails: true },
        false => Work { seconds: exponential(&mut random, 10.0), fails: false },
    };
    let mut world = World::new("1..64", end, work).arriving(19, 0.3, |_| 0.3);
    world.oracle = Box::new(move |_| knowing(3.0));
    let story = world.run("failing workers");
    assert_eq!(story.left.min(20), story.left, "what failed was done when they were well again");
    assert!(story.within(1.0) < 2.2 * HOUR, "{}", story.within(1.0));
    // Each attempt that failed was an arrival too, and for an hour or two they are not forgotten.
    assert!(story.most(0.0, end) <= 40, "{}", story.most(0.0, end));
    assert!((2..=8).contains(&story.slots(end)), "{}", story.slots(end));
}

#[test]
fn a_worker_that_hangs_is_one_slot_and_no_flood() {
    let mut random = fastrand::Rng::with_seed(23);
    let work = move |now: f64| match (HOUR..HOUR + 2.0).contains(&now) {
        true => Work { seconds: 20.0 * HOUR, fails: false },
        false => Work { seconds: exponential(&mut random, 10.0), fails: false },
    };
    let mut world = World::new("1..64", 12.0 * HOUR, work).arriving(23, 0.3, |_| 0.3);
    world.oracle = Box::new(|now| knowing(if now < HOUR { 3.0 } else { 4.0 }));
    let story = world.run("one that hangs");
    assert!(story.most(1.1 * HOUR, 12.0 * HOUR) <= 12, "{}", story.most(HOUR, 12.0 * HOUR));
    assert!(story.within(0.99) < 600.0);
}

#[test]
fn a_saturated_machine_gets_no_more_than_it_can_do() {
    for (seed, varied) in [(29, false), (31, true)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let work = move |_| Work { seconds: if varied { exponential(&mut random, 10.7) } else { 10.7 }, fails: false };
        let mut world = World::new("2..64", 8.0 * HOUR, work).at_once(30_000, 0.0);
        world.cpus = 8.0;
        world.oracle = Box::new(|_| 8.0);
        let story = world.run("saturated");
        assert!(story.count(Why::Saturated) >= 1);
        let done = story.done.iter().filter(|(_, done)| *done >= HOUR).count() as f64;
        assert!(done > 0.9 * 7.0 * HOUR * 0.8, "{done} done");
        assert!(story.mean(HOUR, 8.0 * HOUR) < 14.0, "{} slots", story.mean(HOUR, 8.0 * HOUR));
        assert!(story.slots(8.0 * HOUR) <= 14);
        assert!(story.changes(HOUR, 8.0 * HOUR) <= 40, "{}", story.changes(HOUR, 8.0 * HOUR));
    }
}

#[test]
fn a_pause_and_an_outage_are_no_silence() {
    for which in ["paused", "down"] {
        let (from, to) = (4.0 * HOUR, 6.0 * HOUR);
        let mut world = World::new("1..64", 10.0 * HOUR, around(37, |_| 10.0)).arriving(37, 0.8, |_| 0.8);
        *(if which == "paused" { &mut world.paused } else { &mut world.down }) = (from, to);
        world.oracle = Box::new(|_| knowing(8.0));
        let story = world.run(which);
        assert_eq!(story.changes(from, to), 0, "held is held");
        let expected = Duration::from_millis(1_250);
        for (at, decision) in story.between(3.0 * HOUR, 10.0 * HOUR) {
            let gap = decision.terms.interarrival.expect("is known").as_secs_f64() / expected.as_secs_f64();
            assert!((0.85..1.15).contains(&gap), "{which}: {gap} of the true time between arrivals at {at:.0} s");
        }
        let worst = story.done.iter().map(|(came, done)| done - came.max(to).min(*done)).fold(0.0, f64::max);
        assert!(worst < 1.1 * HOUR, "{which}: {worst}");
    }
}

#[test]
fn time_in_which_nothing_ran_makes_no_attempt_slower() {
    let varied = |seed, seconds: f64| {
        let mut random = fastrand::Rng::with_seed(seed);
        move |_| Work { seconds: seconds * (0.8 + 0.4 * random.f64()), fails: false }
    };
    for (seed, (seconds, items)) in
        (1..).zip([(60.0, 200), (60.0, 150), (30.0, 400), (20.0, 500), (300.0, 40), (600.0, 30)])
    {
        for from in [75.0, 100.0, 115.0, 135.0, 150.0, 170.0, 190.0, 250.0] {
            for length in [120.0, 600.0, 3.0 * HOUR] {
                let mut world = World::new("1..16", 4.0 * HOUR, varied(seed, seconds)).at_once(items, 0.0);
                world.paused = (from, from + length);
                let story = world.run("paused early");
                assert_eq!(story.count(Why::Saturated), 0, "{seconds} s, paused at {from} for {length}");
            }
        }
    }
    for (seed, (seconds, items, every)) in
        (1..).zip([(5.0, 30, 120.0), (20.0, 12, 180.0), (30.0, 12, 120.0), (60.0, 10, 240.0)])
    {
        let mut world = World::new("1..16", 4.0 * HOUR, varied(seed, seconds)).at_once(3, 0.0);
        for n in 1..80 {
            world = world.at_once(items, f64::from(n) * every);
        }
        let story = world.run("gusts");
        assert!(story.most(0.0, 4.0 * HOUR) > 1, "{seconds} s: there was a raise to judge");
        assert_eq!(story.count(Why::Saturated), 0, "{seconds} s, {items} every {every} s");
    }
}
