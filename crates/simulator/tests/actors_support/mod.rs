//! A small cluster for the actors' tests: the API in memory, its actors, a user with kubectl. No
//! Crossfade, and nothing a test asserts.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect; each uses a part of this"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_fakeapi::{Caller, Change, FakeApi, GarbageDelays, Key, Options};
use crossfade_simulator::actors::{
    Client, Cluster, Delay, Manner, Name, NodeDelays, Patch, Refused, Running, Settings, Stop, path,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

pub const SPACE: &str = "shop";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

pub struct Lab {
    pub api: FakeApi,
    pub cluster: Cluster,
    pub running: Running,
    pub kubectl: Client,
    sizes: Arc<Mutex<Vec<(String, i64)>>>,
}

pub fn named(name: &str) -> Name {
    (SPACE.to_owned(), name.to_owned())
}

/// Pods that are ready soon and always after the same time.
pub fn quick() -> Manner {
    Manner {
        start: Delay::millis(1000, 1000),
        stop: Stop::AtOnce,
        ..Manner::default()
    }
}

impl Lab {
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, |_| {}).await
    }

    pub async fn with(seed: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let began = Instant::now();
        let clock: crossfade_fakeapi::Clock = Arc::new(move || {
            let passed = i64::try_from(began.elapsed().as_millis()).unwrap();
            Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_millis(passed)
        });
        let api = FakeApi::new(Options {
            clock: clock.clone(),
            seed,
            history: 1000,
        });
        let mut settings = Settings::new(seed, clock);
        settings.nodes = NodeDelays {
            schedule: Delay::millis(5, 20),
            kubelet: Delay::millis(10, 100),
            ..NodeDelays::default()
        };
        settings.proxy = Delay::millis(5, 200);
        change(&mut settings);
        let cluster = Cluster::new(&api, settings);
        cluster.manners.set_default(quick());
        let kubectl = cluster.client(Caller::new("jane", "kubectl/v1.34"), "jane");
        kubectl
            .create(
                "namespaces",
                "",
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}),
            )
            .await
            .unwrap();
        let sizes: Arc<Mutex<Vec<(String, i64)>>> = Arc::default();
        let seen = Arc::clone(&sizes);
        api.observe(Arc::new(move |change: &Change| {
            if change.key.resource != "replicasets" {
                return;
            }
            let size = |set: &Option<Arc<Value>>| {
                set.as_ref().map(|set| {
                    set.pointer("/spec/replicas")
                        .and_then(Value::as_i64)
                        .unwrap_or(1)
                })
            };
            if let Some(now) = size(&change.after)
                && size(&change.before) != Some(now)
            {
                seen.lock().unwrap().push((change.key.name.clone(), now));
            }
        }));
        let mut running = cluster.spawn();
        let garbage = api.clone();
        running.add(async move {
            garbage
                .run_garbage_collector(GarbageDelays::default())
                .await
        });
        Self {
            api,
            cluster,
            running,
            kubectl,
            sizes,
        }
    }

    /// Lets time pass; a failed actor fails the test.
    pub async fn pass(&mut self, time: Duration) {
        tokio::select! {
            biased;
            error = self.running.failed() => panic!("an actor failed: {error}"),
            () = tokio::time::sleep(time) => {}
        }
    }

    pub async fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds)).await;
    }

    /// Waits until it holds, for ten simulated minutes at most.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..60_000 {
            if holds(self) {
                return;
            }
            self.pass(Duration::from_millis(10)).await;
        }
        panic!("never happened: {what}\n{}", self.picture());
    }

    /// What there is, for a failure's text.
    pub fn picture(&self) -> String {
        let mut text = String::new();
        for kind in ["deployments", "replicasets"] {
            for object in self.api.list(kind, Some(SPACE)) {
                let get = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
                text += &format!(
                    "{kind} {} replicas={} paused={} annotations={} status={}\n",
                    get("/metadata/name"),
                    get("/spec/replicas"),
                    get("/spec/paused"),
                    get("/metadata/annotations"),
                    get("/status")
                );
            }
        }
        text
    }

    pub fn object(&self, resource: &str, name: &str) -> Value {
        let key = Key::new(resource, SPACE, name);
        self.api
            .get(&key)
            .map(|object| (*object).clone())
            .unwrap_or_else(|| panic!("no {resource} {name}"))
    }

    pub fn exists(&self, resource: &str, name: &str) -> bool {
        self.api.get(&Key::new(resource, SPACE, name)).is_some()
    }

    pub fn deployment(&self, name: &str) -> Value {
        self.object("deployments", name)
    }

    pub fn condition(&self, deployment: &str, kind: &str) -> (String, String) {
        let object = self.deployment(deployment);
        object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == kind)
            .map(|condition| {
                (
                    condition["status"].as_str().unwrap().to_owned(),
                    condition["reason"].as_str().unwrap().to_owned(),
                )
            })
            .unwrap_or_default()
    }

    /// ReplicaSets of a Deployment, by image, with their sizes.
    pub fn sets(&self, deployment: &str) -> BTreeMap<String, i64> {
        let uid = self.deployment(deployment)["metadata"]["uid"].clone();
        self.api
            .list("replicasets", Some(SPACE))
            .iter()
            .filter(|set| set["metadata"]["ownerReferences"][0]["uid"] == uid)
            .map(|set| {
                (
                    set["spec"]["template"]["spec"]["containers"][0]["image"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                    set["spec"]["replicas"].as_i64().unwrap(),
                )
            })
            .collect()
    }

    /// The only ReplicaSet of this Deployment and image.
    pub fn set(&self, deployment: &str, image: &str) -> Value {
        let uid = self.deployment(deployment)["metadata"]["uid"].clone();
        let found: Vec<Value> = self
            .api
            .list("replicasets", Some(SPACE))
            .iter()
            .filter(|set| set["metadata"]["ownerReferences"][0]["uid"] == uid)
            .filter(|set| set["spec"]["template"]["spec"]["containers"][0]["image"] == image)
            .map(|set| (**set).clone())
            .collect();
        assert_eq!(
            found.len(),
            1,
            "{image} of {deployment}\n{}",
            self.picture()
        );
        found.into_iter().next().unwrap()
    }

    /// uids of pods that are not on their way out, of one image.
    pub fn pods(&self, image: &str) -> Vec<String> {
        let mut uids: Vec<String> = self
            .api
            .list("pods", Some(SPACE))
            .iter()
            .filter(|pod| pod["spec"]["containers"][0]["image"] == image)
            .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
            .map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned())
            .collect();
        uids.sort();
        uids
    }

    /// Sizes written so far, in order, of the ReplicaSets of this name.
    pub fn history(&self, set: &str) -> Vec<i64> {
        self.sizes
            .lock()
            .unwrap()
            .iter()
            .filter(|(name, _)| name == set)
            .map(|(_, size)| *size)
            .collect()
    }

    pub fn forget_history(&self) {
        self.sizes.lock().unwrap().clear();
    }

    pub async fn deploy(&mut self, name: &str, replicas: i64, image: &str, more: Value) {
        let mut object = manifest(name, replicas, image);
        merge(&mut object["spec"], &more);
        self.kubectl
            .create("deployments", SPACE, object)
            .await
            .unwrap();
    }

    pub async fn until_complete(&mut self, name: &str) {
        self.until(&format!("{name} is complete"), |lab| lab.complete(name))
            .await;
    }

    pub fn complete(&self, name: &str) -> bool {
        let found = self.deployment(name);
        let wanted = found["spec"]["replicas"].as_i64().unwrap();
        let count = |field: &str| found["status"][field].as_i64().unwrap_or(0);
        count("observedGeneration") == found["metadata"]["generation"].as_i64().unwrap()
            && ["replicas", "updatedReplicas", "availableReplicas"]
                .iter()
                .all(|field| count(field) == wanted)
    }

    pub async fn patch(&self, resource: &str, name: &str, body: Value) -> Result<Value, Refused> {
        self.kubectl
            .patch(Patch::Merge, &path(resource, SPACE, name, ""), &[], body)
            .await
    }

    /// A new image and `paused: true` in one request, as the gate makes it.
    pub async fn gate(&self, name: &str, image: &str) {
        self.kubectl
            .patch(
                Patch::Json,
                &path("deployments", SPACE, name, ""),
                &[],
                json!([
                    {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image},
                    {"op": "add", "path": "/spec/paused", "value": true},
                ]),
            )
            .await
            .unwrap();
    }

    pub async fn image(&self, name: &str, image: &str) {
        self.kubectl
            .patch(
                Patch::Json,
                &path("deployments", SPACE, name, ""),
                &[],
                json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]),
            )
            .await
            .unwrap();
    }

    pub async fn pause(&self, name: &str, paused: bool) {
        let value = if paused { json!(true) } else { Value::Null };
        self.patch("deployments", name, json!({"spec": {"paused": value}}))
            .await
            .unwrap();
    }

    pub async fn scale(&self, name: &str, replicas: i64) {
        self.kubectl
            .patch(
                Patch::Merge,
                &path("deployments", SPACE, name, "scale"),
                &[],
                json!({"spec": {"replicas": replicas}}),
            )
            .await
            .unwrap();
    }

    pub async fn delete(&self, resource: &str, name: &str, propagation: &str) {
        self.kubectl
            .delete(
                resource,
                SPACE,
                name,
                json!({"propagationPolicy": propagation}),
            )
            .await
            .unwrap();
    }
}

pub fn manifest(name: &str, replicas: i64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": image, "ports": [{"containerPort": 8080}]}]},
            },
        },
    })
}

pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    for (key, value) in patch {
        if value.is_object() && target.get(key).is_some_and(Value::is_object) {
            merge(&mut target[key], value);
        } else {
            target[key] = value.clone();
        }
    }
}
