use proptest::prelude::*;

use super::*;

fn name(n: usize) -> ItemName {
    format!("item-{n}").parse().expect("a name")
}

fn row(n: usize, state: State) -> Row {
    Row {
        id: ItemId(i64::try_from(n).expect("is small")),
        state,
        attempts: 0,
        losses: 0,
        not_before: Time(0),
        settled: None,
        absent_since: None,
    }
}

const AT: Time = Time(1_000_000);

/// A queue in some state, and one page of it.
#[derive(Clone, Debug)]
struct World {
    page: Vec<ItemName>,
    rows: HashMap<ItemName, Row>,
    running: HashSet<ItemName>,
    started: HashSet<ItemName>,
    settles: Settles,
    skip_new: bool,
    budget: Budget,
}

impl World {
    fn now(&self) -> Now<'_> {
        Now { at: AT, running: &self.running, started: &self.started, settles: self.settles, skip_new: self.skip_new }
    }

    fn plan(&self) -> (Vec<Decision>, Budget) {
        let mut budget = self.budget;
        let decisions = plan(&self.page, &self.rows, self.now(), &mut budget);
        (decisions, budget)
    }
}

fn a_row(n: usize) -> impl Strategy<Value = Row> {
    let near = || prop_oneof![Just(Time(0)), (-200_000_i64..200_000).prop_map(|d| Time(AT.0 + d))];
    (prop::sample::select(&State::ALL[..]), near(), prop::option::of(near()), prop::option::of(near())).prop_map(
        move |(state, not_before, settled, absent_since)| Row {
            not_before,
            settled: settled.filter(|_| matches!(state, State::Done | State::Dead)),
            absent_since,
            ..row(n, state)
        },
    )
}

fn a_world() -> impl Strategy<Value = World> {
    let page = prop::collection::vec(0_usize..30, 0..40);
    let settles = prop::sample::select(vec![Settles::Nothing, Settles::Done, Settles::All]);
    let rows = (0_usize..30).map(|n| prop::option::of(a_row(n))).collect::<Vec<_>>();
    let some = || prop::collection::hash_set((0_usize..30).prop_map(name), 0..8);
    let hold = prop_oneof![4 => Just(None), 1 => Just(Some(Hold::Paused)), 1 => Just(Some(Hold::Draining))];
    let budget = (0_usize..12, prop::option::of(0_usize..12), hold).prop_map(|(slots, fresh, hold)| Budget {
        slots,
        fresh,
        hold,
    });
    (page, rows, some(), some(), settles, any::<bool>(), budget).prop_map(
        |(page, rows, running, started, settles, skip_new, budget)| World {
            page: page.into_iter().map(name).collect(),
            rows: rows.into_iter().enumerate().filter_map(|(n, row)| Some((name(n), row?))).collect(),
            running,
            started,
            settles,
            skip_new,
            budget,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn whatever_the_page(world in a_world()) {
        let (decisions, left) = world.plan();
        let starts: Vec<_> = decisions.iter().filter(|d| d.act == Act::Start).collect();

        // Each name gets one decision, so nothing is started twice.
        let distinct: HashSet<_> = world.page.iter().collect();
        prop_assert_eq!(decisions.len(), distinct.len());
        prop_assert_eq!(decisions.iter().map(|d| &d.name).collect::<HashSet<_>>(), distinct);

        // Never over budget, and what is left is what was not used.
        prop_assert_eq!(left.slots + starts.len(), world.budget.slots);
        let fresh = starts.iter().filter(|d| !world.started.contains(&d.name)).count();
        prop_assert_eq!(left.fresh.map(|left| left + fresh), world.budget.fresh);
        prop_assert!(world.budget.hold.is_none() || starts.is_empty());

        for decision in &decisions {
            let known = world.rows.get(&decision.name);
            prop_assert_eq!(decision.row.as_ref(), known);
            prop_assert_eq!(decision.new.is_some(), known.is_none());
            let state = known.map(|row| row.state);
            match &decision.act {
                // Only what is to be done, is not under way and whose time has come is started.
                Act::Start => {
                    prop_assert!(!world.running.contains(&decision.name));
                    prop_assert!(matches!(state, None | Some(State::Todo)));
                    prop_assert!(known.is_none_or(|row| row.not_before <= AT));
                    prop_assert!(decision.new != Some(State::Skipped));
                }
                // Only what is done or dead is settled, and truly as what it is.
                Act::Settle { id, dead } => {
                    prop_assert!(world.settles == Settles::All || (world.settles == Settles::Done && !dead));
                    prop_assert_eq!(Some(*id), known.map(|row| row.id));
                    prop_assert_eq!(state, Some(if *dead { State::Dead } else { State::Done }));
                }
                Act::Leave(Why::NoSlot) => prop_assert_eq!(left.slots, 0),
                Act::Leave(Why::Limit) => prop_assert_eq!(left.fresh, Some(0)),
                Act::Leave(_) => {}
            }
        }

        // What is absent and shows up is told as returned, what is new as new, and nothing else is written.
        let seen = seen(&decisions);
        prop_assert_eq!(seen.new.len(), decisions.iter().filter(|d| d.row.is_none()).count());
        let absent = |d: &&Decision| d.row.as_ref().is_some_and(|row| row.absent_since.is_some());
        prop_assert_eq!(seen.returned.len(), decisions.iter().filter(absent).count());
    }

    #[test]
    fn a_page_cut_anywhere_is_planned_as_the_whole(world in a_world(), cut in 0_usize..40) {
        // Names met in both halves differ on purpose: the second time they are running.
        let distinct: Vec<_> = {
            let mut met = HashSet::new();
            world.page.iter().filter(|name| met.insert(*name)).cloned().collect()
        };
        let whole = World { page: distinct.clone(), ..world.clone() }.plan();
        let (first, second) = distinct.split_at(cut.min(distinct.len()));
        let mut budget = world.budget;
        let mut parts = plan(first, &world.rows, world.now(), &mut budget);
        parts.extend(plan(second, &world.rows, world.now(), &mut budget));
        prop_assert_eq!((parts, budget), whole);
    }

    #[test]
    fn planned_again_once_started_nothing_more_happens(world in a_world()) {
        let (decisions, left) = world.plan();
        let mut after = world.clone();
        after.budget = left;
        for decision in &decisions {
            if decision.act == Act::Start {
                after.running.insert(decision.name.clone());
            }
            if let Some(state) = decision.new {
                after.rows.insert(decision.name.clone(), Row { not_before: AT, ..row(99, state) });
            }
            if let (Act::Settle { .. }, Some(row)) = (&decision.act, after.rows.get_mut(&decision.name)) {
                row.settled = Some(AT);
            }
        }
        let (again, _) = after.plan();
        prop_assert!(again.iter().all(|d| matches!(d.act, Act::Leave(_))), "{:?}", again);
        prop_assert!(seen(&again).new.is_empty());
    }
}

fn open(slots: usize) -> World {
    World {
        page: (0..5).map(name).collect(),
        rows: HashMap::new(),
        running: HashSet::new(),
        started: HashSet::new(),
        settles: Settles::All,
        skip_new: false,
        budget: Budget { slots, fresh: None, hold: None },
    }
}

fn acts(world: &World) -> Vec<Act> {
    world.plan().0.into_iter().map(|d| d.act).collect()
}

#[test]
fn new_items_are_started_in_the_lists_order_as_far_as_slots_go() {
    use Act::{Leave, Start};
    assert_eq!(acts(&open(2))[..3], [Start, Start, Leave(Why::NoSlot)]);
}

#[test]
fn the_first_run_may_leave_alone_what_was_there() {
    let world = World { skip_new: true, ..open(2) };
    let (decisions, _) = world.plan();
    assert!(decisions.iter().all(|d| d.new == Some(State::Skipped) && d.act == Act::Leave(Why::Skipped)));
}

#[test]
fn the_limit_counts_items_and_lets_their_retries_through() {
    let mut world = open(5);
    world.budget.fresh = Some(1);
    world.started = HashSet::from([name(3)]);
    world.rows.insert(name(3), row(3, State::Todo));
    let limit = || Act::Leave(Why::Limit);
    assert_eq!(acts(&world), [Act::Start, limit(), limit(), Act::Start, limit()]);
}

#[test]
fn a_done_item_is_settled_as_long_as_it_is_listed_and_not_at_every_look() {
    let mut world = open(5);
    world.page.truncate(1);
    let mut done = row(0, State::Done);
    let settle = |dead| [Act::Settle { id: ItemId(0), dead }];
    world.rows.insert(name(0), done.clone());
    assert_eq!(acts(&world), settle(false));
    done.settled = Some(AT);
    world.rows.insert(name(0), done.clone());
    assert_eq!(acts(&world), [Act::Leave(Why::Done)]);
    done.settled = Some(Time(AT.0 - 60_000));
    world.rows.insert(name(0), done.clone());
    assert_eq!(acts(&world), settle(false));
    done.state = State::Dead;
    world.rows.insert(name(0), done);
    assert_eq!(acts(&world), settle(true));
    world.settles = Settles::Done;
    assert_eq!(acts(&world), [Act::Leave(Why::Dead)]);
    world.settles = Settles::Nothing;
    assert_eq!(acts(&world), [Act::Leave(Why::Dead)]);
}

#[test]
fn an_item_under_way_in_another_revision_is_not_started() {
    let mut world = open(5);
    world.running.insert(name(0));
    assert_eq!(acts(&world)[0], Act::Leave(Why::Running));
}

#[test]
fn a_million_items_are_planned_page_by_page_within_one_budget() {
    let (running, started) = (HashSet::new(), HashSet::new());
    let now = Now { at: AT, running: &running, started: &started, settles: Settles::All, skip_new: false };
    let mut budget = Budget { slots: 8, fresh: Some(1_000), hold: None };
    let mut starts = 0;
    for page in 0..1_000 {
        let names: Vec<_> = (0..1_000).map(|n| name(page * 1_000 + n)).collect();
        let rows = names.iter().step_by(2).map(|n| (n.clone(), row(page, State::Done))).collect();
        let decisions = plan(&names, &rows, now, &mut budget);
        assert_eq!(decisions.len(), 1_000);
        starts += decisions.iter().filter(|d| d.act == Act::Start).count();
    }
    assert_eq!((starts, budget.slots, budget.fresh), (8, 0, Some(992)));
}
