//! The nodes of a cluster: how many pods fit, which are lost. Who is told when is the node actor's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::actors::client::lock;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// Pods that fit on it.
    pub room: usize,
    pub up: bool,
}

#[derive(Debug, Default)]
struct Table {
    nodes: BTreeMap<String, Node>,
    lost: Vec<String>,
    /// Until then pods of lost nodes are still there, though they answer nothing.
    given_up: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    changed: Notify,
}

/// All nodes; a handle.
#[derive(Clone, Debug, Default)]
pub struct Nodes(Arc<Shared>);

impl Nodes {
    /// Adds a node, brings it back, or changes how much fits on it.
    pub fn put(&self, name: &str, room: usize) {
        let node = Node {
            name: name.to_owned(),
            room,
            up: true,
        };
        lock(&self.0.table).nodes.insert(name.to_owned(), node);
        self.0.changed.notify_one();
    }

    /// The node stops now, with every process on it.
    pub fn lose(&self, name: &str) {
        let mut table = lock(&self.0.table);
        if let Some(node) = table.nodes.get_mut(name).filter(|node| node.up) {
            node.up = false;
            table.lost.push(name.to_owned());
            self.0.changed.notify_one();
        }
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Node> {
        lock(&self.0.table).nodes.values().cloned().collect()
    }

    /// Those lost since this was asked last.
    pub(super) fn take_lost(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0.table).lost)
    }

    /// Pods of a lost node are there until then at the longest.
    pub(super) fn give_up(&self, at: Instant) {
        let mut table = lock(&self.0.table);
        table.given_up = table.given_up.max(Some(at));
    }

    /// Whether pods of a lost node may still be there, for others to take their place later.
    #[must_use]
    pub fn miss_pods(&self) -> bool {
        lock(&self.0.table)
            .given_up
            .is_some_and(|at| at > Instant::now())
    }

    /// Waits for a change.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// The node with the fewest pods that has room; by name among equals.
    pub(super) fn place(&self, pods: &BTreeMap<String, usize>) -> Option<String> {
        let count = |node: &Node| pods.get(&node.name).copied().unwrap_or_default();
        lock(&self.0.table)
            .nodes
            .values()
            .filter(|node| node.up && count(node) < node.room)
            .min_by_key(|node| (count(node), node.name.clone()))
            .map(|node| node.name.clone())
    }

    /// In the scheduler's words, why nothing fits.
    pub(super) fn refusal(&self) -> String {
        let nodes = self.all();
        let down = nodes.iter().filter(|node| !node.up).count();
        let full = nodes.len() - down;
        let mut reasons = Vec::new();
        if full > 0 {
            reasons.push(format!("{full} Too many pods"));
        }
        if down > 0 {
            reasons.push(format!(
                "{down} node(s) had untolerated taint {{node.kubernetes.io/unreachable: }}"
            ));
        }
        format!(
            "0/{} nodes are available: {}.",
            nodes.len(),
            reasons.join(", ")
        )
    }
}
