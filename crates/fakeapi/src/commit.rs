//! The one place where objects change: a new revision, the event, the indexes. What may be written
//! is decided before.

use crate::At;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::history::{Stored, set_revision};
use crate::state::State;
use crate::{Caller, Change, Key, Verb};

/// A write that has passed everything.
pub(crate) struct Commit<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) verb: Verb,
    pub(crate) subresource: &'a str,
    pub(crate) key: Key,
    /// Absent: the object goes.
    pub(crate) after: Option<Value>,
}

impl State {
    /// Makes it so. Gives the stored object (for a deletion the last one) and what observers see.
    pub(crate) fn commit(&mut self, commit: Commit<'_>) -> (Option<Arc<Stored>>, Change) {
        self.revision += 1;
        let revision = self.revision;
        let keep = self.history;
        let after = commit.after.map(|mut value| {
            set_revision(&mut value, revision);
            Stored::new(value, revision)
        });
        let key = commit.key;
        let before = self.store(&key.resource).record(
            revision,
            &key.namespace,
            &key.name,
            after.clone(),
            keep,
        );
        self.index(
            &key,
            before.as_deref().map(|stored| &*stored.value),
            after.as_deref().map(|stored| &*stored.value),
        );
        if key.resource == "customresourcedefinitions" {
            self.definition(
                before.as_deref().map(|stored| &*stored.value),
                after.as_deref().map(|stored| &*stored.value),
            );
        }
        let change = Change {
            revision,
            caller: commit.caller.clone(),
            verb: commit.verb,
            subresource: commit.subresource.to_owned(),
            before: before.as_ref().map(|stored| Arc::clone(&stored.value)),
            after: after.as_ref().map(|stored| Arc::clone(&stored.value)),
            key,
        };
        (after.or(before), change)
    }

    fn definition(&mut self, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (_, Some(crd)) => self.define(crd),
            (Some(crd), None) => {
                let text = |path: &str| crd.at(path).and_then(Value::as_str).unwrap_or_default();
                self.undefine(text("/spec/group"), text("/spec/names/plural"));
            }
            (None, None) => {}
        }
    }

    fn index(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        let uid = |object: Option<&Value>| uid(object).map(str::to_owned);
        let (old, new) = (uid(before), uid(after));
        if old != new {
            if let Some(old) = old {
                self.uids.remove(&old);
            }
            if let Some(new) = new {
                self.uids.insert(new, key.clone());
            }
        }
        let (old, new) = (owners(before), owners(after));
        if old != new {
            for gone in old.difference(&new) {
                if let Some(keys) = self.dependents.get_mut(*gone) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.dependents.remove(*gone);
                    }
                }
            }
            for fresh in new.difference(&old) {
                self.dependents
                    .entry((*fresh).to_owned())
                    .or_default()
                    .insert(key.clone());
            }
        }
    }
}

fn uid(object: Option<&Value>) -> Option<&str> {
    object?.get("metadata")?.get("uid")?.as_str()
}

/// Uids of all owners.
fn owners(object: Option<&Value>) -> BTreeSet<&str> {
    object
        .and_then(|object| object.get("metadata")?.get("ownerReferences")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(|owner| owner.get("uid")?.as_str())
        .collect()
}
