//! What the store honours, found out by asking it, so that `GET /v1` promises no more than that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contract::wire::Settle;
use sidecar::chain;
use storage::Error;
use storage_s3::Versioning;
use tracing::{info, warn};

use super::OnSettle;
use crate::args::Settings;
use crate::trouble::RETRY;

/// What is known of the store. Nothing is taken for granted before it has answered.
#[derive(Debug, Default)]
pub(crate) struct Honoured {
    /// A delete takes `If-Match`.
    deletes_if_match: AtomicBool,
    /// Each write makes a version, so that one can be named.
    keeps_versions: AtomicBool,
}

impl Honoured {
    /// How the policy settles there.
    pub(crate) fn settles(&self, on_settle: &OnSettle) -> Settle {
        let exact = match on_settle {
            OnSettle::None => return Settle::None,
            OnSettle::Delete | OnSettle::Move(_) => self.deletes_if_match.load(Ordering::Relaxed),
            OnSettle::Tag(..) => self.keeps_versions.load(Ordering::Relaxed),
        };
        if exact { Settle::Exact } else { Settle::BestEffort }
    }

    /// Asks the store for what the policy rests on.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn ask(&self, settings: &Settings) -> Result<(), Error> {
        match settings.settle.on_settle {
            OnSettle::None => {}
            OnSettle::Delete | OnSettle::Move(_) => {
                let honoured = settings.bucket.deletes_if_match(&settings.prefix).await?;
                self.deletes_if_match.store(honoured, Ordering::Relaxed);
            }
            OnSettle::Tag(..) => {
                let versioning = match settings.bucket.versioning().await {
                    Err(Error::Forbidden(_)) => Versioning::Never,
                    asked => asked?,
                };
                self.keeps_versions.store(versioning == Versioning::Enabled, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Asks until there is an answer, or nobody is there any more who needs it.
pub(super) fn start(settings: Arc<Settings>, honoured: &Arc<Honoured>) {
    let honoured = Arc::downgrade(honoured);
    tokio::spawn(async move {
        let mut said = false;
        while let Some(honoured) = honoured.upgrade() {
            match honoured.ask(&settings).await {
                Ok(()) => {
                    info!(settles = ?honoured.settles(&settings.settle.on_settle), "asked what the store honours");
                    return;
                }
                Err(error) if !said => {
                    said = true;
                    warn!(error = chain(&error), "cannot find out yet whether the store settles exactly");
                }
                Err(_) => {}
            }
            drop(honoured);
            tokio::time::sleep(RETRY).await;
        }
    });
}
