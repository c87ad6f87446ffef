//! The six watches of one release under way: the workload, our Deployments for it, its ReplicaSets,
//! its pods, EndpointSlices and Services of the namespace. Opened when it starts, closed when it
//! ends; at rest a workload costs none.

use std::sync::Arc;

use crossfade_api::annotations::WORKLOAD_UID;
use kube::Api;
use kube::runtime::watcher;
use serde_json::Value;
use tokio::task::JoinSet;

use super::keep::{Kept, WatchHealth};
use super::prune;
use super::raw::{Raw, kind};
use super::store::{Place, Store, place};
use crate::context::Context;
use crate::error::delay;
use crate::ports::Ports;
use crate::queue::{Key, Queue};
use crate::snapshot::{Snapshot, label_selector};
use crate::wire::path;

/// Name, kind, selector, where to and what of it.
type Opening = (
    &'static str,
    kube::core::ApiResource,
    watcher::Config,
    Arc<Store>,
    fn(Value) -> Option<Value>,
);

/// The watches of one release. Dropping it closes them.
#[derive(Debug)]
pub struct ReleaseWatches {
    /// uid and selector of the workload they were opened for.
    workload_uid: String,
    selector: String,
    namespace: String,
    workload: Arc<Store>,
    parallels: Arc<Store>,
    replica_sets: Arc<Store>,
    pods: Arc<Store>,
    slices: Arc<Store>,
    services: Arc<Store>,
    /// Our ControllerRevisions: listed once, then kept up from our own writes.
    revisions: Arc<Store>,
    health: Arc<WatchHealth>,
    tasks: JoinSet<()>,
}

impl ReleaseWatches {
    /// Opens them for a workload that was read just now.
    #[must_use]
    pub fn open(context: &Arc<Context>, key: &Key, workload: &Value) -> Self {
        let (ports, queue) = (&context.ports, &context.queue);
        let selector = label_selector(workload.pointer("/spec/selector").unwrap_or(&Value::Null));
        let uid = workload
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let (namespace, name) = place(workload);
        let mut opened = Self {
            workload_uid: uid.clone(),
            selector: selector.clone(),
            namespace,
            workload: Arc::default(),
            parallels: Arc::default(),
            replica_sets: Arc::default(),
            pods: Arc::default(),
            slices: Arc::default(),
            services: Arc::default(),
            revisions: Arc::default(),
            health: Arc::default(),
            tasks: JoinSet::new(),
        };
        opened.list_revisions(context, key);
        let config = watcher::Config::default;
        let (deployments, apps) = (kind("apps", "v1", "Deployment", "deployments"), "apps");
        let replica_sets = kind(apps, "v1", "ReplicaSet", "replicasets");
        let slices = kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
        let list: [Opening; 6] = [
            (
                "workload",
                deployments.clone(),
                config().fields(&format!("metadata.name={name}")),
                Arc::clone(&opened.workload),
                prune::whole,
            ),
            (
                "parallel Deployments",
                deployments,
                config().labels(&format!("{WORKLOAD_UID}={uid}")),
                Arc::clone(&opened.parallels),
                prune::without_managed_fields,
            ),
            (
                "ReplicaSets",
                replica_sets,
                config().labels(&selector),
                Arc::clone(&opened.replica_sets),
                prune::without_managed_fields,
            ),
            (
                "pods",
                kind("", "v1", "Pod", "pods"),
                config().labels(&selector),
                Arc::clone(&opened.pods),
                prune::pod,
            ),
            (
                "EndpointSlices",
                slices,
                config(),
                Arc::clone(&opened.slices),
                prune::slice,
            ),
            (
                "Services",
                kind("", "v1", "Service", "services"),
                config(),
                Arc::clone(&opened.services),
                prune::whole,
            ),
        ];
        for (what, kind, config, store, prune) in list {
            opened.spawn(ports, queue, key, what, &kind, config, store, prune);
        }
        opened
    }

    /// Lists our kept templates, until it succeeds.
    fn list_revisions(&mut self, context: &Arc<Context>, key: &Key) {
        let (context, key, store) = (
            Arc::clone(context),
            key.clone(),
            Arc::clone(&self.revisions),
        );
        let selector = format!("{WORKLOAD_UID}={}", self.workload_uid);
        store.expect("");
        self.tasks.spawn(async move {
            let mut attempt = 0;
            loop {
                store.begin("");
                match context.wire.list(&path::revisions(&key.namespace, ""), &selector, "list kept templates").await {
                    Ok(list) => {
                        for revision in list {
                            store.listed("", revision);
                        }
                        store.complete("");
                        context.queue.wake_now(&key);
                        return;
                    }
                    Err(failure) => {
                        tracing::warn!(workload = %key, %failure, "kept templates could not be listed");
                        tokio::time::sleep(delay(failure.class, attempt, &key.name)).await;
                        attempt += 1;
                    }
                }
            }
        });
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place, six calls; a struct would only rename them"
    )]
    fn spawn(
        &mut self,
        ports: &Ports,
        queue: &Arc<Queue>,
        key: &Key,
        what: &str,
        kind: &kube::core::ApiResource,
        config: watcher::Config,
        store: Arc<Store>,
        prune: fn(Value) -> Option<Value>,
    ) {
        store.expect("");
        let (events, listed) = (
            (Arc::clone(queue), key.clone()),
            (Arc::clone(queue), key.clone()),
        );
        let kept = Kept::<false> {
            name: format!("{what} of {key}"),
            api: Api::<Raw<false>>::namespaced_with(ports.client.clone(), &self.namespace, kind),
            config,
            store,
            scope: String::new(),
            prune,
            changed: Box::new(move |_: &Place| events.0.wake_now(&events.1)),
            listed: Box::new(move || listed.0.wake_now(&listed.1)),
            health: Arc::clone(&self.health),
            clock: Arc::clone(&ports.clock),
        };
        self.tasks.spawn(kept.run());
    }

    /// Whether they are about this workload and selector.
    #[must_use]
    pub fn fits(&self, workload_uid: &str, selector: &str) -> bool {
        self.workload_uid == workload_uid && self.selector == selector
    }

    /// Whether what they show can be used: all listed, none failing.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.stores().iter().all(|store| store.synced())
            && self
                .health
                .all()
                .values()
                .all(|state| state.failing.is_none())
    }

    fn stores(&self) -> [&Store; 7] {
        [
            &self.revisions,
            &self.workload,
            &self.parallels,
            &self.replica_sets,
            &self.pods,
            &self.slices,
            &self.services,
        ]
    }

    /// What they show now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            workload: self.workload.all().into_iter().next(),
            parallels: self.parallels.all(),
            replica_sets: self.replica_sets.all(),
            pods: self.pods.all(),
            slices: self.slices.all(),
            services: self.services.all(),
            revisions: self.revisions.all(),
            live: false,
        }
    }

    /// Takes the answer of one of our own writes in.
    pub fn own_write(&self, kind: &str, object: &Value) {
        match kind {
            "Deployment" => {
                let ours = object
                    .pointer("/metadata/labels")
                    .is_some_and(|labels| labels.get(WORKLOAD_UID).is_some());
                if ours {
                    self.parallels.own_write(object)
                } else {
                    self.workload.own_write(object)
                }
            }
            "ReplicaSet" => self.replica_sets.own_write(object),
            "Service" => self.services.own_write(object),
            "ControllerRevision" => self.revisions.own_write(object),
            _ => {}
        }
    }

    /// Takes a deletion of ours in.
    pub fn own_delete(&self, kind: &str, name: &str, uid: &str) {
        let at = (self.namespace.clone(), name.to_owned());
        match kind {
            "Deployment" => self.parallels.own_delete(&at, uid),
            "ReplicaSet" => self.replica_sets.own_delete(&at, uid),
            "ControllerRevision" => self.revisions.own_delete(&at, uid),
            _ => {}
        }
    }
}
