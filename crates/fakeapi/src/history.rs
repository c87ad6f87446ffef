//! One kind's objects, what happened to them, and how they look as bytes. Decides nothing about
//! requests; times and revisions come in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::Instant;

/// A stored object with its bytes, made when first asked for and then shared by all readers.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) value: Arc<Value>,
    pub(crate) revision: u64,
    full: OnceLock<Bytes>,
    item: OnceLock<Bytes>,
    metadata: OnceLock<Bytes>,
}

/// How an object is written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The whole object.
    Full,
    /// Without apiVersion and kind: an item in a list of a built-in kind.
    Item,
    /// `PartialObjectMetadata`.
    Metadata,
}

impl Stored {
    pub(crate) fn new(value: Value, revision: u64) -> Arc<Self> {
        Arc::new(Self {
            value: Arc::new(value),
            revision,
            full: OnceLock::new(),
            item: OnceLock::new(),
            metadata: OnceLock::new(),
        })
    }

    /// The bytes in a form.
    pub(crate) fn bytes(&self, form: Form) -> Bytes {
        match form {
            Form::Full => self
                .full
                .get_or_init(|| Bytes::from(self.value.to_string()))
                .clone(),
            Form::Item => self
                .item
                .get_or_init(|| Bytes::from(shaped(&self.value, Form::Item).to_string()))
                .clone(),
            Form::Metadata => self
                .metadata
                .get_or_init(|| Bytes::from(shaped(&self.value, Form::Metadata).to_string()))
                .clone(),
        }
    }

    /// The same object as of another revision: what a watch shows of something gone.
    pub(crate) fn at(&self, revision: u64) -> Arc<Self> {
        let mut value = Value::clone(&self.value);
        set_revision(&mut value, revision);
        Self::new(value, revision)
    }
}

/// The object in a form.
pub(crate) fn shaped(value: &Value, form: Form) -> Value {
    match form {
        Form::Full => value.clone(),
        Form::Item => {
            let mut map = value.as_object().cloned().unwrap_or_default();
            map.remove("apiVersion");
            map.remove("kind");
            Value::Object(map)
        }
        Form::Metadata => {
            let mut map = Map::new();
            map.insert("kind".to_owned(), Value::from("PartialObjectMetadata"));
            map.insert("apiVersion".to_owned(), Value::from("meta.k8s.io/v1"));
            map.insert(
                "metadata".to_owned(),
                value.get("metadata").cloned().unwrap_or_default(),
            );
            Value::Object(map)
        }
    }
}

/// Writes `metadata.resourceVersion`.
pub(crate) fn set_revision(value: &mut Value, revision: u64) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(
            "resourceVersion".to_owned(),
            Value::from(revision.to_string()),
        );
    }
}

/// One commit as watches see it.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) before: Option<Arc<Stored>>,
    pub(crate) after: Option<Arc<Stored>>,
    gone: OnceLock<Arc<Stored>>,
}

impl Event {
    /// The object before, as of this event: shown when it is deleted or leaves a selector.
    pub(crate) fn gone(&self) -> Option<Arc<Stored>> {
        let before = self.before.as_ref()?;
        Some(Arc::clone(
            self.gone.get_or_init(|| before.at(self.revision)),
        ))
    }
}

/// Objects by namespace and name.
pub(crate) type Objects = BTreeMap<String, BTreeMap<String, Arc<Stored>>>;

/// One kind.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) objects: Objects,
    events: VecDeque<Arc<Event>>,
    /// Watches and exact reads from before this revision are answered 410.
    pub(crate) floor: u64,
    /// The revision of the newest event that is no longer kept.
    dropped: u64,
    /// The revision of the last change of this kind.
    pub(crate) last: u64,
    /// Moves with each event, cut and hold.
    pub(crate) wake: watch::Sender<u64>,
    /// How often all watches of this kind were ended.
    pub(crate) cuts: u64,
    pub(crate) held_until: Option<Instant>,
    /// Reads at resourceVersion 0 see this revision.
    pub(crate) stale: Option<u64>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            events: VecDeque::new(),
            floor: 0,
            dropped: 0,
            last: 0,
            wake: watch::Sender::new(0),
            cuts: 0,
            held_until: None,
            stale: None,
        }
    }
}

impl Store {
    /// The same objects without history.
    pub(crate) fn fork(&self, floor: u64) -> Self {
        Self {
            objects: self.objects.clone(),
            floor,
            dropped: floor,
            last: self.last,
            ..Self::default()
        }
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.objects.get(namespace)?.get(name)
    }

    /// Puts in, replaces or (with nothing after) takes out, and keeps the event.
    pub(crate) fn record(
        &mut self,
        revision: u64,
        namespace: &str,
        name: &str,
        after: Option<Arc<Stored>>,
        keep: usize,
    ) -> Option<Arc<Stored>> {
        let before = if let Some(after) = &after {
            self.objects
                .entry(namespace.to_owned())
                .or_default()
                .insert(name.to_owned(), Arc::clone(after))
        } else {
            let names = self.objects.get_mut(namespace);
            let before = names.and_then(|names| names.remove(name));
            if self.objects.get(namespace).is_some_and(BTreeMap::is_empty) {
                self.objects.remove(namespace);
            }
            before
        };
        self.last = revision;
        self.events.push_back(Arc::new(Event {
            revision,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            before: before.clone(),
            after,
            gone: OnceLock::new(),
        }));
        while self.events.len() > keep {
            if let Some(event) = self.events.pop_front() {
                self.dropped = event.revision;
                self.floor = self.floor.max(event.revision);
            }
        }
        self.wake.send_modify(|count| *count += 1);
        before
    }

    /// Forgets all events up to a revision.
    pub(crate) fn compact(&mut self, revision: u64) {
        while let Some(event) = self
            .events
            .front()
            .filter(|event| event.revision <= revision)
        {
            self.dropped = event.revision;
            self.events.pop_front();
        }
        self.floor = self.floor.max(revision);
        self.wake.send_modify(|count| *count += 1);
    }

    /// Events behind a revision, up to `most`; nothing when some of them are no longer kept.
    pub(crate) fn since(&self, revision: u64, most: usize) -> Option<Vec<Arc<Event>>> {
        if revision < self.dropped {
            return None;
        }
        let start = self
            .events
            .partition_point(|event| event.revision <= revision);
        Some(self.events.iter().skip(start).take(most).cloned().collect())
    }

    /// The objects as they were at a revision; nothing when that is too long ago.
    pub(crate) fn as_of(&self, revision: u64) -> Option<Objects> {
        if revision < self.floor {
            return None;
        }
        let mut objects = self.objects.clone();
        for event in self.events.iter().rev() {
            if event.revision <= revision {
                break;
            }
            let names = objects.entry(event.namespace.clone()).or_default();
            match &event.before {
                Some(before) => {
                    names.insert(event.name.clone(), Arc::clone(before));
                }
                None => {
                    names.remove(&event.name);
                }
            }
        }
        objects.retain(|_, names| !names.is_empty());
        Some(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(revision: u64) -> Arc<Stored> {
        Stored::new(
            json!({"metadata": {"resourceVersion": revision.to_string()}}),
            revision,
        )
    }

    #[test]
    fn the_past_is_rebuilt_until_it_is_forgotten() {
        let mut store = Store::default();
        store.record(1, "a", "x", Some(object(1)), 10);
        store.record(2, "a", "x", Some(object(2)), 10);
        store.record(3, "a", "x", None, 10);
        store.record(4, "b", "y", Some(object(4)), 10);
        assert_eq!(store.as_of(1).unwrap()["a"]["x"].revision, 1);
        assert_eq!(store.as_of(2).unwrap()["a"]["x"].revision, 2);
        assert!(store.as_of(3).unwrap().is_empty());
        assert_eq!(store.since(2, 9).unwrap().len(), 2);
        store.compact(3);
        assert!(store.as_of(2).is_none());
        assert!(store.since(2, 9).is_none());
        assert_eq!(store.since(3, 9).unwrap().len(), 1);
    }

    #[test]
    fn only_so_many_events_are_kept() {
        let mut store = Store::default();
        for revision in 1..=5 {
            store.record(revision, "a", "x", Some(object(revision)), 2);
        }
        assert!(store.since(2, 9).is_none());
        assert_eq!(store.since(3, 9).unwrap().len(), 2);
    }

    #[test]
    fn what_is_gone_shows_the_revision_of_its_end() {
        let mut store = Store::default();
        store.record(1, "a", "x", Some(object(1)), 10);
        store.record(7, "a", "x", None, 10);
        let event = store.since(1, 1).unwrap().remove(0);
        assert_eq!(
            event.gone().unwrap().value["metadata"]["resourceVersion"],
            "7"
        );
    }
}
