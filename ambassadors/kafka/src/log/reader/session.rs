//! One connection that reads the topic, from opening it to whatever ends it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use tracing::{debug, info, warn};

use super::super::Shared;
use super::super::index::Sort;
use super::begin::{BOUNDS, starts};
use super::{ANSWER, TICK, backoff, lose};
use crate::client::Context;
use crate::naming::Position;
use crate::record::{Record, weight};
use crate::topic::Observer;
use crate::trouble::Trouble;

/// Records that go into the index at once.
const BATCH: usize = 2_048;
/// How often progress is told to those who ask.
const TELL: Duration = Duration::from_secs(1);
/// How often progress is logged.
const LOG: Duration = Duration::from_secs(30);
/// How long after one look the next may come at the earliest, whatever a connection complains of.
const SOON: Duration = Duration::from_secs(1);

/// Why a session ends that did not fail.
pub(super) enum End {
    /// Nobody asks any more.
    Over,
    /// What it read from is not what is to be read now.
    Anew(&'static str),
}

/// A connection that reads.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    observer: &'a Observer,
    consumer: BaseConsumer<Context>,
    identity: String,
    partitions: BTreeMap<i32, Reading>,
    batch: Vec<(Position, Sort)>,
    failures: u32,
    looked: Instant,
    next_look: Instant,
    told: Instant,
    logged: Instant,
}

/// How far a partition is read.
#[derive(Debug)]
struct Reading {
    /// Where this session began, and where the log ended then.
    whole: Range<i64>,
    /// What there was at the last look.
    there: Range<i64>,
    read_to: i64,
    /// The last record that this session has read.
    last: Option<i64>,
    /// Whether the broker has answered: with a record, or that there is none.
    heard: bool,
    /// Since when there is something to read and nothing comes, and how far it was read then.
    behind: Option<(Instant, i64)>,
}

impl Reading {
    /// Whether there is something to read, and nothing has come of it for so long.
    fn is_stuck(&mut self, patience: Duration) -> bool {
        if self.heard && self.read_to >= self.there.end {
            self.behind = None;
            return false;
        }
        match self.behind {
            Some((since, read_to)) if read_to == self.read_to => since.elapsed() > patience,
            Some(_) | None => {
                self.behind = Some((Instant::now(), self.read_to));
                false
            }
        }
    }
}

/// What a poll gave.
enum Polled {
    Nothing,
    Record(Position, Sort),
    End(i32),
    Trouble(KafkaError),
}

impl<'a> Session<'a> {
    /// Looks at the topic and begins to read what was not read yet. `topics` counts those that had this name.
    ///
    /// # Errors
    /// [`Trouble`] where it could not be seen whole.
    pub(super) fn open(shared: &'a Shared, observer: &'a Observer, topics: &mut u32) -> Result<Self, Trouble> {
        let settings = &shared.settings;
        let deadline = ANSWER.min(settings.when.stall_after);
        let facts = observer.topic(&settings.topic, deadline)?;
        if shared.list.is_former(&facts.identity) {
            return Err(Trouble::late(&settings.topic));
        }
        if shared.list.begin(&facts.identity) {
            info!(
                topic = settings.topic,
                id = facts.identity,
                partitions = facts.partitions.len(),
                "the topic was found"
            );
            shared.metrics.begin();
            shared.vitals.anew();
            *topics += 1;
        }
        let mut there = BTreeMap::new();
        for partition in &facts.partitions {
            there.insert(*partition, observer.watermarks(&settings.topic, *partition, deadline)?);
        }
        // Where to start is said of what there is when we start: a partition or topic that comes later is new from its beginning.
        if *topics == 1 && shared.list.is_unopened() {
            for (partition, start) in starts(shared, observer, (&facts, &there), deadline)? {
                shared.list.open(partition, start);
            }
        }
        let (mut partitions, mut list) = (BTreeMap::new(), TopicPartitionList::with_capacity(there.len()));
        let of = |error: KafkaError| Trouble::of(&error, &doing(shared), &settings.cluster.context());
        for (partition, there) in there {
            shared.list.open(partition, there.start);
            if shared.list.next(partition).is_some_and(|next| next > there.end) {
                warn!(partition, end = there.end, "the log ends before what was read of it: brokers have lost records");
                shared.list.cut(partition, there.end);
            }
            shared.list.trim(partition, there.start);
            let next = shared.list.next(partition).unwrap_or(there.start);
            list.add_partition_offset(&settings.topic, partition, Offset::Offset(next)).map_err(of)?;
            shared.metrics.looked(partition, &there, next);
            let whole = next..there.end;
            let reading = Reading { whole, there, read_to: next, last: None, heard: false, behind: None };
            partitions.insert(partition, reading);
        }
        let consumer = shared.consumer(&BOUNDS, "earliest").map_err(of)?;
        consumer.assign(&list).map_err(of)?;
        let now = Instant::now();
        let mut session = Self {
            shared,
            observer,
            consumer,
            identity: facts.identity,
            partitions,
            batch: Vec::with_capacity(BATCH),
            failures: 0,
            looked: now,
            next_look: now + settings.when.poll,
            told: now,
            logged: now,
        };
        session.tell();
        Ok(session)
    }

    /// Reads on until something ends it.
    ///
    /// # Errors
    /// [`Trouble`] where the brokers let the topic be looked at and not read.
    pub(super) fn follow(&mut self) -> Result<End, Trouble> {
        loop {
            let now = Instant::now();
            if self.shared.is_over() {
                return Ok(End::Over);
            }
            if now >= self.next_look || self.shared.look_now.swap(false, Ordering::Relaxed) {
                self.flush();
                if let Some(end) = self.look() {
                    return Ok(end);
                }
            }
            let wait = if self.batch.is_empty() { TICK } else { Duration::ZERO };
            match self.poll(wait) {
                Polled::Nothing => self.flush(),
                Polled::Record(at, sort) => {
                    if self.goes_back(at)
                        && let Some(end) = self.cut_off(at)
                    {
                        return Ok(end);
                    }
                    self.batch.push((at, sort));
                    if self.batch.len() >= BATCH {
                        self.flush();
                    }
                }
                Polled::End(partition) => {
                    if let Some(reading) = self.partitions.get_mut(&partition) {
                        // Where it ends lie gaps and marks of transactions, which are no records.
                        reading.read_to = reading.read_to.max(reading.there.end);
                        reading.heard = true;
                        self.shared.metrics.looked(partition, &reading.there, reading.read_to);
                    }
                    self.flush();
                    self.judge();
                }
                Polled::Trouble(error) => {
                    self.flush();
                    self.hear(&error)?;
                }
            }
        }
    }

    fn poll(&self, wait: Duration) -> Polled {
        match self.consumer.poll(wait) {
            None => Polled::Nothing,
            Some(Ok(message)) => {
                let at = Position { partition: message.partition(), offset: message.offset() };
                let record = || (Record::of(&message), self.shared.list.naming());
                Polled::Record(at, self.shared.sort(message.payload().is_some(), weight(&message), record))
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => Polled::End(partition),
            Some(Err(error)) => Polled::Trouble(error),
        }
    }

    /// A record came. Whether it lies before another that came.
    fn goes_back(&mut self, at: Position) -> bool {
        let Some(reading) = self.partitions.get_mut(&at.partition) else { return false };
        reading.read_to = reading.read_to.max(at.offset + 1);
        reading.heard = true;
        reading.last.replace(at.offset).is_some_and(|last| at.offset < last)
    }

    /// The log went back to there: the topic is another; or a leader that had less took over, and what lay there is no more.
    fn cut_off(&mut self, at: Position) -> Option<End> {
        self.flush();
        let settings = &self.shared.settings;
        let found = self.observer.topic(&settings.topic, ANSWER.min(settings.when.stall_after));
        if !found.is_ok_and(|facts| facts.identity == self.identity) {
            return Some(End::Anew("records came again that had come"));
        }
        warn!(partition = at.partition, offset = at.offset, "the log was cut off: brokers have lost records");
        self.shared.list.cut(at.partition, at.offset);
        None
    }

    /// Puts what was read into the list.
    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.shared.list.append(&self.batch);
        self.shared.metrics.read(self.batch.len());
        self.batch.clear();
        self.judge();
    }

    /// Whether all that there was at the start was read, and every partition can be.
    fn is_caught_up(&self) -> bool {
        self.partitions.values().all(|reading| reading.heard && reading.read_to >= reading.whole.end)
    }

    fn judge(&mut self) {
        if self.is_caught_up() {
            self.live();
        } else if !self.shared.list.is_whole() && self.told.elapsed() >= TELL {
            self.tell();
        }
    }

    fn live(&self) {
        if self.shared.list.set_whole() {
            let tally = self.shared.list.tally();
            info!(listed = tally.listed, withheld = ?tally.withheld, "the topic was read to its end");
        }
        if self.shared.vitals.live() {
            info!(topic = self.shared.settings.topic, "the topic can be seen again");
        }
    }

    /// Tells how far it is.
    fn tell(&mut self) {
        if self.shared.list.is_whole() {
            return;
        }
        let (mut done, mut all) = (0, 0);
        for reading in self.partitions.values() {
            let start = reading.whole.start.min(reading.there.start);
            done += reading.read_to.min(reading.whole.end).max(start) - start;
            all += reading.whole.end - start;
        }
        let why = format!("{} of {} records were read", grouped(done), grouped(all));
        if self.logged.elapsed() >= LOG {
            info!(topic = self.shared.settings.topic, progress = why, "reading the topic");
            self.logged = Instant::now();
        }
        if self.shared.vitals.is_lost() {
            self.shared.vitals.anew();
        }
        self.shared.vitals.indexing(why);
        self.told = Instant::now();
    }

    /// What the connection complains of.
    fn hear(&mut self, error: &KafkaError) -> Result<(), Trouble> {
        match error.rdkafka_error_code() {
            // A group is only named because librdkafka wants one: it is neither joined nor committed for.
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {}
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err(Trouble::of(error, &doing(self.shared), self.consumer.context()));
            }
            _ => {
                debug!(%error, "the connection that reads complains");
                self.next_look = self.next_look.min(self.looked + SOON);
            }
        }
        Ok(())
    }

    /// Looks how the topic is. What ends the session, if anything does.
    fn look(&mut self) -> Option<End> {
        let seen = self.see();
        self.looked = Instant::now();
        match seen {
            Ok(Some(end)) => return Some(end),
            Ok(None) => {
                self.failures = 0;
                let poll = self.shared.settings.when.poll;
                let soon = self.shared.is_told_of_another(&self.identity);
                self.next_look = self.looked + if soon { poll.min(SOON) } else { poll };
                if self.partitions.values().all(|reading| reading.heard) && self.shared.list.is_whole() {
                    self.live();
                } else if self.shared.vitals.is_lost() {
                    self.tell();
                }
            }
            Err(trouble) => {
                lose(self.shared, &trouble);
                self.next_look = self.looked + backoff(self.failures);
                self.failures += 1;
            }
        }
        None
    }

    fn see(&mut self) -> Result<Option<End>, Trouble> {
        let settings = &self.shared.settings;
        let deadline = ANSWER.min(settings.when.stall_after);
        let facts = self.observer.topic(&settings.topic, deadline)?;
        if self.shared.list.is_former(&facts.identity) {
            return Ok(None);
        }
        if facts.identity != self.identity {
            return Ok(Some(End::Anew("it was deleted and made again")));
        }
        if !facts.partitions.iter().eq(self.partitions.keys()) {
            return Ok(Some(End::Anew("it has more partitions than it had")));
        }
        let positions = self.consumer.position().ok();
        let mut stuck = false;
        for (&partition, reading) in &mut self.partitions {
            reading.there = self.observer.watermarks(&settings.topic, partition, deadline)?;
            if reading.there.end < reading.read_to {
                return Ok(Some(End::Anew("a partition is shorter than it was")));
            }
            let position = positions.as_ref().and_then(|list| list.find_partition(&settings.topic, partition));
            if let Some(Offset::Offset(offset)) = position.map(|element| element.offset()) {
                reading.read_to = reading.read_to.max(offset);
            }
            self.shared.list.trim(partition, reading.there.start);
            self.shared.metrics.looked(partition, &reading.there, reading.read_to);
            stuck |= reading.is_stuck(settings.when.stall_after);
        }
        if stuck {
            self.shared.metrics.stalled();
            return Ok(Some(End::Anew("nothing came of the old one within --stall-after, and there is more to read")));
        }
        Ok(None)
    }
}

fn doing(shared: &Shared) -> String {
    format!("read topic {:?}", shared.settings.topic)
}

/// A number as people read it.
fn grouped(number: i64) -> String {
    let digits = number.max(0).to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
    }
}
