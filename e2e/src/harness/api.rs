//! The Kubernetes API as paths and raw JSON: what a scenario reads is what the server sent, fields unknown to any type included.

use std::path::Path;

use anyhow::Context;
use futures::io::{AsyncBufRead, BufReader};
use http::Request;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patch {
    Merge,
    Json,
    /// Server-side apply needs `?fieldManager=` in the path.
    Apply,
}

#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Api")
    }
}

/// The path of a collection in a namespace; resources that scenarios read or write.
pub(crate) fn collection(namespace: &str, resource: &str) -> String {
    let group = match resource {
        "deployments" | "replicasets" | "controllerrevisions" => "apis/apps/v1",
        "rollouts" | "rolloutpolicies" | "analysistemplates" => "apis/crossfade.dev/v1alpha1",
        "endpointslices" => "apis/discovery.k8s.io/v1",
        "leases" => "apis/coordination.k8s.io/v1",
        "events" => "apis/events.k8s.io/v1",
        "poddisruptionbudgets" => "apis/policy/v1",
        "horizontalpodautoscalers" => "apis/autoscaling/v2",
        "httproutes" | "grpcroutes" | "gateways" => "apis/gateway.networking.k8s.io/v1",
        "ingresses" => "apis/networking.k8s.io/v1",
        "rolebindings" | "roles" => "apis/rbac.authorization.k8s.io/v1",
        _ => "api/v1",
    };
    format!("/{group}/namespaces/{namespace}/{resource}")
}

pub(crate) fn object(namespace: &str, resource: &str, name: &str) -> String {
    format!("{}/{name}", collection(namespace, resource))
}

impl Api {
    pub(crate) async fn connect(kubeconfig: &Path) -> anyhow::Result<Self> {
        let read = Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("cannot read {}", kubeconfig.display()))?;
        let mut config =
            kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        // A hidden retry could hide what a scenario looks for.
        config.default_retry = false;
        Ok(Self {
            client: Client::try_from(config)?,
        })
    }

    /// `None` for what does not exist.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        match self
            .client
            .request::<Value>(Request::get(path).body(Vec::new())?)
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(problem) if code(&problem) == Some(404) => Ok(None),
            Err(problem) => Err(problem).with_context(|| format!("GET {path}")),
        }
    }

    pub(crate) async fn must_get(&self, path: &str) -> anyhow::Result<Value> {
        self.get(path)
            .await?
            .with_context(|| format!("{path} does not exist"))
    }

    /// The items of a collection, and the resourceVersion of the list.
    pub(crate) async fn list(&self, path: &str) -> anyhow::Result<(Vec<Value>, String)> {
        let mut list = self.must_get(path).await?;
        let version = text(&list, "/metadata/resourceVersion").to_owned();
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok((items, version)),
            _ => anyhow::bail!("{path} is no list"),
        }
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(object)?)?;
        self.client
            .request(request)
            .await
            .with_context(|| format!("POST {path}"))
    }

    pub(crate) async fn patch(
        &self,
        path: &str,
        kind: Patch,
        patch: &Value,
    ) -> anyhow::Result<Value> {
        let content_type = match kind {
            Patch::Merge => "application/merge-patch+json",
            Patch::Json => "application/json-patch+json",
            Patch::Apply => "application/apply-patch+yaml",
        };
        let request = Request::patch(path)
            .header("content-type", content_type)
            .body(serde_json::to_vec(patch)?)?;
        self.client
            .request(request)
            .await
            .with_context(|| format!("PATCH {path}"))
    }

    /// What does not exist is deleted.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        match self
            .client
            .request::<Value>(Request::delete(path).body(Vec::new())?)
            .await
        {
            Ok(_) => Ok(()),
            Err(problem) if code(&problem) == Some(404) => Ok(()),
            Err(problem) => Err(problem).with_context(|| format!("DELETE {path}")),
        }
    }

    /// The lines of a watch.
    pub(crate) async fn stream(&self, path: &str) -> anyhow::Result<impl AsyncBufRead + use<>> {
        let stream = self
            .client
            .request_stream(Request::get(path).body(Vec::new())?)
            .await
            .with_context(|| format!("watching {path}"))?;
        Ok(BufReader::new(stream))
    }
}

fn code(problem: &kube::Error) -> Option<u16> {
    match problem {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// The HTTP status a call was refused with, if the server answered at all.
pub(crate) fn refused_with(problem: &anyhow::Error) -> Option<u16> {
    problem
        .chain()
        .find_map(|cause| cause.downcast_ref::<kube::Error>())
        .and_then(code)
}

/// The text at a JSON pointer, empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The number at a JSON pointer, 0 if there is none: as the API omits zeros.
pub(crate) fn number(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// The status of a condition (`True`, `False`, `Unknown`), empty if it is not there.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    conditions
        .and_then(|all| all.iter().find(|one| text(one, "/type") == kind))
        .map_or("", |one| text(one, "/status"))
}
