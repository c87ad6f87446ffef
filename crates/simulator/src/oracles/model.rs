//! The objects of a world as the changes made them: raw, by kind, namespace and name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossfade_fakeapi::{Change, Key};
use serde_json::Value;

use crate::json::{at, condition, controller, deleting, in_map, label, number, text};

/// The objects.
#[derive(Debug, Default)]
pub struct Model {
    objects: BTreeMap<Key, Arc<Value>>,
}

impl Model {
    /// An object is there.
    #[cfg(test)]
    pub(super) fn insert(&mut self, key: Key, object: Arc<Value>) {
        self.objects.insert(key, object);
    }

    /// Takes a change in.
    pub fn apply(&mut self, change: &Change) {
        match &change.after {
            Some(object) => {
                self.objects.insert(change.key.clone(), Arc::clone(object));
            }
            None => {
                self.objects.remove(&change.key);
            }
        }
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.objects
            .get(&Key::new(resource, namespace, name))
            .map(AsRef::as_ref)
    }

    /// The objects of a kind in a namespace, by name.
    pub fn of<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Value> {
        self.objects
            .range(Key::new(resource, namespace, "")..)
            .take_while(move |(key, _)| key.resource == resource && key.namespace == namespace)
            .map(|(_, object)| object.as_ref())
    }

    /// The object of a kind in a namespace with this uid.
    #[must_use]
    pub fn by_uid<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        uid: &str,
    ) -> Option<&'a Value> {
        self.of(resource, namespace)
            .find(|object| text(object, "/metadata/uid") == uid)
    }

    /// Pods controlled by a ReplicaSet.
    pub fn pods<'a>(
        &'a self,
        namespace: &'a str,
        replica_set: &'a str,
    ) -> impl Iterator<Item = &'a Value> {
        self.of("pods", namespace)
            .filter(move |pod| controller(pod).is_some_and(|(_, uid)| uid == replica_set))
    }

    /// How many pods of a ReplicaSet can take requests.
    #[must_use]
    pub fn ready(&self, namespace: &str, replica_set: &str) -> i64 {
        let ready = self
            .pods(namespace, replica_set)
            .filter(|pod| can_serve(pod))
            .count();
        i64::try_from(ready).unwrap_or(i64::MAX)
    }

    /// Services of a namespace that select the pods of a template, our key left out.
    pub fn services<'a>(
        &'a self,
        namespace: &'a str,
        workload: &'a Value,
    ) -> impl Iterator<Item = &'a Value> {
        self.of("services", namespace)
            .filter(move |service| fronts(service, workload))
    }
}

/// Ready, and not on its way out.
#[must_use]
pub fn can_serve(pod: &Value) -> bool {
    condition(pod, "Ready") == "True"
        && !deleting(pod)
        && !matches!(text(pod, "/status/phase"), "Failed" | "Succeeded")
}

/// Whether a Service selects the pods of a workload, our key left out. A preview brings no users.
#[must_use]
pub fn fronts(service: &Value, workload: &Value) -> bool {
    if label(service, "purpose") == "preview" {
        return false;
    }
    let labels = at(workload, "/spec/template/metadata/labels");
    let mut selector = (at(service, "/spec/selector").and_then(Value::as_object))
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "pod-template-hash")
        .peekable();
    // An empty selector selects nothing.
    selector.peek().is_some()
        && selector.all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// The hash a Service is pinned to.
#[must_use]
pub fn pinned_to(service: &Value) -> Option<&str> {
    let hash = in_map(service, "/spec/selector", "pod-template-hash");
    (!hash.is_empty()).then_some(hash)
}

/// `spec.replicas`; absent is one.
#[must_use]
pub fn size(object: &Value) -> i64 {
    at(object, "/spec/replicas").map_or(1, |_| number(object, "/spec/replicas"))
}

/// maxUnavailable of a Deployment in pods, rounded down.
#[must_use]
pub fn max_unavailable(workload: &Value) -> i64 {
    let written = at(workload, "/spec/strategy/rollingUpdate/maxUnavailable");
    match written {
        Some(Value::Number(count)) => count.as_i64().unwrap_or(0),
        Some(Value::String(share)) => {
            let percent: i64 = share.trim_end_matches('%').parse().unwrap_or(0);
            size(workload) * percent / 100
        }
        _ => size(workload) / 4,
    }
}
