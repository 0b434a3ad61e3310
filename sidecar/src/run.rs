//! The life of a process: logs, signals, draining, and how it ends.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::lines::Flat;
use crate::{Failure, FailureExt, settings};

/// Flags every program has.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Process")]
pub struct ProcessArgs {
    /// What to log, as in RUST_LOG: `info`, `debug`, `warn,files_ambassador=debug`.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER", global = true)]
    pub log: String,
    /// How log lines look on stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Plain, global = true)]
    pub log_format: LogFormat,
    /// How long draining may take after the first SIGTERM or SIGINT before everything still under way is aborted.
    #[arg(long, value_parser = crate::cli::value::duration, default_value = "25s", value_name = "DURATION", global = true)]
    pub grace: Duration,
    #[arg(skip)]
    unannounced: bool,
    #[arg(skip)]
    muted: Option<&'static str>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Tells when to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abort: CancellationToken,
    grace: Duration,
}

impl Shutdown {
    /// One that nobody has asked for yet, for tests and for parts of a program that end on their own.
    pub fn new(grace: Duration) -> Self {
        Self { grace, ..Self::default() }
    }

    /// Resolves at the first signal: take nothing new, finish what is under way.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Resolves at the second signal, or when the grace period after the first is over: stop now.
    pub async fn aborting(&self) {
        self.abort.cancelled().await;
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Whether everything must stop now.
    pub fn is_aborting(&self) -> bool {
        self.abort.is_cancelled()
    }

    /// How long draining may take.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Begins draining, as the first signal does.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Stops everything, as the second signal does.
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }
}

impl ProcessArgs {
    /// Does not say in the log with what settings it runs: for commands whose user waits for what they print.
    #[must_use]
    pub fn unannounced(mut self) -> Self {
        self.unannounced = true;
        self
    }

    /// Leaves out what this library logs, unless `--log` names it (`info,lapin=debug`): it logs as an error what is told to us as one too,
    /// and passes.
    pub fn muted(mut self, library: &'static str) -> Self {
        self.muted = Some(library);
        self
    }

    /// Sets logging up, says with what settings this process runs, and runs `main` on a multi-threaded runtime until it
    /// returns. The first SIGTERM or SIGINT starts draining; the second, or the end of the grace period, aborts. An error is
    /// logged whatever the filter says.
    pub fn run<F>(self, main: impl FnOnce(Shutdown) -> F) -> ExitCode
    where
        F: Future<Output = Result<ExitCode, Failure>>,
    {
        ended(self.run_on(tokio::runtime::Builder::new_multi_thread(), main).flatten())
    }

    /// As [`run`](Self::run), on the calling thread: for programs that do one thing and end, and for those that pass on what others say and do
    /// nothing else, which would have one thread of theirs wake another for each word.
    pub fn run_single<F>(self, main: impl FnOnce(Shutdown) -> F) -> ExitCode
    where
        F: Future<Output = Result<ExitCode, Failure>>,
    {
        self.run_single_or(main, |_| ())
    }

    /// As [`run_single`](Self::run_single), for programs that owe somebody an account: `unbegun` hears what kept `main` from
    /// beginning, as a log filter that is none.
    pub fn run_single_or<F>(self, main: impl FnOnce(Shutdown) -> F, unbegun: impl FnOnce(&Failure)) -> ExitCode
    where
        F: Future<Output = Result<ExitCode, Failure>>,
    {
        let result = self.run_on(tokio::runtime::Builder::new_current_thread(), main);
        ended(result.inspect_err(unbegun).flatten())
    }

    /// What `main` returned; or why it was not called.
    fn run_on<F: Future>(
        self,
        mut runtime: tokio::runtime::Builder,
        main: impl FnOnce(Shutdown) -> F,
    ) -> Result<F::Output, Failure> {
        self.init_logging()?;
        if !self.unannounced {
            settings::log();
        }
        let runtime = runtime.enable_all().build().or_exit(71, "start the runtime")?;
        let result = runtime.block_on(async {
            let shutdown = Shutdown::new(self.grace);
            listen(shutdown.clone())?;
            Ok(main(shutdown).await)
        });
        // Blocking calls that hang (a dead NFS server) must not keep the process from ending.
        runtime.shutdown_background();
        result
    }

    fn init_logging(&self) -> Result<(), Failure> {
        let muted = self.muted.map(|library| format!("{library}=off,")).unwrap_or_default();
        let filter = EnvFilter::try_new(muted + &self.log).map_err(|e| {
            Failure::config(anyhow::Error::from(e).context(format!("read the log filter {:?}", self.log)))
        })?;
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogWriter);
        let installed = match self.log_format {
            LogFormat::Plain => {
                use std::io::IsTerminal;
                builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
            }
            LogFormat::Json => builder.json().flatten_event(true).map_event_format(Flat::of).try_init(),
        };
        installed.map_err(|e| Failure::from(anyhow::anyhow!("set up logging: {e}")))
    }
}

/// Does something around the writing of each log line.
type Around = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

static AROUND: OnceLock<Around> = OnceLock::new();

/// From now on `around` writes the log lines, by calling what it is given, so that a progress bar on the same terminal
/// can make way. The first caller is the one who does.
pub fn around_log_lines(around: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) {
    let _ = AROUND.set(Box::new(around));
}

/// Where log lines go: stderr, a line at a time.
struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut written = Ok(());
        let mut write = || written = io::stderr().lock().write_all(line);
        match AROUND.get() {
            Some(around) => around(&mut write),
            None => write(),
        }
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn ended(result: Result<ExitCode, Failure>) -> ExitCode {
    result.unwrap_or_else(|failure| fatal(&failure))
}

/// The last line a failing program writes. Not a log event, since no filter may hide it.
#[expect(clippy::print_stderr, reason = "the fatal line is never filtered out")]
fn fatal(failure: &Failure) -> ExitCode {
    eprintln!("error: {failure}");
    ExitCode::from(failure.code())
}

fn listen(shutdown: Shutdown) -> Result<(), Failure> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let which = tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" };
        info!(signal = which, grace = ?shutdown.grace, "draining");
        shutdown.drain();
        tokio::select! {
            _ = term.recv() => warn!("second signal: aborting"),
            _ = int.recv() => warn!("second signal: aborting"),
            () = tokio::time::sleep(shutdown.grace) => warn!("grace period over: aborting"),
        }
        shutdown.abort();
    });
    Ok(())
}
