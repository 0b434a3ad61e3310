//! What is out while the folder is walked through: files that readers look at, and what was found out about them, taken as
//! far as it still holds.

use std::collections::HashMap;
use std::sync::Arc;

use ambassador_kit::catalog::Listing;
use tracing::debug;

use super::Keeper;
use super::look::Cause;
use super::readers::{Errand, Finding, Readers, Report};
use crate::jail::{Dir, Jail, Kind};
use crate::stamp::Stamp;

/// Hints noted before those that matter no more are dropped.
const HINTS: usize = 4_096;

/// Files that are being looked at.
#[derive(Debug, Default)]
pub(super) struct Out {
    readers: Option<Readers>,
    /// The next errand.
    errand: Errand,
    /// Files that a hint came for meanwhile, and the errand that was next then: what an earlier one finds out about them
    /// may be older than what the hint was.
    disturbed: HashMap<Box<[u8]>, u64>,
}

impl Out {
    fn is_disturbed(&self, key: &[u8], errand: u64) -> bool {
        self.disturbed.get(key).is_some_and(|next| errand < *next)
    }
}

impl Keeper {
    /// Has this file looked at, a while later, and takes what was found out about others.
    pub(super) fn send_for(&mut self, jail: &Jail, dir: &Arc<Dir>, local: bool, path: &[u8], name: &[u8]) {
        self.out.errand.add(dir, local, path, name);
        if !self.out.errand.is_full() {
            return;
        }
        self.send();
        while let Some(report) = self.out.readers.as_mut().and_then(|readers| readers.take(readers.is_busy())) {
            self.apply(jail, &report);
        }
    }

    /// Waits for whatever is out, and takes it.
    pub(super) fn await_all(&mut self, jail: &Jail) {
        if !self.out.errand.is_empty() {
            self.send();
        }
        while let Some(report) = self.out.readers.as_mut().and_then(|readers| readers.take(true)) {
            self.apply(jail, &report);
        }
        self.out = Out::default();
    }

    fn send(&mut self) {
        let errand = std::mem::take(&mut self.out.errand);
        let shared = &self.shared;
        self.out.readers.get_or_insert_with(|| Readers::new(shared.clone())).send(errand);
    }

    /// A hint came for this file: what is found out about it from here on counts, and what is out does not.
    pub(super) fn disturb(&mut self, key: &[u8], cause: Cause) {
        let Some(readers) = self.out.readers.as_ref().filter(|_| cause != Cause::Scan) else { return };
        let (next, due) = (readers.next(), readers.due());
        if self.out.disturbed.len() >= HINTS {
            self.out.disturbed.retain(|_, next| due < *next);
        }
        self.out.disturbed.insert(key.into(), next);
    }

    /// Takes what was found out: the plain at once, what is not by a look of our own.
    fn apply(&mut self, jail: &Jail, report: &Report) {
        let catalog = Arc::clone(&self.shared.catalog);
        let remembered = self.shared.remembered.clone();
        let mut odd = Vec::new();
        let mut at = 0;
        catalog.batch(|catalog| {
            let nothing_stays = remembered.is_empty();
            report.for_each(|file| {
                let plain = match file.finding {
                    Finding::Same(stamp) => catalog.confirm(file.key, |listed| listed == stamp),
                    Finding::Whole(name, version) if self.is_new(file.key, report.number) => {
                        let stamp = Stamp::from(*version);
                        let lists = nothing_stays || !remembered.stays(file.key, stamp);
                        if lists && catalog.list(file.key, name, stamp) == Listing::Listed {
                            debug!(%name, key = %String::from_utf8_lossy(file.key), "listed");
                        }
                        lists
                    }
                    Finding::Whole(..) | Finding::Barred(_) | Finding::Seen(_) | Finding::Unseen => false,
                };
                if !plain {
                    odd.push(at);
                }
                at += 1;
            });
        });
        let nothing_settled = remembered.is_empty();
        if odd.is_empty() && nothing_settled {
            return;
        }
        let (mut odd, mut at) = (odd.into_iter().peekable(), 0);
        report.for_each(|file| {
            if odd.next_if_eq(&at).is_some() {
                let is_old = self.out.is_disturbed(file.key, report.number);
                match file.finding {
                    Finding::Barred(reason) => self.withhold(file.key, reason),
                    Finding::Seen(sight) if !is_old => {
                        self.judge(jail, file.dir, file.local, file.key, *sight, Cause::Scan);
                    }
                    Finding::Seen(_) | Finding::Same(_) | Finding::Whole(..) | Finding::Unseen => {
                        self.look(jail, file.dir, file.local, file.key, Some(Kind::File), Cause::Scan);
                    }
                }
            } else if let Finding::Whole(name, _) = file.finding
                && !nothing_settled
            {
                self.shared.remembered.turned_up(name);
            }
            at += 1;
        });
    }

    /// Whether nothing is known of the file that what was found out would have to be held against.
    fn is_new(&self, key: &[u8], errand: u64) -> bool {
        !self.out.is_disturbed(key, errand) && !self.resting.waits_for(key) && !self.fast.contains_key(key)
    }
}
