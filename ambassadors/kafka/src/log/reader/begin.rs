//! What a session begins with: how little its client holds, and where to read from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::super::Shared;
use crate::args::Start;
use crate::topic::{Observer, TopicFacts};
use crate::trouble::Trouble;

/// What the client holds that was not read yet, so that memory does not depend on the topic. The user may give it more.
pub(super) const BOUNDS: [(&str, &str); 5] = [
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "8192"),
    ("fetch.max.bytes", "8388608"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "5"),
];

/// Where to begin, by `--start`.
pub(super) fn starts(
    shared: &Shared,
    observer: &Observer,
    (facts, there): (&TopicFacts, &BTreeMap<i32, Range<i64>>),
    deadline: Duration,
) -> Result<Vec<(i32, i64)>, Trouble> {
    let settings = &shared.settings;
    let each = |start: &dyn Fn(&Range<i64>) -> i64| there.iter().map(|(of, there)| (*of, start(there))).collect();
    let within = |asked: Vec<(i32, Option<i64>)>, otherwise: &dyn Fn(&Range<i64>) -> i64| {
        let known = asked.into_iter().filter_map(|(of, start)| Some((of, start, there.get(&of)?)));
        known
            .map(|(of, start, there)| (of, start.map_or(otherwise(there), |start| start.clamp(there.start, there.end))))
            .collect()
    };
    Ok(match settings.start {
        Start::Earliest => each(&|there| there.start),
        Start::Latest => each(&|there| there.end),
        Start::Time(time) => {
            within(observer.at_time(&settings.topic, &facts.partitions, time, deadline)?, &|there| there.end)
        }
        Start::Committed => within(observer.committed(&settings.topic, facts, deadline)?, &|there| there.start),
    })
}
