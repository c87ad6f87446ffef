//! The runbook's last resort in mid-release, command by command, with the controller gone for good: stable serves alone, no request is lost,
//! no pod of it is replaced; and what is installed again releases the next push.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::fixture::plan::weight;
use crate::fixture::serving::{pods_of, until_answers, until_no_pods_of};
use crate::fixture::{Crossfade, Plan, SOON, WEB, WHOLE};
use crate::harness::api::text;
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

const REPLICAS: u32 = 3;
/// Between two tries of a command that is still refused.
const AGAIN: Duration = Duration::from_millis(200);

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "break-glass",
    control: false,
    pods: 9,
    group: 1,
    alone: false,
    limit: Duration::from_secs(240),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    crossfade
        .plan(&Plan::steps(vec![weight(50, "600s")]))
        .await?;
    let app = App::new(WEB, REPLICAS).canary();
    crossfade.deploy(&app).await?;
    let stable = pods_of(&context, "v1").await?;
    let load = context.load(WEB, Options::default()).await?;
    until_answers(&load, 100).await?;
    crossfade.release("v2").await?;
    crossfade.until_step(0, "Observing", WHOLE).await?;

    // 1. Stop every controller.
    crossfade.controller.kill().await?;
    let rollout = crossfade.rollout().await?;
    let hash = text(&rollout, "/status/stable/podTemplateHash").to_owned();
    let name = crossfade.installation.name.clone();
    let user = &context.user;
    let delete = async |kind: &str, part: &str| {
        user.must(&["delete", kind, &format!("{name}-{part}")])
            .await
            .map(|_| ())
    };
    // 2. Let Services be edited.
    delete("mutatingwebhookconfiguration", "traffic").await?;
    // 3. Find those that are held.
    let held = [
        "get",
        "services",
        "-l",
        "crossfade.dev/held-by",
        "-o",
        "name",
    ];
    let held = user.must(&held).await?.stdout;
    context.check(
        "the Service is found by its mark, and stable's hash in the status",
        held.trim() == format!("service/{WEB}") && !hash.is_empty(),
        format!("{held} {hash}"),
    );
    // 4. Give stable everything back.
    let pin = format!(r#"{{"spec":{{"selector":{{"pod-template-hash":"{hash}"}}}}}}"#);
    patch(&context, "service", "merge", &pin).await?;
    context.until_endpoints(WEB, REPLICAS).await?;
    until_answers(&load, 400).await?;
    // 5. Take the candidate away.
    delete("validatingadmissionpolicybinding", "deletes").await?;
    let web = context.get("deployments", WEB).await?;
    let ours = format!("crossfade.dev/workload-uid={}", text(&web, "/metadata/uid"));
    until_taken(&context, &["delete", "deployment", "-l", &ours]).await?;
    until_no_pods_of(&context, "v2").await?;
    // 6. Give the Services back.
    let released = r#"{"metadata":{"labels":{"crossfade.dev/held-by":null}},"spec":{"selector":{"pod-template-hash":null}}}"#;
    patch(&context, "service", "merge", released).await?;
    // 7. Let Deployments be edited.
    delete("mutatingwebhookconfiguration", "gate").await?;
    delete("validatingwebhookconfiguration", "backstop").await?;
    // 8. Stable's template, by a push of the old manifest; 9. resume.
    let limit = Instant::now() + SOON;
    while let Err(refused) = user
        .apply(&app.deployment())
        .await?
        .must("the old manifest")
    {
        anyhow::ensure!(Instant::now() < limit, refused);
        tokio::time::sleep(AGAIN).await;
    }
    let web = format!("deployment/{WEB}");
    until_taken(&context, &["rollout", "resume", &web]).await?;
    context.until_available(WEB, REPLICAS).await?;
    // 10. What is left.
    user.must(&["delete", "controllerrevision", "-l", &ours])
        .await?;
    let rollout = format!("rollout.crossfade.dev/{WEB}");
    user.must(&["delete", &rollout, "--cascade=orphan"]).await?;
    until_answers(&load, 200).await?;
    let now = pods_of(&context, "v1").await?;
    context.check(
        "stable's pods are untouched",
        now == stable,
        format!("{stable:?} | {now:?}"),
    );

    crossfade.apply_again().await?;
    crossfade.start().await?;
    crossfade.until_gated(WEB).await?;
    crossfade
        .plan(&Plan::steps(vec![weight(50, "0s")]).warm("1s"))
        .await?;
    crossfade.release("v3").await?;
    crossfade.until_promoted("v3").await?;
    context.finish_load(load).await?;
    crossfade.check_leftovers().await?;
    crossfade.check_log();
    Ok(())
}

async fn patch(context: &Context, kind: &str, manner: &str, body: &str) -> anyhow::Result<()> {
    let arguments = ["patch", kind, WEB, "--type", manner, "-p", body];
    until_taken(context, &arguments).await
}

/// The API server goes on for a moment by the webhooks and policies that have just been deleted, and tells nobody when it
/// does no longer: as the runbook says, what is refused is tried again.
async fn until_taken(context: &Context, arguments: &[&str]) -> anyhow::Result<()> {
    let limit = Instant::now() + SOON;
    loop {
        match context.user.must(arguments).await {
            Ok(_) => return Ok(()),
            Err(refused) => anyhow::ensure!(Instant::now() < limit, refused),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
