//! One stage's container: who lives there, what he was asked for, and what has come of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::exit;
use sidecar::fault;
use stage::files::{self, next_step};
use stage::protocol::{Cancel, Ended, Go, Reason, Result as Told, Started};
use stage::{Boot, Peer, Root, Sign, StageDir};
use tokio::sync::Notify;
use tracing::{debug, info, warn};
use worker_kit::JobError;

use super::patience::Patience;
use super::pulse::Pulse;
use crate::crew::{News, Order};
use crate::pipeline::Stage;

/// How long a shim may take for what it does by itself: to kill a command once its grace is over, and to say so.
const ANSWER: Duration = Duration::from_secs(30);

/// Where orders are written, and whose they are.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) root: Root,
    pub(super) boot: Boot,
    pub(super) grace: Duration,
    pub(super) tail_bytes: u64,
    pub(super) hang_timeout: Duration,
}

/// A stage's container, as it can be seen from here.
#[derive(Debug)]
pub(super) struct Post {
    stage: Stage,
    dir: StageDir,
    /// Who was met there last, alive or dead.
    peer: Option<Peer>,
    pending: Option<Pending>,
    /// Whether it was said already that something there cannot be read.
    complained: bool,
}

/// An attempt that is not over.
#[derive(Debug)]
struct Pending {
    attempt: u32,
    environment: BTreeMap<String, OsString>,
    /// Who was asked, once somebody was, and how his heart beats.
    asked: Option<(Boot, Pulse)>,
    phase: Phase,
    /// How long the phase may last.
    patience: Option<Patience>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

/// What has come of the attempt at a post.
#[derive(Debug)]
pub(super) enum Word {
    Begun { attempt: u32 },
    Over { attempt: u32, ended: Box<Ended> },
}

impl Word {
    /// The same, of a stage.
    pub(super) fn of(self, stage: usize) -> News {
        match self {
            Self::Begun { attempt } => News::Begun { stage, attempt },
            Self::Over { attempt, ended } => News::Over { stage, attempt, ended },
        }
    }
}

impl Post {
    pub(super) fn new(stage: Stage, dir: StageDir) -> Self {
        Self { stage, dir, peer: None, pending: None, complained: false }
    }

    pub(super) fn dir(&self) -> &StageDir {
        &self.dir
    }

    /// How long nothing needs to be looked at, if nothing happens.
    pub(super) fn patient_for(&self) -> Option<Duration> {
        Some(self.pending.as_ref()?.patience.as_ref()?.next())
    }

    /// From now on an attempt is wanted.
    pub(super) fn expect(&mut self, order: Order) {
        let Order { attempt, environment, .. } = order;
        let patience = Some(Patience::new(self.stage.start_timeout));
        self.pending = Some(Pending { attempt, environment, asked: None, phase: Phase::Starting, patience });
    }

    /// Has the attempt stopped. One that nobody was asked for is over at the next look.
    pub(super) fn stop(&mut self, desk: &Desk, attempt: u32, grace: Duration) {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.attempt == attempt) else { return };
        pending.phase = Phase::Stopping;
        if pending.asked.is_none() {
            pending.patience = Some(Patience::new(Duration::ZERO));
            return;
        }
        pending.patience = Some(Patience::new(grace.saturating_add(ANSWER)));
        desk.cancel(&self.stage, attempt, grace);
    }

    /// Looks who lives there, if nobody is known to. `signs` is told when more is known of him.
    ///
    /// # Errors
    /// 78 for one who speaks another version of the protocol.
    pub(super) fn meet(&mut self, signs: &Arc<Notify>) -> Result<(), JobError> {
        if self.peer.as_ref().is_some_and(|peer| peer.sign() != Sign::Fallen) {
            return Ok(());
        }
        let hello = match stage::hello(self.dir.path()) {
            Ok(Some(hello)) if self.peer.as_ref().is_none_or(|dead| *dead.boot() != hello.boot) => hello,
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return Err(JobError::new(exit::CONFIG, "ProtocolMismatch", error.to_string()));
            }
            Err(error) => {
                self.complain(&error);
                return Ok(());
            }
        };
        let peer = Peer::watch(self.dir.path(), &hello)
            .map_err(|error| JobError::new(exit::IO, "MachineError", format!("cannot start a thread: {error}")))?;
        let (signs, watched, name) = (Arc::clone(signs), peer.clone(), self.stage.name.clone());
        tokio::spawn(async move {
            let sign = watched.known().await;
            debug!(stage = %name, boot = %watched.boot(), ?sign, program = hello.program, "met a stage");
            signs.notify_one();
            watched.fallen().await;
            signs.notify_one();
        });
        self.peer = Some(peer);
        Ok(())
    }

    /// Asks for the attempt that is wanted, and hears what has come of it.
    pub(super) fn attend(&mut self, desk: &Desk, mut tell: impl FnMut(Word)) {
        let Some(mut pending) = self.pending.take() else { return };
        let attempt = pending.attempt;
        let is_known = |peer: &&Peer| matches!(peer.sign(), Sign::Lock | Sign::Heartbeat);
        let mut over = None;
        if pending.asked.is_none()
            && pending.phase == Phase::Starting
            && let Some(peer) = self.peer.as_ref().filter(is_known)
        {
            match desk.ask(&self.stage, &mut pending, peer.boot()) {
                Ok(()) => pending.asked = Some((peer.boot().clone(), Pulse::new(desk.hang_timeout))),
                Err(error) => over = Some(unasked(&error)),
            }
        }
        if let Some((boot, pulse)) = &mut pending.asked {
            // First: whatever he has said he said before he died.
            let is_dead = self.peer.as_ref().is_none_or(|peer| peer.boot() != boot || peer.sign() == Sign::Fallen);
            let hangs = !is_dead && pulse.stands_still(|| stage::heartbeat(self.dir.path()));
            if pending.phase == Phase::Starting && self.has_started(desk, attempt, boot) {
                pending.phase = Phase::Running;
                let limit = |timeout: Duration| timeout.saturating_add(desk.grace).saturating_add(ANSWER);
                pending.patience = self.stage.timeout.map(|timeout| Patience::new(limit(timeout)));
                tell(Word::Begun { attempt });
            }
            over = match self.result(desk, attempt, boot) {
                None if is_dead => Some(lost(pending.phase)),
                None if hangs => {
                    desk.cancel(&self.stage, attempt, desk.grace);
                    Some(hung(desk.hang_timeout))
                }
                said => said,
            };
        }
        if over.is_none() && pending.patience.as_mut().is_some_and(Patience::look) {
            over = Some(self.give_up(desk, &pending));
        }
        match over {
            None => self.pending = Some(pending),
            Some(ended) => tell(Word::Over { attempt, ended: Box::new(ended) }),
        }
    }

    fn has_started(&mut self, desk: &Desk, attempt: u32, boot: &Boot) -> bool {
        let started = self.read::<Started>(&self.dir.started(attempt));
        started.is_some_and(|it| it.boot == *boot && it.adapter == desk.boot && it.attempt == attempt)
    }

    fn result(&mut self, desk: &Desk, attempt: u32, boot: &Boot) -> Option<Ended> {
        let told = self.read::<Told>(&self.dir.result(attempt))?;
        let is_meant = told.boot == *boot && told.adapter == desk.boot && told.attempt == attempt;
        is_meant.then(|| checked(told.ended, &self.dir.out()))
    }

    fn read<T: serde::de::DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        files::read(path).unwrap_or_else(|error| {
            self.complain(&error);
            None
        })
    }

    /// What cannot be read is not there; its writer is asked, or waited for, as if it were not.
    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            warn!(stage = %self.stage.name, %error, "what the stage says cannot be read, and is passed over");
        }
    }

    /// The phase has lasted for too long.
    fn give_up(&self, desk: &Desk, pending: &Pending) -> Ended {
        let Pending { attempt, asked, phase, .. } = pending;
        let (reason, message) = match (phase, asked) {
            (Phase::Stopping, None) => (Reason::Cancelled, "it was told to stop before it had begun".to_owned()),
            (Phase::Stopping, Some(_)) => {
                (Reason::Lost, "it was told to stop, and did not say within its grace that it has".to_owned())
            }
            (Phase::Running, _) => {
                let timeout = self.stage.timeout.unwrap_or_default();
                (
                    Reason::Timeout,
                    format!("it ran longer than its timeout of {timeout:?}, and its shim did not stop it"),
                )
            }
            (Phase::Starting, Some(_)) => (
                Reason::StartTimeout,
                format!("its shim was asked, and did not start its command within {:?}", self.stage.start_timeout),
            ),
            (Phase::Starting, None) => (
                Reason::StartTimeout,
                format!(
                    "its container did not say within {:?} that it is there: kubectl describe pod tells whether its image \
                     could be pulled and its shim started",
                    self.stage.start_timeout
                ),
            ),
        };
        if asked.is_some() && *phase != Phase::Stopping {
            desk.cancel(&self.stage, *attempt, desk.grace);
        }
        Ended::without_command(reason, message)
    }
}

impl Desk {
    fn ask(&self, of: &Stage, pending: &mut Pending, boot: &Boot) -> io::Result<()> {
        let name = &of.name;
        let text = |(variable, value): (String, OsString)| match value.into_string() {
            Ok(value) => Some((variable, value)),
            Err(value) => {
                info!(stage = %name, variable, value = %value.display(), "a name that is no text is not told; INPUT_DIR holds it");
                None
            }
        };
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let go = Go {
            stage: name.clone(),
            boot: boot.clone(),
            adapter: self.boot.clone(),
            attempt: pending.attempt,
            environment: std::mem::take(&mut pending.environment).into_iter().filter_map(text).collect(),
            timeout_ms: of.timeout.map(millis),
            grace_ms: millis(self.grace),
            tail_bytes: self.tail_bytes,
        };
        fault::point("multi.go.before")?;
        files::write(&self.root.adapter().go(name, pending.attempt), &go)?;
        stage::ring(self.root.stage(name).path());
        fault::point("multi.go.after")
    }

    fn cancel(&self, of: &Stage, attempt: u32, grace: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let cancel = Cancel { adapter: self.boot.clone(), attempt, grace_ms };
        if let Err(error) = files::write(&self.root.adapter().cancel(&of.name, attempt), &cancel) {
            warn!(stage = %of.name, %error, "a stage cannot be told to stop; it stops when this process has ended");
        }
        stage::ring(self.root.stage(&of.name).path());
    }
}

fn unasked(error: &io::Error) -> Ended {
    Ended::without_command(Reason::MachineError, format!("it could not be asked: {error}{}", next_step(error)))
}

/// What a stage says, less what is not so: a success hands something over.
fn checked(ended: Ended, out: &Path) -> Ended {
    if ended.reason != Reason::Completed || out.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return ended;
    }
    let message = format!("it says that it has succeeded, and {} is no directory", out.display());
    Ended { reason: Reason::OutputUnusable, message, ..ended }
}

/// Its shim is there, and does nothing.
fn hung(limit: Duration) -> Ended {
    let message = format!(
        "its shim hangs: it holds its lock, and its heart has stood still for {limit:?} (was it stopped, does its volume hang?)"
    );
    Ended::without_command(Reason::Lost, message)
}

/// Nobody can say how it ended.
fn lost(phase: Phase) -> Ended {
    let when = if phase == Phase::Starting { "before its command had begun" } else { "while its command ran" };
    let message = format!(
        "its container was killed or restarted {when}: kubectl describe pod tells why (out of memory, a liveness probe)"
    );
    Ended::without_command(Reason::Lost, message)
}
