//! URLs that carry their own right.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use contract::Timestamp;
use storage::Error;

use super::{Bucket, Condition};
use crate::error::Refusal;

/// A request that anybody may make, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// Where; it holds the right itself, so it is as secret as that.
    pub url: String,
    /// Until when: what was asked for, or the end of the credential that signed it, whichever is sooner. `None` where the
    /// credential is a temporary one (it has a session token) of which nobody tells when it ends: the URL ends with it.
    pub expires: Option<Timestamp>,
    /// The headers that must be sent with it, as signed.
    pub headers: BTreeMap<String, String>,
}

impl Bucket {
    /// A URL by which anybody can read `key` (or one version of it) for a while.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than a week, and those of the credentials.
    pub async fn presign_get(&self, key: &str, version: Option<&str>, life: Duration) -> Result<Presigned, Error> {
        let (config, expires) = self.for_a_while(life).await?;
        let request = self
            .s3
            .client()
            .await?
            .get_object()
            .bucket(&*self.name)
            .key(key)
            .set_version_id(version.map(str::to_owned));
        let signed = request.presigned(config).await.map_err(|error| self.unsigned(key, error.into()))?;
        Ok(presigned(&signed, expires))
    }

    /// A URL by which anybody can write `key` for a while, on this condition.
    ///
    /// # Errors
    /// As [`presign_get`](Self::presign_get).
    pub async fn presign_put(&self, key: &str, condition: &Condition, life: Duration) -> Result<Presigned, Error> {
        let (config, expires) = self.for_a_while(life).await?;
        let (if_none_match, if_match) = condition.headers();
        let request = self
            .s3
            .client()
            .await?
            .put_object()
            .bucket(&*self.name)
            .key(key)
            .set_if_none_match(if_none_match)
            .set_if_match(if_match);
        let signed = request.presigned(config).await.map_err(|error| self.unsigned(key, error.into()))?;
        Ok(presigned(&signed, expires))
    }

    fn unsigned(&self, key: &str, refusal: Refusal) -> Error {
        refusal.at(&format!("sign a URL of {}", self.uri(key)))
    }

    /// From now on for `life`, or as long as the credential lives.
    async fn for_a_while(&self, life: Duration) -> Result<(PresigningConfig, Option<Timestamp>), Error> {
        let credential = self.s3.credential().await?;
        // The SDK corrects our clock by the store's in requests, but not in what it only signs.
        let now = self.s3.clock().now();
        let left = credential.as_ref().and_then(|credential| credential.expiry());
        let unknown = left.is_none() && credential.is_some_and(|credential| credential.session_token().is_some());
        let left = left.map(|end| end.duration_since(now).unwrap_or_default());
        // In whole seconds, as the signature has it; a credential that dies this second signs nothing of use.
        let life = Duration::from_secs(left.map_or(life, |left| left.min(life)).as_secs().max(1));
        let config = PresigningConfig::builder().start_time(now).expires_in(life).build();
        let config = config.map_err(|error| Error::Invalid(format!("a URL cannot live for {life:?}: {error}")))?;
        let end = (now + life).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let end = Timestamp::from_unix_nanos(i128::from(end.as_secs()) * 1_000_000_000);
        Ok((config, (!unknown).then_some(end)))
    }
}

fn presigned(request: &PresignedRequest, expires: Option<Timestamp>) -> Presigned {
    let headers = request.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Presigned { url: request.uri().to_owned(), expires, headers: headers.collect() }
}
