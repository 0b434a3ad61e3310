//! The thread of a lane: has the broker send what questions wait for, and what is likely to be asked for next.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ambassador_kit::source::SourceError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;

use super::super::Shared;
use super::lane::Lane;
use super::shelf::Unproven;
use crate::client::Context;
use crate::naming::Position;
use crate::record::{Record, giver};
use crate::trouble::{RETRY, Trouble};
use crate::{thread, topic};

/// How long a connection that nobody asks for anything goes on listening to the broker.
const REST: Duration = Duration::from_secs(2);
/// How soon a thread sees that nobody asks any more, or that who asked has left.
const TICK: Duration = Duration::from_millis(100);
/// How long brokers may take for a record; sooner with a shorter `--stall-after`.
const PATIENCE: Duration = Duration::from_secs(10);

/// A record is sought with little around it: one that is asked for alone costs no more, and in order there is always some on its way.
const BOUNDS: [(&str, &str); 6] = [
    ("queued.min.messages", "500"),
    ("queued.max.messages.kbytes", "512"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.message.max.bytes", "131072"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "20"),
];

/// What the thread does next.
enum Step {
    Over,
    Seek(Position, String),
    Read,
    ReadAhead,
    Prove(Unproven),
    Rest,
}

/// A lane and its thread, which ends when nobody asks any more.
pub(super) fn start(shared: Arc<Shared>, limit: usize) -> Arc<Lane> {
    let lane = Arc::new(Lane::new(limit));
    let worker = Worker { shared, lane: Arc::clone(&lane), connection: None };
    thread::start("record-reader", move || worker.run());
    lane
}

struct Worker {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    connection: Option<Connection>,
}

/// Records that are proven at once where more keep coming: what one look at the topic costs is shared by them.
const PROOF: usize = 512;

/// A client that has known of no earlier incarnation, and whether it listens to the broker.
struct Connection {
    consumer: BaseConsumer<Context>,
    incarnation: String,
    assigned: bool,
    /// Nothing that has come is left in the client.
    dry: bool,
    last: Instant,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.next() {
                Step::Over => return,
                Step::Seek(at, incarnation) => {
                    if let Err(error) = self.seek(at, incarnation) {
                        self.fail(&error);
                    }
                }
                Step::Read => self.read(TICK),
                Step::ReadAhead => self.read(Duration::ZERO),
                Step::Prove(unproven) => self.prove(&unproven),
                Step::Rest => self.rest(),
            }
        }
    }

    /// Waits until there is something to do.
    fn next(&self) -> Step {
        let lane = Arc::clone(&self.lane);
        let mut state = lane.lock();
        loop {
            if self.shared.is_over() {
                return Step::Over;
            }
            state.settle();
            let assigned = self.connection.as_ref().filter(|connection| connection.assigned);
            let dry = assigned.is_none_or(|connection| connection.dry);
            let unproven = state.shelf.unproven();
            if let Some(first) = state.waiting.front() {
                let (at, incarnation) = (first.at, first.incarnation.clone());
                if assigned.is_some() && state.shelf.leads_to(at, &incarnation) {
                    // What has grown too large can make room once those are answered who wait for a part of it.
                    let full = state.shelf.is_over(lane.limit) && state.may_settle();
                    let here = unproven.filter(|_| full || state.shelf.covers(at, &incarnation));
                    return match here {
                        Some(few) if !dry && few.count < PROOF && state.shelf.wants_more(lane.limit) => Step::ReadAhead,
                        Some(unproven) => Step::Prove(unproven),
                        None => Step::Read,
                    };
                }
                let target = state.target().unwrap_or(at);
                state.shelf.begin(target, &incarnation);
                state.ended = false;
                state.seeks += 1;
                return Step::Seek(target, incarnation);
            }
            if let Some(connection) = assigned {
                let more = !state.ended && state.shelf.wants_more(lane.limit);
                match unproven {
                    Some(few) if !more || dry || few.count >= PROOF => return Step::Prove(few),
                    _ if more => return Step::ReadAhead,
                    _ => {}
                }
                if connection.last.elapsed() > REST {
                    return Step::Rest;
                }
            }
            let (woken, _) = lane.woken.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner);
            state = woken;
        }
    }

    /// Has the broker send what lies from there on.
    fn seek(&mut self, at: Position, incarnation: String) -> Result<(), KafkaError> {
        // One that knows the former topic of this name may go on reading that for as long as any broker has it.
        if self.connection.as_ref().is_none_or(|connection| connection.incarnation != incarnation) {
            // An offset that is not there is for us to tell of, not to read something else instead.
            let consumer = self.shared.consumer(&BOUNDS, "error")?;
            self.connection =
                Some(Connection { consumer, incarnation, assigned: false, dry: true, last: Instant::now() });
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&self.shared.settings.topic, at.partition, Offset::Offset(at.offset))?;
        connection.consumer.assign(&list)?;
        connection.assigned = true;
        connection.last = Instant::now();
        Ok(())
    }

    fn read(&mut self, wait: Duration) {
        let Some(connection) = &mut self.connection else { return };
        // Whoever waits for a record has its like come soon; who reads ahead may be asked for another any moment.
        let polled = connection.consumer.poll(wait);
        let polled = polled.map(|polled| polled.map(|message| (Record::of(&message), giver(&message))));
        match polled {
            Some(Ok((record, giver))) => {
                (connection.last, connection.dry) = (Instant::now(), false);
                self.lane.lock().put(record, giver, self.lane.limit);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => self.end(),
            Some(Err(error)) => match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => self.end(),
                Some(RDKafkaErrorCode::TopicAuthorizationFailed) => self.fail(&error),
                _ => debug!(%error, "a connection that reads records complains"),
            },
            None if wait.is_zero() => {
                // Nothing has come yet; the broker takes its time.
                connection.dry = true;
                let lane = Arc::clone(&self.lane);
                let mut state = lane.lock();
                state.ended |= connection.last.elapsed() > REST;
                if state.waiting.is_empty() && state.shelf.unproven().is_none() {
                    drop(lane.woken.wait_timeout(state, Duration::from_millis(1)));
                }
            }
            None => self.lose_patience(),
        }
    }

    /// The log ends, or does not reach so far: what is waited for there is gone, if the broker that leads says so too.
    fn end(&mut self) {
        let asked = {
            let mut state = self.lane.lock();
            state.ended = true;
            state.sought().map(|ask| ask.at)
        };
        let patience = self.patience();
        let Some(connection) = &mut self.connection else { return };
        connection.dry = true;
        let Some(at) = asked else { return };
        let topic = &self.shared.settings.topic;
        let there = connection.consumer.fetch_watermarks(topic, at.partition, patience);
        // The next attempt begins with the place, whatever was on its way.
        connection.assigned = false;
        match there {
            Ok((low, high)) => self.lane.lock().settle_at_end(at.partition, &connection.incarnation, &(low..high)),
            Err(error) => self.fail(&error),
        }
        self.lose_patience();
    }

    /// The broker that something came from, asked after that, names the topic that it was meant to be of still: so it was. Records do not
    /// say of which topic they are, and librdkafka goes on in one that was made again without a word. Other brokers may be late to hear that
    /// it was; whoever gives records of a topic has heard of it.
    fn prove(&mut self, unproven: &Unproven) {
        let Some(connection) = &self.connection else { return };
        // Nothing is polled meanwhile: that would take records out of their order.
        let (topic, patience) = (&self.shared.settings.topic, self.patience());
        let found = topic::look(&connection.consumer, topic, unproven.giver, patience, || {});
        match found {
            Ok(facts) if self.shared.list.is_of(&unproven.incarnation, &facts.identity) => {
                self.lane.lock().shelf.prove(unproven);
            }
            Ok(facts) => {
                debug!("the topic was made again beneath a connection that reads records");
                self.connection = None;
                self.lane.lock().disown(&unproven.incarnation);
                self.shared.tell(facts.identity);
            }
            Err(trouble) => self.tell(&trouble),
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE.min(self.shared.settings.when.stall_after)
    }

    /// Tells those who have waited too long, and connects anew.
    fn lose_patience(&mut self) {
        let patience = self.patience();
        let late = {
            let mut state = self.lane.lock();
            let (late, rest): (VecDeque<_>, _) =
                std::mem::take(&mut state.waiting).into_iter().partition(|ask| ask.since.elapsed() > patience);
            state.waiting = rest;
            late
        };
        if late.is_empty() {
            return;
        }
        self.connection = None;
        let why = format!("no broker gave the record within {}", humantime::format_duration(patience));
        for ask in late {
            let _ = ask.answer.send(Err(SourceError::Unavailable { why: why.clone(), retry: RETRY }));
        }
    }

    /// The client cannot go on.
    fn fail(&mut self, error: &KafkaError) {
        let context = self.shared.settings.cluster.context();
        self.tell(&Trouble::of(error, &format!("read a record of topic {:?}", self.shared.settings.topic), &context));
    }

    /// Tells all who wait what is wrong, and connects anew.
    fn tell(&mut self, trouble: &Trouble) {
        self.connection = None;
        for ask in std::mem::take(&mut self.lane.lock().waiting) {
            let _ = ask.answer.send(Err(trouble.unavailable()));
        }
    }

    /// Nobody has asked for a while: the broker need not send anything.
    fn rest(&mut self) {
        if let Some(connection) = &mut self.connection {
            if let Err(error) = connection.consumer.unassign() {
                debug!(%error, "a connection could not be put to rest");
                self.connection = None;
                return;
            }
            connection.assigned = false;
            while connection.consumer.poll(Duration::ZERO).is_some() {}
        }
    }
}
