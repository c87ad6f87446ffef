//! What the tests of webhooks share: a server of webhooks that keeps what it was asked, its answers,
//! and configurations. No tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong; each uses a part"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossfade_fakeapi::{WebhookCaller, WebhookTarget};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::common::World;

pub const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
pub const VALIDATING: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

pub type Answer = Arc<dyn Fn(&WebhookTarget, &Value) -> Result<Value, String> + Send + Sync>;

/// Answers by a function and keeps what it was asked.
pub struct Server {
    answer: Answer,
    delay: Duration,
    asked: Mutex<Vec<(String, Value)>>,
}

impl WebhookCaller for Server {
    fn call(
        &self,
        webhook: WebhookTarget,
        review: Value,
        _timeout: Duration,
    ) -> BoxFuture<'static, Result<Value, String>> {
        let request = review["request"].clone();
        self.asked
            .lock()
            .unwrap()
            .push((webhook.name.clone(), request.clone()));
        let (answer, delay) = (Arc::clone(&self.answer), self.delay);
        async move {
            tokio::time::sleep(delay).await;
            answer(&webhook, &request)
        }
        .boxed()
    }
}

impl Server {
    pub fn names(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(name, _)| name.clone()).collect()
    }

    pub fn last(&self) -> Value {
        self.asked.lock().unwrap().last().unwrap().1.clone()
    }

    pub fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

pub fn response(request: &Value, fields: Value) -> Value {
    let mut response = json!({ "uid": request["uid"], "allowed": true });
    for (key, value) in fields.as_object().unwrap() {
        response[key] = value.clone();
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}

pub fn patch(request: &Value, patch: Value) -> Value {
    let patch = STANDARD.encode(patch.to_string());
    response(request, json!({ "patchType": "JSONPatch", "patch": patch }))
}

pub fn set_label(request: &Value, name: &str, value: &str) -> Value {
    patch(
        request,
        json!([{ "op": "add", "path": format!("/metadata/labels/{name}"), "value": value }]),
    )
}

/// A webhook for Deployments; `more` replaces fields.
pub fn webhook(name: &str, more: Value) -> Value {
    let mut webhook = json!({
        "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": { "service": { "namespace": "ops", "name": "hooks", "path": "/admit" } },
        "rules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
            "operations": ["CREATE", "UPDATE", "DELETE"] }],
    });
    for (key, value) in more.as_object().unwrap() {
        webhook[key] = value.clone();
    }
    webhook
}

pub fn configuration(kind: &str, name: &str, webhooks: &[Value]) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": { "name": name }, "webhooks": webhooks,
    })
}

pub async fn world(
    answer: impl Fn(&WebhookTarget, &Value) -> Result<Value, String> + Send + Sync + 'static,
) -> (World, Arc<Server>) {
    slow_world(Duration::ZERO, answer).await
}

pub async fn slow_world(
    delay: Duration,
    answer: impl Fn(&WebhookTarget, &Value) -> Result<Value, String> + Send + Sync + 'static,
) -> (World, Arc<Server>) {
    let world = World::new();
    let server = Arc::new(Server {
        answer: Arc::new(answer),
        delay,
        asked: Mutex::default(),
    });
    world
        .api
        .set_webhooks(Arc::clone(&server) as Arc<dyn WebhookCaller>);
    (world, server)
}

pub async fn mutating(world: &World, name: &str, webhooks: &[Value]) {
    let body = configuration("MutatingWebhookConfiguration", name, webhooks);
    world.create(MUTATING, body).await;
}

pub async fn validating(world: &World, name: &str, webhooks: &[Value]) {
    let body = configuration("ValidatingWebhookConfiguration", name, webhooks);
    world.create(VALIDATING, body).await;
}
