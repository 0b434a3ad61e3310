//! What the manager counts of how it hears from its source.

use sidecar::metrics::metrics::counter::Counter;
use sidecar::metrics::metrics::family::Family;
use sidecar::metrics::metrics::gauge::Gauge;
use sidecar::metrics::registry::Registry;

type Counts = Family<[(&'static str, &'static str); 1], Counter>;

/// Lists and watches. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceMeters {
    watched: Gauge,
    events: Counts,
    ends: Counts,
    lists: Counts,
}

/// What a watch tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Added,
    Removed,
    Bookmark,
    Error,
}

/// Why a watch ended, so that the list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchEnd {
    /// The source closed it.
    Ended,
    /// The connection broke, was silent, or could not be made.
    Unreachable,
    /// What was told is no watch.
    Broken,
    /// The version it was to begin with is too old.
    Expired,
    /// We were too slow.
    Lagged,
    /// The source cannot see.
    Blind,
    /// It tells of another incarnation.
    Restarted,
}

/// What came of asking for the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListOutcome {
    /// It was walked to its end.
    Walked,
    /// It is the one that was known.
    Unchanged,
    /// No answer, or nonsense.
    Failed,
}

impl Event {
    const ALL: [Self; 4] = [Self::Added, Self::Removed, Self::Bookmark, Self::Error];

    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Bookmark => "bookmark",
            Self::Error => "error",
        }
    }
}

impl WatchEnd {
    const ALL: [Self; 7] =
        [Self::Ended, Self::Unreachable, Self::Broken, Self::Expired, Self::Lagged, Self::Blind, Self::Restarted];

    /// The label's value, and the word in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Expired => "expired",
            Self::Lagged => "lagged",
            Self::Blind => "blind",
            Self::Restarted => "restarted",
        }
    }
}

impl ListOutcome {
    const ALL: [Self; 3] = [Self::Walked, Self::Unchanged, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Walked => "walked",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

impl SourceMeters {
    /// Registers them all, each at nothing.
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { watched, events, ends, lists } = self;
        registry.register("source_watched", "1 while the source tells what changes as it happens", watched.clone());
        registry.register("watch_events", "What watches have told, by type", events.clone());
        registry.register("relists", "Lists asked for because a watch ended, by cause", ends.clone());
        registry.register("lists", "Times the list was asked for, by outcome", lists.clone());
        Event::ALL.into_iter().for_each(|event| drop(events.get_or_create(&[("type", event.as_str())])));
        WatchEnd::ALL.into_iter().for_each(|end| drop(ends.get_or_create(&[("cause", end.as_str())])));
        ListOutcome::ALL.into_iter().for_each(|outcome| drop(lists.get_or_create(&[("outcome", outcome.as_str())])));
    }

    pub(crate) fn watching(&self, watching: bool) {
        self.watched.set(watching.into());
    }

    pub(crate) fn told(&self, event: Event) {
        self.events.get_or_create(&[("type", event.as_str())]).inc();
    }

    pub(crate) fn relisted(&self, cause: WatchEnd) {
        self.ends.get_or_create(&[("cause", cause.as_str())]).inc();
    }

    pub(crate) fn listed(&self, outcome: ListOutcome) {
        self.lists.get_or_create(&[("outcome", outcome.as_str())]).inc();
    }
}
