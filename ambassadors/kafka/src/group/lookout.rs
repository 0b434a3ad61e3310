//! The thread that looks at topic and group from outside: whether our rights hold, whether the topic is still the same, how far it
//! reaches. It belongs to no group, so that what it sees does not depend on how that is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::ends::End;
use super::shared::Shared;
use crate::thread;
use crate::topic::Observer;
use crate::trouble::{RETRY, Trouble};

/// Longest that a question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Least time between looks, however often they are asked for.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts it; it ends with `shared`.
///
/// # Panics
/// Where the system gives no thread.
pub(super) fn start(shared: Arc<Shared>) {
    thread::start("lookout", move || run(&shared));
}

fn run(shared: &Shared) {
    let (mut observer, mut dead) = (None, shared.membership.dead_letter_topic.as_deref());
    while !shared.is_ending() {
        let looked = match &observer {
            Some(observer) => look(shared, observer),
            None => Observer::connect(&shared.settings.cluster, Some(&shared.membership.group))
                .and_then(|new| look(shared, observer.insert(new))),
        };
        shared.looked(looked.as_ref().err());
        if looked.as_ref().is_err_and(|trouble| !trouble.passes()) {
            // librdkafka says but once that a right is missing.
            observer = None;
        }
        if looked.is_ok() {
            if let Some(topic) = dead.take() {
                look_at_dead_letters(shared, topic);
            }
            // What rings meanwhile is heard after it.
            std::thread::sleep(PAUSE);
            shared.look.wait(shared.until_the_next_look());
        } else {
            shared.look.wait(RETRY);
        }
    }
}

/// Said before there is one: until then nothing is wrong, and what can be mended is mended sooner.
fn look_at_dead_letters(shared: &Shared, topic: &str) {
    let looked = Observer::of_dead_letters(&shared.settings.cluster);
    if let Err(trouble) = looked.and_then(|observer| observer.writable(topic, PATIENCE)) {
        warn!(error = %trouble, "what fails for good has nowhere to go");
    }
}

fn look(shared: &Shared, observer: &Observer) -> Result<(), Trouble> {
    let (began, topic) = (Instant::now(), shared.settings.topic.as_str());
    let facts = observer.topic(topic, PATIENCE)?;
    if !shared.found(&facts, began) {
        return Err(Trouble::late(topic));
    }
    let committed: BTreeMap<i32, Option<i64>> = observer.committed(topic, &facts, PATIENCE)?.into_iter().collect();
    let mut ends = BTreeMap::new();
    for partition in facts.partitions {
        let there = observer.watermarks(topic, partition, PATIENCE)?;
        let committed = committed.get(&partition).copied().flatten();
        shared.metrics.lag(partition, (there.end - committed.unwrap_or(there.start).max(there.start)).max(0));
        ends.insert(partition, End { there, committed });
    }
    shared.state().ends.saw(began, ends);
    Ok(())
}
