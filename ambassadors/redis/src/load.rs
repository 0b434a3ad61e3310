//! `--load`: publishes messages, which are there once the server has answered.

mod batch;

use std::time::{Duration, Instant};

use ambassador_kit::load::{Entry, Publisher, Stuck};
use redis::cmd;
use sidecar::Failure;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::{info, warn};

use self::batch::Batch;
use crate::args::Settings;
use crate::server::Connection;
use crate::trouble::{Kind, Trouble};

/// How long to wait before it is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How long an entry may wait for others to go with it.
const LINGER: Duration = Duration::from_millis(20);
/// The largest value that Redis takes, unless it is told another `proto-max-bulk-len`.
const LARGEST: usize = 512 << 20;

/// Publishes to a list or stream, a batch at a time: whole, or not at all. One whose answer is lost is sent again.
pub(crate) struct KeyPublisher {
    settings: Settings,
    runtime: Handle,
    connection: Option<Connection>,
    batch: Batch,
    /// How long a server that is away is waited for.
    patience: Duration,
    /// Since when the server is away, and when it was tried last.
    away: Option<(Instant, Instant)>,
}

impl KeyPublisher {
    /// Looks at the key, for so long; a server that is away after that is waited for.
    ///
    /// # Errors
    /// Exit 69 when the server does not answer, 77 when it may not, 78 when the key is of another type or the settings are wrong.
    ///
    /// # Panics
    /// Outside a runtime, or where waiting is not allowed.
    pub(crate) fn open(settings: Settings, deadline: Duration, patience: Duration) -> Result<Self, Failure> {
        let runtime = Handle::current();
        let batch = Batch::of(&settings);
        let looked = runtime.block_on(async { timeout(deadline, look(&settings, &batch)).await });
        let silent = |_| Trouble::silent(&batch.doing(), deadline);
        let connection = looked.map_err(silent).flatten().map_err(Trouble::failure)?;
        Ok(Self { settings, runtime, connection: Some(connection), batch, patience, away: None })
    }

    /// Sends what there is. The lines that are confirmed by that; none while the server is away.
    fn flush(&mut self) -> Result<Vec<u64>, Trouble> {
        let Self { settings, runtime, connection, batch, .. } = self;
        runtime.block_on(async {
            let connection = match connection {
                Some(connection) => connection,
                None => connection.insert(settings.server.connect().await?),
            };
            batch.send(connection).await
        })?;
        if self.away.take().is_some() {
            info!("the server takes lines again");
        }
        Ok(self.batch.sent())
    }
}

/// A connection that shows a key which can be published to.
async fn look(settings: &Settings, batch: &Batch) -> Result<Connection, Trouble> {
    let connection = settings.server.connect().await?;
    let is: String = connection.ask(cmd("TYPE").arg(&settings.key), &batch.doing()).await?;
    match is == "none" || is == batch.kind() {
        true => Ok(connection),
        false => Err(Trouble::config(&batch.doing(), format!("{} is a {is}, and no {}", settings.key, batch.kind()))),
    }
}

impl Publisher for KeyPublisher {
    fn destination(&self) -> String {
        format!("{} {}", self.batch.kind(), self.settings.key)
    }

    fn identity(&self) -> String {
        // A server has no name that it keeps, and a key that was deleted and made again is the same one.
        format!("{}, {}", self.settings.server.place(), self.settings.server.database())
    }

    fn longest(&self) -> (usize, &'static str) {
        // Base64 makes four of three, and there is room for a key, headers and names.
        (LARGEST * 2, "proto-max-bulk-len, of the server")
    }

    fn send(&mut self, number: u64, entry: &Entry) -> Result<bool, Failure> {
        if self.batch.is_full() {
            return Ok(false);
        }
        self.batch.add(number, entry).map_err(|why| Failure::new(65, why))?;
        Ok(true)
    }

    fn confirmed(&mut self, wait: Duration, lines: &mut Vec<u64>) -> Result<(), Stuck> {
        let Some((number, since)) = self.batch.first() else {
            std::thread::sleep(wait);
            return Ok(());
        };
        if wait.is_zero() && !self.batch.is_full() && since.elapsed() < LINGER {
            return Ok(());
        }
        if let Some((_, tried)) = self.away
            && tried.elapsed() < RETRY
        {
            std::thread::sleep(wait.min(RETRY));
            return Ok(());
        }
        let trouble = match self.flush() {
            Ok(sent) => {
                lines.extend(sent);
                return Ok(());
            }
            Err(trouble) => trouble,
        };
        self.connection = None;
        let now = Instant::now();
        let (since, _) = self.away.unwrap_or((now, now));
        if trouble.kind() != Kind::Away || since.elapsed() >= self.patience {
            return Err(Stuck { number, why: trouble.failure() });
        }
        if self.away.is_none() {
            warn!(why = %trouble, "waiting for the server");
        }
        self.away = Some((since, now));
        Ok(())
    }
}
