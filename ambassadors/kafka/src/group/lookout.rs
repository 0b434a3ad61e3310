//! The thread that looks at topic and group from outside: whether our rights hold, whether the topic is still the same, how far it
//! reaches. It belongs to no group, so that what it sees does not depend on how that is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ends::End;
use super::shared::Shared;
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
    let run = move || run(&shared);
    std::thread::Builder::new().name("lookout".to_owned()).spawn(run).expect("the system gives a thread");
}

fn run(shared: &Shared) {
    let mut observer = None;
    while !shared.is_ending() {
        let looked = match &observer {
            Some(observer) => look(shared, observer),
            None => Observer::connect(&shared.settings.cluster, Some(&shared.membership.group))
                .and_then(|new| look(shared, observer.insert(new))),
        };
        shared.looked(looked.as_ref().err());
        if looked.is_ok() {
            // What rings meanwhile is heard after it.
            std::thread::sleep(PAUSE);
            shared.look.wait(shared.until_the_next_look());
        } else {
            shared.look.wait(RETRY);
        }
    }
}

fn look(shared: &Shared, observer: &Observer) -> Result<(), Trouble> {
    let (began, topic) = (Instant::now(), shared.settings.topic.as_str());
    let facts = observer.topic(topic, PATIENCE)?;
    shared.found(facts.identity.clone(), facts.partitions.clone(), began);
    let committed: BTreeMap<i32, Option<i64>> =
        observer.committed(topic, &facts.partitions, PATIENCE)?.into_iter().collect();
    let mut ends = BTreeMap::new();
    for partition in facts.partitions {
        let there = observer.watermarks(topic, partition, PATIENCE)?;
        let committed = committed.get(&partition).copied().flatten();
        shared.metrics.lag(partition, (there.end - committed.unwrap_or(there.start).max(there.start)).max(0));
        ends.insert(partition, End { there, committed });
    }
    let mut state = shared.state();
    let taking = state.window.has_room();
    state.ends.saw(began, ends, taking);
    Ok(())
}
