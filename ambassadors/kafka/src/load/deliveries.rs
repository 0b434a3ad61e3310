//! What the brokers confirm and refuse, told by librdkafka's thread, taken by ours.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{NoCustomPartitioner, ProducerContext};

use crate::client::Context;

/// What became of lines, by their numbers.
#[derive(Debug)]
pub(super) struct Deliveries {
    inner: Context,
    news: Mutex<News>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct News {
    confirmed: Vec<u64>,
    failed: Option<Failed>,
}

/// A line that was not taken.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) number: u64,
    pub(super) error: KafkaError,
    pub(super) size: usize,
}

impl Deliveries {
    pub(super) fn new(inner: Context) -> Self {
        Self { inner, news: Mutex::default(), came: Condvar::new() }
    }

    pub(super) fn inner(&self) -> &Context {
        &self.inner
    }

    /// Adds the lines that were confirmed since this was asked last; fails by the first that was not taken since. Waits at most so long for
    /// either.
    pub(super) fn confirmed(&self, wait: Duration, lines: &mut Vec<u64>) -> Result<(), Failed> {
        let nothing = |news: &mut News| news.confirmed.is_empty() && news.failed.is_none();
        let waited = self.came.wait_timeout_while(self.news(), wait, nothing);
        let (mut news, _) = waited.unwrap_or_else(PoisonError::into_inner);
        lines.append(&mut news.confirmed);
        news.failed.take().map_or(Ok(()), Err)
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let number = number as u64;
        let mut news = self.news();
        match result {
            Ok(_) => news.confirmed.push(number),
            Err((error, message)) => {
                if news.failed.as_ref().is_none_or(|failed| number < failed.number) {
                    let size = message.payload_len() + message.key_len();
                    news.failed = Some(Failed { number, error: error.clone(), size });
                }
            }
        }
        self.came.notify_all();
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = Context::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.inner.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.inner.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.inner.generate_oauth_token(config)
    }
}
