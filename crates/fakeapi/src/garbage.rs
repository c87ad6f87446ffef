//! The garbage collector and the end of namespaces, as actors on the fake API: they see commits,
//! wait, and act by ordinary requests, admission included. Who owns what is read from `ownerReferences`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::resource::ResourceType;
use crate::state::FakeApi;
use crate::write::delete::{FOREGROUND, ORPHAN};
use crate::write::{finalizers, is_terminating, metadata_text};
use crate::{Call, Caller, Change, Key};

/// How long the collectors take. The real one is busy with its graph: milliseconds when idle,
/// minutes on a large cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GarbageDelays {
    /// From an owner's end (or a foreground deletion) to the deletion of what it owned.
    pub collect: Duration,
    /// From an orphan deletion to the loosening of what the object owned.
    pub orphan: Duration,
    /// From a namespace's deletion to that of its content, and between looks whether it is empty.
    pub namespace: Duration,
    /// Until a refused or failed step is tried again.
    pub retry: Duration,
}

impl Default for GarbageDelays {
    /// A quiet cluster.
    fn default() -> Self {
        Self {
            collect: Duration::from_millis(50),
            orphan: Duration::from_millis(50),
            namespace: Duration::from_millis(500),
            retry: Duration::from_secs(1),
        }
    }
}

/// What is still to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// An object whose owners may be gone, or that waits for its dependents.
    Check(Key),
    /// An object whose dependents are to be loosened.
    Orphan(Key),
    /// A namespace to be emptied.
    Namespace(String),
}

impl FakeApi {
    /// Collects garbage and empties namespaces until dropped.
    pub async fn run_garbage_collector(&self, delays: GarbageDelays) {
        let (sender, mut changes) = mpsc::unbounded_channel();
        // After this future is dropped the channel is closed and the observer does nothing.
        self.observe(Arc::new(move |change: &Change| {
            drop(sender.send(change.clone()));
        }));
        let mut collector = Collector {
            api: self.clone(),
            delays,
            queue: BTreeMap::new(),
            queued: BTreeSet::new(),
            number: 0,
        };
        collector.look_at_everything();
        loop {
            let due = collector.queue.keys().next().map(|(due, _)| *due);
            tokio::select! {
                biased;
                change = changes.recv() => {
                    let Some(change) = change else {
                        return;
                    };
                    collector.see(&change);
                }
                () = until(due) => collector.act().await,
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Collector {
    api: FakeApi,
    delays: GarbageDelays,
    queue: BTreeMap<(Instant, u64), Task>,
    queued: BTreeSet<Task>,
    number: u64,
}

/// What an owner reference points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Solid,
    /// Gone, or another object of the same name.
    Dangling,
    /// Being deleted in the foreground: it waits for its dependents.
    Waiting,
}

impl Collector {
    fn enqueue(&mut self, task: Task, delay: Duration) {
        if self.queued.insert(task.clone()) {
            self.number += 1;
            self.queue
                .insert((Instant::now() + delay, self.number), task);
        }
    }

    /// What was there before the collector.
    fn look_at_everything(&mut self) {
        let keys: Vec<Key> = self.api.with(|state| {
            let mut keys: BTreeSet<Key> = state.dependents.values().flatten().cloned().collect();
            keys.extend(state.uids.values().cloned());
            keys.into_iter().collect()
        });
        for key in keys {
            if let Some(object) = self.api.get(&key) {
                self.consider(&key, &object);
            }
        }
    }

    fn see(&mut self, change: &Change) {
        if let Some(after) = &change.after {
            self.consider(&change.key, after);
        } else if let Some(before) = &change.before {
            let uid = metadata_text(before, "uid");
            self.enqueue_dependents(uid);
            // Its owner may have waited for it.
            for owner in owners(before) {
                if let Some(key) = self.key_of(metadata_uid(owner)) {
                    self.enqueue(Task::Check(key), self.delays.collect);
                }
            }
        }
    }

    fn consider(&mut self, key: &Key, object: &Value) {
        if is_terminating(object) {
            let names = finalizers(object);
            if names.iter().any(|name| name == ORPHAN) {
                self.enqueue(Task::Orphan(key.clone()), self.delays.orphan);
            }
            if names.iter().any(|name| name == FOREGROUND) {
                self.enqueue(Task::Check(key.clone()), self.delays.collect);
                self.enqueue_dependents(metadata_text(object, "uid"));
            }
            if key.resource == "namespaces" {
                self.enqueue(Task::Namespace(key.name.clone()), self.delays.namespace);
            }
        }
        if owners(object).next().is_some() {
            // Only a dangling owner is worth a look; a live one's end will bring it.
            let dangling = owners(object).any(|owner| self.key_of(metadata_uid(owner)).is_none());
            if dangling {
                self.enqueue(Task::Check(key.clone()), self.delays.collect);
            }
        }
    }

    fn enqueue_dependents(&mut self, uid: &str) {
        for key in self.dependents(uid) {
            self.enqueue(Task::Check(key), self.delays.collect);
        }
    }

    fn dependents(&self, uid: &str) -> Vec<Key> {
        self.api.with(|state| {
            state
                .dependents
                .get(uid)
                .into_iter()
                .flatten()
                .cloned()
                .collect()
        })
    }

    fn key_of(&self, uid: &str) -> Option<Key> {
        self.api.with(|state| state.uids.get(uid).cloned())
    }

    async fn act(&mut self) {
        let Some((_, task)) = self.queue.pop_first() else {
            return;
        };
        self.queued.remove(&task);
        let done = match &task {
            Task::Check(key) => self.check(key).await,
            Task::Orphan(key) => self.orphan(key).await,
            Task::Namespace(name) => self.empty(name).await,
        };
        if !done {
            self.enqueue(task, self.delays.retry);
        }
    }

    /// `attemptToDeleteItem`. False: try again.
    async fn check(&mut self, key: &Key) -> bool {
        let Some(object) = self.api.get(key) else {
            return true;
        };
        let waiting_itself =
            is_terminating(&object) && finalizers(&object).iter().any(|name| name == FOREGROUND);
        if waiting_itself {
            return self.finish_foreground(key, &object).await;
        }
        if is_terminating(&object) {
            return true;
        }
        let references: Vec<(Value, Owner)> = owners(&object)
            .map(|owner| (owner.clone(), self.classify(key, owner)))
            .collect();
        if references.is_empty() {
            return true;
        }
        let is = |wanted: Owner| references.iter().any(|(_, owner)| *owner == wanted);
        if is(Owner::Solid) {
            if !is(Owner::Dangling) && !is(Owner::Waiting) {
                return true;
            }
            let kept: Vec<&Value> = references
                .iter()
                .filter(|(_, owner)| *owner == Owner::Solid)
                .map(|(reference, _)| reference)
                .collect();
            return self.set_owners(key, &object, &kept).await;
        }
        let names = finalizers(&object);
        let has = |name: &str| names.iter().any(|found| found == name);
        let foreground =
            is(Owner::Waiting) && !self.dependents(metadata_text(&object, "uid")).is_empty();
        let policy = if foreground || has(FOREGROUND) {
            "Foreground"
        } else if has(ORPHAN) {
            "Orphan"
        } else {
            "Background"
        };
        let uid = metadata_text(&object, "uid");
        let options = json!({
            "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy,
            "preconditions": { "uid": uid, "resourceVersion": metadata_text(&object, "resourceVersion") },
        });
        self.write(Method::DELETE, key, "", "application/json", Some(options))
            .await
    }

    fn classify(&self, dependent: &Key, reference: &Value) -> Owner {
        let text = |field: &str| {
            reference
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let Some(resource) = self.api.with(|state| {
            state
                .resources
                .by_kind(text("apiVersion"), text("kind"))
                .cloned()
        }) else {
            // The real collector waits for a kind it does not know.
            return Owner::Solid;
        };
        let namespace = if resource.namespaced {
            dependent.namespace.clone()
        } else {
            String::new()
        };
        let owner = self.api.get(&Key::new(
            resource.storage.as_str(),
            namespace,
            text("name"),
        ));
        match owner {
            Some(owner) if metadata_text(&owner, "uid") == text("uid") => {
                let waits = is_terminating(&owner)
                    && finalizers(&owner).iter().any(|name| name == FOREGROUND);
                if waits { Owner::Waiting } else { Owner::Solid }
            }
            _ => Owner::Dangling,
        }
    }

    /// `processDeletingDependentsItem`: the finalizer goes when nobody blocks any more.
    async fn finish_foreground(&mut self, key: &Key, object: &Value) -> bool {
        let uid = metadata_text(object, "uid");
        let mut blocked = false;
        for dependent in self.dependents(uid) {
            let Some(found) = self.api.get(&dependent) else {
                continue;
            };
            let blocks = owners(&found).any(|owner| {
                metadata_uid(owner) == uid
                    && owner.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true)
            });
            if blocks {
                blocked = true;
                if !is_terminating(&found) {
                    self.enqueue(Task::Check(dependent), self.delays.collect);
                }
            }
        }
        blocked || self.drop_finalizer(key, object, FOREGROUND).await
    }

    /// `orphanDependents`, then the finalizer.
    async fn orphan(&mut self, key: &Key) -> bool {
        let Some(object) = self.api.get(key) else {
            return true;
        };
        if !finalizers(&object).iter().any(|name| name == ORPHAN) {
            return true;
        }
        let uid = metadata_text(&object, "uid").to_owned();
        for dependent in self.dependents(&uid) {
            let Some(found) = self.api.get(&dependent) else {
                continue;
            };
            let kept: Vec<&Value> = owners(&found)
                .filter(|owner| metadata_uid(owner) != uid)
                .collect();
            if !self.set_owners(&dependent, &found, &kept).await {
                return false;
            }
        }
        // Read again: the loosening may have taken a while.
        let Some(object) = self.api.get(key) else {
            return true;
        };
        self.drop_finalizer(key, &object, ORPHAN).await
    }

    async fn drop_finalizer(&self, key: &Key, object: &Value, finalizer: &str) -> bool {
        let kept: Vec<String> = finalizers(object)
            .into_iter()
            .filter(|name| name != finalizer)
            .collect();
        let patch = json!({ "metadata": {
            "resourceVersion": metadata_text(object, "resourceVersion"), "finalizers": kept,
        } });
        self.write(
            Method::PATCH,
            key,
            "",
            "application/merge-patch+json",
            Some(patch),
        )
        .await
    }

    async fn set_owners(&self, key: &Key, object: &Value, kept: &[&Value]) -> bool {
        let owners = if kept.is_empty() {
            Value::Null
        } else {
            json!(kept)
        };
        let patch = json!({ "metadata": {
            "uid": metadata_text(object, "uid"),
            "resourceVersion": metadata_text(object, "resourceVersion"),
            "ownerReferences": owners,
        } });
        self.write(
            Method::PATCH,
            key,
            "",
            "application/merge-patch+json",
            Some(patch),
        )
        .await
    }

    /// Deletes what is in a namespace that is being deleted, then the namespace.
    async fn empty(&mut self, name: &str) -> bool {
        let key = Key::new("namespaces", "", name);
        let Some(namespace) = self.api.get(&key) else {
            return true;
        };
        if !is_terminating(&namespace) {
            return true;
        }
        let kinds: Vec<Arc<ResourceType>> = self
            .api
            .resources()
            .into_iter()
            .filter(|resource| resource.namespaced)
            .collect();
        let caller = namespace_controller();
        let mut left = false;
        for resource in kinds {
            let objects = self.api.list(&resource.storage, Some(name));
            if objects.is_empty() {
                continue;
            }
            let path = path(
                &resource,
                &Key::new(resource.storage.as_str(), name, ""),
                "",
            );
            let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background" });
            let call = Call::json(Method::DELETE, path, options);
            // What refuses to go is asked again.
            drop(self.api.call(&caller, call).await);
            left |= !self.api.list(&resource.storage, Some(name)).is_empty();
        }
        if left {
            return false;
        }
        let Some(namespace) = self.api.get(&key) else {
            return true;
        };
        let mut finished = Value::clone(&namespace);
        if let Some(Value::Object(spec)) = finished.get_mut("spec") {
            spec.insert("finalizers".to_owned(), json!([]));
        }
        let call = Call::json(
            Method::PUT,
            format!("/api/v1/namespaces/{name}/finalize"),
            finished,
        );
        let reply = self.api.call(&caller, call).await;
        reply.is_success() || reply.status == 404
    }

    /// A request of the collector. True when there is nothing more to do about it now: done, gone, or
    /// changed in a way that brings another event.
    async fn write(
        &self,
        method: Method,
        key: &Key,
        subresource: &str,
        content_type: &str,
        body: Option<Value>,
    ) -> bool {
        let Some(resource) = self
            .api
            .with(|state| state.resources.by_storage(&key.resource).cloned())
        else {
            return true;
        };
        let call = Call {
            method,
            path: path(&resource, key, subresource),
            content_type: Some(content_type.to_owned()),
            body,
        };
        let caller = Caller::new(
            "system:serviceaccount:kube-system:generic-garbage-collector",
            "kube-controller-manager/v1.34",
        );
        let reply = self.api.call(&caller, call).await;
        reply.is_success() || reply.status == 404
    }
}

fn namespace_controller() -> Caller {
    Caller::new(
        "system:serviceaccount:kube-system:namespace-controller",
        "kube-controller-manager/v1.34",
    )
}

/// The path of an object, or with no name of its collection.
fn path(resource: &ResourceType, key: &Key, subresource: &str) -> String {
    let mut path = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    if resource.namespaced {
        path.push_str("/namespaces/");
        path.push_str(&key.namespace);
    }
    for part in [resource.plural.as_str(), key.name.as_str(), subresource] {
        if !part.is_empty() {
            path.push('/');
            path.push_str(part);
        }
    }
    path
}

fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get("ownerReferences"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn metadata_uid(owner: &Value) -> &str {
    owner.get("uid").and_then(Value::as_str).unwrap_or_default()
}
