//! What an operator asks of a ledger and changes in it, also while a manager runs.

use std::collections::HashSet;

use contract::ItemName;
use rusqlite::{OptionalExtension, Result, params};
use serde::Serialize;

use super::store::{Store, name};
use super::{LedgerError, SqliteLedger, State};
use crate::clock::Time;
use crate::executor::AttemptId;

/// One item, as `ledger list` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemRecord {
    /// Its name.
    pub name: ItemName,
    /// Its revision.
    pub revision: u64,
    /// What is to be done about it.
    pub state: State,
    /// How many attempts ended and count.
    pub attempts: u32,
    /// It is not started before.
    pub not_before: Time,
    /// When the source last took note of what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<Time>,
    /// Since when complete lists do not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent_since: Option<Time>,
    /// The latest attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<AttemptRecord>,
}

/// One attempt, as `ledger show` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRecord {
    /// Which, from 1.
    pub number: u32,
    /// Its nonce.
    pub id: String,
    /// When it was written down, just before it began.
    pub started: Time,
    /// When its end was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// Its exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// Why it is over: `succeeded`, `failed`, `permanent`, `lost`, `stopped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// One word for metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// One line for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last lines it wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The worker's own report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<serde_json::Value>,
}

/// Which items a change is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These.
    Names(Vec<ItemName>),
    /// All in one state.
    All(State),
}

/// How a queue stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Items that are being attempted.
    pub running: HashSet<ItemName>,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// Whether a complete list was seen ever.
    pub walked: bool,
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Items that were changed.
    pub changed: Vec<ItemName>,
    /// Items that are being attempted, and were left alone.
    pub running: Vec<ItemName>,
    /// Names that are not known.
    pub unknown: Vec<ItemName>,
}

const ITEM: &str = "item.id, item.name, item.revision, item.state, item.attempts, item.not_before, item.settled, \
                    item.absent_since";
const ATTEMPT: &str = "n, nonce, intent_at, over_at, exit, cause, reason, message, log, report";

fn attempt(sql: &rusqlite::Row<'_>) -> Result<AttemptRecord> {
    let report: Option<String> = sql.get("report")?;
    Ok(AttemptRecord {
        number: sql.get("n")?,
        id: sql.get("nonce")?,
        started: sql.get("intent_at")?,
        ended: sql.get("over_at")?,
        exit: sql.get("exit")?,
        cause: sql.get("cause")?,
        reason: sql.get("reason")?,
        message: sql.get("message")?,
        log: sql.get("log")?,
        report: report.and_then(|json| serde_json::from_str(&json).ok()),
    })
}

fn item(sql: &rusqlite::Row<'_>) -> Result<(i64, ItemRecord)> {
    let record = ItemRecord {
        name: name(sql, 1)?,
        revision: sql.get(2)?,
        state: sql.get(3)?,
        attempts: sql.get(4)?,
        not_before: sql.get(5)?,
        settled: sql.get(6)?,
        absent_since: sql.get(7)?,
        last: None,
    };
    Ok((sql.get(0)?, record))
}

impl SqliteLedger {
    /// At most `max` items after the one numbered `after` (0: from the first), in the order in which they were first
    /// seen, and the number to go on from; `None` when that was all.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn list(
        &self,
        state: Option<State>,
        after: i64,
        max: usize,
    ) -> std::result::Result<(Vec<ItemRecord>, Option<i64>), LedgerError> {
        self.call(move |store| store.list(state, after, max)).await
    }

    /// One item with all its attempts, the first first; `None` for a name that is not known.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn show(
        &self,
        name: &ItemName,
    ) -> std::result::Result<Option<(ItemRecord, Vec<AttemptRecord>)>, LedgerError> {
        let name = name.clone();
        self.call(move |store| store.show(&name)).await
    }

    /// Has items done again, as if they had never been tried.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn retry(&self, which: Selection, now: Time) -> std::result::Result<Changed, LedgerError> {
        self.call(move |store| store.set(&which, State::Todo, now)).await
    }

    /// Has items left undone. A name that is not known yet is remembered for when it is listed.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn skip(&self, names: Vec<ItemName>, now: Time) -> std::result::Result<Changed, LedgerError> {
        self.call(move |store| {
            store.foresee(&names, now)?;
            store.set(&Selection::Names(names), State::Skipped, now)
        })
        .await
    }

    /// Has the manager start nothing more, or go on.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn pause(&self, paused: bool) -> std::result::Result<(), LedgerError> {
        self.call(move |store| store.pause(paused)).await
    }

    /// Attempts an executor may still hold something of, of every queue in this file.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn open_attempts(&self) -> std::result::Result<Vec<AttemptId>, LedgerError> {
        self.call(|store| {
            let mut statement = store.db.prepare_cached("SELECT nonce FROM attempt WHERE cleared = 0")?;
            statement.query_map([], |sql| sql.get(0).map(AttemptId))?.collect()
        })
        .await
    }

    /// The highest revision items of this queue have; 0 where there are none.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn latest_revision(&self) -> std::result::Result<u64, LedgerError> {
        self.call(|store| {
            let highest = "SELECT coalesce(max(revision), 0) FROM item WHERE queue = ?";
            store.db.query_row(highest, [store.queue], |sql| sql.get(0))
        })
        .await
    }

    /// How the queue stands, without changing anything.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn standing(&self) -> std::result::Result<Standing, LedgerError> {
        self.call(|store| store.standing()).await
    }
}

impl Store<'_> {
    fn list(&self, state: Option<State>, after: i64, max: usize) -> Result<(Vec<ItemRecord>, Option<i64>)> {
        // By number, page after page: an index would have every page sorted anew.
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT {ITEM}, {ATTEMPT} FROM item NOT INDEXED
             LEFT JOIN attempt ON attempt.item = item.id AND n = (SELECT max(n) FROM attempt WHERE item = item.id)
             WHERE queue = ?1 AND revision = ?2 AND item.id > ?3 AND (?4 IS NULL OR state = ?4)
             ORDER BY item.id LIMIT ?5"
        ))?;
        let mut rows = statement.query(params![
            self.queue,
            self.revision,
            after,
            state,
            i64::try_from(max).unwrap_or(i64::MAX)
        ])?;
        let (mut records, mut last) = (Vec::new(), None);
        while let Some(sql) = rows.next()? {
            let (id, mut record) = item(sql)?;
            if sql.get::<_, Option<u32>>("n")?.is_some() {
                record.last = Some(attempt(sql)?);
            }
            records.push(record);
            last = Some(id);
        }
        let more = records.len() == max;
        Ok((records, last.filter(|_| more)))
    }

    fn show(&self, wanted: &ItemName) -> Result<Option<(ItemRecord, Vec<AttemptRecord>)>> {
        let found = self
            .db
            .prepare_cached(&format!("SELECT {ITEM} FROM item WHERE queue = ? AND name = ? AND revision = ?"))?
            .query_row(params![self.queue, wanted.as_str(), self.revision], item)
            .optional()?;
        let Some((id, record)) = found else { return Ok(None) };
        let mut statement =
            self.db.prepare_cached(&format!("SELECT {ATTEMPT} FROM attempt WHERE item = ? ORDER BY n"))?;
        let attempts = statement.query_map([id], attempt)?.collect::<Result<_>>()?;
        Ok(Some((record, attempts)))
    }

    fn foresee(&self, names: &[ItemName], now: Time) -> Result<()> {
        let mut insert = self.db.prepare_cached(
            "INSERT INTO item(queue, name, revision, state, not_before, absent_since) VALUES (?1, ?2, ?3, 'skipped', ?4, ?4)
             ON CONFLICT DO NOTHING",
        )?;
        for name in names {
            insert.execute(params![self.queue, name.as_str(), self.revision, now])?;
        }
        Ok(())
    }

    fn set(&self, which: &Selection, to: State, now: Time) -> Result<Changed> {
        let mut changed = Changed::default();
        const SET: &str = "UPDATE item SET state = ?1, attempts = 0, losses = 0, not_before = ?2, settled = NULL";
        match which {
            Selection::All(state) => {
                let mut statement = self.db.prepare_cached(&format!(
                    "{SET} WHERE queue = ?3 AND revision = ?4 AND state = ?5 AND state <> 'running' RETURNING name"
                ))?;
                let names =
                    statement.query_map(params![to, now, self.queue, self.revision, state], |sql| name(sql, 0))?;
                changed.changed = names.collect::<Result<_>>()?;
            }
            Selection::Names(names) => {
                let mut look = self
                    .db
                    .prepare_cached("SELECT id, state FROM item WHERE queue = ? AND name = ? AND revision = ?")?;
                let mut update = self.db.prepare_cached(&format!("{SET} WHERE id = ?3"))?;
                for name in names {
                    let found = look
                        .query_row(params![self.queue, name.as_str(), self.revision], |sql| {
                            Ok((sql.get::<_, i64>(0)?, sql.get(1)?))
                        })
                        .optional()?;
                    match found {
                        None => changed.unknown.push(name.clone()),
                        Some((_, State::Running)) => changed.running.push(name.clone()),
                        Some((id, _)) => {
                            update.execute(params![to, now, id])?;
                            changed.changed.push(name.clone());
                        }
                    }
                }
            }
        }
        Ok(changed)
    }

    fn standing(&self) -> Result<Standing> {
        let known = self
            .db
            .query_row("SELECT paused, walked_at IS NOT NULL FROM queue WHERE name = ?", [self.queue], |sql| {
                Ok((sql.get(0)?, sql.get(1)?))
            })
            .optional()?;
        let (paused, walked) = known.unwrap_or_default();
        let mut statement = self.db.prepare_cached(
            "SELECT name FROM attempt CROSS JOIN item ON id = item WHERE queue = ? AND cleared = 0 AND over_at IS NULL",
        )?;
        let running = statement.query_map([self.queue], |sql| name(sql, 0))?.collect::<Result<_>>()?;
        Ok(Standing { running, paused, walked })
    }

    fn pause(&self, paused: bool) -> Result<()> {
        self.db.execute(
            "INSERT INTO queue(name, paused) VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET paused = ?2",
            params![self.queue, paused],
        )?;
        Ok(())
    }
}
