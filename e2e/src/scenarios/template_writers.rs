//! Who else writes a template: `kubectl rollout undo` and `restart` at rest, which are released like any other, and two tools that write it in
//! turn, which are not followed for ever. A template in the midst of a release belongs to `template_in_each_phase` and
//! `revert_in_each_phase`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::fixture::lane::{Lane, REPLICAS};
use crate::fixture::point::{in_step, quick};
use crate::fixture::{Crossfade, SOON};
use crate::harness::api::text;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "template-writers",
    control: false,
    pods: 10,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    tokio::try_join!(kubectl(&crossfade), in_turn(&crossfade))?;
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

/// `kubectl rollout undo` drops annotations, `restart` writes one: both are gated, analysed and promoted.
async fn kubectl(crossfade: &Crossfade) -> anyhow::Result<()> {
    let user = &crossfade.context.user;
    let mut lane = Lane::start(crossfade, "kubectl", "canary").await?;
    let deployment = format!("deployment/{}", lane.name);
    lane.push("v2").await?;
    lane.until_promoted("v2").await?;
    lane.check_rest("v2", "v2").await?;

    let asked = Instant::now();
    let undone = user.must(&["rollout", "undo", &deployment]).await?;
    lane.until_over("v1").await?;
    lane.until_promoted("v1").await?;
    let phases = lane.phases_since(asked);
    lane.check(
        "kubectl rollout undo takes the short plan",
        phases.iter().any(|phase| phase == "Warm")
            && !phases.iter().any(|phase| phase == "Progressing"),
        format!("{} {}", phases.join(", "), undone.stderr.trim()),
    );
    let web = crossfade.context.get("deployments", &lane.name).await?;
    let strategy = text(&web, "/metadata/annotations/crossfade.dev~1strategy");
    lane.check(
        "and the opt-in is kept",
        strategy == "canary",
        strategy.to_owned(),
    );
    lane.check_history("undo", &[("v1", "promoted"), ("v2", "promoted")])
        .await?;
    lane.gone("v2")?;
    lane.check_rest("undo", "v1").await?;
    let before = lane.pods("v1").await?;

    let asked = Instant::now();
    user.must(&["rollout", "restart", &deployment]).await?;
    let three = |rollout: &serde_json::Value| {
        (Lane::outcomes(rollout).len() == 3 && text(rollout, "/status/phase") == "Idle")
            .then_some(())
    };
    lane.until("the restart is over", SOON, three).await?;
    let phases = lane.phases_since(asked);
    crossfade
        .context
        .until_available(&lane.name, REPLICAS)
        .await?;
    let after = lane.pods("v1").await?;
    lane.check(
        "kubectl rollout restart is released step by step, and every pod is another",
        phases.iter().any(|phase| phase == "Progressing")
            && !after.is_empty()
            && after.keys().all(|pod| !before.contains_key(pod)),
        format!("{}; {before:?} | {after:?}", phases.join(", ")),
    );
    lane.check_history("restart", &[("v1", "promoted"), ("v1", "promoted")])
        .await?;
    // kubectl's own view of it.
    let timeout = format!("--timeout={}s", SOON.as_secs());
    let seen = user
        .kubectl(&["rollout", "status", &deployment, &timeout], None)
        .await?;
    lane.check(
        "kubectl rollout status says it is out",
        seen.ok && seen.stdout.contains("successfully rolled out"),
        format!("{}{}", seen.stdout.trim(), seen.stderr.trim()),
    );
    lane.check_rest("restart", "v1").await?;
    lane.finish().await
}

/// The third time its candidate is taken away the template is held, and pushed again it is not released.
async fn in_turn(crossfade: &Crossfade) -> anyhow::Result<()> {
    let mut lane = Lane::start(crossfade, "turns", "canary").await?;
    lane.plan(&in_step()).await?;
    let stable = lane.pods("v1").await?;
    for turn in 1..=3 {
        lane.push("v2").await?;
        let begun = |rollout: &serde_json::Value| {
            (text(rollout, "/status/step/state") == "Observing"
                && text(rollout, "/status/phase") == "Progressing")
                .then_some(())
        };
        lane.until("v2 is observed", SOON, begun).await?;
        lane.push("v1").await?;
        let over = |rollout: &serde_json::Value| {
            (Lane::outcomes(rollout).len() == turn && text(rollout, "/status/phase") == "Idle")
                .then_some(())
        };
        lane.until("v2 is taken away", SOON, over).await?;
    }
    lane.push("v2").await?;
    let held = |rollout: &serde_json::Value| {
        let message = text(rollout, "/status/message");
        (text(rollout, "/status/phase") == "RolledBack" && message.contains("held until retry"))
            .then(|| message.to_owned())
    };
    let said = lane.until("v2 is held", SOON, held).await?;
    lane.check(
        "the fourth time it is held, and says who has to give in",
        said.contains("let one tool alone write the template"),
        said,
    );
    lane.check(
        "nothing of a candidate is started",
        lane.parallel().await?.is_none() && lane.pods("v2").await?.is_empty(),
        "",
    );
    let now = lane.pods("v1").await?;
    lane.check(
        "no pod of stable was replaced by all that",
        now == stable,
        format!("{stable:?} | {now:?}"),
    );
    lane.gone("v2")?;
    lane.answers("v1").await?;
    lane.finish().await?;
    // Nobody asks it anything any more.
    lane.plan(&quick().without_metrics()).await?;
    let retried = crossfade.cli(&["retry", &lane.name]).await?;
    lane.check("retry frees it", retried.code == 0, retried.words());
    lane.until_promoted("v2").await?;
    Ok(())
}
