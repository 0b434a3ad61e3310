//! What can be known of a topic without reading it: its identity, its partitions, how far they reach, where a group stands.

mod describe;

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use self::describe::{Description, Question};
use crate::client::{Cluster, Context};
use crate::committed;
use crate::trouble::Trouble;

/// How long to wait for an answer before looking whether brokers let nobody ask; then twice as long.
const LOOK_AFTER_COMPLAINTS: Duration = Duration::from_millis(500);

/// A client that only looks. Its calls wait, so they belong on threads of one's own; while they wait it serves what librdkafka asks for.
pub(crate) struct Observer {
    client: BaseConsumer<Context>,
    /// That is asked about, if there is one.
    group: String,
}

/// What a topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicFacts {
    /// Another one whenever the topic was deleted and made again: the topic's id (since Kafka 2.8), or the cluster's and the name where
    /// brokers have none, which a topic that was made again has too.
    pub(crate) identity: String,
    /// In their order.
    pub(crate) partitions: Vec<i32>,
}

impl Observer {
    /// A client; connects at the first call. With a group it may be asked where the group stands, and joins it never.
    ///
    /// # Errors
    /// [`Trouble`] where librdkafka takes the settings for wrong.
    pub(crate) fn connect(cluster: &Cluster, group: Option<&str>) -> Result<Self, Trouble> {
        Self::seeing("read_committed", cluster, group, cluster.context())
    }

    /// One that is asked about the dead letter topic.
    ///
    /// # Errors
    /// [`Trouble`] where librdkafka takes the settings for wrong.
    pub(crate) fn of_dead_letters(cluster: &Cluster) -> Result<Self, Trouble> {
        Self::seeing("read_committed", cluster, None, cluster.context().of_dead_letters())
    }

    /// One that sees partitions end where those do who read with this `isolation.level`.
    fn seeing(isolation: &str, cluster: &Cluster, group: Option<&str>, context: Context) -> Result<Self, Trouble> {
        let mut config = cluster.config([
            ("enable.auto.commit", "false"),
            ("allow.auto.create.topics", "false"),
            ("isolation.level", isolation),
        ]);
        config.remove("group.id").remove("group.instance.id");
        if let Some(group) = group {
            config.set("group.id", group);
        }
        match config.create_with_context(context.clone()) {
            Ok(client) => Ok(Self { client, group: group.unwrap_or_default().to_owned() }),
            Err(error) => Err(Trouble::of(&error, "set the client up", &context)),
        }
    }

    /// Where a partition ends, with what is in transactions that are not over, asked by a client of its own.
    ///
    /// # Errors
    /// [`Trouble`], also when nothing came of it within `deadline`.
    pub(crate) fn last(cluster: &Cluster, topic: &str, partition: i32, deadline: Duration) -> Result<i64, Trouble> {
        let observer = Self::seeing("read_uncommitted", cluster, None, cluster.context())?;
        // By which it comes to know brokers, and has a token if it needs one.
        observer.topic(topic, deadline)?;
        Ok(observer.watermarks(topic, partition, deadline)?.end)
    }

    /// What the topic is.
    ///
    /// # Errors
    /// [`Trouble`], also when nothing came of it within `deadline`.
    pub(crate) fn topic(&self, name: &str, deadline: Duration) -> Result<TopicFacts, Trouble> {
        look(&self.client, name, None, deadline, || self.serve())
    }

    /// Whether the topic is there, and records may be written to it; of brokers that do not tell what is allowed the latter is taken for granted.
    ///
    /// # Errors
    /// [`Trouble`], also when nothing came of it within `deadline`.
    pub(crate) fn writable(&self, name: &str, deadline: Duration) -> Result<(), Trouble> {
        let doing = format!("write to topic {name:?}");
        let question = Question { topic: name, broker: None, rights: true };
        let said = ask(&self.client, &question, deadline, &doing, || self.serve())?;
        match said.writable {
            Some(false) => {
                Err(Trouble::coded(RDKafkaErrorCode::TopicAuthorizationFailed, None, &doing, self.client.context()))
            }
            Some(true) | None => Ok(()),
        }
    }

    /// The offsets that there are of a partition: from the first that retention has left to where the next record goes.
    ///
    /// # Errors
    /// [`Trouble`], also when nothing came of it within `deadline`.
    pub(crate) fn watermarks(&self, topic: &str, partition: i32, deadline: Duration) -> Result<Range<i64>, Trouble> {
        self.serve();
        let found = self.client.fetch_watermarks(topic, partition, deadline);
        let (low, high) =
            self.told(found, || format!("ask how far partition {partition} of topic {topic:?} reaches"))?;
        Ok(low..high)
    }

    /// The first offset of each partition whose record is not older than `time`; where there is none, `None`.
    ///
    /// # Errors
    /// [`Trouble`], also when nothing came of it within `deadline`.
    pub(crate) fn at_time(
        &self,
        topic: &str,
        partitions: &[i32],
        time: SystemTime,
        deadline: Duration,
    ) -> Result<Vec<(i32, Option<i64>)>, Trouble> {
        self.serve();
        let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let millis = Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX));
        let found = list(topic, partitions, millis).and_then(|times| self.client.offsets_for_times(times, deadline));
        let doing = || format!("ask since when topic {topic:?} has records");
        self.offsets(&self.told(found, doing)?, doing, |_| true)
    }

    /// Where the group goes on in each partition; `None` where it never committed, or in a topic of this name that was there before. The
    /// group is that of [`connect`](Self::connect).
    ///
    /// # Errors
    /// [`Trouble`], also when nothing came of it within `deadline`; sooner where brokers let nobody ask.
    pub(crate) fn committed(
        &self,
        topic: &str,
        facts: &TopicFacts,
        deadline: Duration,
    ) -> Result<Vec<(i32, Option<i64>)>, Trouble> {
        let (began, mut patience) = (Instant::now(), LOOK_AFTER_COMPLAINTS);
        let doing = || format!("ask where the group {:?} stands in topic {topic:?}", self.group);
        loop {
            let left = deadline.saturating_sub(began.elapsed());
            let found = list(topic, &facts.partitions, Offset::Invalid)
                .and_then(|partitions| self.client.committed_offsets(partitions, patience.min(left)));
            let found = self.told(found, doing);
            // librdkafka looks for the group's coordinator until the time is over, whatever brokers say to that.
            if found.as_ref().is_err_and(Trouble::passes) && left > patience {
                patience *= 2;
                continue;
            }
            return self.offsets(&found?, doing, |note| committed::is_of(note, &facts.identity));
        }
    }

    /// Whether whoever asks may be a member of the group, which is another right than to look at it. Found out by a commit for a partition
    /// that there is in no topic: brokers look at rights first, and commit nothing.
    ///
    /// # Errors
    /// [`Trouble`], also when nothing came of it within `deadline`.
    pub(crate) fn joinable(self, topic: &str, deadline: Duration) -> Result<(), Trouble> {
        let doing = format!("join the group {:?}", self.group);
        let none = list(topic, &[i32::MAX], Offset::Offset(0));
        let none = none.map_err(|error| Trouble::of(&error, &doing, self.client.context()))?;
        let (answer, answered) = channel();
        let client = Arc::new(self.client);
        let asking = Arc::clone(&client);
        // librdkafka gives no time within which it ends.
        std::thread::spawn(move || answer.send(asking.commit(&none, CommitMode::Sync)));
        match answered.recv_timeout(deadline) {
            Ok(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                Err(Trouble::of(&error, &doing, client.context()))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(Trouble::coded(RDKafkaErrorCode::OperationTimedOut, None, &doing, client.context())),
        }
    }

    /// Lets librdkafka log, complain and ask for tokens.
    fn serve(&self) {
        // An error that is returned here was told to the context too, and nothing else can come: nothing is assigned.
        let _ = self.client.poll(Duration::ZERO);
    }

    fn told<T>(&self, answer: Result<T, KafkaError>, doing: impl Fn() -> String) -> Result<T, Trouble> {
        match answer {
            Ok(answer) => {
                self.client.context().content();
                Ok(answer)
            }
            Err(error) => {
                self.serve();
                Err(Trouble::of(&error, &doing(), self.client.context()))
            }
        }
    }

    /// What is said of each partition, beside what counts.
    fn offsets(
        &self,
        list: &TopicPartitionList,
        doing: impl Fn() -> String,
        counts: impl Fn(&str) -> bool,
    ) -> Result<Vec<(i32, Option<i64>)>, Trouble> {
        list.elements()
            .iter()
            .map(|element| {
                self.told(element.error(), &doing)?;
                let offset = match element.offset() {
                    Offset::Offset(offset) if counts(element.metadata()) => Some(offset),
                    _ => None,
                };
                Ok((element.partition(), offset))
            })
            .collect()
    }
}

/// What the topic is, asked of one broker, or of any, by a client of any kind; `serve` is called again and again meanwhile.
///
/// # Errors
/// [`Trouble`], also when nothing came of it within `deadline`.
pub(crate) fn look(
    client: &BaseConsumer<Context>,
    name: &str,
    broker: Option<i32>,
    deadline: Duration,
    serve: impl Fn(),
) -> Result<TopicFacts, Trouble> {
    let began = Instant::now();
    let question = Question { topic: name, broker, rights: false };
    let said = ask(client, &question, deadline, &format!("look at topic {name:?}"), serve)?;
    let identity = match said.id {
        Some(id) => id,
        None => {
            let cluster = describe::cluster_id(client.client(), deadline.saturating_sub(began.elapsed()));
            format!("{}/{name}", cluster.unwrap_or_default())
        }
    };
    Ok(TopicFacts { identity, partitions: said.partitions })
}

fn ask(
    client: &BaseConsumer<Context>,
    question: &Question<'_>,
    deadline: Duration,
    doing: &str,
    serve: impl Fn(),
) -> Result<Description, Trouble> {
    let (began, context) = (Instant::now(), client.context());
    let wait = || {
        serve();
        // Credentials that all brokers refuse are no better in a minute.
        let hopeless = || !Trouble::coded(RDKafkaErrorCode::OperationTimedOut, None, "", context).passes();
        began.elapsed() < deadline && !(context.complaints().all_down && hopeless())
    };
    let said = describe::topic(client.client(), question, deadline, wait);
    let said = said.map_err(|(code, reason)| Trouble::coded(code, reason.as_deref(), doing, context))?;
    context.content();
    Ok(said)
}

fn list(topic: &str, partitions: &[i32], offset: Offset) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(topic, *partition, offset)?;
    }
    Ok(list)
}
