//! The sizes each ReplicaSet was given on the way to rest: a dip that heals is gone from the state, and pods
//! with it. Who gives them, and when, is not known here.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::state::{State, uid};

/// By uid.
pub type Sizes = BTreeMap<String, Vec<i64>>;

#[derive(Debug, Default)]
pub struct Course {
    latest: BTreeMap<String, i64>,
    written: Sizes,
}

fn size(set: &Value) -> i64 {
    set.pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1)
}

impl Course {
    /// A ReplicaSet as it is now.
    pub fn see(&mut self, set: &Value) {
        let now = size(set);
        if self.latest.insert(uid(set).to_owned(), now) != Some(now) {
            self.written
                .entry(uid(set).to_owned())
                .or_default()
                .push(now);
        }
    }

    /// Whether the sizes of this state are the last ones seen.
    pub fn is_at(&self, state: &State) -> bool {
        state
            .sets
            .iter()
            .all(|set| self.latest.get(uid(set)) == Some(&size(set)))
    }

    /// Forgets the sizes written so far.
    pub fn clear(&mut self) {
        self.written.clear();
    }

    /// The sizes written so far.
    pub fn so_far(&self) -> Sizes {
        self.written.clone()
    }
}
