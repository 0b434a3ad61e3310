//! The thread that is a member of the group: it takes records while there is room, commits what is settled, and gives up what the group
//! takes away. It polls at all times, so that the group never takes it for dead.
//!
//! Each partition has a queue of its own, which is left alone while the window is full: nothing is paused, and nothing that was fetched
//! has to be fetched again.

mod client;
mod commits;
mod start;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use sidecar::fault;
use tracing::{debug, info, warn};

use self::client::{Consuming, News, Told, give_up, take};
use self::commits::Commits;
use self::start::begins;
use super::state::{Ending, Shared, Topic};
use crate::naming::Position;
use crate::record::Record;
use crate::trouble::{RETRY, Trouble};

/// How long to wait for a ring; what goes by the clock is looked after in between.
const TURN: Duration = Duration::from_millis(250);
/// Least time between commits.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How many records may be settled and not committed before that time is over.
const COMMIT_AFTER: u64 = 1_000;
/// How long an answer to a commit is waited for, where something waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
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
    let run = move || {
        run(&shared, part);
        shared.ending.send_replace(Ending::Done);
    };
    std::thread::Builder::new().name("member".to_owned()).spawn(run).expect("the system gives a thread");
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
    asked: Instant,
    joined: bool,
    commits: Commits,
    /// A commit was sent, and not answered yet.
    committing: bool,
    committed: Instant,
    /// When something came last, or there was nothing to wait for.
    progress: Instant,
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
            topic,
            part,
            given,
            queues: BTreeMap::new(),
            asked: now - RETRY,
            joined: false,
            commits: Commits::start(&client, shared),
            committing: false,
            committed: now - COMMIT_EVERY,
            progress: now,
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
                    self.asked = Instant::now() - RETRY;
                    self.joined = true;
                }
                News::Taken(partitions) => self.give_up(&partitions),
                News::Committed(at, answer) => self.answered(at, answer),
            }
        }
    }

    /// Takes what was given, as soon as it is known where it begins.
    fn begin(&mut self) {
        if !(self.joined || self.part == Part::Onlooker) || self.asked.elapsed() < RETRY {
            return;
        }
        if self.given.is_empty() && self.part == Part::Onlooker {
            return;
        }
        let name = self.shared.settings.topic.as_str();
        self.asked = Instant::now();
        let begins = match begins(&self.client, (name, &self.topic), &self.given, self.shared.settings.start) {
            Ok(begins) => begins,
            Err(error) => return self.complain(&error),
        };
        let mut list = TopicPartitionList::new();
        for begin in &begins {
            let added = list.add_partition_offset(name, begin.partition, Offset::Offset(begin.from));
            added.expect("an offset that the brokers said");
            // Before it is taken: what is fetched then goes to its own queue from the first record on.
            if let Some(mut queue) = self.client.split_partition_queue(name, begin.partition) {
                let shared = Arc::downgrade(self.shared);
                queue.set_nonempty_callback(move || {
                    if let Some(shared) = shared.upgrade() {
                        shared.bell.ring();
                    }
                });
                self.queues.insert(begin.partition, queue);
            }
        }
        let mut state = self.shared.state();
        for begin in &begins {
            state.window.assign(begin.partition, begin.from, begin.committed);
            state.ends.goes_on(begin.partition);
        }
        state.rebalanced();
        drop(state);
        let taken = if self.part == Part::Member { take(&self.client, &list) } else { self.client.assign(&list) };
        if let Err(error) = taken {
            self.over = Some(Over::Fatal);
            return self.complain(&error);
        }
        info!(partitions = ?self.given, "partitions are ours");
        self.shared.metrics.rebalanced("given", self.given.len(), self.queues.len());
        self.given.clear();
        // Nothing else is given at once, and whoever gives calls again.
        self.asked = Instant::now() + Duration::from_secs(365 * 24 * 3_600);
        self.progress = Instant::now();
        self.shared.joined(true);
        if begins.iter().any(|begin| begin.committed.is_none()) {
            // From now on that is where the group goes on, whatever --start comes to later.
            self.commit_now();
        }
    }

    /// Gives partitions up, and commits before what was settled of them.
    fn give_up(&mut self, partitions: &[i32]) {
        let lost = self.client.assignment_lost();
        if !lost {
            self.commit_now();
        }
        self.given.retain(|partition| !partitions.contains(partition));
        let name = self.shared.settings.topic.as_str();
        let (mut list, mut held) = (TopicPartitionList::new(), 0);
        let mut state = self.shared.state();
        for partition in partitions {
            list.add_partition(name, *partition);
            self.queues.remove(partition);
            held += state.window.revoke(*partition);
            state.ends.goes_on(*partition);
        }
        state.rebalanced();
        drop(state);
        info!(?partitions, lost, items = held, "partitions are ours no more");
        let kind = if lost { "lost" } else { "revoked" };
        self.shared.metrics.rebalanced(kind, partitions.len(), self.queues.len());
        if let Err(error) = give_up(&self.client, &list) {
            self.complain(&error);
        }
        if lost {
            self.joined = false;
            self.progress = Instant::now();
            self.shared.joined(false);
        }
        self.shared.look.ring();
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
                        self.well();
                    }
                    Some(Err(error)) => self.complain(&error),
                    None => break,
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
        self.well();
    }

    fn well(&mut self) {
        self.progress = Instant::now();
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

    fn commit_is_due(&self) -> bool {
        !self.committing
            && (self.committed.elapsed() >= COMMIT_EVERY || self.shared.state().window.uncommitted() >= COMMIT_AFTER)
    }

    /// Commits what is settled, up to the first record that is not.
    fn commit(&mut self) {
        let due = self.shared.state().window.committable();
        if due.is_empty() || self.part == Part::Onlooker {
            return;
        }
        self.committed = Instant::now();
        let (name, metadata) = (self.shared.settings.topic.as_str(), start::metadata(&self.topic));
        let mut list = TopicPartitionList::with_capacity(due.len());
        for at in &due {
            let mut element = list.add_partition(name, at.partition);
            element.set_metadata(&metadata);
            element.set_offset(Offset::Offset(at.offset)).expect("an offset of a record");
        }
        if let Err(error) = fault::point("kafka.commit.before") {
            return debug!(%error, "not committed");
        }
        self.committing = true;
        self.commits.send(due, list);
    }

    fn answered(&mut self, due: Vec<Position>, answer: KafkaResult<()>) {
        self.committing = false;
        self.shared.metrics.committed(answer.is_ok());
        if let Err(error) = answer {
            // Where somebody else has the partitions now, he commits them.
            return info!(%error, "not committed, to be tried again");
        }
        if let Err(error) = fault::point("kafka.commit.after") {
            return debug!(%error, "not known to be committed");
        }
        let mut state = self.shared.state();
        due.into_iter().for_each(|at| state.window.committed(at));
    }

    /// Commits what is settled and waits for the answer, as far as one comes.
    fn commit_now(&mut self) {
        let (began, mut others) = (Instant::now(), Vec::new());
        let mut sent = false;
        while began.elapsed() < PATIENCE {
            if !self.committing {
                if sent {
                    break;
                }
                self.commit();
                sent = true;
                continue;
            }
            self.shared.bell.wait(TURN);
            let client = Arc::clone(&self.client);
            match client.poll(Duration::ZERO) {
                Some(Ok(message)) => self.deliver(Record::of(&message)),
                Some(Err(error)) => self.complain(&error),
                None => {}
            }
            while let Some(news) = self.client.context().next() {
                match news {
                    News::Committed(due, answer) => self.answered(due, answer),
                    other => others.push(other),
                }
            }
        }
        for news in others {
            self.client.context().tell(news);
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
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
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
        let waits = state.window.has_room() && state.ends.has_more(state.window.positions());
        drop(state);
        let mut patience = self.shared.settings.when.stall_after;
        let joins = !self.joined && self.part == Part::Member;
        if joins {
            // Whoever goes away while the group waits for others is one more that it waits for.
            patience += self.client.context().join;
        }
        if other {
            self.over = Some(Over::Remade);
        } else if !waits && !joins {
            self.progress = Instant::now();
        } else if self.progress.elapsed() >= patience {
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
        self.commits.end(self.committing);
        self.client.context().close();
        let client = self.client;
        let over = self.over.unwrap_or(Over::Ending);
        if over == Over::Ending {
            drop(client);
        } else {
            std::thread::spawn(move || drop(client));
        }
        over
    }
}
