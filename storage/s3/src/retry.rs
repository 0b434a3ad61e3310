//! How long, and after what, a request is made again.
//!
//! The SDK waits between attempts as it should: doubling, with full jitter. Two things it does not do. It counts attempts, which
//! says nothing about how long an absence is outlived; and all requests to a region share one allowance of 500 tokens, which a
//! storm that meets many transfers at once uses up, after which nothing is retried any more. So the attempts are not limited, the
//! allowance is not either, and [`Patience`] ends a request by the clock.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryConfig};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::retries::classifiers::RetryClassifierPriority;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::credentials::Keeper;
use crate::error::{chain, plainly};
use crate::whole::CutShort;

/// How long a store may be away before a request is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the first attempt on, no attempt begins after so long.
    pub total: Duration,
    /// The longest wait for the beginning of an answer, in one attempt.
    pub answer: Duration,
}

impl Patience {
    /// Of a worker: its work is lost if it gives up, so it outlives a store that is away for a minute.
    pub const WORKER: Self = Self { total: Duration::from_secs(90), answer: Duration::from_secs(60) };
    /// Of an ambassador: somebody waits for the answer, and it asks again by itself.
    pub const AMBASSADOR: Self = Self { total: Duration::from_secs(10), answer: Duration::from_secs(30) };

    pub(crate) fn retries() -> RetryConfig {
        RetryConfig::standard()
            .with_max_attempts(u32::MAX)
            .with_initial_backoff(Duration::from_millis(200))
            .with_max_backoff(Duration::from_secs(5))
    }

    pub(crate) fn timeouts(self) -> TimeoutConfig {
        TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).read_timeout(self.answer).build()
    }
}

/// An allowance of retries that no storm uses up.
pub(crate) fn allowance() -> RetryPartition {
    RetryPartition::custom("longshore").token_bucket(TokenBucket::unlimited()).build()
}

/// Why the last attempt of any request failed, if it did: for whoever gives a request up from outside, while it is still being
/// tried again. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastAttempt(Arc<Mutex<Option<(Instant, String)>>>);

impl LastAttempt {
    /// What failed at `since` or later.
    pub(crate) fn failure(&self, since: Instant) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(when, _)| *when >= since).map(|(_, cause)| cause.clone())
    }

    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure.map(|cause| (Instant::now(), cause));
    }
}

/// Ends a request by the clock.
#[derive(Debug)]
pub(crate) struct Deadline(pub(crate) Patience, pub(crate) LastAttempt);

#[derive(Debug)]
struct Begun(Instant);

impl Storable for Begun {
    type Storer = StoreReplace<Self>;
}

/// Why the attempt before failed.
#[derive(Clone, Debug)]
struct Cause(String);

impl Storable for Cause {
    type Storer = StoreReplace<Self>;
}

/// What a request ends with that was given up.
#[derive(Debug, thiserror::Error)]
#[error("given up after {after:?}; the last attempt: {cause}")]
pub(crate) struct GivenUp {
    after: Duration,
    cause: String,
}

#[dyn_dispatch_hint]
impl Intercept for Deadline {
    fn name(&self) -> &'static str {
        "Deadline"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        cfg.interceptor_state().store_put(Begun(Instant::now()));
        Ok(())
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let after = cfg.load::<Begun>().map_or(Duration::ZERO, |begun| begun.0.elapsed());
        match cfg.load::<Cause>() {
            Some(Cause(cause)) if after > self.0.total => {
                Err(GivenUp { after: Duration::from_secs(after.as_secs()), cause: cause.clone() }.into())
            }
            _ => Ok(()),
        }
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Err(error)) = context.output_or_error() {
            let status = context.response().map(|response| format!("HTTP {}: ", response.status().as_u16()));
            let whom = context.request().and_then(|request| request.uri().parse::<http::Uri>().ok());
            let whom = whom.and_then(|uri| Some(format!("{}://{}: ", uri.scheme_str()?, uri.authority()?)));
            let cause = format!("{}{}{}", whom.unwrap_or_default(), status.unwrap_or_default(), plainly(error));
            // That something is not there is an answer.
            let absent = context.response().is_some_and(|response| response.status().as_u16() == 404);
            self.1.set((!absent).then(|| cause.clone()));
            cfg.interceptor_state().store_put(Cause(cause));
        } else {
            self.1.set(None);
        }
        Ok(())
    }
}

/// What the SDK's own classifiers do not know of stores and what stands before them.
pub(crate) struct Judge(pub(crate) Option<Arc<Keeper>>);

/// Said of a credential that was good once.
pub(crate) const EXPIRED: [&str; 4] =
    ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"];

impl ClassifyRetry for Judge {
    fn classify_retry(&self, ctx: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = ctx.output_or_error() else { return RetryAction::NoActionIndicated };
        let status = ctx.response().map(|response| response.status().as_u16());
        match status {
            Some(429) => RetryAction::throttling_error(),
            Some(400..=499) if self.is_expired(ctx) => RetryAction::client_error(),
            // We send all of it or fail by ourselves: MinIO says so of a body for which it could not wait, as when it stood still.
            Some(400) if says(ctx, &["IncompleteBody"]) => RetryAction::transient_error(),
            _ if crate::error::find::<CutShort>(error).is_some() => RetryAction::transient_error(),
            // Another handshake meets the same certificate.
            None if crate::error::is_distrusted(&chain(error)) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "Judge"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

impl Judge {
    /// Whether the credential has ended before its time, and there may be another.
    fn is_expired(&self, ctx: &InterceptorContext) -> bool {
        says(ctx, &EXPIRED) && self.0.as_ref().is_some_and(|keeper| keeper.distrust())
    }
}

/// Whether an answer's code is one of these.
fn says(ctx: &InterceptorContext, codes: &[&str]) -> bool {
    let body = ctx.response().and_then(|response| response.body().bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(body);
    codes.iter().any(|code| body.contains(&format!("<Code>{code}</Code>")))
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge")
    }
}
