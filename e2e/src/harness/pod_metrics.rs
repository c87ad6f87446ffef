//! The `metrics.k8s.io` API service, within this process: what the HorizontalPodAutoscaler's controller reads. A scenario says how much CPU
//! the load takes; how it lies on the pods follows from which of them are ready. What is made of that belongs to the scenarios.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use futures::FutureExt as _;
use http::StatusCode;
use serde_json::{Value, json};

use super::api::{Api, collection, condition, text};
use super::context::{Context, READY};
use super::https::Https;
use super::watch::Watch;

const GROUP: &str = "/apis/metrics.k8s.io/v1beta1";
const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const NAME: &str = "v1beta1.metrics.k8s.io";
/// Its Service, in the scenario's namespace.
const SERVICE: &str = "e2e-metrics";

/// For one scenario at a time: the cluster has one such API. It goes when the scenario ends.
#[derive(Debug)]
pub(crate) struct PodMetrics {
    total: Arc<AtomicU64>,
    /// Held, because it ends with us.
    _server: Https,
}

impl PodMetrics {
    /// Serves, and waits until the API server hands requests on.
    pub(crate) async fn start(context: &Context) -> anyhow::Result<Self> {
        anyhow::ensure!(
            context.surroundings.cluster.is_some(),
            "this cluster is not ours: it may have figures of its own"
        );
        let total = Arc::new(AtomicU64::new(0));
        let (api, read) = (context.api.clone(), Arc::clone(&total));
        let host = format!("{SERVICE}.{}.svc", context.namespace);
        let server = Https::start(
            context.surroundings.node_address,
            &[host],
            move |path, _| {
                let (api, total) = (api.clone(), read.load(Ordering::Relaxed));
                async move {
                    match answer(&api, &path, total).await {
                        Ok(Some(said)) => (StatusCode::OK, said),
                        Ok(None) => (StatusCode::NOT_FOUND, json!({})),
                        Err(problem) => (
                            StatusCode::INTERNAL_SERVER_ERROR,
                            json!(problem.to_string()),
                        ),
                    }
                }
                .boxed()
            },
        )
        .await?;
        let own = format!("{SERVICES}/{NAME}");
        context.remove_at_the_end(&own);
        context.api.delete(&own).await?;
        register(context, &server).await?;
        let query = format!("{SERVICES}?fieldSelector=metadata.name={NAME}");
        Watch::start(&context.api, &query)
            .await?
            .until_object(NAME, "the API server reaches it", READY, |service| {
                (condition(service, "Available") == "True").then_some(())
            })
            .await?;
        Ok(Self {
            total,
            _server: server,
        })
    }

    /// Thousandths of a core that all pods of a workload take together from now on.
    pub(crate) fn set(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }
}

/// A Service without a selector, and behind it the address of our server.
async fn register(context: &Context, server: &Https) -> anyhow::Result<()> {
    let (namespace, api) = (&context.namespace, &context.api);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE},
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": server.address.port()}]},
    });
    api.create(&collection(namespace, "services"), &service)
        .await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": SERVICE,
            "labels": {"kubernetes.io/service-name": SERVICE, "endpointslice.kubernetes.io/managed-by": "crossfade-e2e"},
        },
        "endpoints": [{"addresses": [server.address.ip()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": server.address.port(), "protocol": "TCP"}],
    });
    api.create(&collection(namespace, "endpointslices"), &slice)
        .await?;
    let registration = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": NAME, "labels": {"crossfade.dev/e2e": "true"}},
        "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"namespace": namespace, "name": SERVICE, "port": 443}, "caBundle": server.bundle,
        },
    });
    api.create(SERVICES, &registration).await?;
    Ok(())
}

/// `None` for what is not served.
async fn answer(api: &Api, path: &str, total: u64) -> anyhow::Result<Option<Value>> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if path == GROUP {
        return Ok(Some(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
            "resources": [{"name": "pods", "singularName": "pod", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]}],
        })));
    }
    let Some(namespace) = path
        .strip_prefix(GROUP)
        .and_then(|rest| rest.strip_prefix("/namespaces/"))
        .and_then(|rest| rest.strip_suffix("/pods"))
    else {
        return Ok(None);
    };
    let (pods, version) = api
        .list(&format!("{}?{query}", collection(namespace, "pods")))
        .await
        .context("the pods to speak about")?;
    Ok(Some(json!({
        "kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {"resourceVersion": version},
        "items": figures(&pods, total),
    })))
}

/// The load lies evenly on the ready pods. Rounded down: one pod too many would be asked for by a thousandth that nobody takes.
fn figures(pods: &[Value], total: u64) -> Vec<Value> {
    let runs = |pod: &&Value| {
        text(pod, "/status/phase") == "Running"
            && pod.pointer("/metadata/deletionTimestamp").is_none()
    };
    let ready = |pod: &Value| condition(pod, "Ready") == "True";
    let serving = pods
        .iter()
        .filter(|pod| runs(pod) && ready(pod))
        .count()
        .max(1);
    let each = total / serving as u64;
    let now = jiff::Timestamp::now();
    pods.iter()
        .filter(runs)
        .map(|pod| {
            let takes = if ready(pod) { each } else { 0 };
            json!({
                "metadata": {"name": text(pod, "/metadata/name"), "namespace": text(pod, "/metadata/namespace"), "labels": pod.pointer("/metadata/labels")},
                // Of this very moment: a window that reaches back before the pod was ready is not counted.
                "timestamp": now.to_string(), "window": "0s",
                "containers": [{"name": "app", "usage": {"cpu": format!("{takes}m"), "memory": "16Mi"}}],
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn the_load_lies_on_the_ready_pods() {
        let pods = [
            pod("a", "True"),
            pod("b", "False"),
            pod("c", "True"),
            pod("d", "True"),
        ];
        let found: Vec<Value> = figures(&pods, 800)
            .iter()
            .filter_map(|one| one.pointer("/containers/0/usage/cpu").cloned())
            .collect();
        assert_eq!(found, ["266m", "0m", "266m", "266m"]);
    }
}
