//! A mutating webhook of somebody else, within this process: it sees every update of Deployments of one namespace (or every creation) after
//! all others, and changes or holds up what a scenario tells it to. What must become of that belongs to the scenarios.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use super::context::Context;
use super::https::Https;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// From an admission request to the operations of a JSON patch, or `None` to leave it alone.
type Change = Box<dyn Fn(&Value) -> Option<Vec<Value>> + Send>;

#[derive(Default)]
struct State {
    change: Option<Change>,
    /// Requests it changed: user and name of the object.
    changed: Vec<String>,
    /// Requests about objects whose names begin so get no answer as long as this stands here.
    held: watch::Sender<Option<String>>,
    /// How many requests had to wait.
    waited: watch::Sender<usize>,
}

/// Dropping it ends the server; the configuration goes with `remove`, or when the scenario ends.
pub(crate) struct Webhook {
    state: Arc<Mutex<State>>,
    path: String,
    /// Held, because it ends with us.
    _server: Https,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Webhook")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    /// `name` decides its place: mutating webhooks are called in the order of the names of their configurations.
    pub(crate) async fn start(context: &Context, name: &str) -> anyhow::Result<Self> {
        Self::start_on(context, name, "UPDATE").await
    }

    /// One that is asked when Deployments are created.
    pub(crate) async fn start_on_creation(context: &Context, name: &str) -> anyhow::Result<Self> {
        Self::start_on(context, name, "CREATE").await
    }

    async fn start_on(context: &Context, name: &str, operation: &str) -> anyhow::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let asked = Arc::clone(&state);
        let server = Https::start(Ipv4Addr::LOCALHOST.into(), &[], move |_, body| {
            let asked = Arc::clone(&asked);
            async move {
                let review = serde_json::from_slice(&body).unwrap_or_default();
                (StatusCode::OK, answer(&review, &asked).await)
            }
            .boxed()
        })
        .await?;
        let path = format!("{CONFIGURATIONS}/{name}");
        context.remove_at_the_end(&path);
        context.api.delete(&path).await?;
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name, "labels": {"crossfade.dev/e2e": "true"}},
            "webhooks": [{
                "name": format!("{name}.example.com"),
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("https://{}/", server.address), "caBundle": server.bundle},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "timeoutSeconds": 5,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": context.namespace}},
                "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": [operation], "scope": "Namespaced"}],
            }],
        });
        context.api.create(CONFIGURATIONS, &configuration).await?;
        Ok(Self {
            state,
            path,
            _server: server,
        })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it changes from now on.
    pub(crate) fn set(&self, change: impl Fn(&Value) -> Option<Vec<Value>> + Send + 'static) {
        self.locked().change = Some(Box::new(change));
    }

    /// It leaves everything alone from now on.
    pub(crate) fn rest(&self) {
        self.locked().change = None;
    }

    /// Leaves requests about objects whose names begin so without an answer, for less than the five seconds it has.
    pub(crate) fn hold(&self, prefix: &str) {
        let state = self.locked();
        state.waited.send_replace(0);
        state.held.send_replace(Some(prefix.to_owned()));
    }

    /// Waits until a request waits.
    pub(crate) async fn until_held(&self, limit: Duration) -> anyhow::Result<()> {
        let mut waited = self.locked().waited.subscribe();
        timeout(limit, waited.wait_for(|count| *count > 0))
            .await
            .context("the webhook is not asked for what it is to hold up")??;
        Ok(())
    }

    pub(crate) fn let_go(&self) {
        self.locked().held.send_replace(None);
    }

    /// Who wrote what it changed, in order: `user name`.
    pub(crate) fn changed(&self) -> Vec<String> {
        self.locked().changed.clone()
    }

    pub(crate) async fn remove(&self, context: &Context) -> anyhow::Result<()> {
        context.api.delete(&self.path).await
    }
}

async fn until_free(asked: &Value, state: &Mutex<State>) {
    let name = asked
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let free =
        |held: &Option<String>| !held.as_ref().is_some_and(|prefix| name.starts_with(prefix));
    let mut held = {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let held = state.held.subscribe();
        if !free(&held.borrow()) {
            state.waited.send_modify(|count| *count += 1);
        }
        held
    };
    // Its end is that of the scenario: then nobody waits for the answer.
    let _ = held.wait_for(free).await;
}

async fn answer(review: &Value, state: &Mutex<State>) -> Value {
    let asked = review.get("request").cloned().unwrap_or_default();
    until_free(&asked, state).await;
    let mut response = json!({"uid": asked.get("uid"), "allowed": true});
    let patch = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let patch = state.change.as_ref().and_then(|change| change(&asked));
        if patch.is_some() {
            let (user, name) = (asked.pointer("/userInfo/username"), asked.get("name"));
            let text = |value: Option<&Value>| {
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            state.changed.push(format!("{} {}", text(user), text(name)));
        }
        patch
    };
    if let (Some(patch), Some(response)) = (patch, response.as_object_mut()) {
        response.insert("patchType".to_owned(), json!("JSONPatch"));
        response.insert(
            "patch".to_owned(),
            json!(STANDARD.encode(json!(patch).to_string())),
        );
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}
