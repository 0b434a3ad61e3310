//! A ledger on a disk that is full now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contract::ItemName;
use queue_manager::clock::Time;
use queue_manager::executor::AttemptId;
use queue_manager::ledger::{
    Beginning, Conclusion, Control, Intent, ItemId, Ledger, LedgerError, Row, Seen, SqliteLedger, Tally,
};

#[derive(Clone, Debug)]
pub(crate) struct FlakyLedger {
    inner: SqliteLedger,
    full: Arc<AtomicBool>,
}

impl FlakyLedger {
    pub(crate) fn new(inner: SqliteLedger) -> Self {
        Self { inner, full: Arc::default() }
    }

    pub(crate) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    fn room(&self) -> Result<&SqliteLedger, LedgerError> {
        match self.full.load(Ordering::Relaxed) {
            true => Err(LedgerError::Unwritable { path: "ledger".into(), why: "database or disk is full".into() }),
            false => Ok(&self.inner),
        }
    }
}

/// Each call meets the full disk, or is passed on.
macro_rules! passed_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Ledger for FlakyLedger {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$result, LedgerError> {
                self.room()?.$name($($arg),*).await
            })*
        }
    };
}

passed_on! {
    begin() -> Beginning;
    control() -> Control;
    rows(names: Vec<ItemName>) -> HashMap<ItemName, Row>;
    note(seen: Seen, now: Time) -> HashMap<ItemName, Row>;
    walked(absent: Vec<ItemId>, now: Time) -> ();
    ready(now: Time, max: usize) -> Vec<(ItemName, Row)>;
    next_due(now: Time) -> Option<Time>;
    intend(item: ItemId, nonce: AttemptId, now: Time) -> Option<Intent>;
    stopping(nonce: AttemptId, now: Time) -> ();
    conclude(nonce: AttemptId, conclusion: Conclusion) -> ();
    cleared(nonces: Vec<AttemptId>) -> ();
    last_words(item: ItemId) -> Option<String>;
    settled(item: ItemId, now: Time) -> ();
    put_off(item: ItemId, until: Time) -> ();
    forget(before: Time) -> u64;
    tally() -> Tally;
}
