//! A source in memory, as unreliable as a test wants it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use contract::ItemName;
use contract::client::{ClientError, ETag};
use contract::wire::{Item, Status, WatchEvent};
use futures_util::{StreamExt, stream};
use queue_manager::source::{Changes, Page, Source};

/// What goes wrong, each as a chance per call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// No answer.
    pub(crate) fails: f64,
    /// A list that says it could not see everything, and shows a random part.
    pub(crate) partial: f64,
    /// The longest an answer takes.
    pub(crate) latency: Duration,
    /// A watch ends, in one of the ways there are; a chance per event.
    pub(crate) breaks: f64,
    /// A watch cannot begin where it should.
    pub(crate) expires: f64,
    /// A watch tells something again, or something that is over long since; a chance per event.
    pub(crate) babbles: f64,
    /// A watch does not tell an event, and ends a while later.
    pub(crate) lags: f64,
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
    pub(crate) had_items: bool,
    pub(crate) promised: bool,
    pub(crate) incomplete: bool,
    /// Whether it marks its lists.
    pub(crate) marks: bool,
    /// Whether it tells what changes.
    pub(crate) watched: bool,
    /// Differs after a restart.
    pub(crate) incarnation: u64,
    /// What has changed in this incarnation: whether the item was added, and which.
    log: Vec<(bool, ItemName)>,
    /// What was listed when that was written.
    logged: Vec<ItemName>,
    pub(crate) watches: u64,
    /// Lists that were answered by saying that nothing has changed.
    pub(crate) unchanged: u64,
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

impl World {
    /// Writes down what has changed since it was last asked.
    fn look(&mut self) -> usize {
        if self.logged == self.listed {
            return self.log.len();
        }
        let before: BTreeSet<_> = self.logged.iter().cloned().collect();
        let now: BTreeSet<_> = self.listed.iter().cloned().collect();
        self.log.extend(before.difference(&now).map(|name| (false, name.clone())));
        self.log.extend(now.difference(&before).map(|name| (true, name.clone())));
        self.logged.clone_from(&self.listed);
        self.log.len()
    }

    fn version(&self, revision: usize) -> String {
        format!("{}.{revision}", self.incarnation)
    }

    pub(crate) fn restart(&mut self) {
        self.incarnation += 1;
        self.log.clear();
        self.logged.clear();
    }

    fn page(&mut self, from: usize) -> Page {
        self.lists += 1;
        let mut names: Vec<_> = self.listed.iter().skip(from).take(PAGE).cloned().collect();
        let mut complete = !self.incomplete;
        if self.random.f64() < self.trouble.partial {
            complete = false;
            let random = &mut self.random;
            names.retain(|_| random.bool());
        }
        let next = (from + PAGE < self.listed.len()).then(|| (from + PAGE).to_string());
        let (promised, backlog, had_items) = (self.promised, self.backlog, self.had_items);
        Page { names, next, complete, promised, backlog, had_items, ..Page::default() }
    }

    /// What a watch that knows everything up to `told` says next, if it says anything.
    fn tell(&mut self, incarnation: u64, told: &mut usize) -> Option<Option<Result<WatchEvent, ClientError>>> {
        if incarnation != self.incarnation {
            return Some(None);
        }
        let revision = self.look();
        let event = |added: bool, item: ItemName, resource_version: String| match added {
            true => WatchEvent::Added { item, resource_version },
            false => WatchEvent::Removed { item, resource_version },
        };
        if *told >= revision {
            return None;
        }
        let resource_version = self.version(revision);
        if self.random.f64() < self.trouble.breaks {
            let error = |code| WatchEvent::Error { resource_version: None, status: Status::failure(code, "X", "x") };
            return Some(match self.random.u8(0..6) {
                0 => Some(Ok(error(410))),
                1 => Some(Ok(error(503))),
                2 => Some(Err(unavailable())),
                3 => Some(Err(ClientError::Broken { url: "memory:".into(), message: "half a line".into() })),
                4 => Some(Ok(event(true, "of-another".parse().expect("a name"), "another.7".into()))),
                _ => None,
            });
        }
        if self.random.f64() < self.trouble.babbles {
            let (added, item) = self.random.choice(self.log.iter()).expect("something has changed").clone();
            return Some(Some(Ok(event(added, item, resource_version))));
        }
        if self.random.f64() < self.trouble.lags {
            *told += 1;
            return Some(Some(Ok(WatchEvent::Bookmark { resource_version })));
        }
        let (added, item) = self.log.get(*told).expect("is not told yet").clone();
        *told += 1;
        Some(Some(Ok(event(added, item, self.version(*told)))))
    }
}

impl Source for MemorySource {
    async fn list(&self, known: Option<&ETag>) -> Result<Option<Page>, ClientError> {
        self.weather().await?;
        let mut world = self.world();
        let revision = world.look();
        let mark: ETag = format!("\"{}\"", world.version(revision)).parse().expect("a mark");
        if world.marks && !world.incomplete && known == Some(&mark) {
            (world.lists, world.unchanged) = (world.lists + 1, world.unchanged + 1);
            return Ok(None);
        }
        let page = world.page(0);
        let version = world.watched.then(|| world.version(revision));
        let mark = (world.marks && page.complete).then_some(mark);
        Ok(Some(Page { version, mark, ..page }))
    }

    async fn next_page(&self, token: String) -> Result<Page, ClientError> {
        self.weather().await?;
        Ok(self.world().page(token.parse().expect("our own token")))
    }

    async fn changes(&self, since: &str) -> Result<Option<Changes>, ClientError> {
        self.weather().await?;
        let (incarnation, told) = {
            let mut world = self.world();
            if !world.watched {
                return Ok(None);
            }
            world.watches += 1;
            let (incarnation, told) = since.split_once('.').expect("our own version");
            let told: usize = told.parse().expect("a number");
            let expired = world.random.f64() < world.trouble.expires;
            if expired || incarnation != world.incarnation.to_string() || told > world.look() {
                return Err(ClientError::Gone { url: "memory:".into(), message: "too old".into() });
            }
            (world.incarnation, told)
        };
        let events = stream::unfold((self.clone(), told), move |(source, mut told)| async move {
            loop {
                let next = source.world().tell(incarnation, &mut told);
                match next {
                    Some(event) => return Some((event?, (source, told))),
                    None => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(Some(events.boxed()))
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
