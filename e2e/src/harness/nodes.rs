//! Nodes as their administrator treats them: a second one joins, one is cordoned, drained, lost. What a release makes of that belongs to the
//! scenarios; such a scenario runs alone, because pods of others would come to lie on those nodes too.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Patch, collection, number, object, refused_with, text};
use super::context::Context;
use super::watch::Watch;
use crate::cluster::{Cluster, NODE, second_node};

pub(crate) const FIRST: &str = NODE;
pub(crate) const SECOND: &str = second_node::NODE;
/// Of all pods of a node, one after the other where a budget wants it.
const DRAIN: Duration = Duration::from_secs(120);

/// What a drain met.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// Names of the pods, in the order they went.
    pub(crate) evicted: Vec<String>,
    /// How often a PodDisruptionBudget said not yet.
    pub(crate) refused: usize,
}

fn path(node: &str) -> String {
    format!("/api/v1/nodes/{node}")
}

fn pods_on(node: &str) -> String {
    format!("/api/v1/pods?fieldSelector=spec.nodeName={node}")
}

impl Context {
    fn own_cluster(&self) -> anyhow::Result<Cluster> {
        let cluster = self.surroundings.cluster.clone();
        cluster.context("this cluster is not ours: it can be given no other node")
    }

    /// Starts a second node, instead of one that may be there from before, and waits until it is ready.
    pub(crate) async fn start_second_node(&self) -> anyhow::Result<()> {
        let cluster = self.own_cluster()?;
        self.second_node.store(true, Ordering::Relaxed);
        self.clear_second_node().await?;
        let started = Instant::now();
        tokio::task::spawn_blocking(move || cluster.start_second()).await??;
        self.say(&format!(
            "{SECOND} is ready after {:.1} s",
            started.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// It neither answers any more nor says that it goes; what is noticed of it, the cluster notices by itself. When it was done.
    pub(crate) async fn lose_second_node(&self) -> anyhow::Result<Instant> {
        let cluster = self.own_cluster()?;
        tokio::task::spawn_blocking(move || cluster.lose_second()).await??;
        Ok(Instant::now())
    }

    /// What an administrator does about a node that will not come back: its Node goes, and its pods without waiting for their kubelet.
    pub(super) async fn clear_second_node(&self) -> anyhow::Result<()> {
        let cluster = self.own_cluster()?;
        tokio::task::spawn_blocking(move || cluster.clear_second()).await??;
        self.api.delete(&path(SECOND)).await?;
        let (pods, _) = self.api.list(&pods_on(SECOND)).await?;
        for pod in &pods {
            let of = object(
                text(pod, "/metadata/namespace"),
                "pods",
                text(pod, "/metadata/name"),
            );
            self.api
                .delete(&format!("{of}?gracePeriodSeconds=0"))
                .await?;
        }
        self.cordon(FIRST, false).await
    }

    /// New pods do not come to a cordoned node.
    pub(crate) async fn cordon(&self, node: &str, cordoned: bool) -> anyhow::Result<()> {
        let patch = json!({"spec": {"unschedulable": cordoned}});
        self.api.patch(&path(node), Patch::Merge, &patch).await?;
        Ok(())
    }

    /// As `kubectl drain`: cordons the node, evicts its pods as their budgets allow, and waits until they are gone. Where kubectl asks again
    /// every five seconds, here a change of the budget is awaited.
    pub(crate) async fn drain(&self, node: &str) -> anyhow::Result<Drained> {
        self.cordon(node, true).await?;
        let on_node = Watch::start(&self.api, &pods_on(node)).await?;
        let budgets = self.watch("poddisruptionbudgets").await?;
        let deadline = Instant::now() + DRAIN;
        let mut drained = Drained::default();
        for pod in on_node.objects() {
            let name = text(&pod, "/metadata/name").to_owned();
            loop {
                let before = budgets.objects();
                if self.evicted(&pod).await? {
                    break;
                }
                drained.refused += 1;
                until_allowed(&budgets, &before, deadline)
                    .await
                    .with_context(|| format!("{name} cannot be evicted from {node}"))?;
            }
            drained.evicted.push(name);
        }
        on_node
            .until(&format!("{node} has no pod"), DRAIN, |pods| {
                pods.is_empty().then_some(())
            })
            .await?;
        Ok(drained)
    }

    /// False: a budget refuses it for now.
    async fn evicted(&self, pod: &Value) -> anyhow::Result<bool> {
        let (namespace, name) = (
            text(pod, "/metadata/namespace"),
            text(pod, "/metadata/name"),
        );
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": text(pod, "/metadata/uid")}},
        });
        let path = format!("{}/{name}/eviction", collection(namespace, "pods"));
        match self.api.create(&path, &eviction).await {
            Ok(_) => Ok(true),
            // It went by itself meanwhile.
            Err(problem) if refused_with(&problem) == Some(404) => Ok(true),
            Err(problem) if refused_with(&problem) == Some(429) => Ok(false),
            Err(problem) => Err(problem),
        }
    }
}

/// Waits until every budget allows one more. One that seemed to before the refusal was seen late: it has to change first.
async fn until_allowed(budgets: &Watch, before: &[Value], deadline: Instant) -> anyhow::Result<()> {
    let version = |budget: &Value| text(budget, "/metadata/resourceVersion").to_owned();
    let allows = |budget: &Value| number(budget, "/status/disruptionsAllowed") > 0;
    let late: Vec<String> = before
        .iter()
        .filter(|budget| allows(budget))
        .map(version)
        .collect();
    let left = deadline.saturating_duration_since(Instant::now());
    budgets
        .until("its budget allows it", left, |all| {
            let allowed = all
                .values()
                .all(|budget| allows(budget) && !late.contains(&version(budget)));
            allowed.then_some(())
        })
        .await
}
