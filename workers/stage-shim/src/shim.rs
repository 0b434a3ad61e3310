//! The life of a shim: it says that it lives, serves one adapter after another, and ends when it is told to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use sidecar::{Failure, FailureExt, Shutdown};
use stage::protocol::Hello;
use stage::run::{self, OomCounter};
use stage::{AdapterDir, Bell, Boot, Life, Peer, StageDir, StageName, files, life};
use tracing::{info, warn};

use crate::attempt::Attempt;
use crate::orders::Orders;

/// Its directory, its volume or its machine failed.
pub(crate) const IO: u8 = 74;
const TEMPORARY: u8 = 75;
const CONFIG: u8 = 78;
const TERMINATED: u8 = 128 + 15;

/// What a shim is told by its command line.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) stage: StageName,
    pub(crate) dir: StageDir,
    pub(crate) adapter: AdapterDir,
    pub(crate) locks: bool,
    pub(crate) command: Vec<OsString>,
    pub(crate) inherited: BTreeMap<OsString, OsString>,
    pub(crate) oom: OomCounter,
}

/// Why serving an adapter is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// There will be no more work.
    Done,
    /// The adapter is dead.
    Fallen,
    /// This process was told to end.
    Terminated,
}

/// An adapter that was served.
#[derive(Debug)]
struct Gone {
    boot: Boot,
    /// What its heart wrote last, where it is dead for its silence only: it may have been stopped, and go on.
    silent: Option<Vec<u8>>,
}

impl Gone {
    /// Whether whoever says `hello` in `dir` is to be served: another, or the same that lives after all.
    fn is_over(&self, hello: &Hello, dir: &Path) -> bool {
        let lives = || self.silent.is_some() && stage::heartbeat(dir).is_some_and(|now| self.silent != Some(now));
        self.boot != hello.boot || lives()
    }
}

/// Lives until there is no more work, or until it is told to end.
pub(crate) async fn live(settings: Settings, shutdown: Shutdown) -> Result<ExitCode, Failure> {
    tokio::select! {
        ended = serve_all(settings, shutdown) => ended,
        // As a container's first process it is the parent of all who lose theirs, also before a command runs and between two.
        never = run::reap_orphans() => match never {},
    }
}

async fn serve_all(settings: Settings, shutdown: Shutdown) -> Result<ExitCode, Failure> {
    let (life, mut bell) = begin(&settings).await?;
    info!(stage = %settings.stage, boot = %life.boot(), "waiting for the multi-worker");
    let mut gone = None;
    loop {
        let hello = tokio::select! {
            biased;
            () = shutdown.draining() => return Ok(ExitCode::from(TERMINATED)),
            hello = meet(&settings, &mut bell, gone.as_ref()) => hello?,
        };
        bell.expect();
        let peer = Peer::watch(settings.adapter.path(), &hello).or_exit(IO, "start a thread")?;
        info!(adapter = %hello.boot, program = hello.program, "met the multi-worker");
        let server = Server {
            peer: peer.clone(),
            orders: Orders::new(
                settings.adapter.clone(),
                settings.stage.clone(),
                hello.boot.clone(),
                life.boot().clone(),
            ),
            settings: &settings,
            life: &life,
            bell: &mut bell,
            shutdown: &shutdown,
        };
        match server.serve().await? {
            Over::Done => {
                info!("there is no more work");
                return Ok(ExitCode::SUCCESS);
            }
            Over::Terminated => return Ok(ExitCode::from(TERMINATED)),
            Over::Fallen => warn!(adapter = %hello.boot, "the multi-worker is dead; waiting for another"),
        }
        let silent = peer.fell_silent().then(|| stage::heartbeat(settings.adapter.path())).flatten();
        gone = Some(Gone { boot: hello.boot, silent });
    }
}

/// Clears away what an earlier life of this container has left, and begins another.
async fn begin(settings: &Settings) -> Result<(Life, Bell), Failure> {
    let dir = &settings.dir;
    let failed = |error: io::Error| {
        let code = if error.kind() == io::ErrorKind::ResourceBusy { CONFIG } else { IO };
        let step = match error.kind() {
            io::ErrorKind::ResourceBusy => "",
            io::ErrorKind::NotFound => "; mount a volume of this stage's own there",
            _ => files::next_step(&error),
        };
        Failure::new(code, anyhow!("stage {}: {error}{step}", settings.stage))
    };
    let old = life::predecessors(dir.path()).map_err(failed)?;
    let begun = Life::begin_quietly(dir.path(), concat!("stage-shim ", env!("CARGO_PKG_VERSION")), settings.locks);
    let begun = begun.map_err(failed)?;
    let bell = Bell::hang(dir.path());
    begun.greet().map_err(failed)?;
    stage::ring(settings.adapter.path());
    // Nobody asks us for anything before we have said that we live; but who lived here before is known to be dead only now.
    match run::end_leftovers(&old).await {
        Ok(0) => {}
        Ok(ended) => info!(ended, "ended what an earlier life had left running"),
        Err(error) => warn!(%error, "cannot see whether an earlier life has left anything running"),
    }
    Ok((begun, bell))
}

/// Waits for an adapter that is not the one which is `gone`.
async fn meet(settings: &Settings, bell: &mut Bell, gone: Option<&Gone>) -> Result<Hello, Failure> {
    let mut complained = false;
    loop {
        match stage::hello(settings.adapter.path()) {
            Ok(Some(hello)) if gone.is_none_or(|gone| gone.is_over(&hello, settings.adapter.path())) => {
                return Ok(hello);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Err(Failure::config(error)),
            Err(error) if !complained => {
                warn!(%error, "what should tell who the multi-worker is cannot be read");
                complained = true;
            }
            Err(_) => {}
        }
        bell.rung().await;
    }
}

/// Serves one life of an adapter.
struct Server<'a> {
    settings: &'a Settings,
    life: &'a Life,
    bell: &'a mut Bell,
    shutdown: &'a Shutdown,
    peer: Peer,
    orders: Orders,
}

impl Server<'_> {
    async fn serve(mut self) -> Result<Over, Failure> {
        loop {
            if self.is_done() {
                return Ok(Over::Done);
            }
            if let Some(go) = self.orders.next() {
                let attempt =
                    Attempt { go, settings: self.settings, life: self.life, shutdown: self.shutdown, peer: &self.peer };
                match attempt.run(self.bell, &mut self.orders).await? {
                    None => continue,
                    Some(Over::Fallen) => return self.fallen(),
                    Some(over) => return Ok(over),
                }
            }
            tokio::select! {
                biased;
                () = self.shutdown.draining() => return Ok(Over::Terminated),
                () = self.peer.fallen() => return self.fallen(),
                _ = self.peer.known(), if !self.peer.lived() => {}
                () = self.bell.rung() => if self.is_succeeded() { return Ok(Over::Fallen) },
            }
        }
    }

    /// Whether there will be no more work. Only from who was seen to live: what a dead adapter has said concerned those who lived
    /// with it, and whoever comes after it, as where its container is started again, needs this life.
    fn is_done(&mut self) -> bool {
        (self.peer.lived() || self.orders.were_taken()) && self.orders.are_done()
    }

    /// What the adapter's death means: it may have said before that there is no more work.
    /// One that was only stopped must not wait for ever for what was asked of this life: so this life ends.
    fn fallen(&mut self) -> Result<Over, Failure> {
        if self.is_done() {
            return Ok(Over::Done);
        }
        if self.peer.fell_silent() && self.orders.were_taken() {
            let message =
                "the multi-worker is dead, or was stopped: its heartbeat stands still; ending, so that it knows";
            return Err(Failure::new(TEMPORARY, anyhow!(message)));
        }
        Ok(Over::Fallen)
    }

    /// Whether another adapter lives where this one did.
    fn is_succeeded(&self) -> bool {
        matches!(stage::hello(self.settings.adapter.path()), Ok(Some(hello)) if hello.boot != *self.peer.boot())
    }
}
