//! One attempt at the stage: the command is run, and the adapter is told how it ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::pin::pin;
use std::time::Duration;

use anyhow::anyhow;
use sidecar::{Failure, Shutdown, fault};
use stage::files::{self, Reserved};
use stage::protocol::{Ended, Go, Result as Told, Started};
use stage::run::{self, Stopper, Work};
use stage::{Bell, Life, Peer};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::orders::Orders;
use crate::shim::{IO, Over, Settings};

/// What a result has beside the ends of its outputs, generously.
const BESIDE_TAILS: u64 = 8 << 10;
/// More than it takes to say that the command runs.
const STARTED: u64 = 512;
/// How long a result that cannot be written is tried again. Then this process ends: its lock falls, and the adapter knows that
/// the attempt is lost, instead of waiting for a word that never comes.
const UNTOLD: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);

/// An attempt that was asked for.
pub(crate) struct Attempt<'a> {
    pub(crate) go: Go,
    pub(crate) settings: &'a Settings,
    pub(crate) life: &'a Life,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) peer: &'a Peer,
}

impl Attempt<'_> {
    /// Runs it and tells how it ended. Gives why there is nothing more to be done for this adapter, if there is not.
    pub(crate) async fn run(self, bell: &mut Bell, orders: &mut Orders) -> Result<Option<Over>, Failure> {
        let number = self.go.attempt;
        fault::point("stage.go.after")?;
        // A command that fills its volume must not keep us from saying so, nor that it runs.
        let room = self.go.tail_bytes.saturating_mul(2).saturating_add(BESIDE_TAILS).min(stage::protocol::LONGEST);
        let reserved = Reserved::new(&self.settings.dir.result(number), room);
        let started = Reserved::new(&self.settings.dir.started(number), STARTED);
        info!(attempt = number, "starting the command");
        let (stopper, stop) = run::stop();
        let (ended, over) = {
            let running = pin!(run::run(self.work(), stop, |pid, at| self.started(pid, at, started)));
            self.attend(running, &stopper, bell, orders).await
        };
        info!(attempt = number, reason = ?ended.reason, code = ended.exit_code, signal = ended.signal, "the command is over");
        if over != Some(Over::Fallen) {
            self.tell(ended, reserved).await?;
        }
        if let Err(error) = run::clear(&self.settings.dir).await {
            warn!(%error, "what the attempt has left could not be removed");
        }
        Ok(over)
    }

    fn work(&self) -> Work {
        let (go, settings) = (&self.go, self.settings);
        Work {
            command: settings.command.clone(),
            directory: None,
            inherited: settings.inherited.clone(),
            environment: given(&go.environment),
            stage: settings.dir.clone(),
            attempt: go.attempt,
            timeout: go.timeout_ms.map(Duration::from_millis),
            grace: Duration::from_millis(go.grace_ms),
            tail_bytes: usize::try_from(go.tail_bytes.min(stage::protocol::LONGEST)).unwrap_or(usize::MAX),
            mark: self.life.boot().clone(),
            oom: settings.oom.clone(),
        }
    }

    fn started(&self, pid: u32, at: contract::Timestamp, reserved: io::Result<Reserved>) -> io::Result<()> {
        let attempt = self.go.attempt;
        let (boot, adapter) = (self.life.boot().clone(), self.go.adapter.clone());
        let started = Started { boot, adapter, attempt, pid, at };
        if reserved.and_then(|mut reserved| reserved.write(&started)).is_err() {
            files::write(&self.settings.dir.started(attempt), &started)?;
        }
        stage::ring(self.settings.adapter.path());
        fault::point("stage.started.after")
    }

    /// Waits for the end of a command, and hears meanwhile who wants it to stop.
    async fn attend(
        &self,
        mut running: std::pin::Pin<&mut impl Future<Output = Ended>>,
        stopper: &Stopper,
        bell: &mut Bell,
        orders: &mut Orders,
    ) -> (Ended, Option<Over>) {
        let mut over = None;
        // Of the cancellation that was heard; another may follow that is in more of a hurry.
        let (mut grace, mut aborting) = (None, false);
        loop {
            if let Some(cancel) = orders.cancelled(self.go.attempt)
                && grace.is_none_or(|already| cancel.grace_ms < already)
            {
                stopper.stop(Duration::from_millis(cancel.grace_ms));
                grace = Some(cancel.grace_ms);
            }
            tokio::select! {
                ended = &mut running => return (ended, over),
                () = bell.rung() => {}
                () = self.peer.fallen(), if over.is_none() => {
                    warn!(attempt = self.go.attempt, "the multi-worker is dead: stopping the command");
                    stopper.stop(Duration::from_millis(self.go.grace_ms));
                    over = Some(Over::Fallen);
                }
                () = self.shutdown.draining(), if over != Some(Over::Terminated) => {
                    stopper.stop(self.shutdown.grace());
                    over = Some(Over::Terminated);
                }
                () = self.shutdown.aborting(), if !aborting => {
                    stopper.stop(Duration::ZERO);
                    aborting = true;
                }
            }
        }
    }

    /// Writes the result, with less of the outputs' ends if need be.
    async fn tell(&self, ended: Ended, reserved: io::Result<Reserved>) -> Result<(), Failure> {
        let (attempt, adapter) = (self.go.attempt, self.go.adapter.clone());
        let path = self.settings.dir.result(attempt);
        let mut told = Told { boot: self.life.boot().clone(), adapter, attempt, ended };
        let mut reserved = reserved.ok();
        let begun = Instant::now();
        fault::point("stage.result.before")?;
        loop {
            let written = match &mut reserved {
                Some(reserved) => reserved.write(&told),
                None => files::write(&path, &told),
            };
            let Err(error) = written else { break };
            if told.ended.shorten_tails() {
                continue;
            }
            if begun.elapsed() >= UNTOLD {
                let step = files::next_step(&error);
                return Err(Failure::new(IO, anyhow!("cannot say how attempt {attempt} ended: {error}{step}")));
            }
            warn!(%error, "cannot say how the attempt ended; trying again");
            // What the command has left beside its output is of no use to anybody, and may be what fills the volume.
            let _ = run::clear(&self.settings.dir).await;
            reserved = None;
            tokio::select! {
                () = sleep(AGAIN) => {}
                () = self.peer.fallen() => return Ok(()),
            }
        }
        stage::ring(self.settings.adapter.path());
        fault::point("stage.result.after")?;
        Ok(())
    }
}

fn given(environment: &BTreeMap<String, String>) -> BTreeMap<String, OsString> {
    environment.iter().map(|(name, value)| (name.clone(), value.into())).collect()
}
