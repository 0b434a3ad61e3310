//! A failed attempt's report, kept at the store where the output would have gone.

use std::time::Duration;

use contract::Report;
use sidecar::{Shutdown, chain};
use storage::{Claim, Outputs};
use tracing::{info, warn};

/// How long a store may take to keep a report. Whoever waits for the worker shall not wait for that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps the report, if the store keeps any; gives up after ten seconds, and when the grace period is over. What becomes of
/// it changes nothing about how the attempt ended.
pub(crate) async fn record(outputs: &dyn Outputs, claim: &Claim, report: &Report, shutdown: &Shutdown) {
    let account = serde_json::to_vec(report).expect("strings and numbers serialise");
    let recorded = tokio::select! {
        recorded = outputs.record(claim, &account) => recorded.map_err(|error| chain(&error)),
        () = tokio::time::sleep(PATIENCE) => Err(format!("the store did not take it within {PATIENCE:?}")),
        () = shutdown.aborting() => Err("the grace period is over".to_owned()),
    };
    match recorded {
        Ok(Some(uri)) => info!(uri, "report of the failed attempt kept"),
        Ok(None) => {}
        Err(error) => warn!(error, "cannot keep the report of the failed attempt"),
    }
}
