//! The EndpointSlice controller: which pods stand behind each Service, some time after either changed.
//! After `pkg/controller/endpointslice` of Kubernetes 1.34. Services without a selector are left
//! alone. Who sends requests there is not known here.

use crossfade_fakeapi::At;
use std::collections::BTreeSet;
use std::sync::Arc;

use crossfade_fakeapi::FakeApi;
use fastrand::Rng;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::client::{Client, Refused};
use super::delay::Delay;
use super::informer::{Event, Informer, Name};
use super::object::{
    controller_reference, deleting, fits_map, flag, labels, list, name, namespace, pod_finished,
    pod_ready, text, uid,
};
use super::queue::WorkQueue;

/// Endpoints in a slice at most, as shipped.
const SLICE: usize = 100;
/// Label that names the Service of a slice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The controller of all slices.
pub struct EndpointSliceController {
    api: FakeApi,
    client: Client,
    informer: Informer,
    random: Rng,
    delay: Delay,
    queue: WorkQueue<Name>,
    /// Services that wait for their delay: what changes meanwhile is written with it.
    coming: BTreeSet<Name>,
}

impl std::fmt::Debug for EndpointSliceController {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EndpointSliceController")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// The kinds it looks at.
pub const SEES: [&str; 2] = ["services", "pods"];

impl EndpointSliceController {
    /// `informer` follows [`SEES`]; `delay` is between a change and the write that follows from
    /// it.
    #[must_use]
    pub fn new(
        api: &FakeApi,
        client: Client,
        informer: Informer,
        random: Rng,
        delay: Delay,
    ) -> Self {
        Self {
            api: api.clone(),
            client,
            informer,
            random,
            delay,
            queue: WorkQueue::default(),
            coming: BTreeSet::new(),
        }
    }

    /// Works until dropped.
    pub async fn run(mut self) {
        for event in self.informer.initial() {
            self.note(&event);
        }
        loop {
            for event in self.informer.take() {
                self.note(&event);
            }
            let Some(key) = self.queue.pop(Instant::now()) else {
                self.informer.wait(self.queue.next_at()).await;
                continue;
            };
            self.coming.remove(&key);
            match self.sync(&key).await {
                Ok(()) => self.queue.forget(&key),
                Err(_) => self.queue.retry(key, Instant::now()),
            }
        }
    }

    fn note(&mut self, event: &Event) {
        if event.resource == "services" {
            // Whether it answers for pods at all is asked when it is synced.
            self.soon(event.name.clone());
            return;
        }
        if let (Some(before), Some(after)) = (&event.before, &event.after)
            && essence(before) == essence(after)
        {
            return;
        }
        let pods = [event.before.as_ref(), event.after.as_ref()];
        let touched: Vec<Name> = self
            .informer
            .list("services", &event.name.0)
            .filter(|service| {
                let selector = service.at("/spec/selector").and_then(Value::as_object);
                pods.iter()
                    .flatten()
                    .any(|pod| fits_map(selector, labels(pod)))
            })
            .map(|service| (namespace(service).to_owned(), name(service).to_owned()))
            .collect();
        touched.into_iter().for_each(|key| self.soon(key));
    }

    fn soon(&mut self, key: Name) {
        if self.coming.insert(key.clone()) {
            let at = Instant::now() + self.delay.draw(&mut self.random);
            self.queue.add_at(key, at);
        }
    }

    async fn sync(&self, key: &Name) -> Result<(), Refused> {
        let Some(service) = self.informer.get("services", key) else {
            // The garbage collector takes its slices.
            return Ok(());
        };
        let selector = service.at("/spec/selector").and_then(Value::as_object);
        if selector.is_none_or(Map::is_empty) || deleting(service) {
            return Ok(());
        }
        let pods: Vec<&Arc<Value>> = self
            .informer
            .list("pods", &key.0)
            .filter(|pod| fits_map(selector, labels(pod)))
            .filter(|pod| !pod_finished(pod) && !text(pod, "/status/podIP").is_empty())
            .collect();
        let everybody = flag(service, "/spec/publishNotReadyAddresses");
        let endpoints: Vec<Value> = pods.iter().map(|pod| endpoint(pod, everybody)).collect();
        let ports = ports(service, pods.first().map(|pod| &***pod));
        // Its own slices are read as they are: the real one tracks what it has written.
        let known: Vec<Arc<Value>> = self
            .api
            .list("endpointslices", Some(&key.0))
            .into_iter()
            .filter(|slice| {
                let label = |name| labels(slice).and_then(|labels| labels.get(name)?.as_str());
                label(SERVICE_NAME) == Some(&key.1)
                    && label(MANAGED_BY) == Some(MANAGER)
                    && !deleting(slice)
            })
            .collect();
        let mut chunks: Vec<&[Value]> = endpoints.chunks(SLICE).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for (index, chunk) in chunks.iter().enumerate() {
            self.write(service, known.get(index), chunk, &ports).await?;
        }
        for slice in known.iter().skip(chunks.len()) {
            self.client
                .delete("endpointslices", &key.0, name(slice), json!({}))
                .await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        service: &Value,
        known: Option<&Arc<Value>>,
        endpoints: &[Value],
        ports: &Value,
    ) -> Result<(), Refused> {
        if let Some(known) = known {
            if list(known, "/endpoints") == endpoints
                && known.get("ports").unwrap_or(&json!([])) == ports
            {
                return Ok(());
            }
            let mut copy = (**known).clone();
            copy["endpoints"] = endpoints.into();
            copy["ports"] = ports.clone();
            return self
                .client
                .replace("endpointslices", "", copy)
                .await
                .map(|_| ());
        }
        let mut own = json!({MANAGED_BY: MANAGER, SERVICE_NAME: name(service)});
        if text(service, "/spec/clusterIP") == "None" {
            own[HEADLESS] = "".into();
        }
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", name(service)),
                "namespace": namespace(service),
                "labels": own,
                "ownerReferences": [controller_reference(service, "v1", "Service")],
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports,
        });
        self.client
            .create("endpointslices", namespace(service), slice)
            .await
            .map(|_| ())
    }
}

/// What of a pod an endpoint is made from.
fn essence(pod: &Value) -> (bool, bool, bool, &str, Option<&Map<String, Value>>, &str) {
    (
        pod_ready(pod),
        deleting(pod),
        pod_finished(pod),
        text(pod, "/status/podIP"),
        labels(pod),
        uid(pod),
    )
}

fn endpoint(pod: &Value, everybody: bool) -> Value {
    let (serving, terminating) = (everybody || pod_ready(pod), deleting(pod));
    json!({
        "addresses": [text(pod, "/status/podIP")],
        "conditions": {
            // Publishing not ready addresses makes terminating ones ready too.
            "ready": everybody || (serving && !terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "nodeName": text(pod, "/spec/nodeName"),
        "targetRef": {"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)},
    })
}

fn ports(service: &Value, pod: Option<&Value>) -> Value {
    list(service, "/spec/ports")
        .iter()
        .filter_map(|port| {
            let number = match port.get("targetPort") {
                Some(Value::String(wanted)) => named_port(pod?, wanted)?.into(),
                Some(number) if !number.is_null() => number.clone(),
                _ => port.get("port")?.clone(),
            };
            let protocol = port
                .get("protocol")
                .cloned()
                .unwrap_or_else(|| "TCP".into());
            Some(json!({"name": text(port, "/name"), "port": number, "protocol": protocol}))
        })
        .collect()
}

fn named_port(pod: &Value, wanted: &str) -> Option<i64> {
    list(pod, "/spec/containers")
        .iter()
        .flat_map(|container| list(container, "/ports"))
        .find(|port| text(port, "/name") == wanted)?
        .get("containerPort")?
        .as_i64()
}
