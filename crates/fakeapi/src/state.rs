//! The handle and what stands behind it: kinds, objects, revision, observers, and what worlds do to
//! the server (compaction, cut and held watches, stale reads). Requests are handled elsewhere.

use crate::At;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::history::Store;
use crate::managed::{Shape, shape_of_crd};
use crate::resource::{ResourceType, Resources};
use crate::schema::Schemas;
use crate::{Caller, Change, Clock, Key, Observer, Server, WebhookCaller, clock};

/// How a fake API is made.
#[derive(Clone)]
pub struct Options {
    /// Time for creationTimestamp, deletionTimestamp and managedFields.
    pub clock: Clock,
    /// Uids and generated names come from this and a counter.
    pub seed: u64,
    /// Events kept per kind for watches.
    pub history: usize,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Options")
            .field("seed", &self.seed)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

/// The handle; clones share one server.
#[derive(Clone)]
pub struct FakeApi {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    options: Options,
    changes: watch::Sender<u64>,
    observers: Mutex<Vec<Observer>>,
    /// Commits not yet shown to observers, in order.
    outbox: Mutex<VecDeque<Change>>,
    /// Held by whoever shows commits to observers, so that they come in order.
    delivery: Mutex<()>,
    webhooks: Mutex<Option<Arc<dyn WebhookCaller>>>,
}

/// Everything under the lock.
pub(crate) struct State {
    pub(crate) revision: u64,
    /// Uids and names given out.
    pub(crate) counter: u64,
    pub(crate) history: usize,
    pub(crate) resources: Arc<Resources>,
    pub(crate) schemas: Arc<Schemas>,
    /// How managedFields see custom kinds, by storage name.
    pub(crate) shapes: Arc<BTreeMap<String, Arc<Shape>>>,
    pub(crate) stores: BTreeMap<String, Store>,
    /// Objects by uid, and by the uid of an owner.
    pub(crate) uids: BTreeMap<String, Key>,
    pub(crate) dependents: BTreeMap<String, BTreeSet<Key>>,
    /// Watches from before the floor are refused with HTTP 410 instead of an ERROR event.
    pub(crate) gone_as_status: bool,
}

/// A server's objects and kinds at one moment, cheap to start many servers from.
#[derive(Clone)]
pub struct Snapshot {
    api: FakeApi,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Snapshot")
            .field("revision", &self.api.revision())
            .finish()
    }
}

impl std::fmt::Debug for FakeApi {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FakeApi")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}

/// A poisoned lock is taken all the same: a test that panicked must not hide its message.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Namespaces every cluster has.
const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];

impl FakeApi {
    /// A server with the built-in kinds and the namespaces every cluster has.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let state = State {
            revision: 0,
            counter: 0,
            history: options.history.max(1),
            resources: Arc::new(Resources::built_in()),
            schemas: Arc::default(),
            shapes: Arc::default(),
            stores: BTreeMap::new(),
            uids: BTreeMap::new(),
            dependents: BTreeMap::new(),
            gone_as_status: false,
        };
        let api = Self::with_state(state, options);
        for namespace in NAMESPACES {
            api.seed_namespace(namespace);
        }
        api
    }

    fn with_state(state: State, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                changes: watch::Sender::new(state.revision),
                state: Mutex::new(state),
                options,
                observers: Mutex::default(),
                outbox: Mutex::default(),
                delivery: Mutex::default(),
                webhooks: Mutex::default(),
            }),
        }
    }

    fn seed_namespace(&self, name: &str) {
        let namespace = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": name, "uid": self.next_uid(), "creationTimestamp": self.now(),
                "labels": { "kubernetes.io/metadata.name": name },
            },
            "spec": { "finalizers": ["kubernetes"] },
            "status": { "phase": "Active" },
        });
        let change = crate::commit::Commit {
            caller: &Caller::new("system:apiserver", "kube-apiserver/v1.34"),
            verb: crate::Verb::Create,
            subresource: "",
            key: Key::new("namespaces", "", name),
            after: Some(namespace),
        };
        self.with(|state| state.commit(change));
    }

    /// All objects and kinds as they are now; later writes do not show in it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            api: self.fork(self.inner.options.clone()),
        }
    }

    /// A new server that begins where the snapshot was taken, without its history, observers and watches.
    #[must_use]
    pub fn restore(snapshot: &Snapshot, options: Options) -> Self {
        snapshot.api.fork(options)
    }

    fn fork(&self, options: Options) -> Self {
        let state = self.with(|state| State {
            revision: state.revision,
            counter: state.counter,
            history: options.history.max(1),
            resources: Arc::clone(&state.resources),
            schemas: Arc::clone(&state.schemas),
            shapes: Arc::clone(&state.shapes),
            stores: state
                .stores
                .iter()
                .map(|(name, store)| (name.clone(), store.fork(state.revision)))
                .collect(),
            uids: state.uids.clone(),
            dependents: state.dependents.clone(),
            gone_as_status: state.gone_as_status,
        });
        Self::with_state(state, options)
    }

    /// The server for one client: `kube::Client::new(api.service(caller), "default")`.
    #[must_use]
    pub fn service(&self, caller: Caller) -> Server {
        Server::new(self.clone(), caller)
    }

    /// An object as it is stored.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.with(|state| {
            let stored = state
                .stores
                .get(&key.resource)?
                .get(&key.namespace, &key.name)?;
            Some(Arc::clone(&stored.value))
        })
    }

    /// All objects of a kind, or those of one namespace, ordered by namespace and name.
    #[must_use]
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.with(|state| {
            let Some(store) = state.stores.get(resource) else {
                return Vec::new();
            };
            store
                .objects
                .iter()
                .filter(|(place, _)| namespace.is_none_or(|wanted| wanted == place.as_str()))
                .flat_map(|(_, names)| names.values())
                .map(|stored| Arc::clone(&stored.value))
                .collect()
        })
    }

    /// The kinds served now.
    #[must_use]
    pub fn resources(&self) -> Vec<Arc<ResourceType>> {
        self.with(|state| state.resources.iter().cloned().collect())
    }

    /// The resourceVersion of the last commit.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.with(|state| state.revision)
    }

    /// The resourceVersion of the last commit to a kind, 0 if there was none.
    #[must_use]
    pub fn revision_of(&self, resource: &str) -> u64 {
        self.with(|state| state.stores.get(resource).map_or(0, |store| store.last))
    }

    /// The revision, after each commit.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Calls this after each commit, in order, without the lock, before the writer has its answer.
    /// It may read; what it writes it must write from a task.
    pub fn observe(&self, observer: Observer) {
        lock(&self.inner.observers).push(observer);
    }

    /// Forgets the history of all kinds: watches, pages and exact reads from before get 410.
    pub fn compact(&self) {
        self.with(|state| {
            let revision = state.revision;
            for store in state.stores.values_mut() {
                store.compact(revision);
            }
        });
    }

    /// Ends all watches, or those of one kind, as a broken connection does.
    pub fn cut_watches(&self, resource: Option<&str>) {
        self.with(|state| {
            for (name, store) in &mut state.stores {
                if resource.is_none_or(|wanted| wanted == name) {
                    store.cuts += 1;
                    store.wake.send_modify(|count| *count += 1);
                }
            }
        });
    }

    /// Holds events of a kind back until then; they come in order, unless compaction took them (410).
    pub fn hold_watches(&self, resource: &str, until: Instant) {
        self.with(|state| {
            let store = state.store(resource);
            store.held_until = Some(until);
            store.wake.send_modify(|count| *count += 1);
        });
    }

    /// Serves lists and single reads of a kind at `resourceVersion=0` as of an older revision, as an
    /// API server with a lagging cache does; `None` ends it. A revision no longer kept counts as the oldest kept.
    pub fn stale_reads(&self, resource: &str, revision: Option<u64>) {
        self.with(|state| state.store(resource).stale = revision);
    }

    /// Whether a watch from a forgotten revision is refused with HTTP 410 (as aggregated servers do)
    /// in place of an ERROR event in the stream (as kube-apiserver does). kube 5's watcher lists anew for
    /// the event only: against the status it asks for the same revision for ever.
    pub fn refuse_old_watches(&self, with_status: bool) {
        self.with(|state| state.gone_as_status = with_status);
    }

    /// Who carries reviews to admission servers. Without one every call fails as if nobody answered.
    pub fn set_webhooks(&self, caller: Arc<dyn WebhookCaller>) {
        *lock(&self.inner.webhooks) = Some(caller);
    }

    pub(crate) fn webhook_caller(&self) -> Option<Arc<dyn WebhookCaller>> {
        lock(&self.inner.webhooks).clone()
    }

    pub(crate) fn schemas(&self) -> Arc<Schemas> {
        self.with(|state| Arc::clone(&state.schemas))
    }

    /// Does something under the lock. It must not await and must not call back into this handle.
    pub(crate) fn with<R>(&self, run: impl FnOnce(&mut State) -> R) -> R {
        run(&mut lock(&self.inner.state))
    }

    /// Commits, then tells `changes` and the observers. The closure gives its commits in order.
    pub(crate) fn publish<R, C: IntoIterator<Item = Change>>(
        &self,
        run: impl FnOnce(&mut State) -> (R, C),
    ) -> R {
        let (result, newest) = {
            let mut state = lock(&self.inner.state);
            let (result, changes) = run(&mut state);
            let mut newest = None;
            for change in changes {
                newest = Some(change.revision);
                // Under the lock, so that the order is that of the commits.
                lock(&self.inner.outbox).push_back(change);
            }
            (result, newest)
        };
        if let Some(newest) = newest {
            self.inner
                .changes
                .send_modify(|revision| *revision = newest.max(*revision));
            self.deliver();
        }
        result
    }

    fn deliver(&self) {
        while !lock(&self.inner.outbox).is_empty() {
            // Somebody else delivering takes ours along.
            let Ok(_delivery) = self.inner.delivery.try_lock() else {
                return;
            };
            let observers = lock(&self.inner.observers).clone();
            loop {
                let Some(change) = lock(&self.inner.outbox).pop_front() else {
                    break;
                };
                for observer in &observers {
                    observer(&change);
                }
            }
        }
    }

    /// Now, as `metav1.Time`.
    pub(crate) fn now(&self) -> String {
        clock::seconds(self.timestamp())
    }

    pub(crate) fn timestamp(&self) -> jiff::Timestamp {
        (self.inner.options.clock)()
    }

    /// A number nobody had before.
    pub(crate) fn next_number(&self) -> u64 {
        self.with(|state| {
            state.counter += 1;
            state.counter
        })
    }

    pub(crate) fn next_uid(&self) -> String {
        clock::uid(self.inner.options.seed, self.next_number())
    }

    /// The five characters behind a generateName.
    pub(crate) fn next_suffix(&self) -> String {
        clock::suffix(self.inner.options.seed, self.next_number())
    }
}

impl State {
    /// A kind's objects; made when first asked for.
    pub(crate) fn store(&mut self, resource: &str) -> &mut Store {
        if !self.stores.contains_key(resource) {
            self.stores.insert(resource.to_owned(), Store::default());
        }
        self.stores.entry(resource.to_owned()).or_default()
    }

    /// Takes in a CustomResourceDefinition that was stored.
    pub(crate) fn define(&mut self, crd: &Value) {
        Arc::make_mut(&mut self.resources).define(crd);
        // Validation has compiled it before: a definition that fails here never comes to be stored.
        drop(Arc::make_mut(&mut self.schemas).define(crd));
        let text = |path: &str| crd.at(path).and_then(Value::as_str).unwrap_or_default();
        if let Some(resource) = self
            .resources
            .find(text("/spec/group"), text("/spec/names/plural"))
        {
            Arc::make_mut(&mut self.shapes)
                .insert(resource.storage.clone(), Arc::new(shape_of_crd(crd)));
        }
    }

    /// Forgets a kind of a CustomResourceDefinition.
    pub(crate) fn undefine(&mut self, group: &str, plural: &str) {
        if let Some(resource) = self.resources.find(group, plural) {
            let storage = resource.storage.clone();
            Arc::make_mut(&mut self.shapes).remove(&storage);
            // Nobody serves the kind any more: its watches end.
            let store = self.store(&storage);
            store.cuts += 1;
            store.wake.send_modify(|count| *count += 1);
        }
        Arc::make_mut(&mut self.resources).remove(group, plural);
        Arc::make_mut(&mut self.schemas).remove(group, plural);
    }

    /// How managedFields see a kind.
    pub(crate) fn shape(&self, resource: &ResourceType) -> Arc<Shape> {
        self.shapes
            .get(&resource.storage)
            .map_or_else(|| crate::managed::built_in_shape(resource), Arc::clone)
    }
}
