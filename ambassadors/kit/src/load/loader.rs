//! Between a file and a publisher.

use std::fs::File;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use sidecar::{Failure, FailureExt, Shutdown};
use tracing::info;

use super::args::{Format, LoadArgs};
use super::line::Layout;
use super::lines::{Line, Lines};
use super::progress::Progress;
use super::state::State;
use super::window::Window;
use super::{Publisher, Stuck};

/// How many lines may be sent and not yet known, on disk, to be loaded. So many may be published twice when it is killed.
const MAX_LINES: u64 = 10_000;
/// How many bytes of them may wait to be confirmed.
const MAX_BYTES: u64 = 16 << 20;
/// How long the state may be older than what is confirmed.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// For how long to wait for what may come before looking at what else there is.
const TURN: Duration = Duration::from_millis(50);

/// Publishes lines, and knows how far it came.
pub(super) struct Loader<P> {
    publisher: P,
    layout: Layout,
    headers: Vec<(String, Option<Vec<u8>>)>,
    /// `None` of stdin, which cannot be read again.
    state: Option<State>,
    lines: Lines,
    window: Window,
    /// How many lines were loaded when it began.
    before: u64,
    saved: Instant,
    progress: Progress,
}

impl<P: Publisher> Loader<P> {
    /// Looks at both ends, and finds out how far the file is loaded.
    pub(super) fn open(args: &LoadArgs, open: impl FnOnce() -> Result<P, Failure>) -> Result<Self, Failure> {
        let layout = Layout::new(args.load_format == Format::Json, &args.load_key).map_err(Failure::config)?;
        if let Some(path) = args.file() {
            // Said at once, and not when whoever is published to has been waited for.
            File::open(path).or_exit(66, format!("open --load {path:?}"))?;
        }
        let publisher = open()?;
        let longest = publisher.longest();
        let (lines, state) = match args.file() {
            None => (Lines::of(std::io::stdin(), 0, 0, longest)?, None),
            Some(path) => {
                let (to, id) = (publisher.destination(), publisher.identity());
                let (file, state) = State::open(path, args.state_of(path), &to, &id)?;
                (Lines::of(file, state.lines(), state.bytes(), longest)?, Some(state))
            }
        };
        let (loaded, bytes) = state.as_ref().map_or((0, 0), |state| (state.lines(), state.bytes()));
        if loaded > 0 && state.as_ref().is_some_and(|state| bytes < state.size()) {
            info!(line = loaded + 1, "resuming");
        }
        let headers = args.load_headers.iter();
        Ok(Self {
            publisher,
            layout,
            headers: headers.map(|(name, value)| (name.clone(), Some(value.clone().into_bytes()))).collect(),
            progress: Progress::on_stderr(state.as_ref().map(State::size), bytes, loaded),
            state,
            lines,
            window: Window::new(loaded, bytes),
            before: loaded,
            saved: Instant::now(),
        })
    }

    /// Publishes what there is. What to say of it.
    pub(super) fn run(mut self, shutdown: &Shutdown) -> Result<String, Failure> {
        let (whole, stuck) = match self.send_all(shutdown) {
            Ok(whole) => (whole, None),
            Err(stuck) => (false, Some(stuck)),
        };
        let stuck = self.settle(stuck, shutdown);
        self.save()?;
        self.progress.finish();
        let loaded = self.window.lines();
        match stuck {
            None if whole && loaded == self.window.next() => {
                let said = format!("{loaded} lines are loaded into {}", self.publisher.destination());
                let kept = self.state.as_ref().filter(|_| loaded > 0 && loaded == self.before);
                Ok(kept.map_or(said.clone(), |state| {
                    format!("{said}: all of them were so before, as {:?} has it", state.kept_at())
                }))
            }
            None => {
                let ended = anyhow::anyhow!("ended when {loaded} lines were loaded; {}", self.next_step());
                Err(Failure::unavailable(ended))
            }
            Some(Stuck { number, why }) => {
                let text = format!("line {number}: {why}; {loaded} lines are loaded; {}", self.next_step());
                Err(Failure::new(why.code(), anyhow::Error::msg(text)))
            }
        }
    }

    fn next_step(&self) -> &'static str {
        if self.state.is_some() {
            "run it again to go on there"
        } else {
            "of stdin none is remembered: begin behind them"
        }
    }

    /// Sends lines until there are no more. Whether it came to the end.
    fn send_all(&mut self, shutdown: &Shutdown) -> Result<bool, Stuck> {
        loop {
            self.note(Duration::ZERO)?;
            if shutdown.is_draining() {
                return Ok(false);
            }
            self.save_sometimes()?;
            let unsaved = self.window.next() - self.state.as_ref().map_or(self.window.lines(), State::lines);
            if unsaved >= MAX_LINES || self.window.waiting_bytes() >= MAX_BYTES {
                self.note(TURN)?;
                continue;
            }
            match self.lines.next(TURN) {
                Ok(Ok(line)) => {
                    if !self.send(line, shutdown)? {
                        return Ok(false);
                    }
                }
                Ok(Err(unread)) => return Err(unread),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(true),
            }
        }
    }

    /// Sends one; `false` when there was no room for it before all of this was to end.
    fn send(&mut self, line: Line, shutdown: &Shutdown) -> Result<bool, Stuck> {
        let Line { number, text, end } = line;
        let stuck = |why| Stuck { number, why };
        let Some(mut entry) = self.layout.entry(&text).map_err(|error| stuck(Failure::new(65, error)))? else {
            self.window.skip(end);
            return Ok(true);
        };
        entry.headers.splice(0..0, self.headers.iter().cloned());
        while !self.publisher.send(number, &entry).map_err(stuck)? {
            if shutdown.is_draining() {
                return Ok(false);
            }
            self.note(TURN)?;
        }
        self.window.send(end);
        Ok(true)
    }

    /// What was confirmed.
    fn note(&mut self, wait: Duration) -> Result<(), Stuck> {
        let mut lines = Vec::new();
        let stuck = self.publisher.confirmed(wait, &mut lines);
        for number in lines {
            self.window.confirm(number);
        }
        self.progress.show(self.window.lines(), self.window.bytes());
        stuck
    }

    /// Waits for what is under way, as far as the first line that is stuck, which may be another in the end.
    fn settle(&mut self, mut stuck: Option<Stuck>, shutdown: &Shutdown) -> Option<Stuck> {
        while !shutdown.is_aborting() {
            let last = stuck.as_ref().map_or(self.window.next(), |stuck| stuck.number - 1);
            if self.window.lines() >= last {
                break;
            }
            if let Err(other) = self.note(TURN)
                && stuck.as_ref().is_none_or(|stuck| other.number < stuck.number)
            {
                stuck = Some(other);
            }
        }
        stuck
    }

    fn save_sometimes(&mut self) -> Result<(), Stuck> {
        let Some(state) = &self.state else { return Ok(()) };
        let unsaved = self.window.lines() - state.lines();
        if unsaved >= MAX_LINES / 4 || (unsaved > 0 && self.saved.elapsed() >= SAVE_EVERY) {
            self.save().map_err(|why| Stuck { number: self.window.lines() + 1, why })?;
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.saved = Instant::now();
        match &mut self.state {
            Some(state) => state.save(self.window.lines(), self.window.bytes()),
            None => Ok(()),
        }
    }
}
