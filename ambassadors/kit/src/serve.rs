//! From a source to a running ambassador: listeners, readiness, metrics, draining; or `--check`.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use prometheus_client::registry::Registry;
use sidecar::{Failure, FailureExt, ProbeArgs, Shutdown};
use tokio::net::TcpListener;

use crate::source::Source;

/// Flags every ambassador has beside those of its source.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Contract")]
pub struct ServeArgs {
    /// Address of the contract, /v1/items; port 0 chooses a free one and logs it.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// How long a request may take, and each part of a long list.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "30s", value_name = "DURATION")]
    pub request_timeout: Duration,
    /// Connect, list once, say on stdout what would be listed and what is withheld and why, and exit: 0 when all could be
    /// seen, 69 when the backend could not, 78 when the configuration is wrong.
    #[arg(long)]
    pub check: bool,
    /// Probes and metrics.
    #[command(flatten)]
    pub probes: ProbeArgs,
}

/// Runs the source that `open` makes, until it is told to stop.
///
/// Both listeners are bound before `open` is called, so that a busy port is found before the backend is touched. `open`
/// checks its configuration ([`Failure::config`]) and returns without waiting for a backend that may hang: the first look at
/// it belongs to a task, and [`Health::Starting`](crate::source::Health::Starting) says that it is not over. What it registers is named `longshore_…` by
/// the registry's prefix.
///
/// # Errors
/// Exit 78 when a port is taken, and what `open` fails with.
pub async fn serve<S: Source>(
    args: ServeArgs,
    shutdown: Shutdown,
    open: impl AsyncFnOnce(&mut Registry) -> Result<S, Failure>,
) -> Result<ExitCode, Failure> {
    let mut registry = Registry::with_prefix("longshore");
    let listener = TcpListener::bind(args.listen)
        .await
        .or_exit(78, format!("listen on {} (choose another address with --listen)", args.listen))?;
    let probes = args.probes.bind().await?;
    let source = open(&mut registry).await?;
    let health = sidecar::Health::default();
    let serving = probes.serve(health, registry, shutdown.clone());
    shutdown.draining().await;
    drop(listener);
    source.drain().await;
    serving.abort();
    Ok(ExitCode::SUCCESS)
}
