//! The one who takes: connects, again and again, keeps what is held, and fills the window.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::preflight;
use super::shared::Shared;
use crate::message::Id;
use crate::queue::{Found, Survey, patience, renewal};
use crate::server::Connection;
use crate::trouble::{Kind, Trouble};

/// How long to wait before connecting again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Takes until it is told to end, and leaves.
pub(super) async fn run(shared: Arc<Shared>) {
    let (mut backoff, mut is_first) = (BACKOFF.0, true);
    loop {
        let Some(result) = shared.end.run_until_cancelled(shared.settings.server.connect()).await else { return };
        let trouble = match result {
            Err(trouble) => trouble,
            Ok(connection) => {
                shared.metrics.connected();
                let mut session = Session::new(&shared, connection, std::mem::take(&mut is_first));
                match session.run(&mut backoff).await {
                    Ok(()) => return,
                    Err(trouble) => trouble,
                }
            }
        };
        shared.lost(&trouble);
        // Not all that lost it come back at once.
        let pause = backoff.mul_f64(fastrand::f64() + 0.5);
        if shared.end.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// One connection's life.
struct Session<'a> {
    shared: &'a Shared,
    connection: Connection,
    /// What is ours by the server, and not in the window.
    unheld: VecDeque<Id>,
    /// What was last seen beside it.
    survey: Survey,
    /// Whether there may be more to take as soon as there is room.
    more: bool,
    /// When what the dead left may be taken over: where the server was away, those who live are still to come back, and to say so.
    adopting: Instant,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, connection: Connection, is_first: bool) -> Self {
        let pause = if is_first { Duration::ZERO } else { patience(shared.settings.lease) };
        let adopting = Instant::now() + pause;
        Self { shared, connection, unheld: VecDeque::new(), survey: Survey::default(), more: false, adopting }
    }

    /// Until it is told to end, or something keeps it from going on.
    async fn run(&mut self, backoff: &mut Duration) -> Result<(), Trouble> {
        loop {
            self.begin().await?;
            self.shared.connected(Some(self.connection.clone()));
            match self.go_on(backoff).await {
                Err(trouble) if matches!(trouble.kind(), Kind::Lapsed | Kind::NoGroup) => {
                    warn!(queue = self.shared.settings.what(), why = %trouble, "looking anew at what is held");
                }
                over => return over,
            }
        }
    }

    /// Says that we are here, and finds out what we hold.
    async fn begin(&mut self) -> Result<(), Trouble> {
        let Self { shared, connection, .. } = self;
        preflight::has_all(connection, &shared.settings).await?;
        shared.queue.begin(connection).await?;
        self.compare().await
    }

    /// Compares what we hold with what the server says that we do: others may have taken it over; and a command may have come to the server
    /// when nobody waited for its answer any more.
    async fn compare(&mut self) -> Result<(), Trouble> {
        let Self { shared, connection, .. } = self;
        let _comparing = shared.comparing.write().await;
        let ours = shared.queue.ours(connection).await?;
        let there: HashSet<&Id> = ours.iter().collect();
        shared.lose(|id| !there.contains(id));
        let held: HashSet<Id> = shared.window.held().into_iter().map(|(_, id)| id).collect();
        self.unheld = ours.into_iter().filter(|id| !held.contains(id)).collect();
        Ok(())
    }

    async fn go_on(&mut self, backoff: &mut Duration) -> Result<(), Trouble> {
        let mut poll = ticks(self.shared.settings.poll);
        let mut renew = ticks(renewal(self.shared.settings.lease));
        loop {
            tokio::select! {
                biased;
                () = self.shared.end.cancelled() => return self.leave().await,
                _ = renew.tick() => self.renew().await?,
                _ = poll.tick() => {
                    self.look().await?;
                    *backoff = BACKOFF.0;
                }
                () = self.shared.window.has_room(), if self.more => drop(self.fill().await?),
            }
        }
    }

    /// Looks at what there is, and takes what there is room for.
    async fn look(&mut self) -> Result<(), Trouble> {
        let look = self.shared.window.look();
        self.survey = self.shared.queue.survey(&self.connection).await?;
        let left = self.fill().await?;
        if self.shared.window.seen(look, left + self.survey.orphaned + self.survey.doubtful + self.unheld.len() as u64)
        {
            info!(queue = self.shared.settings.what(), "the queue is seen again");
        }
        Ok(())
    }

    /// Takes what there is room for: first what is ours already, then what the dead left, then what is new. How much of that is left, as
    /// far as that is known.
    async fn fill(&mut self) -> Result<u64, Trouble> {
        let Self { shared, connection, unheld, survey, adopting, .. } = self;
        let (window, queue) = (&shared.window, &shared.queue);
        while !unheld.is_empty() && window.room() > 0 {
            let ids: Vec<Id> = unheld.drain(..window.room().min(unheld.len())).collect();
            let found = queue.fetch(connection, &ids).await?;
            shared.found(connection, found, "own").await?;
        }
        while Instant::now() >= *adopting && survey.orphaned > 0 && window.room() > 0 {
            let found = queue.adopt(connection, survey, window.room()).await?;
            match found.messages.len() as u64 {
                // Others were faster, or there are no more.
                0 => survey.orphaned = 0,
                adopted => {
                    // That many at least: they were not counted to their end.
                    survey.orphaned = survey.orphaned.saturating_sub(adopted).max(1);
                    info!(queue = shared.settings.what(), messages = adopted, "took over what the dead had taken");
                }
            }
            shared.found(connection, found, "adopted").await?;
        }
        // Also where there is none: a server that takes no writes any more says so.
        let batch = queue.take(connection, window.room()).await?;
        survey.waiting = batch.left.unwrap_or_else(|| survey.waiting.saturating_sub(batch.messages.len() as u64));
        let orphans = survey.orphaned > 0 && Instant::now() >= *adopting;
        self.more = batch.left != Some(0) || !unheld.is_empty() || orphans;
        shared.found(connection, Found { messages: batch.messages, trimmed: 0 }, "new").await?;
        Ok(survey.waiting)
    }

    /// Says that we are here, and hold what we hold.
    async fn renew(&mut self) -> Result<(), Trouble> {
        let held: Vec<Id> = self.shared.window.held().into_iter().map(|(_, id)| id).collect();
        self.shared.trimmed(self.shared.queue.renew(&self.connection, &held).await?);
        self.compare().await?;
        self.shared.queue.prune(&self.connection, &self.survey).await?;
        self.survey.gone.clear();
        self.shared.bury(&self.connection).await
    }

    /// What we hold is others' from now on.
    async fn leave(&mut self) -> Result<(), Trouble> {
        if let Err(trouble) = self.shared.queue.leave(&self.connection).await {
            warn!(why = %trouble, "what is held is others' only when the lease is over");
        }
        Ok(())
    }
}

/// So often, and at once.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
