//! A source that holds its items in memory: what an ambassador costs that has nothing to ask anybody for, by the same kit.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use ambassador_kit::ServeArgs;
use ambassador_kit::source::{
    About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally, new_incarnation,
};
use clap::Parser;
use contract::ItemName;
use contract::wire::{Item, Settle, Withheld};
use futures_util::stream::BoxStream;
use sidecar::{Failure, ProcessArgs};
use tokio::sync::watch;

/// Serves items that it holds in memory: what `bench` measures beside the ambassadors of queues.
#[derive(Debug, Parser)]
#[command(name = "held-source", max_term_width = 120, after_help = "Examples:\n  held-source --items items.ndjson")]
struct Args {
    /// A file of items as the contract has them, one a line.
    #[arg(long, value_name = "FILE")]
    items: PathBuf,
    /// List at most so many, and have each be gone when it is settled, as a queue does; else all are there, for ever.
    #[arg(long, value_name = "COUNT")]
    window: Option<NonZeroUsize>,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

fn main() -> ExitCode {
    sidecar::cli::main::<Args>(|Args { items, window, serve, process }| {
        process.run(async |shutdown| {
            ambassador_kit::serve(serve, shutdown, async |_| Held::read(&items, window).map_err(Failure::config)).await
        })
    })
}

struct Held {
    incarnation: String,
    window: Option<NonZeroUsize>,
    outstanding: RwLock<Outstanding>,
    health: watch::Sender<Health>,
}

/// Items by the place they were read at, and by name.
#[derive(Default)]
struct Outstanding {
    names: BTreeMap<usize, ItemName>,
    items: HashMap<ItemName, (usize, Item)>,
}

impl Held {
    fn read(path: &Path, window: Option<NonZeroUsize>) -> std::io::Result<Self> {
        let mut outstanding = Outstanding::default();
        for (place, line) in std::io::BufReader::new(std::fs::File::open(path)?).lines().enumerate() {
            let item: Item = serde_json::from_str(&line?)?;
            if let Some(name) = &item.metadata.name {
                outstanding.names.insert(place, name.clone());
                outstanding.items.insert(name.clone(), (place, item));
            }
        }
        let (outstanding, health) = (RwLock::new(outstanding), watch::Sender::new(Health::Live));
        Ok(Self { incarnation: new_incarnation(), window, outstanding, health })
    }

    fn outstanding(&self) -> RwLockReadGuard<'_, Outstanding> {
        self.outstanding.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Held {
    type Cursor = usize;

    fn about(&self) -> About {
        About {
            ambassador: "held-source",
            version: env!("CARGO_PKG_VERSION"),
            source_id: String::new(),
            order: Order::Age,
            incarnation: self.incarnation.clone(),
            settle: if self.window.is_some() { Settle::Exact } else { Settle::None },
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn tally(&self) -> Tally {
        Tally { listed: Some(self.outstanding().names.len() as u64), ..Tally::default() }
    }

    fn revision(&self) -> Option<Revision> {
        None
    }

    async fn page(&self, from: Option<usize>, max: usize) -> Result<Page<ItemName, usize>, SourceError> {
        let outstanding = self.outstanding();
        let window = self.window.map_or(usize::MAX, NonZeroUsize::get);
        let mut listed = outstanding.names.iter().take(window).skip_while(|(place, _)| Some(**place) < from);
        Ok(Page {
            items: listed.by_ref().take(max).map(|(_, name)| name.clone()).collect(),
            next: listed.next().map(|(place, _)| *place),
            complete: true,
            remaining: None,
            backlog: self.window.map(|window| outstanding.names.len().saturating_sub(window.get()) as u64),
        })
    }

    fn changes(&self, _: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        Err(SourceError::Unsupported("nothing is told of changes here"))
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let found = self.outstanding().items.get(name).map(|(_, item)| item.clone());
        found.ok_or_else(|| SourceError::NotFound(name.clone()))
    }

    async fn settle(&self, name: &ItemName, _: &Outcome) -> Result<(), SourceError> {
        let mut outstanding = self.outstanding.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((place, _)) = outstanding.items.remove(name) {
            outstanding.names.remove(&place);
        }
        Ok(())
    }

    async fn withheld(&self, _: Option<usize>, _: usize) -> Result<Page<Withheld, usize>, SourceError> {
        Ok(Page { items: Vec::new(), next: None, complete: true, remaining: Some(0), backlog: None })
    }

    async fn drain(&self) {}
}
