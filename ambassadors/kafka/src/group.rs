//! The topic as a [`Source`] that is shared out: a member of a consumer group takes records into a window, lists them, and commits what
//! is settled.

mod args;
mod bell;
mod ends;
mod lookout;
mod member;
mod metrics;
mod poison;
mod shared;
mod state;
mod window;

use std::sync::Arc;

use ambassador_kit::Fullness;
use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use contract::wire::{Item, Settle, Withheld};
use contract::{ItemName, TraceContext};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use prometheus_client::registry::Registry;
use sidecar::Failure;
use tokio::sync::{mpsc, watch};
use tracing::info;

pub(crate) use self::args::{GroupArgs, Membership};
use self::member::Part;
use self::metrics::Metrics;
use self::poison::DeadLetters;
use self::shared::{Ending, Next, Shared};
use crate::args::{Settings, SettingsError};
use crate::naming::Position;
use crate::trouble::{RETRY, Trouble};

/// Records that are no items and are written to the dead letter topic at once: one that waits for its partition's leader holds up few.
const BURIED_AT_ONCE: usize = 32;

/// A topic, served as what a consumer group hands out of it.
#[derive(Debug)]
pub struct GroupSource {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    dead_letters: Option<DeadLetters>,
}

impl GroupSource {
    /// Joins the group of `--mode group`, which need not be reachable yet, on threads of its own.
    ///
    /// # Errors
    /// [`Failure`] (78) where the settings name no group, or librdkafka takes them for wrong.
    ///
    /// # Panics
    /// Outside a runtime, or where the system gives no thread.
    pub fn open(settings: Settings, registry: &mut Registry) -> Result<Self, Failure> {
        let none = || Failure::config(SettingsError::NoGroup("a member of a group"));
        let membership = settings.membership.clone().ok_or_else(none)?;
        Self::join(settings, membership, false, registry).map_err(Trouble::failure)
    }

    /// As [`open`](Self::open). With `check` it only looks: it sees what a member that is alone would, takes nothing from the others, and
    /// commits nothing.
    ///
    /// # Errors
    /// [`Trouble`] where librdkafka takes the settings for wrong.
    ///
    /// # Panics
    /// Outside a runtime, or where the system gives no thread.
    pub(crate) fn join(
        settings: Settings,
        membership: Membership,
        check: bool,
        registry: &mut Registry,
    ) -> Result<Self, Trouble> {
        info!(
            topic = settings.topic, group = membership.group, cluster = ?settings.cluster, start = ?settings.start,
            payload = ?settings.message.payload, window = ?membership.bounds, instance_id = membership.instance_id,
            dead_letter_topic = membership.dead_letter_topic, "taking records of the topic"
        );
        let dead_letters =
            membership.dead_letter_topic.as_deref().map(|topic| DeadLetters::connect(&settings, topic)).transpose()?;
        let (doomed, dooms) = mpsc::unbounded_channel();
        let fullness = Fullness::new(membership.window_full_after, registry);
        let shared = Arc::new(Shared::new(settings, membership, Metrics::new(registry), fullness, doomed));
        lookout::start(Arc::clone(&shared));
        member::start(Arc::clone(&shared), if check { Part::Onlooker } else { Part::Member });
        let inner = Arc::new(Inner { dead_letters, shared });
        if !check {
            inner
                .shared
                .remembered
                .settle_late(&inner, async |inner: Arc<Inner>, name, outcome| inner.settle(&name, &outcome).await);
            tokio::spawn(bury_doomed(Arc::downgrade(&inner), dooms));
        }
        Ok(Self { inner })
    }
}

impl Drop for GroupSource {
    fn drop(&mut self) {
        self.inner.shared.end();
    }
}

impl Inner {
    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        let Next::Bury(burial) = self.shared.settle(name, outcome)? else { return Ok(()) };
        let Some(dead_letters) = &self.dead_letters else { return Ok(()) };
        let reason = match outcome {
            Outcome::Failed { reason: Some(reason) } => reason,
            Outcome::Failed { reason: None } | Outcome::Done => "it failed for good",
        };
        let written = dead_letters.bury(&burial.record, reason).await;
        self.shared.buried(&burial, written.is_ok());
        if written.is_ok() {
            self.shared.metrics.buried("failed");
            let (trace, Position { partition, offset }) = (burial.record.trace(), burial.at);
            let trace_id = trace.as_ref().map(TraceContext::trace_id);
            info!(%name, partition, offset, reason, trace_id, "written to the dead letter topic");
        }
        written
    }
}

/// Writes what is no item to the dead letter topic. What cannot be written waits for another turn, and keeps nothing else waiting.
async fn bury_doomed(inner: std::sync::Weak<Inner>, mut dooms: mpsc::UnboundedReceiver<Position>) {
    let dooms = futures_util::stream::poll_fn(|context| dooms.poll_recv(context));
    let bury = async |at| {
        let Some(inner) = inner.upgrade() else { return };
        let Some(dead_letters) = &inner.dead_letters else { return };
        let Some((burial, reason)) = inner.shared.doom(at) else { return };
        let written = dead_letters.bury(&burial.record, &reason).await;
        inner.shared.buried(&burial, written.is_ok());
        if written.is_ok() {
            inner.shared.metrics.buried("no-item");
            let (trace, Position { partition, offset }) = (burial.record.trace(), at);
            let trace_id = trace.as_ref().map(TraceContext::trace_id);
            info!(partition, offset, reason, trace_id, "written to the dead letter topic");
        } else {
            let doomed = inner.shared.doomed.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RETRY).await;
                // Fails only where nobody writes any more.
                let _ = doomed.send(at);
            });
        }
    };
    dooms.for_each_concurrent(BURIED_AT_ONCE, bury).await;
}

impl Source for GroupSource {
    type Cursor = Position;

    fn about(&self) -> About {
        let shared = &self.inner.shared;
        let topic = shared.topic();
        About {
            ambassador: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            source_id: shared.settings.source_id.clone(),
            order: Order::Position,
            incarnation: topic
                .map_or_else(|| "unknown".to_owned(), |topic| contract::name::hash(&[topic.identity.as_bytes()])),
            settle: Settle::Exact,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.shared.vitals.subscribe()
    }

    fn tally(&self) -> Tally {
        self.inner.shared.tally()
    }

    fn had_items(&self) -> Option<bool> {
        Some(self.inner.shared.had_items())
    }

    fn revision(&self) -> Option<Revision> {
        None
    }

    async fn page(&self, from: Option<Position>, max: usize) -> Result<Page<ItemName, Position>, SourceError> {
        Ok(self.inner.shared.page(from, max))
    }

    fn changes(&self, _: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        Err(SourceError::Unsupported(
            "what a group hands out is held in no catalog of which changes could be told: poll",
        ))
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        self.inner.shared.get(name)
    }

    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        self.inner.settle(name, outcome).await
    }

    async fn withheld(&self, from: Option<Position>, max: usize) -> Result<Page<Withheld, Position>, SourceError> {
        Ok(self.inner.shared.withheld(from, max))
    }

    async fn drain(&self) {
        self.inner.shared.end();
        let mut ending = self.inner.shared.ending.subscribe();
        // Fails only where the threads are gone.
        let _ = ending.wait_for(|ending| *ending == Ending::Done).await;
    }
}
