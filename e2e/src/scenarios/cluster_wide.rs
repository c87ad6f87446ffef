//! One installation for all namespaces: two of them release at once. And with a thousand idle workloads beside, what the controller keeps
//! in memory and asks of the API.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::time::Instant;

use crate::fixture::{Crossfade, Plan, SOON, Settings, WEB, WHOLE};
use crate::harness::api::{collection, text};
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::watch::Watch;
use crate::load::Options;

const IDLE: usize = 1000;
const MINUTE: Duration = Duration::from_secs(60);
/// What a controller with a thousand idle workloads may take, in kB.
const MEMORY: u64 = 64 * 1024;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "cluster-wide",
    control: false,
    pods: 24,
    group: 1,
    alone: true,
    limit: Duration::from_secs(420),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let settings = Settings {
        namespaces: None,
        ..Settings::default()
    };
    let mut crossfade = Crossfade::install_with(&context, settings).await?;
    let app = App::new(WEB, 4).canary();
    crossfade.deploy(&app).await?;
    // The second namespace goes before the first, with its webhooks' last word.
    let second = format!("{}-second", context.namespace);
    let path = format!("/api/v1/namespaces/{second}");
    context.remove_at_the_end(&path);
    let namespaces = Watch::start(
        &context.api,
        &format!("/api/v1/namespaces?fieldSelector=metadata.name={second}"),
    )
    .await?;
    context.api.delete(&path).await?;
    namespaces.until_gone(&second, SOON).await?;
    context
        .api
        .create(
            "/api/v1/namespaces",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": second, "labels": {"crossfade.dev/e2e": "true"}}}),
        )
        .await?;
    let accounts = Watch::start(&context.api, &collection(&second, "serviceaccounts")).await?;
    accounts
        .until_object("default", "it has its ServiceAccount", SOON, |_| Some(()))
        .await?;
    let mut user = context.user.clone();
    second.clone_into(&mut user.namespace);
    // Nobody asks anything of it there, and without data nothing is promoted.
    let plan = Plan::default().without_metrics().spec();
    let policy = json!({"apiVersion": "crossfade.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "default"}, "spec": plan});
    for object in [policy, app.deployment(), app.service()] {
        user.apply(&object).await?.must("applying")?;
    }
    let rollouts = Watch::start(&context.api, &collection(&second, "rollouts")).await?;
    let deployments = Watch::start(&context.api, &collection(&second, "deployments")).await?;
    deployments
        .until_object(WEB, "4 available pods", SOON, |found| {
            let there = found.pointer("/status/availableReplicas") == Some(&json!(4));
            there.then_some(())
        })
        .await?;
    rollouts
        .until_object(WEB, "it is held", SOON, |rollout| {
            (text(rollout, "/status/phase") == "Idle").then_some(())
        })
        .await?;

    idle_workloads(&context, &mut crossfade).await?;

    let load = context.load(WEB, Options::default()).await?;
    crossfade.release("v2").await?;
    user.set_image(WEB, &image("v2"))
        .await?
        .must("kubectl set image")?;
    crossfade.until_promoted("v2").await?;
    let there = rollouts
        .until_object(WEB, "promoted in the second namespace", WHOLE, |rollout| {
            let entry = text(rollout, "/status/history/0/outcome");
            (!entry.is_empty()).then(|| entry.to_owned())
        })
        .await;
    context.check(
        "both namespaces release",
        there.as_ref().is_ok_and(|outcome| outcome == "promoted"),
        format!("{there:?}"),
    );
    context.finish_load(load).await?;
    // No scrape of these scales with the idle ones either.
    let memory = crossfade.memory("VmRSS")?;
    context.check(
        "memory after two releases",
        memory <= MEMORY,
        format!("VmRSS {memory} kB of {MEMORY} kB"),
    );
    let (items, _) = context
        .api
        .list(&collection(&second, "deployments"))
        .await?;
    context.check(
        "nothing of Crossfade is left in the second namespace",
        items.len() == 1,
        format!("{} Deployments", items.len()),
    );
    crossfade.check_laws().await
}

/// Waits out the last of what was done before: until the controller asks for nothing but its Lease for two seconds.
async fn until_quiet(context: &Context, crossfade: &Crossfade) -> anyhow::Result<()> {
    let deadline = Instant::now() + MINUTE;
    loop {
        let mark = context.audit_mark()?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let counts = crossfade.counts(&mark)?;
        if counts.is_empty() {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the controller is not quiet: {counts:?}"
        );
    }
}

/// A thousand annotated Deployments without pods: memory, and requests in a minute in which nothing happens.
async fn idle_workloads(context: &Context, crossfade: &mut Crossfade) -> anyhow::Result<()> {
    let before = crossfade.memory("VmRSS")?;
    let path = collection(&context.namespace, "deployments");
    futures::stream::iter(0..IDLE)
        .map(|number| {
            let app = App::new(&format!("idle-{number:04}"), 0).canary();
            let path = path.clone();
            async move { context.api.create(&path, &app.deployment()).await }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await?;
    crossfade
        .rollouts
        .until(
            "every workload is held",
            Duration::from_secs(180),
            |rollouts| {
                let held = rollouts
                    .values()
                    .filter(|rollout| text(rollout, "/status/phase") == "Idle")
                    .count();
                (held > IDLE).then_some(())
            },
        )
        .await?;
    until_quiet(context, crossfade).await?;
    let mark = context.audit_mark()?;
    tokio::time::sleep(MINUTE).await;
    let counts = mark.counts(&crossfade.user())?;
    let (lease, other): (Vec<_>, Vec<_>) =
        counts.iter().partition(|(key, _)| key.ends_with(" leases"));
    let sum = |all: &[(&String, &usize)]| all.iter().map(|(_, count)| **count).sum::<usize>();
    context.check(
        "no API call per idle workload",
        sum(&other) <= 20,
        format!(
            "in one minute: {} of the lease (of 3 s), {} others: {other:?}",
            sum(&lease),
            sum(&other)
        ),
    );
    let memory = crossfade.memory("VmRSS")?;
    let heap = crossfade.memory("RssAnon")?;
    context.check(
        "a thousand idle workloads under 64 MiB",
        memory <= MEMORY,
        format!(
            "VmRSS {memory} kB (of it {heap} kB its own, the rest its program), {before} kB before; peak {} kB",
            crossfade.memory("VmHWM")?
        ),
    );
    Ok(())
}
