//! Control run: the side that a Service selects is scaled to 0 before the Service is moved to the other. Requests must be seen to fail.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::fixture::serving::until_answers;
use crate::harness::api::text;
use crate::harness::app::App;
use crate::harness::context::{Context, READY};
use crate::harness::runner::Scenario;
use crate::load::Options;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "control-early-scale-down",
    control: true,
    pods: 8,
    group: 1,
    alone: false,
    limit: Duration::from_secs(180),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let (stable, candidate) = (App::new("web", 4), App::new("candidate", 4).tag("v2"));
    context.deploy(&stable).await?;
    context
        .user
        .apply(&candidate.deployment())
        .await?
        .must("applying the candidate")?;
    context.until_available("candidate", 4).await?;
    let load = context.load("web", Options::default()).await?;
    until_answers(&load, 600).await?;
    let before = load.peek(|outcome| outcome.failed());
    context.user.scale("web", 0).await?.must("kubectl scale")?;
    // While its pods drain kube-proxy still sends them requests, as nobody else is there: these pods behave well, and yet requests fail
    // once they are gone.
    let pods = context.watch("pods").await?;
    pods.until("no pod of the selected side is left", READY, |pods| {
        pods.values()
            .all(|pod| text(pod, "/metadata/labels/app") != "web")
            .then_some(())
    })
    .await?;
    context
        .user
        .patch(
            "service/web",
            "merge",
            &json!({"spec": {"selector": {"app": "candidate"}}}),
        )
        .await?
        .must("kubectl patch")?;
    context.until_endpoints("web", 4).await?;
    until_answers(&load, 600).await?;
    let outcome = context.finish_load(load).await?;
    context.check(
        "calm before it",
        before == 0,
        format!("{before} requests failed before anything happened"),
    );
    context.check(
        "the other side answers in the end",
        outcome.seen("v2", None).is_some(),
        "v2 must answer after the Service was moved",
    );
    Ok(())
}
