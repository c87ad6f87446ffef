//! The candidate's metrics are missing, then come: it is held and says why, is never promoted without, and goes on by itself once they are
//! there.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::fixture::plan::weight;
use crate::fixture::{Crossfade, Plan, SOON, WEB};
use crate::harness::api::{collection, text};
use crate::harness::app::{App, PORT};
use crate::harness::context::Context;
use crate::harness::plain_http::ask;
use crate::harness::runner::Scenario;
use crate::load::Options;

/// Longer than the stay, so that whoever takes time for a verdict is caught.
const HOLD: Duration = Duration::from_secs(10);

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "metrics-missing",
    control: false,
    pods: 12,
    group: 1,
    alone: false,
    limit: Duration::from_secs(200),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    // Half of the traffic takes as many pods as stable has: all that will ever serve are there from the first step on.
    let plan = Plan::steps(vec![weight(50, "3s")])
        .analysis(&json!({"noData": {"limit": "5m", "then": "rollback"}}));
    crossfade.plan(&plan).await?;
    let app = App::new(WEB, 4).canary();
    crossfade.deploy(&app).await?;
    let load = context.load(WEB, Options::default()).await?;
    let candidate = app.tag("v2").environment("METRICS", "off");
    context
        .user
        .apply(&candidate.deployment())
        .await?
        .must("kubectl apply")?;
    let held = crossfade.until_step(0, "Held", SOON).await?;
    let waits = text(&held, "/status/step/waitingOn").to_owned();
    let pods = candidates(&context).await?;
    context.check(
        "it says which pod gives no metrics",
        pods.iter().any(|(name, _)| waits.contains(name)) && waits.contains("metrics"),
        &waits,
    );
    context.check(
        "the verdict is no-data",
        text(&held, "/status/verdict/outcome") == "no-data",
        text(&held, "/status/verdict/reason"),
    );
    let left = crossfade
        .until("it leaves the hold", HOLD, |rollout| {
            let there = text(rollout, "/status/step/state") == "Held"
                && text(rollout, "/status/phase") == "Progressing";
            (!there).then(|| text(rollout, "/status/message").to_owned())
        })
        .await;
    context.check(
        "held beyond its stay",
        left.is_err(),
        left.unwrap_or_else(|_| format!("held for {} s", HOLD.as_secs())),
    );

    // All but one: that one is still waited for, by name.
    let (last, others) = pods
        .split_last()
        .ok_or_else(|| anyhow::anyhow!("there is no candidate pod"))?;
    for (_, address) in others {
        ask(*address, "POST", "/control/metrics?on=1").await?;
    }
    let named = crossfade
        .until("the last pod is waited for", SOON, |rollout| {
            let waits = text(rollout, "/status/step/waitingOn");
            waits.contains(&last.0).then(|| waits.to_owned())
        })
        .await?;
    context.check("one pod without metrics still holds it", true, named);
    ask(last.1, "POST", "/control/metrics?on=1").await?;
    crossfade.until_promoted("v2").await?;
    let after = candidates(&context).await?;
    context.check(
        "the pods that were held serve",
        pods == after,
        format!("{pods:?} | {after:?}"),
    );
    context.finish_load(load).await?;
    crossfade.check_laws().await
}

/// Names and addresses of the new version's pods.
async fn candidates(context: &Context) -> anyhow::Result<Vec<(String, std::net::SocketAddr)>> {
    let (pods, _) = context
        .api
        .list(&collection(&context.namespace, "pods"))
        .await?;
    let mut found = Vec::new();
    for pod in &pods {
        if text(pod, "/spec/containers/0/image").ends_with(":v2") {
            let address = std::net::SocketAddr::new(text(pod, "/status/podIP").parse()?, PORT);
            found.push((text(pod, "/metadata/name").to_owned(), address));
        }
    }
    found.sort();
    Ok(found)
}
