//! What the store honours, found out by asking it, so that `GET /v1` promises no more than that.

use std::sync::Arc;

use contract::wire::Settle;
use sidecar::chain;
use storage::Error;
use storage_s3::Versioning;
use tokio::sync::OnceCell;
use tracing::{info, warn};

use super::OnSettle;
use crate::args::Settings;
use crate::keeper::Backoff;

/// Whether the store can do on a condition what the policy rests on. Nothing is taken for granted before it has answered. Clones
/// share it: a store is asked once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Honoured(Arc<OnceCell<bool>>);

impl Honoured {
    /// How the policy settles there, as far as is known.
    pub(crate) fn settles(&self, on_settle: &OnSettle) -> Settle {
        match (on_settle, self.0.get()) {
            (OnSettle::None, _) => Settle::None,
            (_, Some(true)) => Settle::Exact,
            (_, Some(false) | None) => Settle::BestEffort,
        }
    }

    /// Asks the store, unless it has answered before; who asks meanwhile waits for that answer.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn ask(&self, settings: &Settings) -> Result<(), Error> {
        self.0.get_or_try_init(|| conditions(settings)).await.map(drop)
    }

    /// It is not asked again, and nothing is taken for granted: what a process asks that ends meanwhile would be left there.
    pub(crate) fn leave(&self) {
        // Fails only where there is an answer.
        let _ = self.0.set(false);
    }
}

/// Whether the store, asked for what the policy rests on, takes that condition.
async fn conditions(settings: &Settings) -> Result<bool, Error> {
    match settings.settle.on_settle {
        OnSettle::None => Ok(false),
        OnSettle::Delete | OnSettle::Move(_) => settings.bucket.deletes_if_match(&settings.prefix).await,
        // A version can be named where each write makes one.
        OnSettle::Tag(..) => match settings.bucket.versioning().await {
            Err(Error::Forbidden(_)) => Ok(false),
            asked => Ok(asked? == Versioning::Enabled),
        },
    }
}

/// Asks until there is an answer, or nobody is there any more who needs it.
pub(super) fn start(settings: &Arc<Settings>) {
    if settings.honoured.0.initialized() {
        return;
    }
    let settings = Arc::downgrade(settings);
    tokio::spawn(async move {
        let (mut said, mut backoff) = (false, Backoff::default());
        while let Some(settings) = settings.upgrade() {
            let honoured = &settings.honoured;
            match honoured.ask(&settings).await {
                Ok(()) => {
                    info!(settles = ?honoured.settles(&settings.settle.on_settle), "asked what the store honours");
                    return;
                }
                Err(error @ (Error::Forbidden(_) | Error::Unsupported(_) | Error::Invalid(_))) => {
                    warn!(
                        error = chain(&error),
                        "cannot find out whether the store settles exactly, and does not ask again"
                    );
                    honoured.leave();
                    return;
                }
                Err(error) if !said => {
                    said = true;
                    warn!(error = chain(&error), "cannot find out yet whether the store settles exactly");
                }
                Err(_) => {}
            }
            drop(settings);
            tokio::time::sleep(backoff.next()).await;
        }
    });
}
