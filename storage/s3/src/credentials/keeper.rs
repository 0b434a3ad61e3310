//! Keeps a credential as long as it is good, and gets the next in time.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use tokio::sync::Mutex;

use super::{Failure, Way};

/// How long before its end a credential is replaced, where it lives for longer than twice that.
const EARLY: Duration = Duration::from_secs(300);
/// How soon after one asking the next may come, while the credential is still good.
const PAUSE: Duration = Duration::from_secs(20);

/// The one identity of a client, behind the signer and whoever signs URLs.
pub(crate) struct Keeper {
    way: Way,
    conf: ProviderConfig,
    /// Reaches what is on this machine or next to it, and no proxy.
    direct: ProviderConfig,
    held: RwLock<Option<Held>>,
    asking: Mutex<()>,
}

#[derive(Clone)]
struct Held {
    credential: Credentials,
    since: SystemTime,
    ask_again: Option<SystemTime>,
    /// Whether it took the place of another, which requests under way may still be signed with.
    is_new: bool,
}

impl Keeper {
    pub(crate) fn new(way: Way, given: Option<Credentials>, conf: ProviderConfig, direct: ProviderConfig) -> Self {
        let held =
            given.map(|credential| Held { credential, since: SystemTime::now(), ask_again: None, is_new: false });
        Self { way, conf, direct, held: RwLock::new(held), asking: Mutex::default() }
    }

    pub(crate) fn way(&self) -> &Way {
        &self.way
    }

    /// A credential that is good now. Whoever asks while another asks gets the one that is held, if it is still good.
    pub(crate) async fn credential(&self) -> Result<Credentials, Failure> {
        let now = SystemTime::now();
        let held = self.held();
        if let Some(held) = &held
            && held.ask_again.is_none_or(|then| now < then)
        {
            return Ok(held.credential.clone());
        }
        let good = held.filter(|held| held.credential.expiry().is_none_or(|end| now < end));
        let _asking = match (self.asking.try_lock(), &good) {
            (Ok(asking), _) => asking,
            (Err(_), Some(held)) => return Ok(held.credential.clone()),
            (Err(_), None) => {
                let asking = self.asking.lock().await;
                if let Some(held) = self.held()
                    && held.since >= now
                {
                    return Ok(held.credential);
                }
                asking
            }
        };
        match self.ask().await {
            Ok(credential) => {
                self.hold(credential.clone(), self.next(&credential, SystemTime::now()));
                Ok(credential)
            }
            Err(failure) => match good {
                Some(held) => {
                    tracing::warn!(error = %failure, "credentials cannot be renewed; those held are still good");
                    self.hold(held.credential.clone(), Some(SystemTime::now() + PAUSE));
                    Ok(held.credential)
                }
                None => Err(failure),
            },
        }
    }

    /// A store says that the credential is no longer good. Whether there is another, or asking for one makes sense.
    pub(crate) fn distrust(&self) -> bool {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        match held.as_mut().filter(|_| self.way.may_change()) {
            Some(held) if now.duration_since(held.since).is_ok_and(|age| age < PAUSE) => held.is_new,
            Some(held) => {
                held.ask_again = Some(now);
                true
            }
            None => false,
        }
    }

    async fn ask(&self) -> Result<Credentials, Failure> {
        let provider = self.way.provider(&self.conf, &self.direct);
        let got = provider.provide_credentials().await.map_err(|error| Failure::of(&self.way, &error))?;
        match got.expiry() {
            Some(end) if end <= SystemTime::now() => {
                let end = contract::Timestamp(end);
                Err(Failure::away(format!("the credentials that {} gives have expired, at {end}", self.way)))
            }
            _ => Ok(got),
        }
    }

    /// When to ask for the next; never where nothing can change.
    fn next(&self, credential: &Credentials, now: SystemTime) -> Option<SystemTime> {
        match credential.expiry() {
            Some(end) => {
                let left = end.duration_since(now).unwrap_or_default();
                Some(end - EARLY.min(left / 2))
            }
            // Files change, as nobody tells.
            None => self.way.may_change().then(|| now + EARLY),
        }
    }

    fn held(&self) -> Option<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, credential: Credentials, ask_again: Option<SystemTime>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = held.as_ref().is_some_and(|old| old.credential.access_key_id() != credential.access_key_id());
        *held = Some(Held { credential, since: SystemTime::now(), ask_again, is_new });
    }
}

/// A keeper as the SDK asks it.
#[derive(Debug)]
pub(crate) struct Signer(pub(crate) Arc<Keeper>);

impl ProvideCredentials for Signer {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.0.credential().await.map_err(CredentialsError::provider_error) })
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("way", &self.way).finish_non_exhaustive()
    }
}
