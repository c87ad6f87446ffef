//! Stable has no pod that could take the weight back: an abort keeps the candidate serving and says so; only `--force` takes the weight all
//! the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::fixture::plan::weight;
use crate::fixture::serving::pods_of;
use crate::fixture::{Crossfade, Plan, SOON, WEB};
use crate::harness::api::{collection, text};
use crate::harness::app::{App, PORT};
use crate::harness::context::Context;
use crate::harness::plain_http::ask;
use crate::harness::runner::Scenario;
use crate::load::Options;

/// No request of the load may fail, so it ends before the weight goes where nobody serves.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "stable-down",
    control: false,
    pods: 6,
    group: 1,
    alone: false,
    limit: Duration::from_secs(200),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    let plan = Plan::steps(vec![weight(50, "600s")]).without_metrics();
    crossfade.plan(&plan).await?;
    crossfade.deploy(&App::new(WEB, 2).canary()).await?;
    let load = context.load(WEB, Options::default()).await?;
    let stable = addresses(&context, "v1").await?;
    crossfade.release("v2").await?;
    crossfade.until_step(0, "Observing", SOON).await?;
    for pod in &stable {
        ask(*pod, "POST", "/control/ready?on=0").await?;
    }
    let candidate = pods_of(&context, "v2").await?.len();
    context
        .until_endpoints(WEB, u32::try_from(candidate)?)
        .await?;

    let aborted = crossfade.cli(&["abort", WEB]).await?;
    context.check("abort is accepted", aborted.code == 0, aborted.words());
    let waits = crossfade
        .until("it says that stable has no ready pod", SOON, |rollout| {
            let waits = text(rollout, "/status/step/waitingOn");
            (text(rollout, "/status/phase") == "RollingBack" && waits.contains("stable"))
                .then(|| waits.to_owned())
        })
        .await?;
    let explained = crossfade.cli(&["explain", WEB]).await?;
    context.check(
        "the weight stays, and --force is named",
        waits.contains("the weight stays") && explained.stdout.contains("--force"),
        format!("{waits} | {}", explained.words()),
    );
    let still = context.get("services", WEB).await?;
    context.check(
        "the Service still has the candidate's pods",
        text(&still, "/spec/selector/pod-template-hash").is_empty(),
        still
            .pointer("/spec/selector")
            .map(ToString::to_string)
            .unwrap_or_default(),
    );
    context.finish_load(load).await?;

    let forced = crossfade.cli(&["abort", WEB, "--force"]).await?;
    context.check("abort --force", forced.code == 0, forced.words());
    crossfade.until_ended("v2", "aborted", SOON).await?;
    for pod in &stable {
        ask(*pod, "POST", "/control/ready?on=1").await?;
    }
    context.until_endpoints(WEB, 2).await?;
    let (after, before) = (addresses(&context, "v1").await?, stable);
    context.check(
        "stable's pods are the ones of before",
        after == before,
        format!("{before:?} | {after:?}"),
    );
    crossfade.check_laws().await
}

async fn addresses(context: &Context, tag: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let (pods, _) = context
        .api
        .list(&collection(&context.namespace, "pods"))
        .await?;
    let end = format!(":{tag}");
    let mut found = Vec::new();
    for pod in &pods {
        if text(pod, "/spec/containers/0/image").ends_with(&end) {
            found.push(SocketAddr::new(text(pod, "/status/podIP").parse()?, PORT));
        }
    }
    found.sort();
    Ok(found)
}
