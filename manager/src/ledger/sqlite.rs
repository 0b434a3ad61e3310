//! The embedded ledger: one SQLite file, and one transaction for all who ask at the same time.
//!
//! WAL with `synchronous=NORMAL`: what a call has recorded survives the process's death at once; a power cut may take the
//! last moments back, as if they had not happened, which only runs items again.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use contract::ItemName;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

use super::store::Store;
use super::{
    BUSY, Beginning, Conclusion, Control, Intent, ItemId, Ledger, LedgerError, Row, Seen, StateDir, Tally, schema,
};
use crate::clock::Time;
use crate::executor::AttemptId;

/// How many pages, of 4 KiB, the log may hold before it is written back, which waits for the disk twice; SQLite's own 1,000
/// are reached every hundred items.
const CHECKPOINT_PAGES: u32 = 8_000;

/// A ledger in a SQLite file. Cheap to clone; every clone is the same connection.
#[derive(Clone)]
pub struct SqliteLedger(Arc<Shared>);

struct Shared {
    path: PathBuf,
    queue: String,
    revision: u64,
    desk: Mutex<Desk>,
    db: Mutex<Connection>,
}

/// Where calls wait for the one thread at a time that serves them.
#[derive(Default)]
struct Desk {
    waiting: Vec<Box<dyn Call>>,
    is_served: bool,
}

impl fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLedger").field("path", &self.0.path).field("queue", &self.0.queue).finish_non_exhaustive()
    }
}

impl SqliteLedger {
    /// Opens the ledger in `state`, made or brought to today's format where that is needed. Its door
    /// [`Ledger`] then speaks of `queue` and `revision`.
    ///
    /// # Errors
    /// When it is damaged, of a later format, or cannot be written.
    pub fn open(state: &StateDir, queue: &str, revision: u64) -> Result<Self, LedgerError> {
        let path = state.ledger();
        let error = |e| classed(&path, &e);
        let mut db = Connection::open(&path).map_err(error)?;
        db.busy_timeout(BUSY).map_err(error)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(error)?;
        db.pragma_update(None, "synchronous", "NORMAL").map_err(error)?;
        db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(error)?;
        db.pragma_update(None, "foreign_keys", true).map_err(error)?;
        schema::migrate(&mut db).map_err(error)?.map_err(|found| newer(&path, found))?;
        Self::ready(db, path, queue, revision)
    }

    /// Opens the ledger in `state` to read it only, also where nothing may be written; `None` where there is none yet.
    ///
    /// # Errors
    /// As [`open`](Self::open), and for a ledger of an older format.
    pub fn open_to_read(state: &Path, queue: &str, revision: u64) -> Result<Option<Self>, LedgerError> {
        let path = state.join("ledger.sqlite");
        if !path.exists() {
            return Ok(None);
        }
        let (db, found) = match open_readonly(&path) {
            // Readers of a WAL share memory in a file beside it, which cannot be made here. Without a WAL nobody writes, and the
            // file alone is all there is.
            Err(error) if cannot_share(&error) && !state.join("ledger.sqlite-wal").exists() => {
                open_readonly(&unchanging(&path)).map_err(|error| classed(&path, &error))?
            }
            opened => opened.map_err(|error| classed(&path, &error))?,
        };
        if found != schema::VERSION {
            return Err(newer(&path, found));
        }
        Self::ready(db, path, queue, revision).map(Some)
    }

    fn ready(db: Connection, path: PathBuf, queue: &str, revision: u64) -> Result<Self, LedgerError> {
        db.set_prepared_statement_cache_capacity(64);
        let shared = Shared { path, queue: queue.to_owned(), revision, desk: Mutex::default(), db: Mutex::new(db) };
        Ok(Self(Arc::new(shared)))
    }

    /// Runs `f` in a transaction, together with whoever else asks meanwhile, on a thread that may block.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&Store<'_>) -> rusqlite::Result<R> + Send + 'static,
    ) -> Result<R, LedgerError> {
        let (reply, answer) = oneshot::channel();
        let nobody_serves = {
            let mut desk = lock(&self.0.desk);
            desk.waiting.push(Box::new(Pending { f: Some(f), result: None, reply }));
            !std::mem::replace(&mut desk.is_served, true)
        };
        if nobody_serves {
            let turn = Turn { shared: Arc::clone(&self.0), is_over: false };
            tokio::task::spawn_blocking(move || turn.take());
        }
        answer.await.unwrap_or_else(|_| {
            Err(LedgerError::Defect { path: self.0.path.clone(), why: "the call was dropped".into() })
        })
    }

    /// Lets the file grow to so many pages and no further, as a full disk does.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        lock(&self.0.db).pragma_update(None, "max_page_count", pages).expect("a pragma");
    }
}

/// A turn at the desk. One that never comes, since its runtime ends, leaves the desk to the callers of the next runtime.
struct Turn {
    shared: Arc<Shared>,
    is_over: bool,
}

impl Turn {
    fn take(mut self) {
        self.shared.serve();
        self.is_over = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            *lock(&self.shared.desk) = Desk::default();
        }
    }
}

impl Shared {
    /// Until nobody waits any more: whoever asks while a transaction is under way is in the next.
    fn serve(&self) {
        let mut db = lock(&self.db);
        loop {
            let mut calls = {
                let mut desk = lock(&self.desk);
                desk.is_served = !desk.waiting.is_empty();
                std::mem::take(&mut desk.waiting)
            };
            if calls.is_empty() {
                return;
            }
            // A call that panics takes those with it that were in its transaction, and nobody who comes after.
            let Ok(committed) = catch_unwind(AssertUnwindSafe(|| self.transact(&mut db, &mut calls))) else { continue };
            for call in calls {
                call.answer(&self.path, committed.as_ref().copied());
            }
        }
    }

    fn transact(&self, db: &mut Connection, calls: &mut [Box<dyn Call>]) -> rusqlite::Result<()> {
        let readonly = db.is_readonly("main")?;
        let behavior =
            if readonly { rusqlite::TransactionBehavior::Deferred } else { rusqlite::TransactionBehavior::Immediate };
        let mut tx = db.transaction_with_behavior(behavior)?;
        // One alone needs no savepoint: with it everything is taken back.
        if let [call] = calls {
            let done = call.run(&Store { db: &tx, queue: &self.queue, revision: self.revision });
            return if done { tx.commit() } else { tx.rollback() };
        }
        for call in calls {
            let savepoint = tx.savepoint()?;
            let store = Store { db: &savepoint, queue: &self.queue, revision: self.revision };
            if call.run(&store) {
                savepoint.commit()?;
            } else if savepoint.is_autocommit() {
                // A full disk takes the whole transaction back by itself.
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
                return Err(rusqlite::Error::SqliteFailure(code, Some("the transaction was taken back".into())));
            } else {
                savepoint.finish()?;
            }
        }
        tx.commit()
    }
}

/// One who waits for the connection.
trait Call: Send {
    /// Says whether it succeeded.
    fn run(&mut self, store: &Store<'_>) -> bool;
    fn answer(self: Box<Self>, path: &Path, committed: Result<(), &rusqlite::Error>);
}

struct Pending<F, R> {
    f: Option<F>,
    result: Option<rusqlite::Result<R>>,
    reply: oneshot::Sender<Result<R, LedgerError>>,
}

impl<F, R: Send> Call for Pending<F, R>
where
    F: FnOnce(&Store<'_>) -> rusqlite::Result<R> + Send,
{
    fn run(&mut self, store: &Store<'_>) -> bool {
        let result = self.f.take().map(|f| f(store));
        let succeeded = matches!(result, Some(Ok(_)));
        self.result = result;
        succeeded
    }

    fn answer(self: Box<Self>, path: &Path, committed: Result<(), &rusqlite::Error>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) => Err(classed(path, &error)),
            (_, Err(error)) => Err(classed(path, error)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(LedgerError::Defect { path: path.to_owned(), why: "the call was not made".into() }),
        };
        // Who asked may have gone away; what was recorded stays recorded.
        let _ = self.reply.send(result);
    }
}

/// A connection that cannot write, and the file's format.
fn open_readonly(path: &Path) -> rusqlite::Result<(Connection, i64)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY)?;
    let found = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok((db, found))
}

fn cannot_share(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied))
}

/// The name of a file of which SQLite is told that nobody changes it (<https://www.sqlite.org/uri.html>).
fn unchanging(path: &Path) -> PathBuf {
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02X}").bytes()),
            byte => uri.push(*byte),
        }
    }
    uri.extend(b"?immutable=1");
    PathBuf::from(OsString::from_vec(uri))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn newer(path: &Path, found: i64) -> LedgerError {
    LedgerError::Newer { path: path.to_owned(), found, known: schema::VERSION }
}

pub(super) fn classed(path: &Path, error: &rusqlite::Error) -> LedgerError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => LedgerError::Corrupt { path, why },
        Some(
            ErrorCode::DiskFull
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied,
        ) => LedgerError::Unwritable { path, why },
        _ => LedgerError::Defect { path, why },
    }
}

impl Ledger for SqliteLedger {
    async fn begin(&self) -> Result<Beginning, LedgerError> {
        self.call(|store| store.begin()).await
    }

    async fn control(&self) -> Result<Control, LedgerError> {
        self.call(|store| store.control()).await
    }

    async fn rows(&self, names: Vec<ItemName>) -> Result<HashMap<ItemName, Row>, LedgerError> {
        self.call(move |store| store.rows(&names)).await
    }

    async fn note(&self, seen: Seen, now: Time) -> Result<HashMap<ItemName, Row>, LedgerError> {
        self.call(move |store| store.note(&seen, now)).await
    }

    async fn walked(&self, absent: Vec<ItemId>, now: Time) -> Result<(), LedgerError> {
        self.call(move |store| store.walked(&absent, now)).await
    }

    async fn ready(&self, now: Time, max: usize) -> Result<Vec<(ItemName, Row)>, LedgerError> {
        self.call(move |store| store.ready(now, max)).await
    }

    async fn next_due(&self, now: Time) -> Result<Option<Time>, LedgerError> {
        self.call(move |store| store.next_due(now)).await
    }

    async fn intend(&self, item: ItemId, nonce: AttemptId, now: Time) -> Result<Option<Intent>, LedgerError> {
        self.call(move |store| store.intend(item, nonce, now)).await
    }

    async fn stopping(&self, nonce: AttemptId, now: Time) -> Result<(), LedgerError> {
        self.call(move |store| store.stopping(&nonce, now)).await
    }

    async fn conclude(&self, nonce: AttemptId, conclusion: Conclusion) -> Result<(), LedgerError> {
        self.call(move |store| store.conclude(&nonce, &conclusion)).await
    }

    async fn cleared(&self, nonces: Vec<AttemptId>) -> Result<(), LedgerError> {
        self.call(move |store| store.cleared(&nonces)).await
    }

    async fn last_words(&self, item: ItemId) -> Result<Option<String>, LedgerError> {
        self.call(move |store| store.last_words(item)).await
    }

    async fn settled(&self, item: ItemId, now: Time) -> Result<(), LedgerError> {
        self.call(move |store| store.settled(item, now)).await
    }

    async fn put_off(&self, item: ItemId, until: Time) -> Result<(), LedgerError> {
        self.call(move |store| store.put_off(item, until)).await
    }

    async fn forget(&self, before: Time) -> Result<u64, LedgerError> {
        self.call(move |store| store.forget(before)).await
    }

    async fn tally(&self) -> Result<Tally, LedgerError> {
        self.call(|store| store.tally()).await
    }
}

#[cfg(test)]
mod tests;
