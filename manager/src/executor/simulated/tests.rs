//! The simulation keeps its own word: fair weather runs everything once, foul weather lies only where it may.

use contract::ItemName;

use super::*;

fn attempt(n: u32) -> Attempt {
    Attempt {
        id: AttemptId(format!("id-{n}")),
        item: ItemName::parse(&format!("item-{n}")).expect("a name"),
        number: 1,
        revision: 1,
        data: "{}".to_owned(),
        trace: None,
    }
}

#[tokio::test(start_paused = true)]
async fn in_fair_weather_an_attempt_goes_its_course() {
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), |_, _| Course {
        pending: Duration::from_secs(1),
        running: Duration::from_secs(2),
        exit: Some(3),
        reports: true,
    });
    let one = attempt(1);
    assert_eq!(executor.look(&one.id).await.expect("answers"), Phase::Absent);
    let mut seen = executor.observe();
    assert_eq!(seen.next().await, Some(Snapshot::default()));
    executor.start(&one).await.expect("starts");
    assert!(matches!(executor.start(&one).await, Err(StartError::Conflict)));
    assert_eq!(executor.look(&one.id).await.expect("answers"), Phase::Pending);
    let phases: Vec<Phase> = seen
        .by_ref()
        .filter_map(|snapshot| async { snapshot.attempts.into_iter().next().map(|(_, phase)| phase) })
        .take_while(|phase| std::future::ready(!matches!(phase, Phase::Over(_))))
        .collect()
        .await;
    assert!(phases.contains(&Phase::Pending) && phases.contains(&Phase::Running), "{phases:?}");
    let Phase::Over(ended) = executor.look(&one.id).await.expect("answers") else { panic!("not over") };
    assert_eq!((ended.exit, ended.report.expect("reports").attempt), (3, "id-1".to_owned()));
    executor.forget(std::slice::from_ref(&one.id)).await.expect("forgets");
    assert_eq!(executor.look(&one.id).await.expect("answers"), Phase::Absent);
    let history = executor.history();
    assert_eq!((history.runs.len(), history.runs[0].exit, history.most_at_once()), (1, Some(3), 1));
    assert!(history.violations.is_empty(), "{:?}", history.violations);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_hides_a_start_that_happened_and_one_that_did_not() {
    let lost = Weather { answer_lost: 1.0, ..Weather::fair() };
    let executor = SimulatedExecutor::new(1, lost);
    assert!(matches!(executor.start(&attempt(1)).await, Err(StartError::Unknown { .. })));
    assert_ne!(executor.look(&attempt(1).id).await.expect("answers"), Phase::Absent);
    executor.turn(Weather { request_lost: 1.0, ..Weather::fair() });
    assert!(matches!(executor.start(&attempt(2)).await, Err(StartError::Unknown { .. })));
    assert_eq!(executor.look(&attempt(2).id).await.expect("answers"), Phase::Absent);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_sender_died_lands_all_the_same() {
    let slow = Weather { latency: Duration::from_secs(1)..=Duration::from_secs(1), ..Weather::fair() };
    let executor = SimulatedExecutor::new(1, slow);
    let (one, handle) = (attempt(1), executor.clone());
    assert!(timeout(Duration::from_millis(10), handle.start(&one)).await.is_err());
    drop(handle);
    executor.turn(Weather::fair());
    assert_eq!(executor.look(&one.id).await.expect("answers"), Phase::Absent);
    sleep(Duration::from_secs(1)).await;
    assert_ne!(executor.look(&one.id).await.expect("answers"), Phase::Absent);
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_the_pending_and_loses_the_running() {
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), |attempt, _| Course {
        pending: Duration::from_secs(if attempt.id.0 == "id-1" { 0 } else { 60 }),
        running: Duration::from_secs(60),
        exit: Some(0),
        reports: false,
    });
    executor.start(&attempt(1)).await.expect("starts");
    executor.start(&attempt(2)).await.expect("starts");
    sleep(Duration::from_secs(1)).await;
    executor.restart();
    assert_eq!(executor.look(&attempt(1).id).await.expect("answers"), Phase::Lost);
    assert_eq!(executor.look(&attempt(2).id).await.expect("answers"), Phase::Absent);
}

#[tokio::test(start_paused = true)]
async fn overlaps_and_wrong_calls_are_recorded() {
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), |_, _| Course {
        pending: Duration::ZERO,
        running: Duration::from_secs(60),
        exit: Some(0),
        reports: false,
    });
    let first = attempt(1);
    let second = Attempt { id: AttemptId("other".to_owned()), number: 2, ..first.clone() };
    executor.start(&first).await.expect("starts");
    sleep(Duration::from_secs(1)).await;
    executor.start(&second).await.expect("starts");
    assert_eq!(executor.history().overlaps().len(), 1);
    assert_eq!(executor.history().most_at_once(), 2);
    executor.forget(std::slice::from_ref(&first.id)).await.expect("forgets");
    executor.start(&first).await.expect("the remote knows it no more");
    assert_eq!(executor.history().violations.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_asks_long_enough_gets_through_foul_weather() {
    let executor = SimulatedExecutor::new(7, Weather::foul());
    for n in 0..50 {
        let one = attempt(n);
        let over = async {
            while !matches!(executor.start(&one).await, Ok(()) | Err(StartError::Conflict)) {}
            while !matches!(executor.look(&one.id).await, Ok(Phase::Over(_) | Phase::Lost)) {}
        };
        timeout(Duration::from_secs(3600), over).await.expect("in an hour");
        sleep(Duration::from_secs(1)).await;
    }
    let history = executor.history();
    assert_eq!((history.runs.len(), history.overlaps().len()), (50, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_shortens_a_run() {
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), |_, _| Course {
        pending: Duration::ZERO,
        running: Duration::from_secs(3600),
        exit: Some(0),
        reports: true,
    });
    executor.start(&attempt(1)).await.expect("starts");
    sleep(Duration::from_secs(1)).await;
    executor.stop(&attempt(1).id, Duration::from_secs(5)).await.expect("stops");
    sleep(Duration::from_secs(5)).await;
    let phase = executor.look(&attempt(1).id).await.expect("answers");
    assert!(matches!(phase, Phase::Over(Ended { exit: 143, .. })), "{phase:?}");
}
