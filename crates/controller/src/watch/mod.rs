//! The watches that are always open: Deployments (metadata of those opted in), Rollouts, policies.
//! Those of a release under way are in [`release`]. What an event means for whom is said here; what
//! is done about it is the pass's.

pub mod keep;
pub mod prune;
pub mod raw;
pub mod release;
pub mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crossfade_api::Phase;
use kube::Api;
use kube::runtime::watcher;
use serde_json::Value;
use tokio::task::JoinSet;

use keep::Kept;
pub use keep::{WatchHealth, WatchState};
use raw::{Raw, kind};
use store::{Place, Store};

use crate::lock;
use crate::observe::read::deleting;
use crate::ports::Ports;
use crate::queue::{Key, Queue};

/// What of a Rollout or Deployment calls for a pass when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    uid: String,
    generation: i64,
    annotations: Value,
    deleting: bool,
    /// Of a Rollout: which installation its status names, if there is a status at all. One removed by
    /// somebody is made anew, and a release may be given to another installation.
    holder: Option<String>,
    /// Of a Rollout: the Deployment it names, if that is not the one of its own name.
    deployment: Option<String>,
}

/// The stores of the watches that are always open.
#[derive(Debug, Default)]
pub struct Always {
    /// Deployments opted in: metadata only.
    pub workloads: Arc<Store>,
    pub rollouts: Arc<Store>,
    pub policies: Arc<Store>,
    pub cluster_policies: Arc<Store>,
    seen_workloads: Mutex<BTreeMap<Place, Seen>>,
    seen_rollouts: Mutex<BTreeMap<Place, Seen>>,
}

fn seen(object: &Value) -> Seen {
    let meta = object.get("metadata").unwrap_or(&Value::Null);
    Seen {
        uid: meta
            .get("uid")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        generation: meta
            .get("generation")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
        annotations: meta.get("annotations").cloned().unwrap_or_default(),
        deleting: meta.get("deletionTimestamp").is_some(),
        holder: object.get("status").map(|status| {
            let named = status.get("controller").and_then(Value::as_str);
            named.unwrap_or_default().to_owned()
        }),
        deployment: (object.pointer("/spec/deployment").and_then(Value::as_str))
            .filter(|named| meta.get("name").and_then(Value::as_str) != Some(named))
            .map(str::to_owned),
    }
}

/// Records what is seen of an object; true if it differs from what was seen before.
fn moved(known: &Mutex<BTreeMap<Place, Seen>>, at: &Place, object: Option<&Value>) -> bool {
    let mut known = lock(known);
    match object.map(seen) {
        Some(now) => known
            .insert(at.clone(), now.clone())
            .is_none_or(|before| before != now),
        None => known.remove(at).is_some(),
    }
}

/// The Deployment a Rollout is about.
#[must_use]
pub fn deployment_of(rollout: &Value) -> &str {
    let text = |pointer| rollout.pointer(pointer).and_then(Value::as_str);
    text("/spec/deployment")
        .or_else(|| text("/metadata/name"))
        .unwrap_or_default()
}

/// The phase a Rollout's status shows.
#[must_use]
pub fn phase_of(rollout: &Value) -> Phase {
    rollout
        .pointer("/status/phase")
        .and_then(|phase| serde_json::from_value(phase.clone()).ok())
        .unwrap_or_default()
}

impl Always {
    /// The keys an event on a Deployment is about: the Rollouts that name it, else one of its name.
    #[must_use]
    pub fn keys_of_workload(&self, namespace: &str, name: &str) -> Vec<Key> {
        let keys: Vec<Key> = self
            .rollouts
            .within(namespace)
            .iter()
            .filter(|rollout| deployment_of(rollout) == name)
            .map(|rollout| Key::new(namespace, &store::place(rollout).1))
            .collect();
        if keys.is_empty() {
            vec![Key::new(namespace, name)]
        } else {
            keys
        }
    }

    /// Every key there is: at a start or a take-over each gets one pass.
    #[must_use]
    pub fn all_keys(&self) -> Vec<Key> {
        let mut keys: std::collections::BTreeSet<Key> = self
            .rollouts
            .all()
            .iter()
            .map(|rollout| {
                let (namespace, name) = store::place(rollout);
                Key { namespace, name }
            })
            .collect();
        let covered: std::collections::BTreeSet<Place> = self
            .rollouts
            .all()
            .iter()
            .map(|rollout| (store::place(rollout).0, deployment_of(rollout).to_owned()))
            .collect();
        for workload in self.workloads.all() {
            let at = store::place(&workload);
            if !covered.contains(&at) {
                keys.insert(Key {
                    namespace: at.0,
                    name: at.1,
                });
            }
        }
        keys.into_iter().collect()
    }

    /// Whether all first lists that say something of this namespace are complete.
    #[must_use]
    pub fn synced_in(&self, namespace: &str) -> bool {
        [
            &self.workloads,
            &self.rollouts,
            &self.policies,
            &self.cluster_policies,
        ]
        .iter()
        .all(|store| store.synced_in(namespace))
    }

    /// A command to abort that nobody has handled.
    pub(crate) fn unhandled_abort(rollout: &Value) -> bool {
        let text = |pointer: &str| rollout.pointer(pointer).and_then(Value::as_str);
        if text("/spec/control/action") != Some("abort") {
            return false;
        }
        match text("/spec/control/id") {
            Some(id) => text("/status/control/id") != Some(id),
            None => {
                rollout
                    .pointer("/status/control/generation")
                    .and_then(Value::as_i64)
                    .unwrap_or_default()
                    < seen(rollout).generation
            }
        }
    }

    fn rollout_event(&self, queue: &Queue, at: &Place) {
        let object = self.rollouts.get(&at.0, &at.1);
        let named = lock(&self.seen_rollouts)
            .get(at)
            .and_then(|seen| seen.deployment.clone());
        if moved(&self.seen_rollouts, at, object.as_deref()) {
            let key = Key::new(&at.0, &at.1);
            if object.as_deref().is_some_and(Self::unhandled_abort) {
                queue.urgent(&key)
            } else {
                queue.wake_now(&key)
            }
            // One that is gone or going may have stood in the way of another for the same Deployment.
            if object.as_deref().is_none_or(deleting) {
                for other in self.keys_of_workload(&at.0, named.as_ref().unwrap_or(&at.1)) {
                    queue.wake_now(&other);
                }
            }
        }
    }

    fn workload_event(&self, queue: &Queue, at: &Place) {
        let object = self.workloads.get(&at.0, &at.1);
        if moved(&self.seen_workloads, at, object.as_deref()) {
            for key in self.keys_of_workload(&at.0, &at.1) {
                queue.wake_now(&key);
            }
        }
    }

    /// A policy changed: whoever has no release under way looks at his plan again.
    fn policy_event(&self, queue: &Queue, namespace: Option<&str>) {
        for rollout in self.rollouts.all() {
            let (of, name) = store::place(&rollout);
            if namespace.is_none_or(|namespace| namespace == of) {
                queue.wake_now(&Key::new(&of, &name));
            }
        }
    }

    /// Opens the watches: cluster-wide, or one per namespace where namespaces are named.
    pub fn open(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        ports: &Ports,
        namespaces: Option<&[String]>,
        queue: &Arc<Queue>,
        health: &Arc<WatchHealth>,
    ) {
        let scopes: Vec<Option<String>> = match namespaces {
            Some(list) => list.iter().cloned().map(Some).collect(),
            None => vec![None],
        };
        for scope in &scopes {
            let at = scope
                .as_deref()
                .map(|namespace| format!(" in {namespace}"))
                .unwrap_or_default();
            let (always, events) = (Arc::clone(self), Arc::clone(queue));
            spawn::<true>(
                tasks,
                ports,
                health,
                Spec {
                    name: format!("Deployments{at}"),
                    kind: kind("apps", "v1", "Deployment", "deployments"),
                    namespace: scope.clone(),
                    store: Arc::clone(&self.workloads),
                    prune: prune::opted_in,
                    changed: Box::new(move |at| always.workload_event(&events, at)),
                },
            );
            let (always, events) = (Arc::clone(self), Arc::clone(queue));
            let mut own = Spec::of_ours("Rollout", "rollouts", &self.rollouts, move |at| {
                always.rollout_event(&events, at);
            });
            own.namespace.clone_from(scope);
            own.name.push_str(&at);
            spawn::<false>(tasks, ports, health, own);
            let (always, events) = (Arc::clone(self), Arc::clone(queue));
            let (one, all) = ("RolloutPolicy", "rolloutpolicies");
            let mut policies = Spec::of_ours(one, all, &self.policies, move |at| {
                always.policy_event(&events, Some(&at.0));
            });
            policies.namespace.clone_from(scope);
            policies.name.push_str(&at);
            spawn::<false>(tasks, ports, health, policies);
        }
        let (always, events) = (Arc::clone(self), Arc::clone(queue));
        let (one, all) = ("ClusterRolloutPolicy", "clusterrolloutpolicies");
        let policies = Spec::of_ours(one, all, &self.cluster_policies, move |_| {
            always.policy_event(&events, None);
        });
        spawn::<false>(tasks, ports, health, policies);
    }
}

impl Spec {
    /// Of a kind of ours, whole, in all namespaces.
    fn of_ours(
        one: &str,
        all: &str,
        store: &Arc<Store>,
        changed: impl Fn(&Place) + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: all.to_owned(),
            kind: kind("crossfade.dev", "v1alpha1", one, all),
            namespace: None,
            store: Arc::clone(store),
            prune: prune::without_managed_fields,
            changed: Box::new(changed),
        }
    }
}

struct Spec {
    name: String,
    kind: kube::core::ApiResource,
    namespace: Option<String>,
    store: Arc<Store>,
    prune: fn(Value) -> Option<Value>,
    changed: Box<dyn Fn(&Place) + Send + Sync>,
}

fn spawn<const META: bool>(
    tasks: &mut JoinSet<()>,
    ports: &Ports,
    health: &Arc<WatchHealth>,
    spec: Spec,
) {
    let api: Api<Raw<META>> = match &spec.namespace {
        Some(namespace) => Api::namespaced_with(ports.client.clone(), namespace, &spec.kind),
        None => Api::all_with(ports.client.clone(), &spec.kind),
    };
    let scope = spec.namespace.unwrap_or_default();
    health.expect(&spec.name, &scope);
    spec.store.expect(&scope);
    let kept = Kept::<META> {
        name: spec.name,
        api,
        config: watcher::Config::default(),
        store: spec.store,
        scope,
        prune: spec.prune,
        changed: spec.changed,
        listed: Box::new(|| {}),
        health: Arc::clone(health),
        clock: Arc::clone(&ports.clock),
    };
    tasks.spawn(kept.run());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(name: &str, version: u32) -> Value {
        json!({
            "metadata": {
                "namespace": "shop", "name": name, "uid": name, "resourceVersion": version.to_string(),
                "generation": 1,
            },
            "spec": { "deployment": "web" },
        })
    }

    /// Whatever its name was: the other one for the same Deployment acts now.
    #[test]
    fn a_rollout_that_goes_wakes_the_one_it_stood_in_the_way_of() {
        let (always, queue) = (Always::default(), Queue::new(2));
        let at = |name: &str| ("shop".to_owned(), name.to_owned());
        for name in ["first", "second"] {
            always.rollouts.apply("", rollout(name, 1));
            always.rollout_event(&queue, &at(name));
        }
        queue.clear();
        let mut going = rollout("first", 2);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        always.rollouts.apply("", going);
        always.rollout_event(&queue, &at("first"));
        assert_eq!(queue.depth().0, 2, "both while it is going");
        queue.clear();
        always.rollouts.delete("", &at("first"), "first", 3);
        always.rollout_event(&queue, &at("first"));
        assert_eq!(queue.depth().0, 2, "both when it is gone");
    }
}
