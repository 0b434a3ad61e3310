//! The thread that is a member of the group: it takes records while there is room, commits what is settled, and gives up what the group
//! takes away. It polls at all times, so that the group never takes it for dead.
//!
//! Each partition has a queue of its own, which is left alone while the window is full: nothing is paused, and nothing that was fetched
//! has to be fetched again.

mod client;
mod commits;
mod sharing;
mod start;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, warn};

use self::client::{Consuming, News, Told};
use self::commits::{COMMIT_EVERY, Commits};
use super::shared::{Ending, Shared};
use super::state::Topic;
use crate::record::Record;
use crate::thread;
use crate::trouble::{RETRY, Trouble};

/// How long to wait for a ring; what goes by the clock is looked after in between.
const TURN: Duration = Duration::from_millis(250);
/// Records taken from a partition before the next has its turn.
const ROUND: usize = 64;

/// How the thread takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// As a member of the group.
    Member,
    /// As nobody: sees what a member would, commits nothing, and takes nothing from anybody.
    Onlooker,
}

/// Starts it; it ends with `shared`, and leaves the group then.
///
/// # Panics
/// Where the system gives no thread.
pub(super) fn start(shared: Arc<Shared>, part: Part) {
    thread::start("member", move || {
        run(&shared, part);
        shared.ending.send_replace(Ending::Done);
    });
}

fn run(shared: &Arc<Shared>, part: Part) {
    while !shared.is_ending() {
        // Whatever was known of the topic may have been the reason to begin again.
        let began = Instant::now();
        shared.look.ring();
        let topic = loop {
            match shared.topic().filter(|topic| topic.looked >= began) {
                Some(topic) => break topic,
                None if shared.is_ending() => return,
                None => shared.bell.wait(TURN),
            }
        };
        match Member::join(shared, topic, part) {
            Ok(mut member) => {
                member.work();
                if member.leave() == Over::Fenced {
                    // Whoever came later is it now; both would else put each other out for ever.
                    shared.rest(shared.settings.when.stall_after);
                }
            }
            Err(trouble) => {
                shared.trouble(Some(trouble.to_string()));
                shared.bell.wait(RETRY);
            }
        }
    }
}

/// Why a member begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// The process ends.
    Ending,
    /// The topic is another.
    Remade,
    /// Nothing comes, though there is something.
    Stalled,
    /// Records came again: the log was cut off, or is another.
    Backwards,
    /// Another member says that it is us.
    Fenced,
    /// librdkafka says that it can do no more.
    Fatal,
}

struct Member<'a> {
    shared: &'a Arc<Shared>,
    topic: Topic,
    part: Part,
    client: Arc<Consuming>,
    queues: BTreeMap<i32, PartitionQueue<Told>>,
    /// Given, and not taken yet, since the brokers have not said where they begin.
    given: Vec<i32>,
    /// The group waits to hear that what it gave is taken, be that nothing.
    unanswered: bool,
    asked: Instant,
    /// Partitions of which one cannot say that they came after the group began.
    first: usize,
    joined: bool,
    commits: Commits,
    /// A commit was sent, and not answered yet.
    committing: bool,
    committed: Instant,
    /// When something came last, or there was nothing to wait for.
    progress: Instant,
    /// Since when there is something to read of a partition, and nothing comes.
    stuck: BTreeMap<i32, Instant>,
    over: Option<Over>,
}

impl<'a> Member<'a> {
    fn join(shared: &'a Arc<Shared>, topic: Topic, part: Part) -> Result<Self, Trouble> {
        let client = client::connect(shared, topic.partitions.len())?;
        let name = shared.settings.topic.as_str();
        if part == Part::Member {
            let doing = || format!("join the group {:?}", shared.membership.group);
            client.subscribe(&[name]).map_err(|error| Trouble::of(&error, &doing(), &client.context().context))?;
        }
        let now = Instant::now();
        let given = if part == Part::Onlooker { topic.partitions.clone() } else { Vec::new() };
        Ok(Self {
            shared,
            first: topic.first,
            topic,
            part,
            given,
            queues: BTreeMap::new(),
            unanswered: false,
            asked: now - RETRY,
            joined: false,
            commits: Commits::start(&client, shared),
            committing: false,
            committed: now - COMMIT_EVERY,
            progress: now,
            stuck: BTreeMap::new(),
            over: None,
            client,
        })
    }

    fn work(&mut self) {
        while self.over.is_none() {
            self.hear();
            self.begin();
            let took = self.fill();
            self.reach();
            if self.commit_is_due() {
                self.commit();
            }
            self.watch();
            if !took && self.over.is_none() {
                self.shared.bell.wait(TURN);
            }
        }
    }

    /// Serves librdkafka, and does what the group wants.
    fn hear(&mut self) {
        loop {
            let before = self.client.context().waiting();
            let client = Arc::clone(&self.client);
            match client.poll(Duration::ZERO) {
                Some(Ok(message)) => self.deliver(Record::of(&message)),
                Some(Err(error)) => self.complain(&error),
                None if self.client.context().waiting() == before => break,
                None => {}
            }
        }
        while let Some(news) = self.client.context().next() {
            match news {
                News::Given(partitions) => {
                    self.given.extend(partitions);
                    self.unanswered = true;
                    self.asked = Instant::now() - RETRY;
                    self.joined = true;
                }
                News::Taken(partitions) => self.give_up(&partitions),
                News::Committed(at, answer) => self.answered(at, answer),
            }
        }
    }

    /// Takes records while there is room. Whether there were some.
    fn fill(&mut self) -> bool {
        let (mut took, queues) = (false, std::mem::take(&mut self.queues));
        for (partition, queue) in &queues {
            for _ in 0..ROUND {
                if self.over.is_some() || !self.shared.state().window.has_room() {
                    break;
                }
                match queue.poll(Duration::ZERO) {
                    Some(Ok(message)) => {
                        took = true;
                        self.deliver(Record::of(&message));
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) => {
                        self.shared.state().ends.read_out(*partition);
                        self.well(*partition);
                    }
                    Some(Err(error)) => self.complain(&error),
                    None => {
                        self.shared.state().ends.drained(*partition);
                        break;
                    }
                }
            }
        }
        self.queues = queues;
        took
    }

    fn deliver(&mut self, record: Record) {
        let at = record.at;
        self.shared.state().ends.goes_on(at.partition);
        if self.shared.deliver(record) {
            warn!(
                partition = at.partition,
                offset = at.offset,
                "records came again that had come: the topic is looked at anew"
            );
            self.over = Some(Over::Backwards);
        }
        self.well(at.partition);
    }

    /// Something was heard of a partition.
    fn well(&mut self, partition: i32) {
        self.progress = Instant::now();
        self.stuck.remove(&partition);
        self.client.context().context.content();
        self.shared.trouble(None);
    }

    /// What is no record, such as the marker of a transaction, is known by the position alone.
    fn reach(&mut self) {
        let Ok(list) = self.client.position() else { return };
        let mut state = self.shared.state();
        for element in list.elements() {
            if let Offset::Offset(next) = element.offset() {
                state.window.reach(element.partition(), next);
            }
        }
    }

    /// What there is to be said of an error.
    fn complain(&mut self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::FencedInstanceId) {
            self.over = Some(Over::Fenced);
        } else if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            self.over.get_or_insert(Over::Fatal);
        }
        let doing = match code {
            Some(RDKafkaErrorCode::FencedInstanceId) => {
                let instance = self.shared.membership.instance_id.as_deref().unwrap_or_default();
                format!("be --instance-id {instance:?} of the group {:?}", self.shared.membership.group)
            }
            Some(
                RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::GroupMaxSizeReached
                | RDKafkaErrorCode::InconsistentGroupProtocol
                | RDKafkaErrorCode::InvalidGroupId
                | RDKafkaErrorCode::InvalidSessionTimeout,
            ) => {
                format!("join the group {:?}", self.shared.membership.group)
            }
            _ => format!("read topic {:?}", self.shared.settings.topic),
        };
        let trouble = Trouble::of(error, &doing, &self.client.context().context);
        let stays = matches!(
            code,
            Some(
                RDKafkaErrorCode::GroupAuthorizationFailed
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::FencedInstanceId
                    | RDKafkaErrorCode::GroupMaxSizeReached
                    | RDKafkaErrorCode::InvalidGroupId
                    | RDKafkaErrorCode::InconsistentGroupProtocol
                    | RDKafkaErrorCode::InvalidSessionTimeout
            )
        );
        debug!(%error, stays, "the member's client complains");
        if stays || self.over.is_some() {
            self.shared.trouble(Some(trouble.to_string()));
        }
    }

    /// Whether it is time to begin again.
    fn watch(&mut self) {
        if self.over.is_some() {
            return;
        }
        if self.shared.is_ending() {
            self.over = Some(Over::Ending);
            return;
        }
        let state = self.shared.state();
        self.shared.fullness.saw(!state.window.has_room());
        let other = state.is_other(&self.topic);
        let behind: Vec<i32> = match state.window.has_room() {
            true => state.ends.behind_of(state.window.positions()).collect(),
            false => Vec::new(),
        };
        // Where the end was read nothing comes that would say that a trouble is over.
        let troubled = state.trouble.is_some();
        drop(state);
        self.stuck.retain(|partition, _| behind.contains(partition));
        for partition in behind {
            self.stuck.entry(partition).or_insert_with(Instant::now);
        }
        let stuck = self.stuck.values().any(|since| since.elapsed() >= self.shared.settings.when.stall_after);
        let mut patience = self.shared.settings.when.stall_after;
        let joins = !self.joined && self.part == Part::Member;
        if joins {
            // Whoever goes away while the group waits for others is one more that it waits for.
            patience += self.client.context().join;
        }
        if other {
            self.over = Some(Over::Remade);
        } else if !troubled && !joins && !stuck {
            self.progress = Instant::now();
        } else if stuck || self.progress.elapsed() >= patience {
            warn!(joined = self.joined, "nothing comes of the connection: it is made anew");
            self.shared.metrics.stalls.inc();
            self.over = Some(Over::Stalled);
        }
    }

    /// Commits and leaves, and says why. Where the brokers do not answer, somebody else waits for that.
    fn leave(mut self) -> Over {
        if self.part == Part::Member
            && matches!(self.over, Some(Over::Ending | Over::Stalled))
            && !self.client.assignment_lost()
        {
            self.commit_now();
        }
        let held: Vec<i32> = self.queues.keys().copied().collect();
        self.queues.clear();
        let mut state = self.shared.state();
        for partition in held {
            state.window.revoke(partition);
            state.ends.goes_on(partition);
        }
        state.rebalanced();
        drop(state);
        self.shared.joined(false);
        self.client.context().close();
        self.answer_all();
        self.commits.end(self.committing);
        let client = self.client;
        self.shared.metrics.left();
        let over = self.over.unwrap_or(Over::Ending);
        if over == Over::Ending {
            drop(client);
        } else {
            std::thread::spawn(move || drop(client));
        }
        over
    }
}
