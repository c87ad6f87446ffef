//! From the API server's admission calls to the functions that answer them: the controller's own
//! `Admission::answer` in a process that runs, and webhooks of others in a scenario.

use crossfade_fakeapi::At;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_controller::admission::Admission;
use crossfade_engine::admit::Hook;
use crossfade_fakeapi::{WebhookCaller, WebhookTarget};
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use crate::trace::{Trace, lock};

/// A webhook of somebody else: from a review to its answer.
pub type Foreign = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// Where admission calls go.
pub struct Webhooks {
    trace: Arc<Trace>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// By replica.
    serving: BTreeMap<usize, Admission>,
    foreign: BTreeMap<String, Foreign>,
    down_until: Option<Instant>,
    draw: fastrand::Rng,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

impl Webhooks {
    /// With nobody serving yet.
    #[must_use]
    pub fn new(trace: Arc<Trace>, draw: fastrand::Rng) -> Arc<Self> {
        Arc::new(Self {
            trace,
            inner: Mutex::new(Inner {
                serving: BTreeMap::new(),
                foreign: BTreeMap::new(),
                down_until: None,
                draw,
            }),
        })
    }

    /// A replica serves admission from now on.
    pub fn serve(&self, replica: usize, admission: Admission) {
        lock(&self.inner).serving.insert(replica, admission);
    }

    /// A replica does not any more.
    pub fn leave(&self, replica: usize) {
        lock(&self.inner).serving.remove(&replica);
    }

    /// Nobody answers for so long.
    pub fn down(&self, length: Duration) {
        lock(&self.inner).down_until = Some(Instant::now() + length);
    }

    /// They answer again.
    pub fn up(&self) {
        lock(&self.inner).down_until = None;
    }

    /// Answers the webhook of that name.
    pub fn add(&self, name: &str, webhook: Foreign) {
        lock(&self.inner).foreign.insert(name.to_owned(), webhook);
    }
}

fn hook(name: &str) -> Option<Hook> {
    Some(match name.split('.').next()? {
        "gate" => Hook::Gate,
        "backstop" => Hook::Backstop,
        "traffic" => Hook::Traffic,
        "stamp" => Hook::Stamp,
        _ => return None,
    })
}

impl WebhookCaller for Webhooks {
    fn call(
        &self,
        webhook: WebhookTarget,
        review: Value,
        _timeout: Duration,
    ) -> BoxFuture<'static, Result<Value, String>> {
        let (admission, foreign, wait) = {
            let mut inner = lock(&self.inner);
            let down = inner.down_until.is_some_and(|until| Instant::now() < until);
            let wait = Duration::from_millis(inner.draw.u64(1..=3));
            // Each installation's Service leads to its own processes.
            let serving: Vec<Admission> = (inner.serving.values())
                .filter(|admission| {
                    let service = format!("//{}-admission.", admission.installation);
                    webhook.url.contains(&service)
                })
                .cloned()
                .collect();
            let chosen = if down || serving.is_empty() {
                None
            } else {
                let place = inner.draw.usize(0..serving.len());
                serving.into_iter().nth(place)
            };
            (chosen, inner.foreign.get(&webhook.name).cloned(), wait)
        };
        let trace = Arc::clone(&self.trace);
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            if let Some(foreign) = foreign {
                return Ok(foreign(&review));
            }
            let hook = hook(&webhook.name).ok_or("no such host")?;
            let admission = admission.ok_or("connect: connection refused")?;
            let answer = admission
                .answer(hook, review.to_string().as_bytes())
                .await
                .map_err(|error| error.to_string())?;
            let answer: Value =
                serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
            let allowed = answer.at("/response/allowed").and_then(Value::as_bool);
            let patched = answer.at("/response/patch").is_some();
            trace.line(&format_args!(
                "admission {} allowed={} patched={patched}",
                webhook.name,
                allowed.unwrap_or(false)
            ));
            Ok(answer)
        })
    }
}
