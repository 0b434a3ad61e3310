//! A source that holds its items in memory: what an ambassador costs that has nothing to ask anybody for, by the same kit.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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

/// Serves items that it holds in memory: what `bench kafka` measures beside kafka-ambassador.
#[derive(Debug, Parser)]
#[command(name = "held-source", max_term_width = 120, after_help = "Examples:\n  held-source --items items.ndjson")]
struct Args {
    /// A file of items as the contract has them, one a line.
    #[arg(long, value_name = "FILE")]
    items: PathBuf,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

fn main() -> ExitCode {
    sidecar::cli::main::<Args>(|Args { items, serve, process }| {
        process.run(async |shutdown| {
            ambassador_kit::serve(serve, shutdown, async |_| Held::read(&items).map_err(Failure::config)).await
        })
    })
}

struct Held {
    incarnation: String,
    names: Vec<ItemName>,
    items: HashMap<ItemName, Item>,
    health: watch::Sender<Health>,
}

impl Held {
    fn read(path: &Path) -> std::io::Result<Self> {
        let (mut names, mut items) = (Vec::new(), HashMap::new());
        for line in std::io::BufReader::new(std::fs::File::open(path)?).lines() {
            let item: Item = serde_json::from_str(&line?)?;
            if let Some(name) = &item.metadata.name {
                names.push(name.clone());
                items.insert(name.clone(), item);
            }
        }
        Ok(Self { incarnation: new_incarnation(), names, items, health: watch::Sender::new(Health::Live) })
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
            settle: Settle::None,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn tally(&self) -> Tally {
        Tally { listed: Some(self.names.len() as u64), ..Tally::default() }
    }

    fn revision(&self) -> Option<Revision> {
        None
    }

    async fn page(&self, from: Option<usize>, max: usize) -> Result<Page<ItemName, usize>, SourceError> {
        let from = from.unwrap_or(0).min(self.names.len());
        let to = from.saturating_add(max).min(self.names.len());
        let remaining = self.names.len() - to;
        Ok(Page {
            items: self.names.get(from..to).unwrap_or_default().to_vec(),
            next: (remaining > 0).then_some(to),
            complete: true,
            remaining: Some(remaining as u64),
            backlog: None,
        })
    }

    fn changes(&self, _: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        Err(SourceError::Unsupported("nothing ever changes here"))
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        self.items.get(name).cloned().ok_or_else(|| SourceError::NotFound(name.clone()))
    }

    async fn settle(&self, _: &ItemName, _: &Outcome) -> Result<(), SourceError> {
        Err(SourceError::Unsupported("nothing is ever settled here"))
    }

    async fn withheld(&self, _: Option<usize>, _: usize) -> Result<Page<Withheld, usize>, SourceError> {
        Ok(Page { items: Vec::new(), next: None, complete: true, remaining: Some(0), backlog: None })
    }

    async fn drain(&self) {}
}
