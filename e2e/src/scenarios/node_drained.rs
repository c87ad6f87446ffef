//! A node is drained under pods of both sides, in a step and in warm, with a PodDisruptionBudget on the workload: the release goes on, and
//! no request is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::floor::Floor;
use crate::fixture::plan::weight;
use crate::fixture::serving::{largest_sizes, serving_uids, until_answers, until_no_pods_of};
use crate::fixture::{Crossfade, Plan, SOON, WEB};
use crate::harness::api::{collection, number, text};
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::nodes::{FIRST, SECOND};
use crate::harness::runner::Scenario;
use crate::load::Options;

const REPLICAS: u32 = 4;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "node-drained",
    control: false,
    pods: 20,
    group: 1,
    // Pods of others would come to lie on its node, and be drained.
    alone: true,
    limit: Duration::from_secs(420),
    run: |context| Box::pin(run(context)),
};

/// Tag and node of the pods that are not in deletion, counted.
pub(super) async fn places(context: &Context) -> anyhow::Result<BTreeMap<(String, String), usize>> {
    let (pods, _) = context
        .api
        .list(&collection(&context.namespace, "pods"))
        .await?;
    let mut places = BTreeMap::new();
    for pod in pods
        .iter()
        .filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none())
    {
        let tag = text(pod, "/spec/containers/0/image")
            .rsplit(':')
            .next()
            .unwrap_or_default();
        let node = text(pod, "/spec/nodeName");
        *places.entry((tag.to_owned(), node.to_owned())).or_default() += 1;
    }
    Ok(places)
}

/// Both sides complete, the weight verified and the stay of the step running.
pub(super) async fn until_whole(crossfade: &Crossfade, step: u32, n: u32) -> anyhow::Result<()> {
    let fields = [
        "/status/stable/replicas",
        "/status/stable/ready",
        "/status/candidate/replicas",
        "/status/candidate/ready",
    ];
    crossfade
        .until(
            &format!("step {step} has {n} pods of each side"),
            SOON,
            |rollout| {
                let there = fields
                    .iter()
                    .all(|field| number(rollout, field) == i64::from(n))
                    && text(rollout, "/status/step/state") == "Observing"
                    && rollout
                        .pointer("/status/step/index")
                        .and_then(Value::as_u64)
                        == Some(step.into());
                there.then_some(())
            },
        )
        .await
}

/// Drains a node on which pods of both sides are, and sees what becomes of the step.
async fn drain(
    context: &Context,
    crossfade: &Crossfade,
    node: &str,
    step: u32,
) -> anyhow::Result<()> {
    let before = places(context).await?;
    let on = |tag: &str| {
        before
            .get(&(tag.to_owned(), node.to_owned()))
            .copied()
            .unwrap_or(0)
    };
    let (stable, candidate) = (on("v1"), on("v2"));
    let drained = context.drain(node).await?;
    context.check(
        &format!("step {step}: {node} is drained of pods of both sides, at the budget's pace"),
        stable > 0
            && candidate > 0
            && drained.evicted.len() >= stable + candidate
            && drained.refused > 0,
        format!(
            "{stable} of stable, {candidate} of the candidate; {} evicted, {} times refused by the budget",
            drained.evicted.len(),
            drained.refused
        ),
    );
    until_whole(crossfade, step, REPLICAS).await?;
    context.cordon(node, false).await
}

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    let plan = Plan::steps(vec![weight(50, "600s")]).warm("600s");
    crossfade.plan(&plan).await?;
    context.start_second_node().await?;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": WEB},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": WEB}}},
    });
    context
        .user
        .apply(&budget)
        .await?
        .must("applying the PodDisruptionBudget")?;
    crossfade.deploy(&App::new(WEB, REPLICAS).spread()).await?;
    let floor = Floor::watch(&context, "v1", "v2").await?;
    let sets = context.watch("replicasets").await?;
    let load = context.load(WEB, Options::default()).await?;
    until_answers(&load, 100).await?;

    crossfade.release("v2").await?;
    until_whole(&crossfade, 0, REPLICAS).await?;
    drain(&context, &crossfade, SECOND, 0).await?;
    crossfade.command("promote").await?;
    // Now all are on the first: in warm it is that one's turn.
    until_whole(&crossfade, 1, REPLICAS).await?;
    drain(&context, &crossfade, FIRST, 1).await?;
    crossfade.command("promote").await?;
    crossfade.until_promoted("v2").await?;
    context.until_available(WEB, REPLICAS).await?;
    context.until_endpoints(WEB, REPLICAS).await?;
    until_no_pods_of(&context, "v1").await?;
    until_answers(&load, 200).await?;
    let serving = serving_uids(&context, WEB).await?;
    let (pods, _) = context
        .api
        .list(&collection(&context.namespace, "pods"))
        .await?;
    context.finish_load(load).await?;
    let versions: Vec<&str> = pods
        .iter()
        .map(|pod| text(pod, "/spec/containers/0/image"))
        .collect();
    context.check(
        "the candidate's pods serve, and there are no others",
        serving.len() == REPLICAS as usize
            && pods.len() == REPLICAS as usize
            && versions.iter().all(|image| image.ends_with(":v2")),
        versions.join(", "),
    );
    let sizes = largest_sizes(&sets.history());
    context.check(
        "two ReplicaSets had pods, and neither more than N",
        sizes.values().filter(|size| **size > 0).count() == 2
            && sizes.values().all(|size| *size <= i64::from(REPLICAS)),
        format!("{sizes:?}"),
    );
    let (budgets, _) = context
        .api
        .list(&collection(&context.namespace, "poddisruptionbudgets"))
        .await?;
    context.check(
        "there is one budget",
        budgets.len() == 1,
        budgets.len().to_string(),
    );
    floor.check(&context);
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}
