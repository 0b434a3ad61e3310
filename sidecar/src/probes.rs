//! `/livez`, `/readyz`, `/healthz` and `/metrics`, on a listener of their own.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Args;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{Failure, FailureExt, Shutdown};

/// Where probes are answered.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Probes and metrics")]
pub struct ProbeArgs {
    /// Address of /livez, /readyz, /healthz and /metrics; port 0 chooses a free one and logs it.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS", value_parser = crate::cli::value::address)]
    pub probe_listen: SocketAddr,
}

/// What stands in the way of being ready, by the part of the program that says so. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Obstacle>>>);

#[derive(Debug)]
struct Obstacle {
    reason: String,
    /// Whether it was there from the start and nothing has gone wrong.
    expected: bool,
}

impl Health {
    /// `part` has not come to its work yet, which is no reason to warn anybody.
    pub fn starting(&self, part: &'static str, reason: impl Into<String>) {
        self.lock().entry(part).or_insert_with(|| Obstacle { reason: reason.into(), expected: true });
    }

    /// `part` cannot do its work, because of `reason`.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        let before = self.lock().insert(part, Obstacle { reason: reason.clone(), expected: false });
        if before.is_none_or(|before| before.expected) {
            warn!(part, reason, "not ready");
        }
    }

    /// `part` can do its work.
    pub fn ready(&self, part: &'static str) {
        if self.lock().remove(part).is_some() {
            info!(part, "ready");
        }
    }

    /// What stands in the way now; empty when ready.
    pub fn obstacles(&self) -> Vec<(&'static str, String)> {
        self.lock().iter().map(|(part, obstacle)| (*part, obstacle.reason.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Obstacle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listener, bound and not yet serving.
#[derive(Debug)]
pub struct Probes {
    listener: TcpListener,
    address: SocketAddr,
}

impl ProbeArgs {
    /// Binds the listener, so that a busy port is found before any work begins.
    ///
    /// # Errors
    /// Exit 78, naming the address and the flag.
    pub async fn bind(&self) -> Result<Probes, Failure> {
        let listener = TcpListener::bind(self.probe_listen)
            .await
            .or_exit(78, format!("listen on {} for probes (choose another with --probe-listen)", self.probe_listen))?;
        let address = listener.local_addr()?;
        Ok(Probes { listener, address })
    }
}

impl Probes {
    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until everything is aborted: a draining process stays alive and says that it is not ready.
    pub fn serve(self, health: Health, registry: Registry, shutdown: Shutdown) -> tokio::task::JoinHandle<()> {
        info!(address = %self.address, "probes and metrics");
        let app = router(health, Arc::new(registry), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                served = axum::serve(self.listener, app).into_future() => {
                    if let Err(error) = served {
                        warn!(%error, "the probe listener ended");
                    }
                }
                () = shutdown.aborting() => {}
            }
        })
    }
}

/// The routes, without a socket.
pub fn router(health: Health, registry: Arc<Registry>, shutdown: Shutdown) -> Router {
    let ready = move || async move {
        let mut obstacles = health.obstacles();
        if shutdown.is_draining() {
            obstacles.push(("process", "draining".to_owned()));
        }
        if obstacles.is_empty() {
            return (StatusCode::OK, "ok\n".to_owned());
        }
        let text = obstacles.iter().map(|(part, reason)| format!("{part}: {reason}\n")).collect();
        (StatusCode::SERVICE_UNAVAILABLE, text)
    };
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready.clone()))
        .route("/healthz", get(ready))
        .route("/metrics", get(move || async move { metrics(&registry) }))
}

fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use std::time::Duration;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("infallible");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn readiness_tells_the_truth_and_liveness_never_asks_the_backend() {
        let (health, shutdown) = (Health::default(), Shutdown::new(Duration::from_secs(1)));
        let router = router(health.clone(), Arc::new(Registry::default()), shutdown.clone());
        assert_eq!(ask(&router, "/readyz").await, (StatusCode::OK, "ok\n".into()));
        health.starting("source", "not listed yet");
        assert_eq!(ask(&router, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "source: not listed yet\n".into()));
        health.not_ready("source", "root is gone");
        assert_eq!(ask(&router, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "source: root is gone\n".into()));
        assert_eq!(ask(&router, "/healthz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&router, "/livez").await.0, StatusCode::OK);
        health.ready("source");
        assert_eq!(ask(&router, "/readyz").await.0, StatusCode::OK);
        shutdown.drain();
        assert_eq!(ask(&router, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "process: draining\n".into()));
        assert!(ask(&router, "/metrics").await.1.ends_with("# EOF\n"));
    }
}
