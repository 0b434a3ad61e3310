//! The client that is a member of the group, and what it is told from inside librdkafka: kept until its thread asks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;

use super::super::shared::Shared;
use crate::client::Context;
use crate::naming::Position;
use crate::trouble::Trouble;

pub(super) type Consuming = BaseConsumer<Told>;

/// What happened to the group, or to a commit.
#[derive(Debug)]
pub(super) enum News {
    /// These are ours too.
    Given(Vec<i32>),
    /// These are ours no more.
    Taken(Vec<i32>),
    /// The brokers have answered a commit.
    Committed(Vec<Position>, KafkaResult<()>),
}

/// The context of the member's client.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) context: Context,
    /// Longest that joining may take: the group waits so long for members that are dead, or hold up the others.
    pub(super) join: Duration,
    news: Mutex<VecDeque<News>>,
    /// Nobody asks for news any more: librdkafka is answered at once.
    closing: AtomicBool,
}

impl Told {
    /// The oldest news.
    pub(super) fn next(&self) -> Option<News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(super) fn tell(&self, news: News) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).push_back(news);
    }

    /// How many are waiting.
    pub(super) fn waiting(&self) -> usize {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// From now on whatever is taken is given up at once.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl ClientContext for Told {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.context.generate_oauth_token(config)
    }
}

impl ConsumerContext for Told {
    fn rebalance(&self, client: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let given = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Relaxed) {
            // Whatever comes of it, the client is closed next; what is not answered it would wait for.
            let _ = if given { take(client, list) } else { give_up(client, list) };
            return;
        }
        let partitions = list.elements().iter().map(|element| element.partition()).collect();
        self.tell(if given { News::Given(partitions) } else { News::Taken(partitions) });
    }
}

/// Says that these partitions are not ours any more.
pub(super) fn give_up(client: &Consuming, list: &TopicPartitionList) -> KafkaResult<()> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => client.unassign(),
    }
}

/// Says that these partitions are ours, from these offsets on.
pub(super) fn take(client: &Consuming, list: &TopicPartitionList) -> KafkaResult<()> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => client.assign(list),
    }
}

/// A client, which rings the bell when there is something to hear. It is no member yet.
///
/// # Errors
/// [`Trouble`] where librdkafka takes the settings for wrong.
pub(super) fn connect(shared: &Arc<Shared>, partitions: usize) -> Result<Arc<Consuming>, Trouble> {
    let cluster = &shared.settings.cluster;
    // What is read ahead is kept by partition.
    let ahead = shared.settings.when.read_ahead.as_u64() / 1_024 / (partitions.max(1) as u64);
    let ahead = ahead.clamp(64, 65_536).to_string();
    // Partitions that come, and a topic that may be seen again, are noticed as soon as anything else of it.
    let refresh = shared.settings.when.poll.as_millis().clamp(1_000, 300_000).to_string();
    let defaults = [
        ("topic.metadata.refresh.interval.ms", refresh.as_str()),
        // What a broker may send at once.
        ("fetch.max.bytes", "8388608"),
        ("fetch.message.max.bytes", "1048576"),
    ];
    let mut config = cluster.config_over(
        &defaults,
        &[
            ("group.id", shared.membership.group.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            // What retention took before it was read is lost in any case; what is left is not passed over.
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("allow.auto.create.topics", "false"),
            ("queued.max.messages.kbytes", ahead.as_str()),
            // Of producers; librdkafka wants fetch.max.bytes to be no less, whoever the client is.
            ("message.max.bytes", "1000000"),
        ],
    );
    if let Some(instance) = &shared.membership.instance_id {
        config.set("group.instance.id", instance);
    }
    let millis = |name: &str, default| config.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let join = millis("session.timeout.ms", 45_000).max(millis("max.poll.interval.ms", 300_000));
    let told = Told {
        context: cluster.context(),
        join: Duration::from_millis(join),
        news: Mutex::default(),
        closing: AtomicBool::new(false),
    };
    let made: KafkaResult<Consuming> = config.create_with_context(told);
    let mut client = made.map_err(|error| Trouble::of(&error, "set the client up", &cluster.context()))?;
    let bell = Arc::downgrade(shared);
    client.set_nonempty_callback(move || {
        if let Some(shared) = bell.upgrade() {
            shared.bell.ring();
        }
    });
    Ok(Arc::new(client))
}
