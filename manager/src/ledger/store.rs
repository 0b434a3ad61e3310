//! The ledger's statements, each method a part of one transaction.

use std::collections::HashMap;

use contract::ItemName;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row as SqlRow, named_params, params};

use super::{Beginning, Cause, Conclusion, Control, Intent, ItemId, Next, Row, Seen, State, Tally, Unconcluded};
use crate::clock::Time;
use crate::executor::AttemptId;

/// A transaction that speaks of one queue and revision.
pub(super) struct Store<'a> {
    pub(super) db: &'a Connection,
    pub(super) queue: &'a str,
    pub(super) revision: u64,
}

/// The columns of a [`Row`], in the order that [`row`] reads them.
const ROW: &str = "id, state, attempts, losses, not_before, settled, absent_since";

fn row(sql: &SqlRow<'_>) -> Result<Row> {
    Ok(Row {
        id: ItemId(sql.get(0)?),
        state: sql.get(1)?,
        attempts: sql.get(2)?,
        losses: sql.get(3)?,
        not_before: sql.get(4)?,
        settled: sql.get(5)?,
        absent_since: sql.get(6)?,
    })
}

impl Store<'_> {
    pub(super) fn begin(&self) -> Result<Beginning> {
        let (epoch, walked) = self.db.query_row(
            "INSERT INTO queue(name, epoch) VALUES (?1, 1) ON CONFLICT(name) DO UPDATE SET epoch = epoch + 1
             RETURNING epoch, walked_at IS NOT NULL",
            [self.queue],
            |sql| Ok((sql.get(0)?, sql.get(1)?)),
        )?;
        Ok(Beginning {
            epoch,
            walked,
            unconcluded: self.unconcluded()?,
            uncleared: self.uncleared()?,
            listed: self.listed()?,
        })
    }

    // SQLite takes the tables of a CROSS JOIN in their order: from the few open attempts to their items.
    fn unconcluded(&self) -> Result<Vec<Unconcluded>> {
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT {ROW}, name, revision, n, nonce, intent_at, stop_at IS NOT NULL FROM attempt CROSS JOIN item ON id = item
             WHERE queue = ? AND cleared = 0 AND over_at IS NULL ORDER BY intent_at"
        ))?;
        let found = statement.query_map([self.queue], |sql| {
            Ok(Unconcluded {
                row: row(sql)?,
                name: name(sql, 7)?,
                intent: Intent {
                    revision: sql.get(8)?,
                    number: sql.get(9)?,
                    nonce: AttemptId(sql.get(10)?),
                    at: sql.get(11)?,
                },
                stopping: sql.get(12)?,
            })
        })?;
        found.collect()
    }

    fn uncleared(&self) -> Result<Vec<AttemptId>> {
        let mut statement = self.db.prepare_cached(
            "SELECT nonce FROM attempt CROSS JOIN item ON id = item
             WHERE queue = ? AND cleared = 0 AND over_at IS NOT NULL",
        )?;
        statement.query_map([self.queue], |sql| sql.get(0).map(AttemptId))?.collect()
    }

    fn listed(&self) -> Result<Vec<ItemId>> {
        let mut statement =
            self.db.prepare_cached("SELECT id FROM item WHERE queue = ? AND revision = ? AND absent_since IS NULL")?;
        statement.query_map(params![self.queue, self.revision], |sql| sql.get(0).map(ItemId))?.collect()
    }

    pub(super) fn control(&self) -> Result<Control> {
        Ok(Control {
            mark: self.db.query_row("PRAGMA data_version", [], |sql| sql.get(0))?,
            paused: self
                .db
                .prepare_cached("SELECT paused FROM queue WHERE name = ?")?
                .query_row([self.queue], |sql| sql.get(0))
                .optional()?
                .unwrap_or(false),
        })
    }

    pub(super) fn rows(&self, names: &[ItemName]) -> Result<HashMap<ItemName, Row>> {
        let mut statement =
            self.db.prepare_cached(&format!("SELECT {ROW} FROM item WHERE queue = ? AND name = ? AND revision = ?"))?;
        let mut rows = HashMap::with_capacity(names.len());
        for name in names {
            if let Some(row) = statement.query_row(params![self.queue, name.as_str(), self.revision], row).optional()? {
                rows.insert(name.clone(), row);
            }
        }
        Ok(rows)
    }

    pub(super) fn note(&self, seen: &Seen, now: Time) -> Result<HashMap<ItemName, Row>> {
        // Who is due first is started first, so a new item queues up behind those that wait since earlier.
        let mut insert = self.db.prepare_cached(&format!(
            "INSERT INTO item(queue, name, revision, state, not_before) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT(queue, name, revision) DO UPDATE SET absent_since = NULL RETURNING {ROW}"
        ))?;
        let mut rows = HashMap::with_capacity(seen.new.len());
        for (name, state) in &seen.new {
            let inserted = insert.query_row(params![self.queue, name.as_str(), self.revision, state, now], row)?;
            rows.insert(name.clone(), inserted);
        }
        let mut update = self.db.prepare_cached("UPDATE item SET absent_since = NULL WHERE id = ?")?;
        for id in &seen.returned {
            update.execute([id.0])?;
        }
        Ok(rows)
    }

    pub(super) fn walked(&self, absent: &[ItemId], now: Time) -> Result<()> {
        let mut update =
            self.db.prepare_cached("UPDATE item SET absent_since = ? WHERE id = ? AND absent_since IS NULL")?;
        for id in absent {
            update.execute(params![now, id.0])?;
        }
        let first = self
            .db
            .prepare_cached("UPDATE queue SET walked_at = ?2 WHERE name = ?1 AND walked_at IS NULL")?
            .execute(params![self.queue, now])?;
        if first == 0 && absent.is_empty() {
            return Ok(());
        }
        // What other revisions remember of a name that is listed no more ages with it.
        self.db
            .prepare_cached(
                "UPDATE item SET absent_since = :now WHERE queue = :queue AND absent_since IS NULL AND revision <> :revision
                 AND NOT EXISTS (SELECT 1 FROM item AS now WHERE now.queue = item.queue AND now.name = item.name
                                 AND now.revision = :revision AND now.absent_since IS NULL)",
            )?
            .execute(named_params! {":now": now, ":queue": self.queue, ":revision": self.revision})?;
        Ok(())
    }

    pub(super) fn ready(&self, now: Time, max: usize) -> Result<Vec<(ItemName, Row)>> {
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT {ROW}, name FROM item
             WHERE queue = ? AND revision = ? AND state = 'todo' AND absent_since IS NULL AND not_before <= ?
             ORDER BY not_before, id LIMIT ?"
        ))?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        statement
            .query_map(params![self.queue, self.revision, now, max], |sql| Ok((name(sql, 7)?, row(sql)?)))?
            .collect()
    }

    pub(super) fn next_due(&self, now: Time) -> Result<Option<Time>> {
        self.db
            .prepare_cached(
                "SELECT not_before FROM item WHERE queue = ? AND revision = ? AND state = 'todo' AND absent_since IS NULL
                 AND not_before > ? ORDER BY not_before LIMIT 1",
            )?
            .query_row(params![self.queue, self.revision, now], |sql| sql.get(0))
            .optional()
    }

    pub(super) fn intend(&self, item: ItemId, nonce: AttemptId, now: Time) -> Result<Option<Intent>> {
        let revision = self
            .db
            .prepare_cached("UPDATE item SET state = 'running' WHERE id = ? AND state = 'todo' RETURNING revision")?
            .query_row([item.0], |sql| sql.get(0))
            .optional()?;
        let Some(revision) = revision else { return Ok(None) };
        let number = self
            .db
            .prepare_cached(
                "INSERT INTO attempt(item, n, nonce, epoch, intent_at)
                 SELECT ?1, 1 + coalesce((SELECT max(n) FROM attempt WHERE item = ?1), 0), ?2, queue.epoch, ?3
                 FROM queue WHERE name = ?4 RETURNING n",
            )?
            .query_row(params![item.0, nonce.0, now, self.queue], |sql| sql.get(0))?;
        Ok(Some(Intent { nonce, number, revision, at: now }))
    }

    pub(super) fn stopping(&self, nonce: &AttemptId, now: Time) -> Result<()> {
        self.db
            .prepare_cached("UPDATE attempt SET stop_at = ? WHERE nonce = ? AND over_at IS NULL AND stop_at IS NULL")?
            .execute(params![now, nonce.0])?;
        Ok(())
    }

    pub(super) fn conclude(&self, nonce: &AttemptId, end: &Conclusion) -> Result<()> {
        let item: Option<i64> = self
            .db
            .prepare_cached(
                "UPDATE attempt SET over_at = ?, exit = ?, cause = ?, reason = ?, message = ?, report = ?,
                 log = nullif(?, '') WHERE nonce = ? AND over_at IS NULL RETURNING item",
            )?
            .query_row(
                params![end.at, end.exit, end.cause.as_str(), end.reason, end.message, end.report, end.log, nonce.0],
                |sql| sql.get(0),
            )
            .optional()?;
        let Some(item) = item else { return Ok(()) };
        let (state, not_before, counts) = match end.next {
            Next::Done => (State::Done, None, true),
            Next::Dead => (State::Dead, None, true),
            Next::Again { not_before, counts } => (State::Todo, Some(not_before), counts),
        };
        self.db
            .prepare_cached(
                "UPDATE item SET state = :state, not_before = coalesce(:not_before, not_before),
                 attempts = attempts + :counts, losses = CASE WHEN :lost THEN losses + 1 ELSE 0 END, settled = NULL
                 WHERE id = :id AND state = 'running'",
            )?
            .execute(named_params! {
                ":state": state, ":not_before": not_before, ":counts": counts,
                ":lost": end.cause == Cause::Lost, ":id": item,
            })?;
        Ok(())
    }

    pub(super) fn cleared(&self, nonces: &[AttemptId]) -> Result<()> {
        let mut update = self.db.prepare_cached("UPDATE attempt SET cleared = 1 WHERE nonce = ?")?;
        nonces.iter().try_for_each(|nonce| update.execute([&nonce.0]).map(drop))
    }

    pub(super) fn last_words(&self, item: ItemId) -> Result<Option<String>> {
        self.db
            .prepare_cached(
                "SELECT reason || ': ' || message FROM attempt WHERE item = ? AND over_at IS NOT NULL
                 ORDER BY n DESC LIMIT 1",
            )?
            .query_row([item.0], |sql| sql.get(0))
            .optional()
    }

    pub(super) fn settled(&self, item: ItemId, now: Time) -> Result<()> {
        self.db
            .prepare_cached("UPDATE item SET settled = ? WHERE id = ? AND state IN ('done', 'dead')")?
            .execute(params![now, item.0])?;
        Ok(())
    }

    pub(super) fn put_off(&self, item: ItemId, until: Time) -> Result<()> {
        self.db
            .prepare_cached("UPDATE item SET not_before = ? WHERE id = ? AND state = 'todo'")?
            .execute(params![until, item.0])?;
        Ok(())
    }

    pub(super) fn forget(&self, before: Time) -> Result<u64> {
        let forgotten = self
            .db
            .prepare_cached(
                "DELETE FROM item WHERE queue = ? AND absent_since < ? AND state <> 'running'
                 AND NOT EXISTS (SELECT 1 FROM item AS other WHERE other.queue = item.queue AND other.name = item.name
                                 AND other.absent_since IS NULL)
                 AND NOT EXISTS (SELECT 1 FROM attempt WHERE item = item.id AND cleared = 0)",
            )?
            .execute(params![self.queue, before])?;
        Ok(forgotten as u64)
    }

    pub(super) fn tally(&self) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut statement = self.db.prepare_cached(
            "SELECT state, count(*), count(*) - count(absent_since),
                    sum(absent_since IS NULL AND settled IS NULL) FROM item WHERE queue = ? AND revision = ? GROUP BY state",
        )?;
        let mut states = statement.query(params![self.queue, self.revision])?;
        while let Some(sql) = states.next()? {
            let (state, all, listed, unsettled): (State, u64, u64, u64) =
                (sql.get(0)?, sql.get(1)?, sql.get(2)?, sql.get(3)?);
            match state {
                State::Todo => (tally.todo, tally.absent) = (listed, all - listed),
                State::Running => {}
                State::Done => (tally.done, tally.done_unsettled) = (all, unsettled),
                State::Dead => (tally.dead, tally.dead_unsettled) = (all, unsettled),
                State::Skipped => tally.skipped = all,
            }
        }
        // Attempts of another revision occupy their slots too.
        tally.running = self
            .db
            .prepare_cached(
                "SELECT count(*) FROM attempt CROSS JOIN item ON id = item WHERE queue = ? AND cleared = 0 AND over_at IS NULL",
            )?
            .query_row([self.queue], |sql| sql.get(0))?;
        Ok(tally)
    }
}

pub(super) fn name(sql: &SqlRow<'_>, column: usize) -> Result<ItemName> {
    let text: String = sql.get(column)?;
    ItemName::parse(&text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e.into()))
}

impl ToSql for Time {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for Time {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}

impl ToSql for State {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or(FromSqlError::InvalidType)
    }
}
