//! What holds whatever is seen.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use queue_manager::parallelism::{Bounds, Decision, Ended, Policy, Scaler, Sight, Why};

use super::world::{HOUR, World, around};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Arrived(u64),
    Ended { took: u64, at_once: usize, again: bool },
    Over,
    Forget,
    Decide { after: u64, backlog: u64, ages: Vec<u64>, watched: bool, held: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (0..1_000_u64).prop_map(Event::Arrived),
        6 => (0..100_000_u64, 0..64_usize, any::<bool>())
            .prop_map(|(took, at_once, again)| Event::Ended { took, at_once, again }),
        1 => Just(Event::Over),
        1 => Just(Event::Forget),
        6 => (0..100_000_u64, 0..100_000_u64, vec(0..10_000_000_u64, 0..40), any::<bool>(), any::<bool>())
            .prop_map(|(after, backlog, ages, watched, held)| Event::Decide { after, backlog, ages, watched, held }),
    ]
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (1..20_usize, 0..40_usize)
        .prop_map(|(least, more)| format!("{least}..{}", least + more).parse().expect("are bounds"))
}

/// What a manager that saw all that decided.
fn decisions(policy: Policy, taken_over: usize, events: Vec<Event>) -> Vec<(Instant, Decision)> {
    let mut now = Instant::now();
    let mut scaler = Scaler::new(policy, taken_over, now);
    let mut decisions = vec![];
    for event in events {
        match event {
            Event::Arrived(items) => scaler.arrived(items),
            Event::Ended { took, at_once, again } => {
                now += Duration::from_millis(7);
                scaler.ended(Ended { took: Duration::from_millis(took), at_once, again }, now);
            }
            Event::Over => scaler.over(),
            Event::Forget => scaler.forget(now),
            Event::Decide { after, backlog, ages, watched, held } => {
                now += Duration::from_millis(after);
                let ages: Vec<_> = ages.into_iter().map(Duration::from_millis).collect();
                let decision = scaler.decide(&Sight { now, backlog, ages: &ages, watched, held });
                assert_eq!(decision.to, scaler.slots());
                if held {
                    assert_eq!((decision.why, decision.from), (Why::Held, decision.to));
                }
                decisions.push((now, decision));
            }
        }
    }
    decisions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_it_stays_within_bounds_and_says_why(
        bounds in bounds(), taken_over in 0..100_usize, events in vec(event(), 1..200),
    ) {
        for (_, decision) in decisions(Policy::within(bounds), taken_over, events) {
            prop_assert!((bounds.least()..=bounds.most()).contains(&decision.to), "{:?}", decision);
            let changes = matches!(decision.why, Why::Arrivals | Why::Backlog | Why::Spare | Why::Saturated);
            prop_assert_eq!(changes, decision.from != decision.to, "{:?}", decision);
            match decision.why {
                Why::Arrivals | Why::Backlog => prop_assert!(decision.to > decision.from),
                Why::Spare => prop_assert_eq!(decision.to, decision.from - 1, "one at a time"),
                _ => {}
            }
            let terms = decision.terms;
            prop_assert!(terms.load.is_finite() && terms.drain.is_finite() && terms.drain <= terms.backlog as f64);
        }
    }

    #[test]
    fn it_is_never_lowered_below_what_drains_the_backlog_in_time_nor_two_times_in_a_row_without_a_pause(
        bounds in bounds(), events in vec(event(), 1..200),
    ) {
        let policy = Policy::within(bounds);
        let mut last = None;
        for (at, decision) in decisions(policy, 100, events) {
            if decision.why == Why::Spare {
                prop_assert!(decision.to >= decision.terms.drain_floor(), "{:?}", decision);
                prop_assert!(decision.terms.utilization(decision.to) <= 0.9 + 1e-9, "{:?}", decision);
                let pause = last.map(|last| at.duration_since(last));
                prop_assert!(pause.is_none_or(|pause| pause >= policy.adjust_every * 6), "{:?}", pause);
            }
            if decision.from != decision.to {
                last = Some(at);
            }
        }
    }

    #[test]
    fn a_ceiling_holds_until_its_time_has_come_and_no_longer(bounds in bounds(), events in vec(event(), 1..300)) {
        let mut ceiling: Option<usize> = None;
        for (_, decision) in decisions(Policy::within(bounds), 0, events) {
            match (decision.why, decision.hold) {
                (Why::Saturated, hold) => {
                    prop_assert!(hold.is_some_and(|hold| hold <= Duration::from_secs(4 * 3_600)));
                    prop_assert!(decision.to < decision.from);
                    ceiling = Some(decision.to);
                }
                (_, None) => ceiling = None,
                (_, Some(_)) => prop_assert!(ceiling.is_none_or(|ceiling| decision.to <= ceiling.max(decision.from))),
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Loads and durations that vary as they do, at any level: a lowering an hour or two is noise, more is flapping.
    #[test]
    fn a_steady_load_does_not_make_it_flap(seed in 0..10_000_u64, load in 0.2..20.0_f64) {
        let world = World::new("1..64", 6.0 * HOUR, around(seed, |_| 10.0)).arriving(seed, load / 10.0, move |_| load / 10.0);
        let story = world.run("steady, any load");
        let changes = story.changes(HOUR, 6.0 * HOUR);
        prop_assert!(changes <= 30, "{} changes in five hours", changes);
    }
}
