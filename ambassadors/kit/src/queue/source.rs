//! What of a [`Source`] all queues have in common: it lists what lies in its window.

use contract::ItemName;
use contract::wire::{Item, Withheld};
use futures_util::stream::BoxStream;
use tokio::sync::watch;

use super::window::Window;
use crate::source::{About, Change, Health, Outcome, Page, Revision, Source, SourceError, Tally};

/// A queue whose messages are taken into a [`Window`]; so it is a [`Source`] of what lies there, in the order in which it was taken.
pub trait Windowed: Send + Sync + 'static {
    /// What a message is given back by.
    type Token: Clone + Send + 'static;

    /// Who this is and what it offers, as [`Source::about`].
    fn who(&self) -> About;

    /// What was taken and is not settled.
    fn window(&self) -> &Window<Self::Token>;

    /// Gives a message back for good, as [`Source::settle`].
    fn give_back(&self, name: &ItemName, outcome: &Outcome) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Takes no more, and has what is not settled come again, as [`Source::drain`].
    fn stop(&self) -> impl Future<Output = ()> + Send;
}

impl<Q: Windowed> Source for Q {
    type Cursor = u64;

    fn about(&self) -> About {
        self.who()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.window().health()
    }

    fn tally(&self) -> Tally {
        self.window().tally()
    }

    fn had_items(&self) -> Option<bool> {
        Some(self.window().had_items())
    }

    fn revision(&self) -> Option<Revision> {
        None
    }

    async fn page(&self, from: Option<u64>, max: usize) -> Result<Page<ItemName, u64>, SourceError> {
        Ok(self.window().page(from, max))
    }

    fn changes(&self, _: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        Err(SourceError::Unsupported(
            "what is taken of a queue is held in no catalog of which changes could be told: poll",
        ))
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        self.window().get(name)
    }

    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        self.give_back(name, outcome).await
    }

    async fn withheld(&self, from: Option<u64>, max: usize) -> Result<Page<Withheld, u64>, SourceError> {
        Ok(self.window().withheld(from, max))
    }

    async fn drain(&self) {
        self.stop().await;
    }
}
