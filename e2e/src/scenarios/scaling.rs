//! Scaling 4, 8, 3 in each step, in warm and during the hand-over: both sides follow, and none is ever under the share it carries.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::floor::Floor;
use crate::fixture::plan::weight;
use crate::fixture::serving::{owner, until_answers, until_no_pods_of};
use crate::fixture::{Crossfade, Plan, SOON, WEB, WHOLE};
use crate::harness::api::{Patch, number, text};
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "scaling",
    control: false,
    pods: 30,
    group: 1,
    alone: false,
    limit: Duration::from_secs(420),
    run: |context| Box::pin(run(context)),
};

/// The size of the candidate in each step, the last being warm.
fn size(step: u32, n: i64) -> i64 {
    match step {
        0 => (n / 4).max(1),
        _ => n,
    }
}

async fn scale(context: &Context, replicas: i64) -> anyhow::Result<()> {
    context
        .api
        .patch(
            &format!("{}/scale", context.path("deployments", WEB)),
            Patch::Merge,
            &json!({"spec": {"replicas": replicas}}),
        )
        .await?;
    Ok(())
}

/// Both sides complete for N, and the stay of the step begun anew or going on.
pub(super) async fn until_sides(crossfade: &Crossfade, step: u32, n: i64) -> anyhow::Result<()> {
    let c = size(step, n);
    crossfade
        .until(
            &format!("step {step} has {n} pods of stable and {c} of the candidate"),
            SOON,
            |rollout| {
                let there = [
                    ("/status/stable/replicas", n),
                    ("/status/stable/ready", n),
                    ("/status/candidate/replicas", c),
                    ("/status/candidate/ready", c),
                ]
                .iter()
                .all(|(field, wanted)| number(rollout, field) == *wanted)
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

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    let plan = Plan::steps(vec![weight(20, "600s"), weight(50, "600s")]).warm("600s");
    crossfade.plan(&plan).await?;
    crossfade.deploy(&App::new(WEB, 4)).await?;
    let floor = Floor::watch(&context, "v1", "v2").await?;
    let sets = context.watch("replicasets").await?;
    let load = context.load(WEB, Options::default()).await?;
    until_answers(&load, 100).await?;
    crossfade.release("v2").await?;
    for step in 0..3 {
        for n in [4, 8, 3] {
            scale(&context, n).await?;
            until_sides(&crossfade, step, n).await?;
        }
        context.check(&format!("step {step}: both sides follow"), true, "4, 8, 3");
        scale(&context, 4).await?;
        until_sides(&crossfade, step, 4).await?;
        if step < 2 {
            crossfade.command("promote").await?;
        }
    }
    crossfade.command("promote").await?;
    crossfade.until_phase("HandingOver", SOON).await?;
    scale(&context, 8).await?;
    sets.until("the judged ReplicaSet is web's", WHOLE, |sets| {
        sets.values()
            .any(|set| {
                text(set, "/spec/template/spec/containers/0/image").ends_with(":v2")
                    && owner(set) == Some(("Deployment", WEB))
            })
            .then_some(())
    })
    .await?;
    scale(&context, 3).await?;
    crossfade.until_promoted("v2").await?;
    context.until_available(WEB, 3).await?;
    context.until_endpoints(WEB, 3).await?;
    until_no_pods_of(&context, "v1").await?;
    until_answers(&load, 200).await?;
    context.finish_load(load).await?;
    floor.check(&context);
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}
