//! What a session begins with: a client that holds little, and where to read from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;

use super::super::Shared;
use crate::args::Start;
use crate::client::Context;
use crate::topic::Observer;
use crate::trouble::Trouble;

/// What the client holds that was not read yet, so that memory does not depend on the topic. The user may give it more.
const BOUNDS: [(&str, &str); 5] = [
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "8192"),
    ("fetch.max.bytes", "8388608"),
    ("fetch.message.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "5"),
];

/// The client that reads.
pub(super) fn consumer(shared: &Shared) -> Result<BaseConsumer<Context>, KafkaError> {
    let cluster = &shared.settings.cluster;
    let group = shared.settings.group.as_deref().unwrap_or(env!("CARGO_PKG_NAME"));
    let ours = [
        ("group.id", group),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("isolation.level", "read_committed"),
        ("auto.offset.reset", "earliest"),
        ("allow.auto.create.topics", "false"),
        // Of producers; librdkafka wants fetch.max.bytes to be no less, whoever the client is.
        ("message.max.bytes", "1000000"),
    ];
    cluster.config_over(&BOUNDS, &ours).create_with_context(cluster.context())
}

/// Where to begin, by `--start`.
pub(super) fn starts(
    shared: &Shared,
    observer: &Observer,
    there: &BTreeMap<i32, Range<i64>>,
    deadline: Duration,
) -> Result<Vec<(i32, i64)>, Trouble> {
    let settings = &shared.settings;
    let partitions: Vec<_> = there.keys().copied().collect();
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
            within(observer.at_time(&settings.topic, &partitions, time, deadline)?, &|there| there.end)
        }
        Start::Committed => within(observer.committed(&settings.topic, &partitions, deadline)?, &|there| there.start),
    })
}
