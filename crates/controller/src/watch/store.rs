//! What one watch shows, never older than our own writes: answers of our writes go into the store
//! at once, and events or lists older than them are passed over. Versions are compared as numbers,
//! as the API server itself does. No kube here: events come in as plain JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::lock;

/// Namespace and name.
pub type Place = (String, String);

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<Place, Arc<Value>>,
    /// The lists under way, by namespace; the empty one is the whole cluster.
    listing: BTreeMap<String, BTreeMap<Place, Arc<Value>>>,
    /// Versions our writes answered with while that list was under way.
    written: BTreeMap<Place, u64>,
    /// uids we deleted, by place, so that a late event does not bring them back.
    gone: BTreeMap<Place, String>,
    /// The newest version the watch of a namespace has shown; the empty one is the whole cluster.
    seen: BTreeMap<String, u64>,
    /// Namespaces whose first list is still missing.
    missing: BTreeSet<String>,
    synced: bool,
}

/// The objects of one watch, or of one per namespace.
#[derive(Debug, Default)]
pub struct Store {
    inner: Mutex<Inner>,
}

/// Namespace and name of an object.
#[must_use]
pub fn place(object: &Value) -> Place {
    let text = |name: &str| {
        object
            .pointer("/metadata")
            .and_then(|meta| meta.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    (text("namespace"), text("name"))
}

/// resourceVersion as a number, 0 if it is none.
#[must_use]
pub fn version(object: &Value) -> u64 {
    object
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Its uid, empty if there is none.
#[must_use]
pub fn uid(object: &Value) -> &str {
    object
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

impl Inner {
    /// Takes an object in, unless what is there is newer.
    fn put(&mut self, at: Place, object: Value) -> bool {
        if self.gone.get(&at).is_some_and(|gone| gone == uid(&object)) {
            return false;
        }
        if self
            .objects
            .get(&at)
            .is_some_and(|known| version(known) >= version(&object))
        {
            return false;
        }
        self.objects.insert(at, Arc::new(object));
        true
    }

    /// Notes how far the watch of a namespace has come.
    fn saw(&mut self, scope: &str, version: u64) {
        let seen = self.seen.entry(scope.to_owned()).or_default();
        *seen = version.max(*seen);
    }

    /// Whether the watch has already shown all that happened up to this version where an object stands.
    fn has_seen(&self, at: &Place, version: u64) -> bool {
        let seen = self.seen.get("").or_else(|| self.seen.get(&at.0));
        seen.is_some_and(|seen| *seen >= version)
    }
}

impl Store {
    /// Takes an object in that the watch of a namespace shows; true if it changed what the store shows.
    pub fn apply(&self, scope: &str, object: Value) -> bool {
        let mut inner = lock(&self.inner);
        inner.saw(scope, version(&object));
        inner.put(place(&object), object)
    }

    /// Takes the answer of one of our own writes in. One that comes after the watch has shown the end of
    /// its object does not bring it back: events come in the order of their versions.
    pub fn own_write(&self, object: &Value) {
        let at = place(object);
        let written = version(object);
        let mut inner = lock(&self.inner);
        if !inner.objects.contains_key(&at) && inner.has_seen(&at, written) {
            return;
        }
        if inner.put(at.clone(), object.clone()) && !inner.listing.is_empty() {
            inner.written.insert(at, written);
        }
    }

    /// Takes out what the server says is not there.
    pub fn absent(&self, at: &Place, of: &str) {
        let mut inner = lock(&self.inner);
        if inner.objects.get(at).is_some_and(|known| uid(known) == of) {
            inner.objects.remove(at);
        }
    }

    /// Takes out what we deleted ourselves.
    pub fn own_delete(&self, at: &Place, deleted: &str) {
        let mut inner = lock(&self.inner);
        if inner
            .objects
            .get(at)
            .is_some_and(|known| uid(known) == deleted)
        {
            inner.objects.remove(at);
        }
        inner.gone.insert(at.clone(), deleted.to_owned());
    }

    /// The end of an object, by its uid, that the watch of a namespace shows; true if it changed what the
    /// store shows.
    pub fn delete(&self, scope: &str, at: &Place, of: &str, version: u64) -> bool {
        let mut inner = lock(&self.inner);
        inner.saw(scope, version);
        inner.gone.remove(at);
        if inner.objects.get(at).is_some_and(|known| uid(known) == of) {
            inner.objects.remove(at).is_some()
        } else {
            false
        }
    }

    /// Waits for a first list of this namespace; the empty one is the whole cluster.
    pub fn expect(&self, scope: &str) {
        lock(&self.inner).missing.insert(scope.to_owned());
    }

    /// A list begins.
    pub fn begin(&self, scope: &str) {
        lock(&self.inner)
            .listing
            .insert(scope.to_owned(), BTreeMap::new());
    }

    /// An object of the list.
    pub fn listed(&self, scope: &str, object: Value) {
        let mut inner = lock(&self.inner);
        let version = version(&object);
        if let Some(listing) = inner.listing.get_mut(scope) {
            listing.insert(place(&object), Arc::new(object));
            // A list is at least as new as the newest object in it.
            inner.saw(scope, version);
        }
    }

    /// The list is complete: what it does not name is gone, but for what we wrote meanwhile. Returns
    /// the places that changed.
    pub fn complete(&self, scope: &str) -> Vec<Place> {
        let mut inner = lock(&self.inner);
        let Some(mut listing) = inner.listing.remove(scope) else {
            return Vec::new();
        };
        listing.retain(|at, object| {
            inner
                .gone
                .get(at)
                .is_none_or(|deleted| deleted != uid(object))
        });
        for (at, known) in &inner.objects {
            let newer = match listing.get(at) {
                Some(object) => version(known) > version(object),
                // Another namespace's list, or one of our own writes that this list is too old for.
                None => {
                    (!scope.is_empty() && at.0 != scope)
                        || inner.written.contains_key(at) && !inner.has_seen(at, version(known))
                }
            };
            if newer {
                listing.insert(at.clone(), Arc::clone(known));
            }
        }
        let before = std::mem::replace(&mut inner.objects, listing);
        if inner.listing.is_empty() {
            inner.written.clear();
        }
        inner
            .gone
            .retain(|at, _| !scope.is_empty() && at.0 != scope);
        inner.missing.remove(scope);
        inner.synced = inner.missing.is_empty();
        let mut changed: Vec<Place> = inner
            .objects
            .iter()
            .filter(|(at, object)| {
                before
                    .get(*at)
                    .is_none_or(|known| version(known) != version(object))
            })
            .map(|(at, _)| at.clone())
            .collect();
        changed.extend(
            before
                .into_keys()
                .filter(|at| !inner.objects.contains_key(at)),
        );
        changed
    }

    /// Whether a list has been completed.
    #[must_use]
    pub fn synced(&self) -> bool {
        lock(&self.inner).synced
    }

    /// Whether the first list of this namespace, or of the whole cluster, is complete.
    #[must_use]
    pub fn synced_in(&self, namespace: &str) -> bool {
        let missing = &lock(&self.inner).missing;
        !missing.contains("") && !missing.contains(namespace)
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        lock(&self.inner)
            .objects
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// All objects, in order of namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Value>> {
        lock(&self.inner).objects.values().cloned().collect()
    }

    /// The objects of a namespace, in order of name.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Vec<Arc<Value>> {
        lock(&self.inner)
            .objects
            .range((namespace.to_owned(), String::new())..)
            .take_while(|((of, _), _)| of == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// How many objects it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.inner).objects.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, uid: &str, version: u64) -> Value {
        json!({"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": version.to_string()}})
    }

    fn delete(store: &Store, object: &Value) -> bool {
        store.delete("", &place(object), uid(object), version(object))
    }

    fn shown(store: &Store) -> Vec<(String, u64)> {
        store
            .all()
            .iter()
            .map(|object| (place(object).1, version(object)))
            .collect()
    }

    #[test]
    fn an_event_older_than_our_write_is_passed_over() {
        let store = Store::default();
        assert!(store.apply("", object("a", "1", 9)));
        store.own_write(&object("a", "1", 12));
        assert!(!store.apply("", object("a", "1", 11)));
        // As numbers: as text, 9 would be above 12.
        assert!(!store.apply("", object("a", "1", 9)));
        assert!(store.apply("", object("a", "1", 100)));
        assert_eq!(shown(&store), vec![("a".to_owned(), 100)]);
    }

    #[test]
    fn what_we_deleted_does_not_come_back() {
        let store = Store::default();
        store.apply("", object("a", "1", 5));
        store.own_delete(&("n".to_owned(), "a".to_owned()), "1");
        assert!(!store.apply("", object("a", "1", 6)));
        assert!(
            store.apply("", object("a", "2", 8)),
            "a new life under the same name"
        );
        assert!(
            !delete(&store, &object("a", "1", 7)),
            "the end of the old one"
        );
        assert_eq!(shown(&store), vec![("a".to_owned(), 8)]);
    }

    #[test]
    fn an_answer_that_comes_after_the_end_does_not_bring_it_back() {
        let store = Store::default();
        store.apply("", object("a", "1", 5));
        assert!(delete(&store, &object("a", "1", 8)));
        store.own_write(&object("a", "1", 7));
        assert_eq!(shown(&store), vec![]);
        // What the watch cannot have shown yet is taken in.
        store.own_write(&object("b", "2", 9));
        assert_eq!(shown(&store), vec![("b".to_owned(), 9)]);
        // Of another namespace's watch it says nothing.
        let store = Store::default();
        store.apply("m", object("a", "1", 20));
        store.own_write(&object("b", "2", 9));
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn a_list_that_is_newer_than_our_write_says_that_it_is_gone() {
        let store = Store::default();
        store.begin("");
        store.own_write(&object("ours", "3", 9));
        store.listed("", object("other", "4", 12));
        store.complete("");
        assert_eq!(shown(&store), vec![("other".to_owned(), 12)]);
    }

    #[test]
    fn a_list_replaces_all_but_what_we_wrote_meanwhile() {
        let store = Store::default();
        store.apply("", object("old", "1", 3));
        store.begin("");
        store.listed("", object("kept", "2", 4));
        store.own_write(&object("ours", "3", 9));
        store.own_write(&object("kept", "2", 10));
        assert!(!store.synced());
        let changed = store.complete("");
        assert!(store.synced());
        assert_eq!(
            shown(&store),
            vec![("kept".to_owned(), 10), ("ours".to_owned(), 9)]
        );
        assert_eq!(changed, vec![("n".to_owned(), "old".to_owned())]);
    }

    #[test]
    fn one_namespaces_list_leaves_the_others_alone() {
        let store = Store::default();
        store.expect("n");
        store.expect("m");
        store.begin("n");
        store.listed("n", object("a", "1", 3));
        store.complete("n");
        assert!(!store.synced());
        store.begin("m");
        store.complete("m");
        assert!(store.synced());
        assert_eq!(shown(&store), vec![("a".to_owned(), 3)]);
    }
}
