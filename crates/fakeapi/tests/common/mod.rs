//! What the tests of the fake API share: a server, requests as one line, and objects of known kinds.
//! No tests.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong; each uses a part"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crossfade_fakeapi::{Call, Caller, FakeApi, Options, Reply};
use http::Method;
use serde_json::{Value, json};

pub const MERGE: &str = "application/merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
pub const REPLICASETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
pub const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const SERVICES: &str = "/api/v1/namespaces/default/services";
pub const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

/// A server and somebody who calls it.
pub struct World {
    pub api: FakeApi,
    pub caller: Caller,
    /// Seconds since the beginning.
    pub seconds: Arc<AtomicI64>,
}

pub fn options(seconds: &Arc<AtomicI64>, history: usize) -> Options {
    let seconds = Arc::clone(seconds);
    Options {
        clock: Arc::new(move || {
            jiff::Timestamp::from_second(1_700_000_000 + seconds.load(Ordering::Relaxed)).unwrap()
        }),
        seed: 7,
        history,
    }
}

impl World {
    pub fn new() -> Self {
        Self::with_history(1000)
    }

    pub fn with_history(history: usize) -> Self {
        let seconds = Arc::new(AtomicI64::new(0));
        Self {
            api: FakeApi::new(options(&seconds, history)),
            caller: Caller::new("admin", "kubectl/v1.34"),
            seconds,
        }
    }

    /// Lets the server's clock go on.
    pub fn later(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    pub async fn call(&self, call: Call) -> Reply {
        self.api.call(&self.caller, call).await
    }

    pub async fn get(&self, path: impl Into<String>) -> Reply {
        self.call(Call::get(path)).await
    }

    pub async fn post(&self, path: impl Into<String>, body: Value) -> Reply {
        self.call(Call::json(Method::POST, path, body)).await
    }

    pub async fn put(&self, path: impl Into<String>, body: Value) -> Reply {
        self.call(Call::json(Method::PUT, path, body)).await
    }

    pub async fn merge(&self, path: impl Into<String>, body: Value) -> Reply {
        self.call(Call::patch(path, MERGE, body)).await
    }

    pub async fn patch(&self, path: impl Into<String>, body: Value) -> Reply {
        self.call(Call::patch(path, JSON_PATCH, body)).await
    }

    /// Server-side apply; `parameters` go behind `fieldManager=<manager>`.
    pub async fn apply(&self, path: &str, manager: &str, more: &str, body: Value) -> Reply {
        self.call(Call::patch(
            format!("{path}?fieldManager={manager}{more}"),
            APPLY,
            body,
        ))
        .await
    }

    pub async fn delete(&self, path: impl Into<String>, options: Value) -> Reply {
        self.call(Call::json(Method::DELETE, path, options)).await
    }

    /// A creation that must work.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        let reply = self.post(path, body).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.body
    }
}

/// A valid Deployment.
pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "example.com/web:1" }] },
            },
        },
    })
}

pub fn configmap(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

/// A pod on a node.
pub fn pod(name: &str, node: Option<&str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "main", "image": "example.com/web:1" }] },
    });
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}

pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
        "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    })
}

/// A custom kind with a status, a scale, a set, a list with keys and an atomic map.
pub fn widget_definition() -> Value {
    let string = json!({ "type": "string" });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {},
                    "scale": { "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.selector" },
                },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "properties": {
                        "replicas": { "type": "integer" },
                        "color": string, "size": string,
                        "tags": { "type": "array", "items": string, "x-kubernetes-list-type": "set" },
                        "parts": {
                            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                            "items": { "type": "object", "required": ["name"],
                                "properties": { "name": string, "weight": { "type": "integer" } } },
                        },
                        "selector": { "type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": string },
                    } },
                    "status": { "type": "object", "properties": {
                        "replicas": { "type": "integer" }, "selector": string, "phase": string,
                    } },
                } } },
            }],
        },
    })
}

pub fn widget(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": name }, "spec": spec })
}

impl World {
    pub async fn define_widgets(&self) {
        self.create(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            widget_definition(),
        )
        .await;
    }
}

/// The entry of a manager in managedFields, for an endpoint.
pub fn owned(object: &Value, manager: &str, operation: &str, subresource: &str) -> Option<Value> {
    object["metadata"]["managedFields"]
        .as_array()?
        .iter()
        .find(|entry| {
            entry["manager"] == manager
                && entry["operation"] == operation
                && entry
                    .get("subresource")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    == subresource
        })
        .map(|entry| entry["fieldsV1"].clone())
}

/// `metadata.resourceVersion`.
pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned()
}
