//! What changed in the list lately, as runs of neighbours: a million records that came one after another are one line.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use ambassador_kit::source::{Revision, SourceError};

use crate::naming::Position;

/// Runs that are remembered.
const RUNS: usize = 16_384;

/// The last changes, each with its revision, without gaps.
#[derive(Debug, Default)]
pub(super) struct Changes {
    runs: VecDeque<Run>,
    revision: Revision,
}

#[derive(Debug)]
struct Run {
    /// That of its first.
    revision: Revision,
    partition: i32,
    first: u64,
    last: u64,
    listed: bool,
}

impl Run {
    /// The revision of its last.
    fn end(&self) -> Revision {
        self.revision + (self.last - self.first)
    }
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) revision: Revision,
    pub(super) at: Position,
    pub(super) listed: bool,
}

impl Changes {
    /// How often the list has changed.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// These offsets have come onto the list, or have left it, one after another.
    pub(super) fn record(&mut self, partition: i32, range: RangeInclusive<u64>, listed: bool) {
        let (first, last) = range.into_inner();
        let revision = self.revision + 1;
        self.revision += last - first + 1;
        if let Some(run) = self.runs.back_mut()
            && (run.partition, run.listed, run.last + 1) == (partition, listed, first)
        {
            run.last = last;
            return;
        }
        if self.runs.len() == RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(Run { revision, partition, first, last, listed });
    }

    /// At most `max` changes after `since`.
    ///
    /// # Errors
    /// [`SourceError::Expired`] for a revision too old to tell from, or one that never was.
    pub(super) fn after(&self, since: Revision, max: usize) -> Result<Vec<Changed>, SourceError> {
        if since > self.revision {
            return Err(SourceError::Expired("that revision never was"));
        }
        let oldest = self.runs.front().map_or(self.revision, |run| run.revision - 1);
        if since < oldest {
            return Err(SourceError::Expired("that revision is too old to tell what changed since"));
        }
        let from = self.runs.partition_point(|run| run.end() <= since);
        let each = self.runs.range(from..).flat_map(|run| {
            let skip = (since + 1).saturating_sub(run.revision);
            (run.first + skip..=run.last).map(|offset| Changed {
                revision: run.revision + (offset - run.first),
                at: Position { partition: run.partition, offset: i64::try_from(offset).unwrap_or(i64::MAX) },
                listed: run.listed,
            })
        });
        Ok(each.take(max).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_change_is_told_once_from_wherever_it_is_asked(
            runs in prop::collection::vec((0..2_i32, 0..50_u64, 0..20_u64, any::<bool>()), 0..60),
            max in 1..40_usize,
        ) {
            let (mut changes, mut all) = (Changes::default(), Vec::new());
            for (partition, first, more, listed) in runs {
                changes.record(partition, first..=first + more, listed);
                all.extend((first..=first + more).map(|offset| (partition, offset, listed)));
            }
            prop_assert_eq!(changes.revision(), all.len() as u64);
            for since in 0..=all.len() {
                let (mut told, mut from) = (Vec::new(), since as u64);
                loop {
                    let part = changes.after(from, max).expect("not too old");
                    let Some(last) = part.last() else { break };
                    from = last.revision;
                    told.extend(part);
                }
                let expected = (since as u64 + 1..).zip(all.iter().skip(since)).map(|(revision, (partition, offset, listed))| Changed {
                    revision, at: Position { partition: *partition, offset: *offset as i64 }, listed: *listed,
                });
                prop_assert!(told.into_iter().eq(expected));
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_said_to_be() {
        let mut changes = Changes::default();
        for n in 0..RUNS as u64 + 10 {
            changes.record(0, n * 2..=n * 2, true);
        }
        assert_eq!(changes.runs.len(), RUNS);
        assert!(matches!(changes.after(9, 1), Err(SourceError::Expired(_))));
        assert_eq!(changes.after(10, 1).expect("known")[0].at.offset, 20);
        assert!(matches!(changes.after(changes.revision() + 1, 1), Err(SourceError::Expired(_))));
        assert_eq!(changes.after(changes.revision(), 5).expect("now"), []);
        let mut long = Changes::default();
        for n in 0..1_000_000_u64 {
            long.record(0, n..=n, true);
        }
        assert_eq!(long.runs.len(), 1, "a million in a row are one run");
        assert_eq!(long.after(500_000, 3).expect("known")[0].at.offset, 500_000);
    }
}
