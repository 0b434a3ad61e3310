//! The flags, and what they mean once they are parsed.

use std::time::Duration;

use ambassador_kit::Names;
use ambassador_kit::source::Order;
use clap::{Args, ValueEnum};
use sidecar::cli::value;
use storage_s3::{Bucket, Patience, S3, S3Args, TransferArgs};

use crate::filter::{Filter, FilterArgs, FilterError};
use crate::naming::{Identity, Naming};
use crate::settle::{Honoured, OnSettle, Policy, SettleArgs, SettleError};

/// How long what is signed may be good for at most, wherever S3 is spoken.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Which bucket is served, and how.
#[derive(Clone, Debug, Args)]
pub struct BucketArgs {
    /// The bucket to serve.
    #[arg(long, value_name = "NAME")]
    bucket: String,
    /// List only what begins so; the store itself looks at nothing else.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// What names are derived with, beside key and version [default: the bucket's name].
    #[arg(long, value_name = "TEXT")]
    source_id: Option<String>,
    /// What makes an overwritten object a new item: its content (`etag`), its writing (`version-id`, in versioned buckets), or
    /// nothing (`key`).
    #[arg(long, value_enum, default_value_t = Identity::Etag)]
    identity: Identity,
    /// What names look like: short and legal in Kubernetes (`label`), or `<key>@<version>` (`raw`).
    #[arg(long, value_enum, default_value_t = Names::Label)]
    names: Names,
    /// `age`: what is there is held in memory, listed in the order in which it was found, and watched. `key`: nothing is held,
    /// each page is asked of the store; only with `--names raw` [default: `key` with `--names raw`, else `age`].
    #[arg(long, value_enum)]
    order: Option<ListOrder>,
    /// Give workers, as `url`, an address by which they can read the object for so long, at most 7 days, without credentials.
    #[arg(long, value_parser = life, value_name = "DURATION")]
    presign: Option<Duration>,

    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    when: WhenArgs,
    #[command(flatten)]
    settle: SettleArgs,
    #[command(flatten)]
    s3: S3Args,
}

/// How often the bucket is read, and what is said once it cannot be.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "When the bucket is read")]
pub(crate) struct WhenArgs {
    /// How often to look for new objects.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "30s")]
    pub(crate) poll: Duration,
    /// How often to read everything, to learn what was deleted or overwritten, and what no poll could see [default: 10m, and less
    /// often where that would take more requests than the polls].
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION")]
    pub(crate) reconcile: Option<Duration>,
    /// The most LIST requests of a poll. A bucket that takes no more is read whole at each; of a larger one, between reconciles,
    /// half of them look where objects turned up before and half go through all keys in turn.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) poll_requests: u16,
    /// The most LIST requests at once; fewer where the store is not faster for more.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) list_concurrency: u16,
    /// How long the last list still stands once the bucket is lost; an item of it cannot be read meanwhile.
    #[arg(long, value_parser = value::duration, value_name = "DURATION", default_value = "0s")]
    pub(crate) max_stale: Duration,
    /// After how long without an answer the store is taken for lost.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "30s")]
    pub(crate) stall_after: Duration,
}

/// `--reconcile` where nothing else is said and requests are few.
const RECONCILE: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl WhenArgs {
    /// How long after a look at everything, which took so many requests, the next begins. By default looks at everything take no
    /// more requests than the polls between them, so that what a bucket costs is bounded, however large it is.
    pub(crate) fn reconcile_after(&self, requests: u64) -> Duration {
        self.reconcile.unwrap_or_else(|| {
            let polls = requests.div_ceil(self.poll_requests.into());
            RECONCILE.max(self.poll.saturating_mul(u32::try_from(polls).unwrap_or(u32::MAX)))
        })
    }

    /// The most LIST requests there are in a day, where a look at everything takes so many.
    pub(crate) fn requests_a_day(&self, requests: u64) -> u64 {
        let times = |every: Duration| DAY.as_secs_f64() / every.as_secs_f64();
        let all = times(self.reconcile_after(requests)) * requests as f64;
        (all + times(self.poll) * f64::from(self.poll_requests)).ceil() as u64
    }
}

/// `--order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListOrder {
    /// As objects were found; held in memory.
    Age,
    /// By key; nothing is held.
    Key,
}

/// What the flags come to.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) bucket: Bucket,
    pub(crate) prefix: String,
    pub(crate) naming: Naming,
    /// `Age` or `Key`.
    pub(crate) order: Order,
    pub(crate) filter: Filter,
    pub(crate) when: WhenArgs,
    pub(crate) settle: Policy,
    /// What the store was found to honour; shared by all clones.
    pub(crate) honoured: Honoured,
    pub(crate) presign: Option<Duration>,
}

/// Why the flags make no sense together.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A pattern or a bound is wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// What is done with settled objects cannot be.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// Labels cannot be read back into keys.
    #[error("--order key needs --names raw: nothing is held by which a short name could be told from another")]
    LabelsByKey,
    /// What is held nowhere has no versions to be found by.
    #[error("--identity version-id needs --order age: the ids of versions stand in no listing by key")]
    VersionsByKey,
}

/// As long as an address can be good.
fn life(text: &str) -> Result<Duration, String> {
    match value::positive_duration(text)? {
        life if life > LONGEST_LIFE => Err("no store lets an address be good for more than 7d".to_owned()),
        life => Ok(life),
    }
}

impl BucketArgs {
    /// Checks everything that can be checked without asking the store.
    ///
    /// # Errors
    /// [`SettingsError`], naming the flag.
    pub fn settings(self) -> Result<Settings, SettingsError> {
        let s3 = S3::new(self.s3.clone(), TransferArgs::default()).with_patience(Patience::AMBASSADOR);
        self.settings_of(&s3)
    }

    /// As [`settings`](Self::settings), of a store that is reached already.
    ///
    /// # Errors
    /// [`SettingsError`], naming the flag.
    pub fn settings_of(self, s3: &S3) -> Result<Settings, SettingsError> {
        let order = match (self.order, self.names) {
            (Some(ListOrder::Key), Names::Label) => return Err(SettingsError::LabelsByKey),
            (Some(ListOrder::Key), Names::Raw) => Order::Key,
            (None, Names::Raw) if self.identity != Identity::VersionId => Order::Key,
            (Some(ListOrder::Age) | None, _) => Order::Age,
        };
        if order == Order::Key && self.identity == Identity::VersionId {
            return Err(SettingsError::VersionsByKey);
        }
        let settle = self.settle.policy(&self.prefix)?;
        if order == Order::Key && matches!(settle.on_settle, OnSettle::Tag(..)) {
            return Err(SettleError::TagsByKey.into());
        }
        let filter = Filter::new(&self.filter, &self.prefix, settle.destinations())?;
        Ok(Settings {
            naming: Naming {
                names: self.names,
                identity: self.identity,
                source_id: self.source_id.unwrap_or_else(|| self.bucket.clone()),
            },
            bucket: s3.bucket(&self.bucket),
            prefix: self.prefix,
            order,
            filter,
            when: self.when,
            settle,
            honoured: Honoured::default(),
            presign: self.presign,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when(words: &[&str]) -> WhenArgs {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            when: WhenArgs,
        }
        <Line as clap::Parser>::parse_from([&["p"], words].concat()).when
    }

    #[test]
    fn looks_at_everything_cost_no_more_than_polls_unless_they_are_asked_for() {
        let default = when(&[]);
        assert_eq!(default.reconcile_after(33), RECONCILE);
        assert_eq!(default.reconcile_after(1_000), Duration::from_secs(960));
        assert_eq!(default.reconcile_after(10_000), Duration::from_secs(9_390));
        // At $5 a million: 92 cents.
        assert!((184_000..=184_320).contains(&default.requests_a_day(10_000)), "{}", default.requests_a_day(10_000));
        let asked = when(&["--reconcile", "10m"]);
        assert_eq!(asked.reconcile_after(10_000), RECONCILE);
        assert_eq!(asked.requests_a_day(10_000), 1_532_160);
        assert_eq!(when(&["--poll", "1h", "--poll-requests", "1"]).reconcile_after(3), Duration::from_secs(3 * 3_600));
        assert!(default.reconcile_after(u64::MAX) > RECONCILE);
    }

    #[test]
    fn an_address_is_good_for_a_week_at_most() {
        assert_eq!(life("7d"), Ok(LONGEST_LIFE));
        for (text, says) in [("30d", "more than 7d"), ("7d 1s", "more than 7d"), ("0s", "longer than nothing")] {
            assert!(life(text).expect_err("is refused").contains(says), "{text}");
        }
    }
}
