//! The tables, and how older files become today's.

use rusqlite::Connection;

/// The format this program writes, as `PRAGMA user_version`.
pub(super) const VERSION: i64 = 1;

/// What turns format n into n + 1. A released step is never edited: `tests/data` holds a file of each.
const STEPS: [&str; 1] = [V1];

const V1: &str = "
CREATE TABLE queue(
    name      TEXT PRIMARY KEY,
    epoch     INTEGER NOT NULL DEFAULT 0,  -- how many managers there have been
    paused    INTEGER NOT NULL DEFAULT 0,
    walked_at INTEGER                      -- when a complete list was first seen
) STRICT, WITHOUT ROWID;

-- Times are milliseconds since 1970.
CREATE TABLE item(
    id           INTEGER PRIMARY KEY,
    queue        TEXT NOT NULL,
    name         TEXT NOT NULL,
    revision     INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK(state IN ('todo', 'running', 'done', 'dead', 'skipped')),
    attempts     INTEGER NOT NULL DEFAULT 0,  -- that ended and count
    losses       INTEGER NOT NULL DEFAULT 0,  -- lost since the last that ended
    not_before   INTEGER NOT NULL,
    settled      INTEGER,                     -- when the source last took note
    absent_since INTEGER,                     -- from complete lists
    UNIQUE(queue, name, revision)
) STRICT;
CREATE INDEX item_todo ON item(queue, revision, not_before) WHERE state = 'todo' AND absent_since IS NULL;
CREATE INDEX item_absent ON item(queue, absent_since) WHERE absent_since IS NOT NULL;
CREATE INDEX item_tally ON item(queue, revision, state, absent_since, settled);

CREATE TABLE attempt(
    item      INTEGER NOT NULL REFERENCES item(id) ON DELETE CASCADE,
    n         INTEGER NOT NULL,               -- from 1, lost ones too
    nonce     TEXT NOT NULL UNIQUE,
    epoch     INTEGER NOT NULL,               -- of the manager that intended it
    intent_at INTEGER NOT NULL,
    stop_at   INTEGER,                        -- when it was to be stopped
    over_at   INTEGER,                        -- when its end was recorded
    exit      INTEGER,
    cause     TEXT CHECK(cause IN ('succeeded', 'failed', 'permanent', 'lost', 'stopped')),
    reason    TEXT,
    message   TEXT,
    report    TEXT,
    log       TEXT,
    cleared   INTEGER NOT NULL DEFAULT 0,     -- whether the executor has forgotten it
    PRIMARY KEY(item, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_open ON attempt(item) WHERE cleared = 0;
";

/// Brings the file to [`VERSION`], each step whole or not at all.
///
/// Gives the file's own format where that is later than ours.
pub(super) fn migrate(db: &mut Connection) -> rusqlite::Result<Result<(), i64>> {
    loop {
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let found: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found > VERSION {
            return Ok(Err(found));
        }
        let Some(step) = usize::try_from(found).ok().and_then(|n| STEPS.get(n)) else { return Ok(Ok(())) };
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", found + 1)?;
        tx.commit()?;
    }
}
