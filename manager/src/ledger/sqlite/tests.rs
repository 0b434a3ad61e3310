use super::*;
use crate::ledger::{Cause, Next, Selection, State};

fn name(text: &str) -> ItemName {
    text.parse().expect("a name")
}

fn nonce(text: &str) -> AttemptId {
    AttemptId(text.into())
}

fn todo(names: &[&str]) -> Seen {
    Seen { new: names.iter().map(|text| (name(text), State::Todo)).collect(), returned: vec![] }
}

fn end(cause: Cause, next: Next) -> Conclusion {
    Conclusion {
        at: Time(50),
        cause,
        exit: Some(1),
        reason: "CommandFailed".into(),
        message: "no".into(),
        report: Some("{\"a\":1}".into()),
        log: "last line\n".into(),
        next,
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    ledger: SqliteLedger,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = open(dir.path(), 0);
        Self { dir, ledger }
    }

    async fn row(&self, text: &str) -> Row {
        let rows = self.ledger.rows(vec![name(text)]).await.expect("reads");
        rows.get(&name(text)).expect("is known").clone()
    }

    async fn attempt(&self, text: &str, id: &str) -> Option<Intent> {
        let row = self.row(text).await;
        self.ledger.intend(row.id, nonce(id), Time(20)).await.expect("writes")
    }
}

fn open(dir: &Path, revision: u64) -> SqliteLedger {
    SqliteLedger::open(&StateDir::open(dir).expect("a state directory"), "q", revision).expect("opens")
}

#[tokio::test]
async fn an_item_goes_through_its_life() {
    let f = Fixture::new();
    f.ledger.begin().await.expect("begins");
    let rows = f.ledger.note(todo(&["a", "b"]), Time(10)).await.expect("writes");
    assert_eq!(rows.len(), 2);
    assert_eq!(f.ledger.ready(Time(9), 10).await.expect("reads"), vec![]);
    let ready = f.ledger.ready(Time(10), 1).await.expect("reads");
    assert_eq!(ready.first().map(|(name, _)| name.as_str()), Some("a"));

    let intent = f.attempt("a", "n1").await.expect("is to be done");
    assert_eq!((intent.number, intent.at), (1, Time(20)));
    assert_eq!(f.attempt("a", "n2").await, None, "a running item is not intended again");
    let again = Next::Again { not_before: Time(99), counts: true };
    f.ledger.conclude(nonce("n1"), end(Cause::Failed, again)).await.expect("writes");
    let row = f.row("a").await;
    assert_eq!((row.state, row.attempts, row.losses, row.not_before), (State::Todo, 1, 0, Time(99)));
    assert_eq!(f.ledger.next_due(Time(50)).await.expect("reads"), Some(Time(99)));

    let lost = Next::Again { not_before: Time(60), counts: false };
    assert_eq!(f.attempt("a", "n2").await.map(|intent| intent.number), Some(2));
    f.ledger.conclude(nonce("n2"), end(Cause::Lost, lost)).await.expect("writes");
    let row = f.row("a").await;
    assert_eq!((row.attempts, row.losses), (1, 1), "a lost attempt does not count");

    assert_eq!(f.attempt("a", "n3").await.map(|intent| intent.number), Some(3));
    f.ledger.conclude(nonce("n3"), end(Cause::Permanent, Next::Dead)).await.expect("writes");
    f.ledger.conclude(nonce("n3"), end(Cause::Succeeded, Next::Done)).await.expect("changes nothing");
    assert_eq!(f.row("a").await.state, State::Dead, "what is concluded stays concluded");
    f.ledger.settled(f.row("a").await.id, Time(70)).await.expect("writes");
    assert_eq!(f.row("a").await.settled, Some(Time(70)));

    let (record, attempts) = f.ledger.show(&name("a")).await.expect("reads").expect("is known");
    assert_eq!((record.state, attempts.len()), (State::Dead, 3));
    let last = attempts.last().expect("has three");
    assert_eq!((last.cause.as_deref(), last.exit), (Some("permanent"), Some(1)));
    assert_eq!(last.log.as_deref(), Some("last line\n"));
    let tally = f.ledger.tally().await.expect("reads");
    assert_eq!((tally.todo, tally.dead, tally.running), (1, 1, 0));
}

#[tokio::test]
async fn another_manager_finds_what_this_one_left_open() {
    let f = Fixture::new();
    assert_eq!(f.ledger.begin().await.expect("begins").epoch, 1);
    f.ledger.note(todo(&["a", "b", "c"]), Time(10)).await.expect("writes");
    for text in ["a", "b", "c"] {
        f.attempt(text, &format!("n-{text}")).await.expect("is to be done");
    }
    f.ledger.stopping(nonce("n-b"), Time(30)).await.expect("writes");
    f.ledger.conclude(nonce("n-c"), end(Cause::Succeeded, Next::Done)).await.expect("writes");

    // Of a later revision, and still it has to know.
    let beginning = open(f.dir.path(), 7).begin().await.expect("begins");
    assert_eq!(beginning.epoch, 2);
    let open: Vec<_> = beginning.unconcluded.iter().map(|u| (u.name.as_str(), u.stopping, u.intent.revision)).collect();
    assert_eq!(open, [("a", false, 0), ("b", true, 0)]);
    assert_eq!(beginning.uncleared, [nonce("n-c")]);
    assert_eq!(beginning.listed, [], "nothing was listed under this revision");

    f.ledger.cleared(vec![nonce("n-c")]).await.expect("writes");
    let beginning = f.ledger.begin().await.expect("begins");
    assert_eq!((beginning.uncleared.len(), beginning.listed.len()), (0, 3));
}

#[tokio::test]
async fn items_are_forgotten_only_when_absent_long_enough_and_never_while_running() {
    let f = Fixture::new();
    f.ledger.begin().await.expect("begins");
    let rows = f.ledger.note(todo(&["a", "b", "c"]), Time(10)).await.expect("writes");
    f.attempt("a", "n").await.expect("is to be done");
    f.ledger.walked(rows.values().map(|row| row.id).collect(), Time(100)).await.expect("writes");
    assert!(f.ledger.begin().await.expect("begins").walked);
    assert_eq!(f.ledger.ready(Time(500), 9).await.expect("reads"), vec![], "what is absent is not started");
    assert_eq!(f.ledger.forget(Time(100)).await.expect("writes"), 0);
    let returned = Seen { new: vec![], returned: vec![f.row("b").await.id] };
    f.ledger.note(returned, Time(110)).await.expect("writes");
    assert_eq!(f.ledger.forget(Time(101)).await.expect("writes"), 1);
    assert_eq!(f.row("a").await.state, State::Running);
    assert_eq!(f.row("b").await.absent_since, None);
    assert_eq!(f.ledger.rows(vec![name("c")]).await.expect("reads").len(), 0);
}

#[tokio::test]
async fn what_another_revision_knows_of_a_listed_name_is_kept() {
    let f = Fixture::new();
    f.ledger.note(todo(&["stays", "goes"]), Time(10)).await.expect("writes");
    let later = open(f.dir.path(), 1);
    later.begin().await.expect("begins");
    later.note(todo(&["stays"]), Time(20)).await.expect("writes");
    later.walked(vec![], Time(30)).await.expect("writes");
    assert_eq!(f.row("stays").await.absent_since, None);
    assert_eq!(f.row("goes").await.absent_since, Some(Time(30)));
    assert_eq!(later.forget(Time(31)).await.expect("writes"), 1);
    assert_eq!(f.row("stays").await.state, State::Todo);
}

#[tokio::test]
async fn an_operator_works_beside_a_running_manager() {
    let f = Fixture::new();
    f.ledger.begin().await.expect("begins");
    f.ledger.note(todo(&["a", "b", "r"]), Time(10)).await.expect("writes");
    f.attempt("r", "n").await.expect("is to be done");
    let before = f.ledger.control().await.expect("reads");
    assert_eq!(f.ledger.control().await.expect("reads"), before, "own writes leave no mark");

    let operator = open(f.dir.path(), 0);
    operator.pause(true).await.expect("writes");
    let after = f.ledger.control().await.expect("reads");
    assert!(after.paused && after.mark != before.mark, "{before:?} {after:?}");
    operator.pause(false).await.expect("writes");
    assert!(!f.ledger.control().await.expect("reads").paused);

    let names = vec![name("a"), name("r"), name("later")];
    let changed = operator.skip(names, Time(40)).await.expect("writes");
    assert_eq!(changed.changed, [name("a"), name("later")]);
    assert_eq!(changed.running, [name("r")], "a running attempt is not pulled from under the manager");
    assert_eq!(f.attempt("a", "n2").await, None, "the manager finds out before it starts");
    let changed = operator.retry(Selection::All(State::Skipped), Time(41)).await.expect("writes");
    assert_eq!(changed.changed.len(), 2);
    let changed = operator.retry(Selection::Names(vec![name("typo")]), Time(42)).await.expect("writes");
    assert_eq!(changed.unknown, [name("typo")]);
    let (all, more) = operator.list(None, 0, 3).await.expect("reads");
    let (rest, end) = operator.list(None, more.expect("there is more"), 3).await.expect("reads");
    assert_eq!((all.len(), rest.len(), end), (3, 1, None));
}

#[tokio::test]
async fn calls_made_at_once_share_a_transaction_and_one_that_fails_takes_nobody_with_it() {
    let f = Fixture::new();
    f.ledger.begin().await.expect("begins");
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..200 {
        let ledger = f.ledger.clone();
        calls.spawn(async move {
            let seen = todo(&[&format!("i{n}")]);
            if n == 100 {
                let refused = ledger.call(|store| store.db.execute("INSERT INTO item(id) VALUES ('x')", [])).await;
                assert!(matches!(refused, Err(LedgerError::Defect { .. })), "{refused:?}");
            }
            ledger.note(seen, Time(n)).await.expect("writes");
        });
    }
    calls.join_all().await;
    assert_eq!(f.ledger.tally().await.expect("reads").todo, 200);
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_passes() {
    let f = Fixture::new();
    f.ledger.begin().await.expect("begins");
    f.ledger.note(todo(&["a"]), Time(1)).await.expect("writes");
    f.ledger.limit_pages(1);
    let long: Vec<String> = (0..2000).map(|n| format!("{n:0>100}")).collect();
    let many = todo(&long.iter().map(String::as_str).collect::<Vec<_>>());
    let error = f.ledger.note(many.clone(), Time(2)).await.expect_err("the disk is full");
    assert!(error.is_temporary(), "{error}");
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(f.ledger.tally().await.expect("reads").todo, 1, "all or nothing");
    f.ledger.limit_pages(1_000_000);
    f.ledger.note(many, Time(3)).await.expect("there is room again");
    assert_eq!(f.ledger.tally().await.expect("reads").todo, 2001);
}

#[tokio::test]
async fn a_damaged_file_and_a_later_format_are_said_plainly() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = StateDir::open(dir.path()).expect("a state directory");
    std::fs::write(state.ledger(), vec![b'x'; 8192]).expect("written");
    let error = SqliteLedger::open(&state, "q", 0).expect_err("is no ledger");
    assert!(matches!(&error, LedgerError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains(".recover"), "{error}");
    assert_eq!(std::fs::read(state.ledger()).expect("is there").len(), 8192, "left as it was");

    std::fs::remove_file(state.ledger()).expect("removed");
    open(dir.path(), 0).call(|store| store.db.pragma_update(None, "user_version", 99)).await.expect("writes");
    let error = SqliteLedger::open(&state, "q", 0).expect_err("is of the future");
    assert!(matches!(&error, LedgerError::Newer { found: 99, .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_asked_all_the_time_is_answered_by_an_index_and_without_sorting() {
    let f = Fixture::new();
    let asked = [
        (
            "item_todo",
            "SELECT id FROM item WHERE queue = 'q' AND revision = 0 AND state = 'todo' AND absent_since IS NULL
             AND not_before <= 5 ORDER BY not_before, id LIMIT 5",
        ),
        (
            "attempt_open",
            "SELECT count(*) FROM attempt CROSS JOIN item ON id = item WHERE queue = 'q' AND cleared = 0 AND over_at IS NULL",
        ),
        (
            "COVERING INDEX item_tally",
            "SELECT state, count(*), count(*) - count(absent_since), sum(absent_since IS NULL AND settled IS NULL)
             FROM item WHERE queue = 'q' AND revision = 0 GROUP BY state",
        ),
    ];
    for (index, query) in asked {
        let explain = format!("EXPLAIN QUERY PLAN {query}");
        let plan: Vec<String> = f
            .ledger
            .call(move |store| store.db.prepare(&explain)?.query_map([], |sql| sql.get("detail"))?.collect())
            .await
            .expect("reads");
        assert!(plan.iter().any(|line| line.contains(index)), "{index}: {plan:?}");
        assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{index}: {plan:?}");
    }
}

/// `tests/data/ledger-v1.sqlite` is as the first release wrote it, and is never written again: what it holds must be read
/// by every later version.
#[tokio::test]
async fn a_ledger_of_format_1_is_read_for_ever() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = StateDir::open(dir.path()).expect("a state directory");
    let frozen = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ledger-v1.sqlite");
    std::fs::copy(frozen, state.ledger()).expect("copied");
    let ledger = SqliteLedger::open(&state, "films", 7).expect("is brought to today's format");

    let beginning = ledger.begin().await.expect("begins");
    assert_eq!((beginning.epoch, beginning.walked, beginning.listed.len()), (4, true, 5));
    let [left] = beginning.unconcluded.as_slice() else { panic!("{:?}", beginning.unconcluded) };
    assert_eq!((left.name.as_str(), left.intent.number, left.stopping), ("running-1", 2, true));
    assert_eq!((left.intent.nonce.clone(), left.intent.revision, left.intent.at), (nonce("n22"), 7, Time(2300)));
    assert_eq!(beginning.uncleared, [nonce("n42")]);
    assert!(ledger.control().await.expect("reads").paused);

    let (items, _) = ledger.list(None, 0, 10).await.expect("reads");
    let states: Vec<_> = items.iter().map(|item| (item.name.as_str(), item.state)).collect();
    let of = |name, state| (name, state);
    assert_eq!(
        states,
        [
            of("todo-1", State::Todo),
            of("running-1", State::Running),
            of("done-1", State::Done),
            of("dead-1", State::Dead),
            of("skipped-1", State::Skipped),
            of("gone-1", State::Done),
        ]
    );
    let (dead, attempts) = ledger.show(&name("dead-1")).await.expect("reads").expect("is known");
    let last = attempts.last().expect("has attempts");
    assert_eq!((dead.attempts, last.exit, last.log.as_deref()), (2, Some(65), Some("last words\n")));
    assert_eq!(items.get(2).expect("has six").settled, Some(Time(3000)));
    assert_eq!(items.get(5).expect("has six").absent_since, Some(Time(9000)));
}

#[tokio::test]
async fn a_call_that_panics_is_an_error_and_the_next_is_served() {
    let f = Fixture::new();
    let defect = f.ledger.call(|_| -> rusqlite::Result<()> { panic!("a defect") }).await;
    assert!(matches!(defect, Err(LedgerError::Defect { .. })), "{defect:?}");
    f.ledger.begin().await.expect("is served");
}

#[test]
fn a_ledger_outlives_the_runtime_it_was_asked_from() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("runs");
    let f = Fixture::new();
    let first = runtime();
    let asked = f.ledger.clone();
    first.block_on(async { drop(tokio::spawn(async move { asked.begin().await })) });
    drop(first);
    runtime().block_on(f.ledger.begin()).expect("is served");
}
