//! One store as one identity: the SDK's client, made when it is first needed.

mod connect;

use std::fmt;
use std::sync::Arc;

use aws_credential_types::Credentials;
use contract::Timestamp;
use storage::Error;
use tokio::sync::OnceCell;

use self::connect::{Connected, connect};
use crate::clock::Clock;
use crate::retry::LastAttempt;
use crate::transfer::Limits;
use crate::{Bucket, Patience, S3Args, TransferArgs};

/// One store, reached as one identity. Cheap to clone; all clones share connections, memory and credentials. Nothing is read
/// or asked before the first request.
#[derive(Clone)]
pub struct S3(Arc<Inner>);

struct Inner {
    args: S3Args,
    keys: Option<Credentials>,
    transfer: TransferArgs,
    limits: Arc<Limits>,
    patience: Patience,
    clock: Clock,
    last: LastAttempt,
    connected: OnceCell<Connected>,
}

/// Who we are to a store, and which one that is. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `None` where nothing is signed.
    pub access_key_id: Option<String>,
    /// Where the credentials come from.
    pub source: String,
    /// When they end and others are got; `None` for those that do not.
    pub expires: Option<Timestamp>,
    /// The store's URL; `None` for AWS.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
}

impl S3 {
    /// The store that `args` describe, with the patience of a worker.
    pub fn new(args: S3Args, transfer: TransferArgs) -> Self {
        Self::of(args, None, transfer, Patience::WORKER)
    }

    /// As [`new`](Self::new), with keys that the caller has, in place of those that the environment tells.
    pub fn with_keys(args: S3Args, transfer: TransferArgs, access_key_id: &str, secret_access_key: &str) -> Self {
        let keys = Credentials::new(access_key_id, secret_access_key, None, None, "given");
        Self::of(args, Some(keys), transfer, Patience::WORKER)
    }

    /// The same store with another patience, and connections of its own.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self::of(self.0.args.clone(), self.0.keys.clone(), self.0.transfer.clone(), patience)
    }

    pub(crate) fn of(args: S3Args, keys: Option<Credentials>, transfer: TransferArgs, patience: Patience) -> Self {
        let limits = Arc::new(Limits::new(&transfer));
        Self(Arc::new(Inner {
            args,
            keys,
            transfer,
            limits,
            patience,
            clock: Clock::default(),
            last: LastAttempt::default(),
            connected: OnceCell::new(),
        }))
    }

    /// A bucket of it. Asks nothing.
    pub fn bucket(&self, name: &str) -> Bucket {
        Bucket::new(self.clone(), name)
    }

    /// Who we are there. Gets credentials, and does not ask the store.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when no identity is configured, or one by half; [`Error::Forbidden`] when whoever gives the
    /// credentials refuses; [`Error::Unavailable`] when it does not answer.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let connected = self.connected().await?;
        let credential = self.credential().await?;
        Ok(Identity {
            access_key_id: credential.as_ref().map(|credential| credential.access_key_id().to_owned()),
            source: connected.keeper.as_ref().map_or("nobody".to_owned(), |keeper| keeper.way().to_string()),
            expires: credential.and_then(|credential| credential.expiry()).map(Timestamp),
            endpoint: connected.endpoint.clone(),
            region: connected.region.clone(),
        })
    }

    /// How objects are carried.
    pub(crate) fn transfer(&self) -> &TransferArgs {
        &self.0.transfer
    }

    /// What transfers may use, all together.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.0.limits
    }

    /// What the store's clock shows, by the `Date` of its last answer; ours, before there was one.
    pub fn now(&self) -> std::time::SystemTime {
        self.clock().now()
    }

    /// Why the last attempt of a request failed, if one did at `since` or later and none has gone well after that. Requests are tried
    /// again before they fail: whoever gives one up from outside finds here what it was waiting for.
    pub fn last_failure(&self, since: std::time::Instant) -> Option<String> {
        self.0.last.failure(since)
    }

    /// The store's clock, as its answers tell it.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What signs requests now; `None` where nothing is signed.
    pub(crate) async fn credential(&self) -> Result<Option<Credentials>, Error> {
        match &self.connected().await?.keeper {
            Some(keeper) => keeper.credential().await.map(Some).map_err(|failure| failure.error()),
            None => Ok(None),
        }
    }

    /// The client, with its configuration read and a credential that is good now.
    pub(crate) async fn client(&self) -> Result<&aws_sdk_s3::Client, Error> {
        self.credential().await?;
        Ok(&self.connected().await?.client)
    }

    async fn connected(&self) -> Result<&Connected, Error> {
        let Inner { args, keys, patience, clock, last, connected, .. } = &*self.0;
        connected.get_or_try_init(|| connect(args, keys.clone(), *patience, clock.clone(), last.clone())).await
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("args", &self.0.args).field("transfer", &self.0.transfer).finish_non_exhaustive()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.access_key_id.as_deref().unwrap_or("nobody, unsigned");
        let endpoint = self.endpoint.as_deref().unwrap_or("AWS");
        write!(f, "{who} at {endpoint}, region {}", self.region)?;
        if self.access_key_id.is_some() {
            write!(f, ", by {}", self.source)?;
        }
        if let Some(expires) = self.expires {
            write!(f, ", until {expires}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
