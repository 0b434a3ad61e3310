//! Keeps a credential as long as it is good, and gets the next in time.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use tokio::sync::Mutex;

use super::{Failure, Way};
use crate::clock::Clock;

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
    clock: Clock,
    held: RwLock<Option<Held>>,
    /// Whose turn it is to ask, and what the last who asked in vain was told.
    asking: Mutex<Option<(Instant, Failure)>>,
    /// How long whoever gives credentials may be away.
    patience: Duration,
}

#[derive(Clone)]
struct Held {
    credential: Credentials,
    since: Instant,
    ask_again: Option<SystemTime>,
    /// Whether it took the place of another, which requests under way may still be signed with.
    is_new: bool,
}

impl Keeper {
    /// `clock` is the store's: what is known to end is known to end by that.
    pub(crate) fn new(
        way: Way,
        given: Option<Credentials>,
        conf: ProviderConfig,
        direct: ProviderConfig,
        clock: Clock,
        patience: Duration,
    ) -> Self {
        let held = given.map(|credential| Held { credential, since: Instant::now(), ask_again: None, is_new: false });
        Self { way, conf, direct, clock, held: RwLock::new(held), asking: Mutex::default(), patience }
    }

    pub(crate) fn way(&self) -> &Way {
        &self.way
    }

    /// A credential that is good now. Whoever asks while another asks gets the one that is held, if it is still good.
    pub(crate) async fn credential(&self) -> Result<Credentials, Failure> {
        let begun = Instant::now();
        let held = self.held();
        if let Some(held) = &held
            && held.ask_again.is_none_or(|then| self.clock.now() < then)
        {
            return Ok(held.credential.clone());
        }
        let good = held.filter(|held| held.credential.expiry().is_none_or(|end| self.clock.now() < end));
        let mut asking = match (self.asking.try_lock(), &good) {
            (Ok(asking), _) => asking,
            (Err(_), Some(held)) => return Ok(held.credential.clone()),
            (Err(_), None) => {
                let asking = self.asking.lock().await;
                if let Some(held) = self.held().filter(|held| held.since >= begun) {
                    return Ok(held.credential);
                }
                if let Some((_, failure)) = asking.as_ref().filter(|(since, _)| *since >= begun) {
                    return Err(failure.clone());
                }
                asking
            }
        };
        // With one that is good in hand there is time.
        let patience = if good.is_some() { Duration::ZERO } else { self.patience };
        match self.ask(patience).await {
            Ok(credential) => {
                self.hold(credential.clone());
                Ok(credential)
            }
            Err(failure) => {
                let Some(held) = good else {
                    *asking = Some((Instant::now(), failure.clone()));
                    return Err(failure);
                };
                tracing::warn!(error = %failure, "credentials cannot be renewed; those held are still good");
                self.postpone();
                Ok(held.credential)
            }
        }
    }

    /// Asks for a credential, again and again where that may help; full jitter, to a limit that doubles each time.
    async fn ask(&self, patience: Duration) -> Result<Credentials, Failure> {
        let (begun, mut pause) = (Instant::now(), Duration::from_millis(200));
        loop {
            // Built anew each time, since profiles are read when it is built.
            let provider = self.way.provider(&self.conf, &self.direct);
            let failure = match provider.provide_credentials().await {
                Ok(credential) => return Ok(credential),
                Err(error) => self.failure(&error),
            };
            if !failure.is_passing() || begun.elapsed() >= patience {
                return Err(failure);
            }
            tracing::debug!(error = %failure, "credentials are asked for again");
            tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
            pause = (2 * pause).min(Duration::from_secs(5));
        }
    }

    fn failure(&self, error: &CredentialsError) -> Failure {
        match &self.way {
            Way::Instance { by: None } if self.held().is_some() => {
                Failure::of(&Way::Instance { by: Some("it has told its role before") }, error)
            }
            way => Failure::of(way, error),
        }
    }

    /// A store says that the credential is no longer good. Whether there is another, or asking for one makes sense.
    pub(crate) fn distrust(&self) -> bool {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut().filter(|_| self.way.may_change()) {
            Some(held) if held.since.elapsed() < PAUSE => held.is_new,
            Some(held) => {
                held.ask_again = Some(SystemTime::UNIX_EPOCH);
                true
            }
            None => false,
        }
    }

    /// When to ask for the next; never where nothing can change.
    fn next(&self, credential: &Credentials) -> Option<SystemTime> {
        let now = self.clock.now();
        match credential.expiry() {
            Some(end) => match end.duration_since(now) {
                Ok(left) => Some(end - EARLY.min(left / 2)),
                // Nobody gives what is over: a clock is wrong, and the store is the judge.
                Err(_) => {
                    tracing::warn!(expires = %contract::Timestamp(end), "credentials have ended by this machine's clock");
                    Some(now + PAUSE)
                }
            },
            // Files change, as nobody tells.
            None => self.way.may_change().then(|| now + EARLY),
        }
    }

    fn held(&self) -> Option<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, credential: Credentials) {
        let ask_again = self.next(&credential);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = held.as_ref().is_some_and(|old| old.credential.access_key_id() != credential.access_key_id());
        *held = Some(Held { credential, since: Instant::now(), ask_again, is_new });
    }

    fn postpone(&self) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_mut() {
            held.ask_again = Some(self.clock.now() + PAUSE);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(way: Way, age: Duration) -> Keeper {
        let given = Credentials::new("AK1", "secret", None, None, "test");
        let (conf, direct) = (ProviderConfig::empty(), ProviderConfig::empty());
        let keeper = Keeper::new(way, Some(given), conf, direct, Clock::default(), Duration::ZERO);
        if let Some(held) = keeper.held.write().expect("nobody panics").as_mut() {
            held.since = held.since.checked_sub(age).expect("the machine runs for longer");
        }
        keeper
    }

    fn is_due(keeper: &Keeper) -> bool {
        keeper.held().and_then(|held| held.ask_again).is_some_and(|then| then <= SystemTime::now())
    }

    #[test]
    fn what_a_store_calls_expired_is_asked_for_anew_once_and_only_where_that_can_help() {
        let old = keeper(Way::Instance { by: None }, PAUSE * 2);
        assert!(old.distrust() && is_due(&old));
        let fresh = keeper(Way::Instance { by: None }, Duration::ZERO);
        assert!(!fresh.distrust() && !is_due(&fresh), "asking again at once gives the same");
        let fixed = keeper(Way::Environment, PAUSE * 2);
        assert!(!fixed.distrust() && !is_due(&fixed), "what the environment says does not change");
        // A request that was signed with the one before meets the refusal when the next is there already.
        old.hold(Credentials::new("AK2", "secret", None, None, "test"));
        assert!(old.distrust() && !is_due(&old));
        old.hold(Credentials::new("AK2", "secret", None, None, "test"));
        assert!(!old.distrust());
    }

    #[test]
    fn a_credential_is_renewed_five_minutes_early_or_at_half_of_its_life() {
        let keeper = keeper(Way::Instance { by: None }, Duration::ZERO);
        let left = |life: u64| {
            let end = SystemTime::now() + Duration::from_secs(life);
            let next = keeper.next(&Credentials::new("AK", "secret", None, Some(end), "test")).expect("it ends");
            end.duration_since(next).expect("it is before the end").as_secs()
        };
        assert_eq!(left(3600), 300);
        assert_eq!(left(61), 30);
    }

    #[tokio::test]
    async fn who_waits_while_another_asks_in_vain_is_told_the_same() {
        let keeper = keeper(Way::Environment, Duration::ZERO);
        *keeper.held.write().expect("nobody panics") = None;
        let mut asking = keeper.asking.lock().await;
        let mut waiting = Box::pin(keeper.credential());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        *asking = Some((Instant::now(), Failure::configuration("what it was told")));
        drop(asking);
        assert_eq!(waiting.await.expect_err("nobody has any").to_string(), "what it was told");
    }

    #[test]
    fn a_metadata_service_that_is_away_is_told_from_one_that_is_not_there() {
        // As the SDK says it, which keeps the error itself to itself.
        let unreached = CredentialsError::not_loaded(std::io::Error::other("could not communicate with IMDS"));
        let roleless = CredentialsError::not_loaded("received 404 from IMDS");
        let named = Way::Instance { by: Some("it is named") };
        assert!(Failure::of(&named, &unreached).is_passing());
        assert!(!Failure::of(&named, &roleless).is_passing(), "there is no role");
        assert!(!Failure::of(&Way::Instance { by: None }, &unreached).is_passing(), "nothing says that there is one");
        let before = keeper(Way::Instance { by: None }, Duration::ZERO);
        assert!(before.failure(&unreached).is_passing(), "it has been there");
    }

    #[tokio::test]
    async fn what_has_ended_by_our_clock_is_left_to_the_store_to_judge() {
        let keeper = keeper(Way::Instance { by: None }, Duration::ZERO);
        let end = SystemTime::now() - Duration::from_secs(3600);
        keeper.hold(Credentials::new("AK2", "secret", None, Some(end), "test"));
        assert_eq!(keeper.credential().await.expect("it is tried").access_key_id(), "AK2");
    }
}
