//! What can be known of a topic without reading it: its identity, its partitions, how far they reach, where a group stands.

mod describe;

use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Cluster, Context};
use crate::trouble::Trouble;

/// A client that only looks. Its calls wait, so they belong on threads of one's own; while they wait it serves what librdkafka asks for.
pub(crate) struct Observer {
    client: BaseConsumer<Context>,
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
        let mut config = cluster.config([("enable.auto.commit", "false"), ("allow.auto.create.topics", "false")]);
        config.remove("group.id").remove("group.instance.id");
        if let Some(group) = group {
            config.set("group.id", group);
        }
        let context = cluster.context();
        match config.create_with_context(context) {
            Ok(client) => Ok(Self { client }),
            Err(error) => Err(Trouble::of(&error, "set the client up", &cluster.context())),
        }
    }

    /// What the topic is.
    ///
    /// # Errors
    /// [`Trouble`], also when nothing came of it within `deadline`.
    pub(crate) fn topic(&self, name: &str, deadline: Duration) -> Result<TopicFacts, Trouble> {
        look(&self.client, name, deadline, || self.serve())
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
        self.offsets(found, || format!("ask since when topic {topic:?} has records"))
    }

    /// Where the group goes on in each partition; `None` where it never committed. The group is that of [`connect`](Self::connect).
    ///
    /// # Errors
    /// [`Trouble`], also when nothing came of it within `deadline`.
    pub(crate) fn committed(
        &self,
        topic: &str,
        partitions: &[i32],
        deadline: Duration,
    ) -> Result<Vec<(i32, Option<i64>)>, Trouble> {
        self.serve();
        let found = list(topic, partitions, Offset::Invalid)
            .and_then(|partitions| self.client.committed_offsets(partitions, deadline));
        self.offsets(found, || format!("ask where the group stands in topic {topic:?}"))
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

    fn offsets(
        &self,
        answer: Result<TopicPartitionList, KafkaError>,
        doing: impl Fn() -> String,
    ) -> Result<Vec<(i32, Option<i64>)>, Trouble> {
        let list = self.told(answer, &doing)?;
        list.elements()
            .iter()
            .map(|element| {
                self.told(element.error(), &doing)?;
                let offset = match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    _ => None,
                };
                Ok((element.partition(), offset))
            })
            .collect()
    }
}

/// What the topic is, asked of the brokers by a client of any kind; `serve` is called again and again meanwhile.
///
/// # Errors
/// [`Trouble`], also when nothing came of it within `deadline`.
pub(crate) fn look(
    client: &BaseConsumer<Context>,
    name: &str,
    deadline: Duration,
    serve: impl Fn(),
) -> Result<TopicFacts, Trouble> {
    let doing = format!("look at topic {name:?}");
    let (began, context) = (Instant::now(), client.context());
    let wait = || {
        serve();
        // Credentials that all brokers refuse are no better in a minute.
        let hopeless = || !Trouble::coded(RDKafkaErrorCode::OperationTimedOut, None, "", context).passes();
        began.elapsed() < deadline && !(context.complaints().all_down && hopeless())
    };
    let said = match describe::topic(client.client(), name, deadline, wait) {
        Ok(said) => said,
        Err((code, reason)) => return Err(Trouble::coded(code, reason.as_deref(), &doing, context)),
    };
    let identity = match said.id {
        Some(id) => id,
        None => {
            let cluster = describe::cluster_id(client.client(), deadline.saturating_sub(began.elapsed()));
            format!("{}/{name}", cluster.unwrap_or_default())
        }
    };
    context.content();
    Ok(TopicFacts { identity, partitions: said.partitions })
}

fn list(topic: &str, partitions: &[i32], offset: Offset) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(topic, *partition, offset)?;
    }
    Ok(list)
}
