//! The HorizontalPodAutoscaler's own controller grows and shrinks the workload in every phase of a release that is aborted and of one that
//! is promoted: both sides follow N, and no request is lost.
//!
//! It counts the pods of both sides, since its workload's selector selects both; so the figures it is given are the load's, spread over
//! whoever serves, as those of a real load would be. A load for just as many pods as there are on both sides is none that it answers: it
//! takes them to be enough. The numbers here keep away from that.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::scaling::until_sides;
use crate::fixture::floor::Floor;
use crate::fixture::plan::weight;
use crate::fixture::serving::{pods_of, until_answers, until_no_pods_of};
use crate::fixture::{Crossfade, Plan, SOON, WEB, WHOLE};
use crate::harness::api::{collection, condition, number, text};
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::pod_metrics::PodMetrics;
use crate::harness::runner::Scenario;
use crate::harness::watch::Watch;
use crate::load::Options;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "hpa",
    control: false,
    pods: 30,
    group: 1,
    alone: false,
    limit: Duration::from_secs(420),
    run: |context| Box::pin(run(context)),
};

/// Thousandths of a core that one pod is meant to take.
const EACH: u64 = 100;
/// From the load to the autoscaler's answer.
const ANSWER: Duration = Duration::from_secs(30);

fn autoscaler() -> Value {
    // At once and as far as asked, in both directions: what is looked at is what a release makes of it.
    let rules = json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}]});
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": WEB},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": WEB},
            "minReplicas": 2, "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": format!("{EACH}m")}}}],
            "behavior": {"scaleUp": rules, "scaleDown": rules},
        },
    })
}

struct Scaled {
    metrics: PodMetrics,
    deployments: Watch,
}

impl Scaled {
    /// The load is one for so many pods from now on.
    fn load_for(&self, n: i64) {
        self.metrics.set(n.unsigned_abs() * EACH);
    }

    async fn until(&self, n: i64) -> anyhow::Result<()> {
        self.deployments
            .until_object(WEB, &format!("the autoscaler writes {n}"), ANSWER, |web| {
                (number(web, "/spec/replicas") == n).then_some(())
            })
            .await
    }

    /// While the controller is in a phase that would be over before the autoscaler has looked: it is held there until each N is written.
    async fn within(
        &self,
        crossfade: &Crossfade,
        phase: &str,
        wanted: [i64; 2],
    ) -> anyhow::Result<()> {
        crossfade.until_phase(phase, WHOLE).await?;
        crossfade.controller.hold(true)?;
        for n in wanted {
            self.load_for(n);
            self.until(n).await?;
        }
        let now = crossfade.rollout().await?;
        crossfade.controller.hold(false)?;
        let found = text(&now, "/status/phase");
        crossfade.context.check(
            &format!(
                "N = {} and N = {} are written in {phase}",
                wanted[0], wanted[1]
            ),
            found == phase,
            format!("in {found}"),
        );
        Ok(())
    }

    async fn sides(&self, crossfade: &Crossfade, step: u32, n: i64) -> anyhow::Result<()> {
        self.load_for(n);
        self.until(n).await?;
        until_sides(crossfade, step, n).await
    }

    /// Every N that was written, in order.
    fn written(&self) -> Vec<i64> {
        let history = self.deployments.history();
        let mut all: Vec<i64> = history
            .iter()
            .filter(|seen| text(&seen.object, "/metadata/name") == WEB)
            .map(|seen| number(&seen.object, "/spec/replicas"))
            .collect();
        all.dedup();
        all
    }
}

/// Stable alone serves with N pods, whatever becomes of the template that was refused.
async fn until_stable(context: &Context, n: u32) -> anyhow::Result<()> {
    context.until_endpoints(WEB, n).await?;
    let pods = pods_of(context, "v1").await?;
    context.check(
        &format!("RolledBack: stable follows to {n}"),
        pods.len() == n as usize,
        format!("{} pods", pods.len()),
    );
    Ok(())
}

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    let plan = Plan::steps(vec![weight(20, "600s")]).warm("600s");
    crossfade.plan(&plan).await?;
    crossfade.deploy(&App::new(WEB, 4)).await?;
    let scaled = Scaled {
        metrics: PodMetrics::start(&context).await?,
        deployments: context.watch("deployments").await?,
    };
    scaled.load_for(4);
    context
        .user
        .apply(&autoscaler())
        .await?
        .must("applying the HorizontalPodAutoscaler")?;
    let autoscalers = context.watch("horizontalpodautoscalers").await?;
    autoscalers
        .until_object(WEB, "it is active", SOON, |autoscaler| {
            (condition(autoscaler, "ScalingActive") == "True").then_some(())
        })
        .await?;
    let load = context.load(WEB, Options::default()).await?;
    until_answers(&load, 100).await?;

    crossfade.release("v2").await?;
    scaled.within(&crossfade, "Preparing", [6, 5]).await?;
    until_sides(&crossfade, 0, 5).await?;
    for n in [8, 3, 5, 4] {
        scaled.sides(&crossfade, 0, n).await?;
    }
    crossfade.command("abort").await?;
    scaled.within(&crossfade, "RollingBack", [6, 5]).await?;
    crossfade.until_ended("v2", "aborted", WHOLE).await?;
    until_stable(&context, 5).await?;
    for n in [3, 4] {
        scaled.load_for(n.into());
        scaled.until(n.into()).await?;
        until_stable(&context, n).await?;
    }

    let floor = Floor::watch(&context, "v1", "v3").await?;
    crossfade.release("v3").await?;
    until_sides(&crossfade, 0, 4).await?;
    crossfade.command("promote").await?;
    until_sides(&crossfade, 1, 4).await?;
    for n in [6, 3, 4] {
        scaled.sides(&crossfade, 1, n).await?;
    }
    let (all, _) = context
        .api
        .list(&collection(&context.namespace, "horizontalpodautoscalers"))
        .await?;
    context.check(
        "there is one autoscaler in mid-release",
        all.len() == 1,
        format!("{}", all.len()),
    );
    crossfade.command("promote").await?;
    scaled.within(&crossfade, "HandingOver", [10, 7]).await?;
    crossfade.until_promoted("v3").await?;
    context.until_available(WEB, 7).await?;
    scaled.load_for(3);
    scaled.until(3).await?;
    context.until_available(WEB, 3).await?;
    context.until_endpoints(WEB, 3).await?;
    until_no_pods_of(&context, "v1").await?;
    until_answers(&load, 200).await?;
    context.finish_load(load).await?;
    let written = scaled.written();
    let expected = [4, 6, 5, 8, 3, 5, 4, 6, 5, 3, 4, 6, 3, 4, 10, 7, 3];
    context.check(
        "N was what the load asked for, and nothing else",
        written == expected,
        format!("{written:?}"),
    );
    floor.check(&context);
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}
