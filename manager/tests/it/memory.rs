//! A source in memory, as unreliable as a test wants it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use contract::ItemName;
use contract::client::ClientError;
use contract::wire::Item;
use queue_manager::source::{Page, Source};

/// What goes wrong, each as a chance per call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// No answer.
    pub(crate) fails: f64,
    /// A list that says it could not see everything, and shows a random part.
    pub(crate) partial: f64,
    /// The longest an answer takes.
    pub(crate) latency: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) listed: Vec<ItemName>,
    /// Listed, and 410 when asked for.
    pub(crate) hollow: BTreeSet<ItemName>,
    /// Listed, and 503 when asked for.
    pub(crate) unreadable: BTreeSet<ItemName>,
    pub(crate) settles: bool,
    /// Whether a settled item leaves the list.
    pub(crate) takes_away: bool,
    /// Listed one by one as settled items leave the list.
    pub(crate) behind: VecDeque<ItemName>,
    pub(crate) settled: Vec<(ItemName, Option<String>)>,
    pub(crate) pending: u64,
    pub(crate) backlog: u64,
    pub(crate) promised: bool,
    pub(crate) incomplete: bool,
    pub(crate) trouble: Trouble,
    /// Calls, answered or not.
    pub(crate) asked: u64,
    /// What one that fails says of when to come back.
    pub(crate) retry_after: Option<Duration>,
    /// Whether nobody gets through who says what became of an item.
    pub(crate) deaf: bool,
    pub(crate) lists: u64,
    pub(crate) gets: u64,
    random: fastrand::Rng,
}

#[derive(Clone, Debug)]
pub(crate) struct MemorySource(Arc<Mutex<World>>);

const PAGE: usize = 7;

impl MemorySource {
    pub(crate) fn new(seed: u64, items: usize) -> Self {
        let listed = (0..items).map(|n| format!("item-{n}").parse().expect("a name")).collect();
        let random = fastrand::Rng::with_seed(seed);
        Self(Arc::new(Mutex::new(World { listed, promised: true, random, ..World::default() })))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no panic while held")
    }

    async fn weather(&self) -> Result<(), ClientError> {
        let (pause, fails, retry_after) = {
            let mut world = self.world();
            world.asked += 1;
            let most = u64::try_from(world.trouble.latency.as_millis()).expect("is short");
            let pause = Duration::from_millis(world.random.u64(0..=most));
            (pause, world.random.f64() < world.trouble.fails, world.retry_after)
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        match fails {
            true => Err(ClientError::Unavailable { url: "memory:".into(), message: "simulated".into(), retry_after }),
            false => Ok(()),
        }
    }
}

pub(crate) fn unavailable() -> ClientError {
    ClientError::Unavailable { url: "memory:".into(), message: "simulated".into(), retry_after: None }
}

impl Source for MemorySource {
    async fn list(&self, token: Option<String>) -> Result<Page, ClientError> {
        self.weather().await?;
        let mut guard = self.world();
        let world = &mut *guard;
        world.lists += 1;
        let from: usize = token.map_or(0, |token| token.parse().expect("our own token"));
        let mut names: Vec<_> = world.listed.iter().skip(from).take(PAGE).cloned().collect();
        let mut complete = !world.incomplete;
        if world.random.f64() < world.trouble.partial {
            complete = false;
            let random = &mut world.random;
            names.retain(|_| random.bool());
        }
        let next = (from + PAGE < world.listed.len()).then(|| (from + PAGE).to_string());
        Ok(Page { names, next, complete, promised: world.promised, backlog: world.backlog })
    }

    async fn item(&self, name: &ItemName) -> Result<Item, ClientError> {
        self.weather().await?;
        let mut world = self.world();
        world.gets += 1;
        if world.unreadable.contains(name) {
            return Err(unavailable());
        }
        if world.hollow.contains(name) || !world.listed.contains(name) {
            return Err(ClientError::Gone { url: "memory:".into(), message: "gone".into() });
        }
        let data = serde_json::Map::from_iter([("key".to_owned(), name.as_str().into())]);
        Ok(Item::new(name.clone(), data))
    }

    async fn settle(&self, name: &ItemName, failed: Option<&str>) -> Result<(), ClientError> {
        self.weather().await?;
        let mut world = self.world();
        if world.deaf {
            return Err(unavailable());
        }
        world.settled.push((name.clone(), failed.map(str::to_owned)));
        if world.takes_away {
            world.listed.retain(|listed| listed != name);
            let next = world.behind.pop_front();
            world.listed.extend(next);
        }
        Ok(())
    }

    async fn pending(&self) -> Result<u64, ClientError> {
        self.weather().await?;
        Ok(self.world().pending)
    }

    fn settles(&self) -> bool {
        self.world().settles
    }
}
