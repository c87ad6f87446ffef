//! What an actor has seen of the API: a copy of some kinds that lags behind, each kind by itself and
//! in order, as a real controller's caches do. No decision about what is seen belongs here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use crossfade_fakeapi::{Change, FakeApi};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::client::lock;
use super::object::{name, namespace};
use fastrand::Rng;

use super::delay::Delay;

/// Namespace and name.
pub type Name = (String, String);

/// One change of one object, as it was seen.
#[derive(Clone, Debug)]
pub struct Event {
    /// Plural of the kind.
    pub resource: &'static str,
    /// Which object.
    pub name: Name,
    /// As this cache held it; nothing if it is new.
    pub before: Option<Arc<Value>>,
    /// As it is; nothing if it is gone.
    pub after: Option<Arc<Value>>,
}

#[derive(Debug)]
struct Arrived {
    at: Instant,
    resource: &'static str,
    name: Name,
    after: Option<Arc<Value>>,
}

#[derive(Debug, Default)]
struct Inbox {
    arrived: Mutex<VecDeque<Arrived>>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Kind {
    objects: BTreeMap<Name, Arc<Value>>,
    /// Not seen yet: in the order of the commits, due times never falling.
    pending: VecDeque<(Instant, Arrived)>,
}

/// A lagging copy of some kinds.
#[derive(Debug)]
pub struct Informer {
    inbox: Arc<Inbox>,
    kinds: BTreeMap<&'static str, Kind>,
    lag: Delay,
    random: Rng,
}

impl Informer {
    /// Lists these kinds now and follows them, each change `lag` late.
    #[must_use]
    pub fn new(api: &FakeApi, resources: &[&'static str], lag: Delay, random: Rng) -> Self {
        let inbox = Arc::new(Inbox::default());
        let (weak, followed) = (Arc::downgrade(&inbox), resources.to_vec());
        // An actor that was dropped must not collect events for ever.
        api.observe(Arc::new(move |change: &Change| {
            let Some(inbox) = weak.upgrade() else { return };
            let Some(resource) = followed
                .iter()
                .find(|resource| **resource == change.key.resource)
            else {
                return;
            };
            lock(&inbox.arrived).push_back(Arrived {
                at: Instant::now(),
                resource,
                name: (change.key.namespace.clone(), change.key.name.clone()),
                after: change.after.clone(),
            });
            inbox.wake.notify_one();
        }));
        let kinds = resources
            .iter()
            .map(|resource| {
                let objects = api
                    .list(resource, None)
                    .into_iter()
                    .map(|object| {
                        let name = (namespace(&object).to_owned(), name(&object).to_owned());
                        (name, object)
                    })
                    .collect();
                let kind = Kind {
                    objects,
                    pending: VecDeque::new(),
                };
                (*resource, kind)
            })
            .collect();
        Self {
            inbox,
            kinds,
            lag,
            random,
        }
    }

    /// Everything of this kind that is there from the start, as events.
    #[must_use]
    pub fn initial(&self) -> Vec<Event> {
        self.kinds
            .iter()
            .flat_map(|(resource, kind)| {
                kind.objects.iter().map(|(name, object)| Event {
                    resource,
                    name: name.clone(),
                    before: None,
                    after: Some(Arc::clone(object)),
                })
            })
            .collect()
    }

    /// Takes in what is due and tells it, kind by kind.
    pub fn take(&mut self) -> Vec<Event> {
        for arrived in lock(&self.inbox.arrived).drain(..) {
            let Some(kind) = self.kinds.get_mut(arrived.resource) else {
                continue;
            };
            let mut due = arrived.at + self.lag.draw(&mut self.random);
            if let Some((last, _)) = kind.pending.back() {
                due = due.max(*last);
            }
            kind.pending.push_back((due, arrived));
        }
        let now = Instant::now();
        let mut events = Vec::new();
        for kind in self.kinds.values_mut() {
            while kind.pending.front().is_some_and(|(due, _)| *due <= now) {
                let Some((_, arrived)) = kind.pending.pop_front() else {
                    break;
                };
                let before = match &arrived.after {
                    Some(object) => kind
                        .objects
                        .insert(arrived.name.clone(), Arc::clone(object)),
                    None => kind.objects.remove(&arrived.name),
                };
                events.push(Event {
                    resource: arrived.resource,
                    name: arrived.name,
                    before,
                    after: arrived.after,
                });
            }
        }
        events
    }

    /// Waits until there may be something to take in, or until this instant.
    pub async fn wait(&self, until: Option<Instant>) {
        let due = self
            .kinds
            .values()
            .filter_map(|kind| kind.pending.front())
            .map(|(due, _)| *due)
            .chain(until)
            .min();
        match due {
            Some(due) => {
                tokio::select! {
                    biased;
                    () = self.inbox.wake.notified() => {}
                    () = sleep_until(due) => {}
                }
            }
            None => self.inbox.wake.notified().await,
        }
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &str, name: &Name) -> Option<&Arc<Value>> {
        self.kinds.get(resource)?.objects.get(name)
    }

    /// All of a kind in a namespace, by name.
    pub fn list<'a>(
        &'a self,
        resource: &str,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        let from = (namespace.to_owned(), String::new());
        self.kinds
            .get(resource)
            .into_iter()
            .flat_map(move |kind| kind.objects.range(from.clone()..))
            .take_while(move |((of, _), _)| of == namespace)
            .map(|(_, object)| object)
    }
}
