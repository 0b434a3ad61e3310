//! From a source to a running ambassador: listeners, readiness, metrics, draining; or `--check`.

mod check;
mod listen;
mod listener;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use prometheus_client::registry::Registry;
use sidecar::cli::value;
use sidecar::{Failure, ProbeArgs, Shutdown};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use self::check::check;
pub use self::listen::Listen;
use crate::guard::Guard;
use crate::metrics::{Metrics, SourceMetrics};
use crate::router::{Options, Served};
use crate::settling::SettleWhen;
use crate::source::{Health, Source};

/// Flags every ambassador has beside those of its source.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Contract")]
pub struct ServeArgs {
    /// Address of the contract, /v1/items; port 0 chooses a free one and logs it. Or unix:PATH, a socket that its owner and
    /// group can use.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS", value_parser = Listen::parse)]
    pub listen: Listen,
    /// Answer only those who show the token in this file, as `Authorization: Bearer …`. Read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How long a request may take; for a streamed list, how long each of its parts may.
    #[arg(long, value_parser = value::positive_duration, default_value = "30s", value_name = "DURATION")]
    pub request_timeout: Duration,
    /// Connect, list once, say on stdout what would be listed and what is withheld and why, and exit: 0 when everything
    /// could be seen, 69 when it could not, 78 when the configuration is wrong.
    #[arg(long)]
    pub check: bool,
    /// Probes and metrics.
    #[command(flatten)]
    pub probes: ProbeArgs,
    /// When an item counts as settled: of ambassadors that have [`SettleArgs`](crate::SettleArgs), what those say.
    #[arg(skip)]
    pub settle: SettleWhen,
}

/// Runs the source that `open` makes, until it is told to stop; or checks it, with `--check`.
///
/// Both listeners are bound before `open` is called, so that a busy port is found before the backend is touched. `open`
/// checks its configuration ([`Failure::config`]) and returns without waiting for a backend that may hang: the first look at
/// it belongs to a task, and [`Health::Starting`] says that it is not over. What `open` registers is named `longshore_…` by
/// the registry's prefix.
///
/// On the first signal no connection is taken any more, requests under way are answered, and the source is drained; the
/// grace period bounds all of it.
///
/// # Errors
/// Exit 78 when a port or socket is taken or the token's file has none, and whatever `open` fails with.
pub async fn serve<S: Source>(
    args: ServeArgs,
    shutdown: Shutdown,
    open: impl AsyncFnOnce(&mut Registry) -> Result<S, Failure>,
) -> Result<ExitCode, Failure> {
    let mut registry = Registry::with_prefix("longshore");
    let guard = args.token_file.as_deref().map(Guard::open).transpose().map_err(Failure::config)?.map(Arc::new);
    if args.check {
        let source = open(&mut registry).await?;
        return check(&source, args.request_timeout, &shutdown, &mut std::io::stdout()).await;
    }
    let listener = args.listen.bind().await?;
    let probes = args.probes.bind().await?;
    let source = Arc::new(open(&mut registry).await?);

    let settling = TaskTracker::new();
    let metrics = Metrics::register(&mut registry);
    registry.register_collector(Box::new(SourceMetrics(Arc::clone(&source))));
    let health = sidecar::Health::default();
    let following = tokio::spawn(follow(source.health(), health.clone()));
    let probing = probes.serve(health, registry, shutdown.clone());

    let (about, address) = (source.about(), listener.place()?);
    if let Listen::Tcp(address) = address
        && !address.ip().is_loopback()
        && guard.is_none()
    {
        warn!(
            %address,
            "whoever reaches this address can read items, and settle them where that is offered (see --token-file)"
        );
    }
    info!(
        %address, guarded = guard.is_some(),
        ambassador = about.ambassador, version = about.version, source_id = about.source_id, settle = ?about.settle,
        "serving /v1/items"
    );
    let options = Options {
        deadline: args.request_timeout,
        metrics,
        settling: settling.clone(),
        settle: args.settle,
        shutdown: shutdown.clone(),
        guard,
    };
    let served = Arc::new(Served::new(Arc::clone(&source), options));
    listener::run(listener, served, args.request_timeout, &shutdown).await;

    settling.close();
    let drained = async {
        settling.wait().await;
        source.drain().await;
    };
    tokio::select! {
        () = drained => info!("drained"),
        () = shutdown.aborting() => warn!("aborted before the source was drained"),
    }
    following.abort();
    probing.abort();
    Ok(ExitCode::SUCCESS)
}

/// Tells the probes how the source is.
async fn follow(mut source: watch::Receiver<Health>, probes: sidecar::Health) {
    loop {
        match &*source.borrow_and_update() {
            Health::Live => probes.ready("source"),
            Health::Starting => probes.starting("source", "the first look at it is not finished"),
            Health::Indexing { why } | Health::Stale { why } | Health::Lost { why } => {
                probes.not_ready("source", why.clone());
            }
        }
        if source.changed().await.is_err() {
            probes.not_ready("source", "it ended by itself");
            return;
        }
    }
}
