//! `--check`: which stages are there.

use std::io;
use std::time::Duration;

use contract::exit;
use stage::{Peer, Root, Sign, StageName};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::info;
use worker_kit::JobError;

use crate::pipeline::Pipeline;

/// How long all of them together are waited for: nobody who checks wants to wait for images that are being pulled.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(100);

/// What is known of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Nobody has said hello.
    Never,
    /// Somebody has, and it cannot be seen that he lives.
    Silent,
    /// Somebody has, and is dead.
    Dead,
}

/// The stages that are not there, or not in time. Those that are it says in the log.
pub(super) async fn missing(pipeline: &Pipeline, root: &Root) -> Vec<JobError> {
    let deadline = Instant::now() + PATIENCE;
    let mut missing = Vec::new();
    for stage in &pipeline.stages {
        missing.extend(call(&stage.name, root, deadline).await.err());
    }
    missing
}

async fn call(name: &StageName, root: &Root, deadline: Instant) -> Result<(), JobError> {
    let dir = root.stage(name);
    let mut presence = Presence::Never;
    loop {
        if let Some(hello) = stage::hello(dir.path()).map_err(|error| unreadable(name, &error))? {
            presence = Presence::Silent;
            let peer = Peer::watch(dir.path(), &hello).map_err(|error| unreadable(name, &error))?;
            match timeout_at(deadline, peer.known()).await {
                Ok(Sign::Lock | Sign::Heartbeat) => {
                    info!(stage = %name, program = hello.program, "stage is there");
                    return Ok(());
                }
                Ok(Sign::Fallen) => presence = Presence::Dead,
                Ok(Sign::None) | Err(_) => {}
            }
        }
        if Instant::now() >= deadline {
            return Err(absent(name, presence));
        }
        sleep(AGAIN).await;
    }
}

fn absent(name: &StageName, presence: Presence) -> JobError {
    let what = match presence {
        Presence::Never => format!("has not said hello within {PATIENCE:?}"),
        Presence::Silent => format!("has said hello, and no sign of life could be seen within {PATIENCE:?}"),
        Presence::Dead => "has said hello, and is dead".to_owned(),
    };
    let message = format!("stage {name} {what}");
    JobError::new(exit::TEMPORARY, "StartTimeout", message)
        .with_hint("kubectl describe pod tells whether its image could be pulled and its shim started")
}

fn unreadable(name: &StageName, error: &io::Error) -> JobError {
    let (code, reason) = match error.kind() {
        io::ErrorKind::Unsupported => (exit::CONFIG, "ProtocolMismatch"),
        _ => (exit::IO, "MachineError"),
    };
    JobError::new(code, reason, format!("stage {name}: {error}"))
}
