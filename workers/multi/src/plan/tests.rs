//! The rules one by one, and then what holds of every pipeline, however its stages end and in whatever order.

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::{Index, select};
use stage::StageName;

use super::*;
use crate::pipeline::{Adapter, Manifest, Stage};

fn name(n: usize) -> StageName {
    format!("s{n}").parse().expect("a name")
}

fn stage(n: usize, needs: &[usize]) -> Stage {
    Stage {
        name: name(n),
        image: None,
        command: Vec::new(),
        args: Vec::new(),
        working_dir: None,
        env: std::collections::BTreeMap::new(),
        needs: needs.iter().map(|need| name(*need)).collect(),
        start_timeout: Duration::from_secs(120),
        timeout: None,
        retries: Retries::default(),
        on_error: OnError::Fail,
        when: When::Succeeded,
        permanent_exit: Vec::new(),
        container: Manifest::new(),
    }
}

fn pipeline(stages: Vec<Stage>) -> Pipeline {
    let pod = Manifest::new();
    Pipeline { name: name(0), stages, publish: Vec::new(), pod, adapter: Adapter::default() }
}

fn begun(stages: Vec<Stage>) -> (Plan, Vec<Action>) {
    let mut plan = Plan::new(&pipeline(stages));
    let actions = plan.on(&Event::Begin);
    (plan, actions)
}

fn over(stage: usize, attempt: u32, reason: Reason) -> Event {
    Event::Over { stage, attempt, reason, exit_code: None }
}

fn exited(stage: usize, attempt: u32, code: u8) -> Event {
    Event::Over { stage, attempt, reason: Reason::Error, exit_code: Some(code) }
}

fn start(stage: usize) -> Action {
    Action::Start { stage, attempt: 1 }
}

fn stop(stage: usize) -> Action {
    Action::Stop { stage, attempt: 1 }
}

/// What is tried again `limit` times, of everything or of what `on` names.
fn retries(limit: u32, on: &[RetryOn]) -> Retries {
    Retries { limit, on: on.to_vec(), ..Retries::default() }
}

#[test]
fn a_diamond_runs_side_by_side_where_it_can() {
    let (mut plan, actions) = begun(vec![stage(0, &[]), stage(1, &[0]), stage(2, &[0]), stage(3, &[1, 2])]);
    assert_eq!(actions, [start(0)]);
    assert_eq!(plan.on(&over(0, 1, Reason::Completed)), [start(1), start(2)]);
    assert_eq!(plan.on(&over(2, 1, Reason::Completed)), []);
    assert_eq!(plan.on(&over(1, 1, Reason::Completed)), [start(3)]);
    assert_eq!(plan.verdict(), None);
    assert_eq!(plan.on(&over(3, 1, Reason::Completed)), []);
    assert_eq!(plan.verdict(), Some(Verdict::Succeeded));
}

#[test]
fn a_failure_stops_what_runs_and_begins_nothing_but_what_always_runs() {
    let always = |n, needs: &[usize]| Stage { when: When::Always, ..stage(n, needs) };
    let stages = vec![
        stage(0, &[]),
        stage(1, &[]),
        stage(2, &[0]),
        Stage { retries: retries(1, &[]), ..always(3, &[1]) },
        always(4, &[0, 2]),
    ];
    let (mut plan, _) = begun(stages);
    // 4 begins at once, since 2 never will; 3 waits until the stopped 1 is over.
    assert_eq!(plan.on(&exited(0, 1, 3)), [stop(1), start(4)]);
    assert_eq!(plan.outcome(2), Some(Outcome::Skipped));
    assert_eq!(plan.on(&over(1, 1, Reason::Cancelled)), [start(3)]);
    assert_eq!(plan.outcome(1), Some(Outcome::Cancelled));
    // The failure of another does not stop it, nor that it is tried again; and its own is not the item's: that has one already.
    assert!(matches!(plan.on(&exited(3, 1, 4))[..], [Action::Pause { stage: 3, attempt: 2, .. }]));
    assert_eq!(plan.on(&Event::Due { stage: 3, attempt: 2 }), [Action::Start { stage: 3, attempt: 2 }]);
    assert_eq!(plan.on(&exited(3, 2, 4)), []);
    assert_eq!(plan.verdict(), None);
    assert_eq!(plan.on(&over(4, 1, Reason::Completed)), []);
    assert_eq!(plan.verdict(), Some(Verdict::Failed { stage: 0 }));
}

#[test]
fn a_failure_that_does_not_matter_lets_others_begin() {
    let (mut plan, _) = begun(vec![Stage { on_error: OnError::Continue, ..stage(0, &[]) }, stage(1, &[0])]);
    assert_eq!(plan.on(&exited(0, 1, 3)), [start(1)]);
    assert_eq!(plan.on(&over(1, 1, Reason::Completed)), []);
    assert_eq!((plan.outcome(0), plan.verdict()), (Some(Outcome::Failed), Some(Verdict::Succeeded)));
}

#[test]
fn pauses_double_up_to_the_longest() {
    let seconds = Duration::from_secs;
    let retries = Retries { limit: 4, backoff: seconds(1), max_backoff: seconds(3), on: Vec::new() };
    let (mut plan, _) = begun(vec![Stage { retries, ..stage(0, &[]) }]);
    for (attempt, pause) in [(1, 1), (2, 2), (3, 3), (4, 3)] {
        let next = attempt + 1;
        let actions = plan.on(&over(0, attempt, Reason::Lost));
        assert_eq!(actions, [Action::Pause { stage: 0, attempt: next, pause: seconds(pause) }]);
        assert_eq!(plan.on(&Event::Due { stage: 0, attempt: next }), [Action::Start { stage: 0, attempt: next }]);
    }
    assert_eq!(plan.on(&over(0, 5, Reason::Lost)), []);
    assert_eq!(plan.verdict(), Some(Verdict::Failed { stage: 0 }));
}

#[test]
fn only_what_was_chosen_is_tried_again() {
    let is_tried = |retries: Retries, event: &Event| {
        let (mut plan, _) = begun(vec![Stage { retries, permanent_exit: vec![3, 75], ..stage(0, &[]) }]);
        plan.on(event).iter().any(|action| matches!(action, Action::Pause { .. }))
    };
    let by_default = retries(1, &[]);
    for reason in [Reason::Killed, Reason::OomKilled, Reason::Timeout, Reason::Lost, Reason::StartTimeout] {
        assert!(is_tried(by_default.clone(), &over(0, 1, reason)), "{reason:?}");
    }
    for reason in [Reason::Cancelled, Reason::CommandNotFound, Reason::CommandNotExecutable] {
        assert!(!is_tried(by_default.clone(), &over(0, 1, reason)), "{reason:?}");
    }
    assert!(is_tried(by_default.clone(), &exited(0, 1, 4)));
    assert!(!is_tried(by_default, &exited(0, 1, 3)), "permanentExit names it");
    let chosen = retries(1, &[RetryOn::Code(75), RetryOn::Code(9), RetryOn::Reason(Reason::OomKilled)]);
    assert!(is_tried(chosen.clone(), &exited(0, 1, 9)));
    assert!(is_tried(chosen.clone(), &over(0, 1, Reason::OomKilled)));
    assert!(!is_tried(chosen.clone(), &exited(0, 1, 75)), "permanentExit names it too, and has the last word");
    assert!(!is_tried(chosen.clone(), &exited(0, 1, 4)));
    assert!(!is_tried(chosen, &over(0, 1, Reason::Lost)));
}

#[test]
fn what_pauses_is_tried_no_more_once_another_has_failed() {
    let waiting = Stage { retries: retries(3, &[]), ..stage(0, &[]) };
    let (mut plan, _) = begun(vec![waiting, stage(1, &[])]);
    plan.on(&over(0, 1, Reason::Lost));
    assert_eq!(plan.on(&exited(1, 1, 1)), []);
    assert_eq!(plan.on(&Event::Due { stage: 0, attempt: 2 }), []);
    assert_eq!((plan.outcome(0), plan.verdict()), (Some(Outcome::Failed), Some(Verdict::Failed { stage: 1 })));
}

#[test]
fn nothing_begins_after_a_cancellation_and_a_failure_before_it_stays_one() {
    let always = Stage { when: When::Always, ..stage(2, &[1]) };
    let (mut plan, _) = begun(vec![stage(0, &[]), stage(1, &[]), always.clone()]);
    assert_eq!(plan.on(&Event::Cancel), [stop(0), stop(1)]);
    assert_eq!(plan.on(&Event::Cancel), []);
    plan.on(&over(0, 1, Reason::Completed));
    assert_eq!(plan.on(&over(1, 1, Reason::Cancelled)), []);
    assert_eq!(plan.verdict(), Some(Verdict::Cancelled));

    let (mut plan, _) = begun(vec![stage(0, &[]), stage(1, &[]), always]);
    plan.on(&exited(0, 1, 3));
    assert_eq!(plan.on(&Event::Cancel), [], "1 is being stopped already");
    assert_eq!(plan.on(&over(1, 1, Reason::Cancelled)), []);
    assert_eq!(plan.verdict(), Some(Verdict::Failed { stage: 0 }));
}

const REASONS: [Reason; 7] = [
    Reason::Completed,
    Reason::Error,
    Reason::OomKilled,
    Reason::Lost,
    Reason::Cancelled,
    Reason::CommandNotFound,
    Reason::StartTimeout,
];

/// Stages that need some of those before them.
fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let on = prop_oneof![(1..5_u8).prop_map(RetryOn::Code), select(&REASONS[1..]).prop_map(RetryOn::Reason),];
    let kind = (any::<u64>(), any::<bool>(), any::<bool>(), 0..3_u32, vec(on, 0..3), vec(1..5_u8, 0..2));
    vec(kind, 1..8).prop_map(|kinds| {
        let stages = kinds.into_iter().enumerate().map(|(n, (bits, goes_on, always, limit, on, permanent_exit))| {
            let needs: Vec<usize> = (0..n).filter(|need| bits >> need & 1 == 1).collect();
            Stage {
                on_error: if goes_on { OnError::Continue } else { OnError::Fail },
                when: if always { When::Always } else { When::Succeeded },
                retries: retries(limit, &on),
                permanent_exit,
                ..stage(n, &needs)
            }
        });
        stages.collect()
    })
}

/// What happens next: which of all that is under way ends or comes due, and how it ends.
fn script() -> impl Strategy<Value = Vec<(Index, Reason, u8)>> {
    vec((any::<Index>(), select(&REASONS[..]), 1..5_u8), 64)
}

/// Plays a plan's world: runs what is started, remembers what must hold, and fails where it does not.
struct World {
    stages: Vec<Stage>,
    plan: Plan,
    /// What runs, and whether it was asked to stop.
    running: Vec<(usize, u32, bool)>,
    pauses: Vec<(usize, u32)>,
    attempts: Vec<u32>,
    ended: Vec<Option<Outcome>>,
    cancelled: bool,
    told: Vec<Event>,
}

impl World {
    fn new(stages: Vec<Stage>) -> Self {
        let mut world = Self {
            plan: Plan::new(&pipeline(stages.clone())),
            running: Vec::new(),
            pauses: Vec::new(),
            attempts: vec![0; stages.len()],
            ended: vec![None; stages.len()],
            cancelled: false,
            told: Vec::new(),
            stages,
        };
        world.tell(&Event::Begin);
        world
    }

    fn failed(&self) -> bool {
        let fatal = |n: usize| self.stages[n].on_error == OnError::Fail;
        (0..self.stages.len()).any(|n| fatal(n) && matches!(self.ended[n], Some(Outcome::Failed | Outcome::Cancelled)))
    }

    fn tell(&mut self, event: &Event) {
        let actions = self.plan.on(event);
        for n in 0..self.stages.len() {
            let outcome = self.plan.outcome(n);
            assert!(self.ended[n].is_none() || self.ended[n] == outcome, "stage {n} ended twice: {outcome:?}");
            self.ended[n] = outcome;
        }
        for action in actions {
            match action {
                Action::Start { stage, attempt } => self.start(stage, attempt),
                Action::Stop { stage, attempt } => {
                    let of =
                        |(s, a, stopping): &&mut (usize, u32, bool)| (*s, *a, *stopping) == (stage, attempt, false);
                    let asked = self.running.iter_mut().find(of).expect("what runs is stopped, and once");
                    assert!(self.cancelled || self.stages[stage].when != When::Always, "an always-stage was stopped");
                    asked.2 = true;
                }
                Action::Pause { stage, attempt, .. } => {
                    assert!(!self.cancelled, "a pause after a cancellation");
                    assert_eq!(attempt, self.attempts[stage] + 1);
                    assert!(!self.running.iter().any(|(s, ..)| *s == stage), "{stage} pauses and runs");
                    self.pauses.push((stage, attempt));
                }
            }
        }
    }

    fn start(&mut self, stage: usize, attempt: u32) {
        let of = &self.stages[stage];
        assert!(!self.cancelled, "stage {stage} began after a cancellation");
        assert!(!self.running.iter().any(|(s, ..)| *s == stage), "two attempts at stage {stage}");
        assert_eq!(attempt, self.attempts[stage] + 1, "attempts are counted");
        assert!(attempt <= 1 + of.retries.limit, "one attempt too many");
        let always = of.when == When::Always;
        assert!(always || !self.failed(), "stage {stage} began after a failure");
        for need in &of.needs {
            let n = self.stages.iter().position(|stage| stage.name == *need).expect("it exists");
            let outcome = self.ended[n].unwrap_or_else(|| panic!("{stage} began before {n} was over"));
            let fine = outcome == Outcome::Succeeded || self.stages[n].on_error == OnError::Continue;
            assert!(always || fine, "{stage} began after {n} had {outcome:?}");
        }
        self.attempts[stage] = attempt;
        self.running.push((stage, attempt, false));
    }

    fn cancel(&mut self) {
        self.cancelled |= self.plan.verdict().is_none();
        self.tell(&Event::Cancel);
    }

    /// Something that is under way ends; false when nothing is.
    fn step(&mut self, which: Index, reason: Reason, code: u8) -> bool {
        let under_way = self.running.len() + self.pauses.len();
        if under_way == 0 {
            return false;
        }
        let at = which.index(under_way);
        let event = if at < self.running.len() {
            let (stage, attempt, stopping) = self.running.swap_remove(at);
            let reason = if stopping && reason == Reason::Error { Reason::Cancelled } else { reason };
            Event::Over { stage, attempt, reason, exit_code: (reason == Reason::Error).then_some(code) }
        } else {
            let (stage, attempt) = self.pauses.swap_remove(at - self.running.len());
            Event::Due { stage, attempt }
        };
        self.tell(&event);
        // Everything is told again, late: whoever tells may have looked twice.
        self.told.push(event);
        for event in &self.told {
            assert_eq!(self.plan.on(event), [], "{event:?} counted twice");
        }
        true
    }

    fn check_end(&self) {
        let verdict = self.plan.verdict().expect("everything is over, and so is the plan");
        for (n, stage) in self.stages.iter().enumerate() {
            let outcome = self.ended[n].expect("every stage has ended");
            assert_eq!(outcome == Outcome::Skipped, self.attempts[n] == 0, "{outcome:?}");
            assert!(self.cancelled || stage.when != When::Always || self.attempts[n] > 0, "always means always");
            assert!(verdict != Verdict::Succeeded || self.attempts[n] > 0, "{n} was left out of an item that is done");
        }
        match verdict {
            Verdict::Succeeded => assert!(!self.failed() && !self.cancelled),
            Verdict::Failed { stage } => {
                assert_eq!(self.stages[stage].on_error, OnError::Fail);
                assert!(matches!(self.ended[stage], Some(Outcome::Failed | Outcome::Cancelled)));
            }
            Verdict::Cancelled => assert!(self.cancelled),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens_every_stage_ends_once_and_nothing_runs_twice(
        stages in stages(), script in script(), cancel_at in 0..100_usize,
    ) {
        let mut world = World::new(stages);
        for (n, (which, reason, code)) in script.into_iter().enumerate() {
            if n == cancel_at {
                world.cancel();
            }
            if !world.step(which, reason, code) {
                break;
            }
        }
        // Seven stages of three attempts and two pauses each are over within 64 steps.
        world.check_end();
    }
}
