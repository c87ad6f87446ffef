//! Blue-green under load: the preview shows the new version while users are on the old one, an approval moves everything at once, and a
//! version that is bad only under live traffic is taken back by itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::fixture::serving::{pods_of, serving_uids, until_answers};
use crate::fixture::{Crossfade, Plan, SOON, WEB, WHOLE};
use crate::harness::api::text;
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

const REPLICAS: u32 = 3;
const PREVIEW: &str = "web-preview";

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "blue-green",
    control: false,
    pods: 6,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    let plan = Plan::blue_green(&json!({"previewService": PREVIEW, "approval": {}})).warm("8s");
    crossfade.plan(&plan).await?;
    let app = App::new(WEB, REPLICAS).annotation("crossfade.dev/strategy", "blue-green");
    crossfade.deploy(&app).await?;
    let mut preview = app.service();
    preview["metadata"]["name"] = json!(PREVIEW);
    context
        .user
        .apply(&preview)
        .await?
        .must("applying the preview Service")?;
    context.until_endpoints(PREVIEW, REPLICAS).await?;
    let load = context.load(WEB, Options::default()).await?;
    until_answers(&load, 100).await?;

    good(&context, &crossfade).await?;
    let approved = load.at(bad(&context, &crossfade).await?);

    let outcome = context.finish_load(load).await?;
    let early = outcome
        .versions(Duration::ZERO..approved, None)
        .get("bad")
        .copied()
        .unwrap_or(0);
    context.check(
        "no user met the bad version before its approval",
        early == 0,
        format!("{early} answers"),
    );
    crossfade.check_laws().await
}

/// Waits for the approval and looks at who is shown what.
async fn at_its_approval(
    context: &Arc<Context>,
    crossfade: &Crossfade,
    tag: &str,
    stable: &str,
) -> anyhow::Result<()> {
    crossfade.release(tag).await?;
    crossfade.until_step(0, "AwaitingApproval", WHOLE).await?;
    let uids = |pods: std::collections::BTreeMap<String, String>| pods.into_values().collect();
    let (candidate, served) = (
        uids(pods_of(context, tag).await?),
        uids(pods_of(context, stable).await?),
    );
    context.until_endpoints(PREVIEW, REPLICAS).await?;
    let (shown, users): (std::collections::BTreeSet<String>, _) = (
        serving_uids(context, PREVIEW).await?,
        serving_uids(context, WEB).await?,
    );
    context.check(
        &format!("{tag}: the preview shows all its pods, users have {stable}"),
        shown == candidate && users == served,
        format!("{shown:?} {candidate:?} | {users:?} {served:?}"),
    );
    Ok(())
}

async fn good(context: &Arc<Context>, crossfade: &Crossfade) -> anyhow::Result<()> {
    at_its_approval(context, crossfade, "v2", "v1").await?;
    let judged = pods_of(context, "v2").await?;
    let approved = crossfade.cli(&["promote", WEB]).await?;
    context.check(
        "the approval is taken",
        approved.code == 0,
        approved.words(),
    );
    crossfade.until_ended("v2", "promoted", WHOLE).await?;
    context.until_available(WEB, REPLICAS).await?;
    let serving = pods_of(context, "v2").await?;
    context.check(
        "the pods that were shown serve",
        serving == judged,
        format!("{judged:?} | {serving:?}"),
    );
    Ok(())
}

/// When it was approved.
async fn bad(context: &Arc<Context>, crossfade: &Crossfade) -> anyhow::Result<Instant> {
    at_its_approval(context, crossfade, "bad", "v2").await?;
    let stable = pods_of(context, "v2").await?;
    let approved = crossfade.command("promote").await?;
    let ended = crossfade.until_ended("bad", "rolled-back", WHOLE).await?;
    let reason = text(&ended, "/status/history/0/reason").to_owned();
    context.check(
        "it is taken back by itself, against a ceiling made of stable's answers",
        reason.contains("ceiling") && reason.contains('%'),
        reason,
    );
    let after = pods_of(context, "v2").await?;
    context.check(
        "stable's pods are untouched",
        after == stable,
        format!("{stable:?} | {after:?}"),
    );
    crossfade.release("v2").await?;
    crossfade.until_phase("Idle", SOON).await?;
    Ok(approved)
}
