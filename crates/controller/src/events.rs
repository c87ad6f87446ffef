//! Kubernetes events. Our own publisher: kube's merges events of one reason and so loses the text
//! of all but the first. One event per reason and text in an hour, a bounded rate, and never a
//! failure: an event that cannot be written is logged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::fingerprint;
use crate::lock;
use crate::ports::Clock;
use crate::wire::{JSON, Link, Wire, WireRequest, path};

/// The same text is told again after so long.
const AGAIN: Duration = Duration::from_secs(3600);
/// Between two events, so that a storm of them does not become one of requests.
const SPACING: Duration = Duration::from_millis(50);
/// Events waiting; more are dropped.
const WAITING: usize = 256;
/// Texts remembered.
const REMEMBERED: usize = 4096;
/// The API's limit of a note, in bytes.
const NOTE: usize = 1024;

/// The publisher.
#[derive(Debug)]
pub struct Events {
    sender: mpsc::Sender<WireRequest>,
    told: Mutex<BTreeMap<u64, Instant>>,
    clock: ClockHandle,
    reporter: String,
}

struct ClockHandle(Arc<dyn Clock>);

impl std::fmt::Debug for ClockHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}

impl Events {
    /// A publisher and the task that writes for it.
    pub fn new(
        wire: Wire,
        clock: Arc<dyn Clock>,
        reporter: &str,
    ) -> (Self, impl Future<Output = ()> + Send + 'static + use<>) {
        let (sender, mut receiver) = mpsc::channel::<WireRequest>(WAITING);
        let task = async move {
            while let Some(request) = receiver.recv().await {
                if let Err(failure) = wire.write(&request).await {
                    tracing::warn!(%failure, "an event could not be written");
                }
                tokio::time::sleep(SPACING).await;
            }
        };
        (
            Self {
                sender,
                told: Mutex::default(),
                clock: ClockHandle(clock),
                reporter: reporter.to_owned(),
            },
            task,
        )
    }

    /// Tells something about a Rollout, unless it was told within the last hour.
    pub fn tell(&self, rollout: &Value, warning: bool, reason: &str, note: &str) {
        let text = |pointer: &str| {
            rollout
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let uid = text("/metadata/uid");
        let print = fingerprint(&[uid, reason, note]);
        {
            let now = Instant::now();
            let mut told = lock(&self.told);
            if told.len() >= REMEMBERED {
                told.retain(|_, at| now.duration_since(*at) < AGAIN);
                if told.len() >= REMEMBERED {
                    told.clear();
                }
            }
            if told
                .get(&print)
                .is_some_and(|at| now.duration_since(*at) < AGAIN)
            {
                return;
            }
            told.insert(print, now);
        }
        let request = event(
            rollout,
            warning,
            reason,
            note,
            &self.reporter,
            self.clock.0.now(),
            print,
        );
        if self.sender.try_send(request).is_err() {
            tracing::warn!(reason, note, "too many events; this one is not written");
        }
    }
}

fn event(
    rollout: &Value,
    warning: bool,
    reason: &str,
    note: &str,
    reporter: &str,
    now: jiff::Timestamp,
    print: u64,
) -> WireRequest {
    let text = |pointer: &str| {
        rollout
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let mut end = note.len().min(NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    let short = name.get(..name.len().min(200)).unwrap_or(name);
    WireRequest {
        method: Method::POST,
        path: path::events(namespace),
        content_type: JSON,
        body: Some(json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": format!("{short}.{:016x}", print ^ now.as_nanosecond() as u64), "namespace": namespace },
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
            "reportingController": "crossfade.dev/controller",
            "reportingInstance": reporter,
            "action": reason,
            "reason": reason,
            "type": if warning { "Warning" } else { "Normal" },
            "note": note.get(..end).unwrap_or_default(),
            "regarding": {
                "apiVersion": "crossfade.dev/v1alpha1",
                "kind": "Rollout",
                "namespace": namespace,
                "name": name,
                "uid": text("/metadata/uid"),
            },
        })),
        purpose: "write an event",
        link: Link::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_the_rollout_and_keeps_its_text() {
        let rollout = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "r1"}});
        let request = event(
            &rollout,
            true,
            "RollingBack",
            "31 of 155 failed",
            "crossfade-1",
            jiff::Timestamp::from_second(1_700_000_000).unwrap(),
            7,
        );
        let body = request.body.unwrap();
        assert_eq!(body["note"], "31 of 155 failed");
        assert_eq!(body["type"], "Warning");
        assert_eq!(body["eventTime"], "2023-11-14T22:13:20.000000Z");
        assert_eq!(body["regarding"]["uid"], "r1");
    }
}
