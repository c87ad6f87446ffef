//! Beside a workload of ours: a Deployment that is not opted in never meets our webhooks and rolls natively. And a namespace deleted in the
//! midst of a release goes within its own time, whether we run or not.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::{Crossfade, SOON, WEB};
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::watch::Watch;

/// Pods drain for six of their fifteen seconds; the rest is the namespace controller's.
const GONE: Duration = Duration::from_secs(45);

const BASE: Scenario = Scenario {
    name: "not-opted-in",
    control: false,
    pods: 12,
    group: 1,
    alone: false,
    limit: Duration::from_secs(200),
    run: |context| Box::pin(not_opted_in(context)),
};

pub(crate) const SCENARIOS: [Scenario; 3] = [
    BASE,
    Scenario {
        name: "namespace-deleted",
        run: |context| Box::pin(deleted(context, true)),
        ..BASE
    },
    Scenario {
        name: "namespace-deleted-while-down",
        run: |context| Box::pin(deleted(context, false)),
        ..BASE
    },
];

async fn not_opted_in(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    context.deploy(&App::new("other", 2)).await?;
    for tag in ["v2", "v3"] {
        context
            .user
            .set_image("other", &image(tag))
            .await?
            .must("kubectl set image")?;
        context.until_available("other", 2).await?;
    }
    context
        .user
        .scale("other", 1)
        .await?
        .must("kubectl scale")?;
    let mut service = App::new("other", 2).service();
    if let Some(labels) = service.pointer_mut("/metadata/labels") {
        *labels = serde_json::json!({"app": "other", "changed": "yes"});
    }
    context.user.apply(&service).await?.must("kubectl apply")?;
    let asked = crossfade.admission_requests(&context.namespace).await?;
    context.check(
        "never in a webhook",
        asked.values().all(|count| *count == 0),
        format!("{asked:?}"),
    );
    let rolled = context.get("deployments", "other").await?;
    context.check(
        "it rolled natively",
        rolled.pointer("/spec/paused").is_none() && crossfade.rollouts.objects().is_empty(),
        format!("{} Rollouts", crossfade.rollouts.objects().len()),
    );
    // The counting counts: an opted-in one is seen, and still the other is not.
    crossfade.deploy(&App::new(WEB, 2).canary()).await?;
    let with = crossfade.admission_requests(&context.namespace).await?;
    context.check(
        "an opted-in one is seen by gate",
        with.get("gate").is_some_and(|count| *count > 0),
        format!("{with:?}"),
    );
    context
        .user
        .set_image("other", &image("v4"))
        .await?
        .must("kubectl set image")?;
    context.until_available("other", 1).await?;
    let after = crossfade.admission_requests(&context.namespace).await?;
    context.check(
        "and the other beside it is not",
        with == after,
        format!("{with:?} | {after:?}"),
    );
    crossfade.check_laws().await
}

async fn deleted(context: Arc<Context>, up: bool) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    crossfade.deploy(&App::new(WEB, 4).canary()).await?;
    crossfade.release("v2").await?;
    crossfade.until_step(0, "Observing", SOON).await?;
    if !up {
        crossfade.controller.kill().await?;
    }
    let namespaces = Watch::start(
        &context.api,
        &format!(
            "/api/v1/namespaces?fieldSelector=metadata.name={}",
            context.namespace
        ),
    )
    .await?;
    let started = tokio::time::Instant::now();
    context
        .api
        .delete(&format!("/api/v1/namespaces/{}", context.namespace))
        .await?;
    let gone = namespaces.until_gone(&context.namespace, GONE).await;
    let took = format!("{:.1} s", started.elapsed().as_secs_f64());
    context.check(
        "the namespace is gone",
        gone.is_ok(),
        gone.map_or_else(|problem| format!("{problem:#}"), |()| took),
    );
    crossfade.check_log();
    context.check(
        "the controller goes on",
        !up || crossfade.controller.running(),
        format!("started {} times", crossfade.controller.starts),
    );
    Ok(())
}
