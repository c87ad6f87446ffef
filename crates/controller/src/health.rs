//! /healthz, /readyz and /metrics on plain HTTP, for the kubelet and for Prometheus.
//!
//! Says what others report to it; measures nothing itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Longest time for one answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The parts of the controller and whether each works. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Result<(), String>>>>,
}

impl Health {
    /// Health that waits for these parts to report.
    #[must_use]
    pub fn waiting_for<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let health = Self::default();
        for part in parts {
            health.failing(part, "not started yet");
        }
        health
    }

    /// This part works.
    pub fn working(&self, part: &str) {
        self.set(part, Ok(()));
    }

    /// This part does not work, and why.
    pub fn failing(&self, part: &str, why: &str) {
        self.set(part, Err(why.to_owned()));
    }

    /// This part is no longer needed.
    pub fn remove(&self, part: &str) {
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(part);
    }

    fn set(&self, part: &str, state: Result<(), String>) {
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part.to_owned(), state);
    }

    /// Every part works, and a line for each.
    #[must_use]
    pub fn report(&self) -> (bool, String) {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = parts.values().all(Result::is_ok);
        let lines = parts.iter().map(|(part, state)| match state {
            Ok(()) => format!("[+] {part}\n"),
            Err(why) => format!("[-] {part}: {why}\n"),
        });
        (ready, lines.collect())
    }
}

#[derive(Clone)]
struct Shown {
    health: Health,
    registry: Arc<Registry>,
}

/// Serves until `stop` turns true.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    health: Health,
    registry: Arc<Registry>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, "health and metrics are served");
    axum::serve(listener, router(health, registry))
        .with_graceful_shutdown(async move {
            // An error means the sender is gone: stopping is right then too.
            drop(stop.wait_for(|stop| *stop).await);
        })
        .await
}

fn router(health: Health, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(
            tower::ServiceBuilder::new()
                .layer(axum::error_handling::HandleErrorLayer::new(
                    async |_: tower::BoxError| (StatusCode::GATEWAY_TIMEOUT, "took too long\n"),
                ))
                .timeout(LIMIT),
        )
        .with_state(Shown { health, registry })
}

async fn ready(State(shown): State<Shown>) -> Response {
    let (ready, text) = shown.health.report();
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, text).into_response()
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shown.registry) {
        Ok(()) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be written down\n",
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_part_works() {
        let health = Health::waiting_for(["watches", "admission"]);
        assert_eq!(
            health.report(),
            (
                false,
                "[-] admission: not started yet\n[-] watches: not started yet\n".to_owned()
            )
        );
        health.working("watches");
        assert!(!health.report().0);
        health.working("admission");
        assert_eq!(
            health.report(),
            (true, "[+] admission\n[+] watches\n".to_owned())
        );
        health.failing("watches", "rollouts: forbidden");
        assert!(health.report().1.contains("rollouts: forbidden"));
        health.remove("watches");
        assert!(health.report().0);
    }
}
