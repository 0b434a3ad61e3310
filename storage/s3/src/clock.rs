//! The store's clock, as its answers tell it. What is compared with a time that the store gave is compared by this one: ours may
//! be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// How far the store's clock is ahead of ours, by the `Date` of its last answer: exact to a second. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    /// What the store's clock shows, as far as is known: never later than that, so that nothing is older than it is.
    pub(crate) fn now(&self) -> SystemTime {
        let ahead = self.0.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let now = SystemTime::now();
        let shown = if ahead < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        shown.unwrap_or(now)
    }

    fn set(&self, date: &str, now: SystemTime) {
        let date = DateTime::from_str(date, Format::HttpDate).ok().and_then(|date| SystemTime::try_from(date).ok());
        let Some(date) = date else { return };
        let ahead = match date.duration_since(now) {
            Ok(ahead) => i64::try_from(ahead.as_millis()),
            Err(behind) => i64::try_from(behind.duration().as_millis()).map(|behind| -behind),
        };
        // `Date` has no fractions: a clock that is right looks up to a second behind.
        let ahead = ahead.unwrap_or_default();
        self.0.store(if (-1_000..=0).contains(&ahead) { 0 } else { ahead }, Ordering::Relaxed);
    }
}

impl Intercept for Clock {
    fn name(&self) -> &'static str {
        "Clock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.set(date, SystemTime::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_date_is_believed_and_a_second_is_not_minded() {
        let clock = Clock::default();
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let ahead = |ours: SystemTime| {
            clock.set("Sun, 06 Nov 1994 08:49:37 GMT", ours);
            clock.0.load(Ordering::Relaxed)
        };
        assert_eq!(ahead(noon), 0);
        assert_eq!(ahead(noon + Duration::from_millis(900)), 0);
        assert_eq!(ahead(noon + Duration::from_secs(3_600)), -3_600_000);
        assert_eq!(ahead(noon - Duration::from_secs(3_600)), 3_600_000);
        clock.set("yesterday", noon);
        assert_eq!(clock.0.load(Ordering::Relaxed), 3_600_000, "what is no date changes nothing");
        let shown = clock.now().duration_since(SystemTime::now()).expect("it is ahead");
        assert!(shown > Duration::from_secs(3_590), "{shown:?}");
    }
}
