//! `--load`: publishes one record a line, and counts a line once the brokers have confirmed it.

mod deliveries;
mod line;
mod lines;
mod progress;
mod state;
mod window;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use sidecar::{Failure, FailureExt, Shutdown};
use tracing::info;

use self::deliveries::Deliveries;
use self::line::{Entry, Layout};
use self::lines::{Line, Lines};
use self::progress::Progress;
use self::state::State;
use self::window::Window;
use crate::args::Settings;
use crate::topic::Observer;
use crate::trouble::Trouble;

/// How to fill the topic.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Loading the topic instead of serving it")]
pub struct LoadArgs {
    /// Publish each line of FILE (`-`: of stdin) as a record, and exit: 0 once the brokers have confirmed all of them. Ended before, it
    /// goes on where it was when it is started again.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    load: Option<PathBuf>,
    /// What a line is: the record's value (`text`), or an object (`json`) with `value` or `valueBase64`, and `key` or `keyBase64`,
    /// `headers`, `partition` where they are wanted.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    load_format: Format,
    /// The key of a line of text: `none`, `line` (the line itself), `tab` (what precedes its first tab; the value is the rest), or
    /// `field:NAME` (of a line that is a JSON object).
    #[arg(long, value_name = "WHENCE", default_value = "none", value_parser = line::Key::parse)]
    load_key: line::Key,
    /// A header of every record, as often as needed; in the variable one a line.
    #[arg(long = "load-header", value_name = "NAME=VALUE", value_delimiter = '\n', value_parser = header)]
    load_headers: Vec<(String, String)>,
    /// Where to keep how far it came [default: FILE.load-state; of stdin nowhere, and it cannot be resumed].
    #[arg(long, value_name = "FILE")]
    load_state: Option<PathBuf>,
}

/// `--load-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The value.
    Text,
    /// An object.
    Json,
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a header is NAME=VALUE".to_owned()),
    }
}

/// How many lines may be sent and not yet known, on disk, to be loaded. So many may be published twice when it is killed.
const MAX_LINES: u64 = 10_000;
/// How many bytes of them may wait for the brokers.
const MAX_BYTES: u64 = 16 << 20;
/// How long the state may be older than what is confirmed.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// For how long to wait for what may come before looking at what else there is.
const TURN: Duration = Duration::from_millis(50);

impl LoadArgs {
    /// Whether there is something to load.
    pub(crate) fn is_given(&self) -> bool {
        self.load.is_some()
    }
}

/// Loads the topic.
///
/// # Errors
/// Exit 65 for a line that is none or that brokers never take, 66 for a file that cannot be read, 69 when brokers are away for too long or
/// it was told to end, 73 when the state cannot be written, 77 when it may not, 78 when there is no such topic or the settings are wrong.
pub(crate) async fn load(
    settings: Settings,
    args: LoadArgs,
    deadline: Duration,
    shutdown: Shutdown,
) -> Result<ExitCode, Failure> {
    let (told, end) = tokio::sync::oneshot::channel();
    // A thread of its own: everything in it waits.
    std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        let _ = told.send(Loader::open(&settings, &args, deadline).and_then(|loader| loader.run(&shutdown)));
    })?;
    let said = end.await.map_err(|_| anyhow::anyhow!("the loader ended without a word"))??;
    writeln!(std::io::stdout(), "{said}")?;
    Ok(ExitCode::SUCCESS)
}

/// Between a file and a topic.
struct Loader {
    topic: String,
    layout: Layout,
    headers: Vec<(String, String)>,
    /// `None` of stdin, which cannot be read again.
    state: Option<State>,
    lines: Lines,
    producer: ThreadedProducer<Deliveries>,
    window: Window,
    saved: Instant,
    progress: Progress,
}

/// Why a line is not loaded.
struct Stuck {
    number: u64,
    why: Failure,
}

impl Loader {
    /// Looks at the topic, and finds out how far the file is loaded.
    fn open(settings: &Settings, args: &LoadArgs, deadline: Duration) -> Result<Self, Failure> {
        let path = args.load.as_deref().unwrap_or(Path::new("-"));
        let layout = Layout::new(args.load_format == Format::Json, &args.load_key).map_err(Failure::config)?;
        if path != Path::new("-") {
            // Said at once, and not when brokers have been waited for.
            File::open(path).or_exit(66, format!("open --load {path:?}"))?;
        }
        let topic = Observer::connect(&settings.cluster, None)
            .and_then(|observer| observer.topic(&settings.topic, deadline))
            .map_err(Trouble::failure)?;
        let config = settings.cluster.config_over(
            // As Java's producer does, so that a key has one partition whoever publishes it.
            &[("partitioner", "murmur2_random"), ("linger.ms", "20")],
            &[("enable.idempotence", "true"), ("acks", "all")],
        );
        let deliveries = Deliveries::new(settings.cluster.context());
        let longest = longest(&config).map_err(|error| Failure::config(anyhow::anyhow!("{error}")))?;
        let producer: ThreadedProducer<Deliveries> = config
            .create_with_context(deliveries)
            .map_err(|error| Trouble::of(&error, "set the producer up", &settings.cluster.context()).failure())?;
        let (lines, state) = if path == Path::new("-") {
            (Lines::of(std::io::stdin(), 0, 0, longest)?, None)
        } else {
            let state_at = args.load_state.clone().unwrap_or_else(|| state::beside(path));
            let (file, state) = State::open(path, state_at, &settings.topic, &topic.identity)?;
            (Lines::of(file, state.lines(), state.bytes(), longest)?, Some(state))
        };
        let (loaded, bytes) = state.as_ref().map_or((0, 0), |state| (state.lines(), state.bytes()));
        if loaded > 0 && state.as_ref().is_some_and(|state| bytes < state.size()) {
            info!(line = loaded + 1, "resuming");
        }
        Ok(Self {
            topic: settings.topic.clone(),
            layout,
            headers: args.load_headers.clone(),
            progress: Progress::on_stderr(state.as_ref().map(State::size), bytes, loaded),
            state,
            lines,
            producer,
            window: Window::new(loaded, bytes),
            saved: Instant::now(),
        })
    }

    fn run(mut self, shutdown: &Shutdown) -> Result<String, Failure> {
        let sent = self.send_all(shutdown);
        let settled = self.settle(shutdown);
        self.save()?;
        self.progress.finish();
        let loaded = self.window.lines();
        let stuck = match (sent, settled) {
            (Ok(true), Ok(())) if loaded == self.window.next() => {
                return Ok(format!("{loaded} lines are loaded into topic {}", self.topic));
            }
            (Ok(_), Ok(())) => {
                let ended = anyhow::anyhow!("ended when {loaded} lines were loaded; {}", self.next_step());
                return Err(Failure::unavailable(ended));
            }
            (Err(sent), Err(settled)) => std::cmp::min_by_key(sent, settled, |stuck| stuck.number),
            (Err(stuck), Ok(())) | (Ok(_), Err(stuck)) => stuck,
        };
        let Stuck { number, why } = stuck;
        let text = format!("line {number}: {why}; {loaded} lines are loaded; {}", self.next_step());
        Err(Failure::new(why.code(), anyhow::Error::msg(text)))
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
            self.note();
            self.failed()?;
            if shutdown.is_draining() {
                return Ok(false);
            }
            self.save_sometimes()?;
            let unsaved = self.window.next() - self.state.as_ref().map_or(self.window.lines(), State::lines);
            if unsaved >= MAX_LINES || self.window.waiting_bytes() >= MAX_BYTES {
                self.producer.context().wait(TURN);
                continue;
            }
            match self.lines.next(TURN) {
                Ok(Ok(line)) => self.send(line)?,
                Ok(Err(why)) => return Err(Stuck { number: why.number, why: why.failure }),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(true),
            }
        }
    }

    fn send(&mut self, line: Line) -> Result<(), Stuck> {
        let Line { number, text, end } = line;
        let stuck = |why| Stuck { number, why };
        let Some(entry) = self.layout.entry(&text).map_err(|error| stuck(Failure::new(65, error)))? else {
            self.window.skip(end);
            return Ok(());
        };
        self.window.send(end);
        let mut record = record(&self.topic, &self.headers, &entry, number);
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
                Err((error, _)) => return Err(stuck(self.meaning(&error, entry.size()))),
            };
            self.producer.context().wait(TURN);
        }
    }

    /// What came back of the brokers.
    fn note(&mut self) {
        for number in self.producer.context().confirmed() {
            self.window.confirm(number);
        }
        self.progress.show(self.window.lines(), self.window.bytes());
    }

    fn failed(&self) -> Result<(), Stuck> {
        match self.producer.context().failed() {
            Some(failed) => Err(Stuck { number: failed.number, why: self.meaning(&failed.error, failed.size) }),
            None => Ok(()),
        }
    }

    /// Waits for what is under way.
    fn settle(&mut self, shutdown: &Shutdown) -> Result<(), Stuck> {
        while self.producer.in_flight_count() > 0 && !shutdown.is_aborting() {
            self.producer.context().wait(TURN);
            self.note();
        }
        self.note();
        self.failed()
    }

    fn meaning(&self, error: &KafkaError, size: usize) -> Failure {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge) => Failure::new(
                65,
                anyhow::anyhow!(
                    "a record of {size} bytes is too large for the brokers (max.message.bytes of the topic) or for us (--property \
                     message.max.bytes=…)"
                ),
            ),
            Some(Code::UnknownPartition) => Failure::new(65, anyhow::anyhow!("the topic has no such partition")),
            Some(Code::InvalidMessage | Code::InvalidTimestamp | Code::PolicyViolation) => {
                Failure::new(65, anyhow::anyhow!("the brokers do not take it: {error}"))
            }
            _ => {
                let doing = format!("publish to topic {:?}", self.topic);
                Trouble::of(error, &doing, self.producer.context().inner()).failure()
            }
        }
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

/// The record of a line, by whose number its delivery is told.
fn record<'a>(
    topic: &'a str,
    headers: &[(String, String)],
    entry: &'a Entry,
    number: u64,
) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut record = BaseRecord::with_opaque_to(topic, usize::try_from(number).unwrap_or(usize::MAX));
    record.key = entry.key.as_deref();
    record.payload = entry.value.as_deref();
    record.partition = entry.partition;
    let own = entry.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    let all: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))).chain(own).collect();
    if !all.is_empty() {
        let owned = OwnedHeaders::new_with_capacity(all.len());
        record.headers =
            Some(all.into_iter().fold(owned, |headers, (key, value)| headers.insert(Header { key, value })));
    }
    record
}

/// No line can be longer: base64 makes four of three, and there is room for a key, headers and names.
fn longest(config: &rdkafka::ClientConfig) -> Result<usize, KafkaError> {
    let largest = config.create_native_config()?.get("message.max.bytes")?;
    Ok(largest.parse::<usize>().unwrap_or(1_000_000).saturating_mul(2).saturating_add(1 << 16))
}
