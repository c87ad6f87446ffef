//! Somebody deletes stable's ReplicaSet in mid-release, where the paused Deployment would start another of its history: stable is made again,
//! alone, and takes everything back. And a template that comes with `crossfade.dev/bypass` while a release is under way.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::fixture::plan::weight;
use crate::fixture::serving::{active_replica_set, owner, pods_of, until_answers};
use crate::fixture::{Crossfade, Plan, SOON, WEB, WHOLE};
use crate::harness::api::{Patch, number, text};
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

const REPLICAS: u32 = 3;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "stable-deleted",
    control: false,
    pods: 9,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    crossfade
        .plan(&Plan::steps(vec![weight(50, "0s")]).warm("1s"))
        .await?;
    crossfade.deploy(&App::new(WEB, REPLICAS)).await?;
    let load = context.load(WEB, Options::default()).await?;
    until_answers(&load, 100).await?;
    crossfade.release("v2").await?;
    crossfade.until_ended("v2", "promoted", WHOLE).await?;

    let long = Plan::steps(vec![weight(50, "0s")]).warm("600s");
    crossfade.plan(&long).await?;
    crossfade.release("v3").await?;
    crossfade.until_step(1, "Observing", WHOLE).await?;
    let lost = active_replica_set(&context, WEB).await?;
    context
        .api
        .delete(&context.path("replicasets", text(&lost, "/metadata/name")))
        .await?;
    until_whole(&context, text(&lost, "/metadata/uid")).await?;
    let stable = pods_of(&context, "v2").await?;

    crossfade.command("abort").await?;
    crossfade.until_ended("v3", "aborted", WHOLE).await?;
    let after = pods_of(&context, "v2").await?;
    context.check(
        "the pods that were made again took everything back",
        after == stable,
        format!("{stable:?} | {after:?}"),
    );
    crossfade.release("v2").await?;
    crossfade.until_phase("Idle", SOON).await?;
    context.until_available(WEB, REPLICAS).await?;
    let reverted = pods_of(&context, "v2").await?;
    context.check(
        "reverting the template replaces no pod",
        reverted == stable,
        format!("{stable:?} | {reverted:?}"),
    );
    until_answers(&load, 100).await?;
    context.finish_load(load).await?;

    bypassed(&context, &crossfade).await?;
    crossfade.check_laws().await
}

/// Waits until another ReplicaSet of stable's template has all its pods ready and no other of the Deployment has any.
async fn until_whole(context: &Arc<Context>, lost: &str) -> anyhow::Result<()> {
    let wanted = i64::from(REPLICAS);
    let sets = context.watch("replicasets").await?;
    sets.until("stable is whole again, alone", SOON, |sets| {
        let with_pods: Vec<bool> = sets
            .values()
            .filter(|set| number(set, "/status/replicas") > 0)
            .filter(|set| owner(set).is_none_or(|(_, name)| name == WEB))
            .map(|set| {
                text(set, "/metadata/uid") != lost
                    && number(set, "/status/readyReplicas") == wanted
                    && text(set, "/spec/template/spec/containers/0/image") == image("v2")
            })
            .collect();
        (with_pods == [true]).then_some(())
    })
    .await?;
    context.check("stable is made again, alone", true, "");
    Ok(())
}

/// In mid-release a bypass ends the release, then its template rolls out natively. That loses what a native rollout loses: no load here.
async fn bypassed(context: &Arc<Context>, crossfade: &Crossfade) -> anyhow::Result<()> {
    // Nothing asks any more: health is the verdict.
    let plan = Plan::steps(vec![weight(50, "0s")])
        .warm("600s")
        .without_metrics();
    crossfade.plan(&plan).await?;
    crossfade.release("v4").await?;
    crossfade.until_step(1, "Observing", WHOLE).await?;
    let web = context.get("deployments", WEB).await?;
    let mut containers = web
        .pointer("/spec/template/spec/containers")
        .cloned()
        .context("the Deployment has containers")?;
    containers[0]["image"] = json!(image("v5"));
    let push = json!({
        "metadata": {"annotations": {"crossfade.dev/bypass": "INC-7: v2 is broken"}},
        "spec": {"template": {"spec": {"containers": containers}}},
    });
    context
        .api
        .patch(&context.path("deployments", WEB), Patch::Merge, &push)
        .await?;
    let reason = crossfade
        .until("it is recorded as bypassed", WHOLE, |rollout| {
            (text(rollout, "/status/phase") == "Idle"
                && text(rollout, "/status/history/0/outcome") == "bypassed")
                .then(|| text(rollout, "/status/history/0/reason").to_owned())
        })
        .await?;
    let outcome = crossfade.rollout().await?;
    context.check(
        "the release under way ended, and the reason is kept",
        reason == "INC-7: v2 is broken"
            && text(&outcome, "/status/history/1/outcome") == "superseded",
        reason,
    );
    context.until_available(WEB, REPLICAS).await?;
    let pods = pods_of(context, "v5").await?;
    context.check(
        "its pods serve",
        pods.len() == REPLICAS as usize,
        format!("{pods:?}"),
    );
    Ok(())
}
