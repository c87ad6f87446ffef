//! A good version goes all the way: the pods that were judged serve at the end, nothing else of the release can be seen, no request is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::fixture::serving::{
    active_replica_set, pods_of, revisions, serving_uids, until_answers, until_no_pods_of,
};
use crate::fixture::stages::{self, Stages};
use crate::fixture::statistics::is_share;
use crate::fixture::{Crossfade, SOON, WEB, snapshot};
use crate::harness::api::{condition, text};
use crate::harness::app::{App, image};
use crate::harness::audit::{Counts, reads, writes};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::user::User;
use crate::load::{Kind, Load, Options};

const BASE: Scenario = Scenario {
    name: "canary-promotes-drains",
    control: false,
    pods: 20,
    group: 1,
    alone: false,
    limit: Duration::from_secs(240),
    run: |context| Box::pin(run(context, App::new(WEB, 4), Options::default())),
};

pub(crate) const SCENARIOS: [Scenario; 2] = [
    BASE,
    Scenario {
        name: "canary-promotes-exits",
        run: |context| {
            let app = App::new(WEB, 4).exits_at_once();
            Box::pin(run(context, app, Options::new_connections_only()))
        },
        ..BASE
    },
];

async fn run(context: Arc<Context>, app: App, options: Options) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    crossfade.deploy(&app).await?;
    let service_before = context.get("services", WEB).await?;
    let before = revisions(&context, WEB).await?;
    let stages = Stages::watch(&context).await?;
    let load = context.load(WEB, options).await?;
    until_answers(&load, 200).await?;

    let calls = context.audit_mark()?;
    crossfade.release("v2").await?;
    let shares = observe_shares(&crossfade, &load).await?;
    crossfade.until_step(2, "Observing", SOON).await?;
    let judged: BTreeSet<String> = pods_of(&context, "v2").await?.into_values().collect();
    let ended = crossfade.until_promoted("v2").await?;
    let counts = crossfade.counts(&calls)?;
    context.until_available(WEB, 4).await?;
    let serving = serving_uids(&context, WEB).await?;
    until_no_pods_of(&context, "v1").await?;
    until_answers(&load, 400).await?;
    let outcome = context.finish_load(load).await?;

    for (percent, window) in shares {
        let answers: usize = outcome
            .versions(window.clone(), Some(Kind::New))
            .values()
            .sum();
        let share = outcome.share("v2", window, Some(Kind::New)).unwrap_or(0.0);
        context.check(
            &format!("the candidate gets {percent} %"),
            is_share(share, answers, f64::from(percent) / 100.0),
            format!("{:.1} % of {answers} new connections", share * 100.0),
        );
    }
    context.check(
        "the pods that serve are the pods that were judged",
        judged.len() == 4 && serving == judged,
        format!("judged {judged:?}, serving {serving:?}"),
    );
    let replaced = ended.pointer("/status/history/0/replacedPods");
    context.check(
        "no pod was replaced",
        replaced.is_none(),
        format!("{replaced:?}"),
    );
    check_end(&context, &service_before, before.len()).await?;
    compare_with_twin(&context, &app).await?;
    let seconds = stages.of(&crossfade);
    context.check(
        "every stage of the hand-over is seen",
        seconds.len() == 8,
        stages::words(&seconds),
    );
    check_calls(&context, &counts);
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

/// What one whole release asks of the API server.
fn check_calls(context: &Context, counts: &Counts) {
    let (writes, reads) = (writes(counts), reads(counts));
    context.check(
        "requests of one release are few",
        writes <= 80 && reads <= 150,
        format!("{writes} writes, {reads} reads: {counts:?}"),
    );
}

/// While both steps last: their windows of time, to be looked at when all answers are there.
async fn observe_shares(
    crossfade: &Crossfade,
    load: &Load,
) -> anyhow::Result<Vec<(u32, std::ops::Range<Duration>)>> {
    let mut shares = Vec::new();
    for (index, percent) in [(0, 20), (1, 50)] {
        crossfade.until_step(index, "Observing", SOON).await?;
        let from = load.now();
        crossfade
            .until(&format!("step {index} is over"), SOON, |rollout| {
                (rollout.pointer("/status/step/index") != Some(&json!(index))).then_some(())
            })
            .await?;
        // What the watch shows has happened a moment ago.
        let to = load.now().saturating_sub(Duration::from_millis(300));
        shares.push((percent, from..to));
    }
    Ok(shares)
}

async fn check_end(
    context: &Context,
    service_before: &serde_json::Value,
    revisions_before: usize,
) -> anyhow::Result<()> {
    let web = context.get("deployments", WEB).await?;
    context.check(
        "web is unpaused and Available",
        web.pointer("/spec/paused").is_none() && condition(&web, "Available") == "True",
        format!(
            "paused: {:?}, conditions: {:?}",
            web.pointer("/spec/paused"),
            web.pointer("/status/conditions")
        ),
    );
    let after = revisions(context, WEB).await?;
    context.check(
        "one more revision in the history",
        after.len() == revisions_before + 1
            && after.last_key_value().map(|(_, tag)| tag.as_str()) == Some("v2"),
        format!("{after:?}"),
    );
    let service = context.get("services", WEB).await?;
    let different = snapshot::differences(
        &snapshot::service(service_before),
        &snapshot::service(&service),
    );
    context.check(
        "the Service is as before",
        different.is_empty(),
        different.join("; "),
    );
    Ok(())
}

/// The same Deployment with the same history in a namespace nobody of ours looks at.
async fn compare_with_twin(context: &Context, app: &App) -> anyhow::Result<()> {
    let namespace = format!("{}-twin", context.namespace);
    context.remove_at_the_end(&format!("/api/v1/namespaces/{namespace}"));
    context
        .api
        .delete(&format!("/api/v1/namespaces/{namespace}"))
        .await?;
    let user = User {
        namespace: namespace.clone(),
        ..context.user.clone()
    };
    context
        .user
        .must(&[
            "wait",
            "--for=delete",
            "--timeout=60s",
            &format!("namespace/{namespace}"),
        ])
        .await?;
    user.must(&["create", "namespace", &namespace]).await?;
    user.apply(&app.clone().canary().deployment())
        .await?
        .must("applying the twin")?;
    let rolled_out = ["rollout", "status", "deployment/web", "--timeout=55s"];
    user.must(&rolled_out).await?;
    user.set_image(WEB, &image("v2"))
        .await?
        .must("kubectl set image")?;
    user.must(&rolled_out).await?;
    let path = crate::harness::api::object(&namespace, "deployments", WEB);
    // Until the old pods are out of its status.
    let mut twin = context.api.must_get(&path).await?;
    let deadline = tokio::time::Instant::now() + SOON;
    while crate::harness::api::number(&twin, "/status/replicas") != 4
        || condition(&twin, "Progressing") != "True"
    {
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "the twin does not come to rest"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        twin = context.api.must_get(&path).await?;
    }
    let ours = context.get("deployments", WEB).await?;
    let our_set = active_replica_set(context, WEB).await?;
    let (sets, _) = context
        .api
        .list(&crate::harness::api::collection(&namespace, "replicasets"))
        .await?;
    let twin_set = sets
        .iter()
        .find(|set| crate::harness::api::number(set, "/spec/replicas") > 0)
        .map(|set| text(set, "/metadata/name").to_owned())
        .unwrap_or_default();
    let different = snapshot::differences(
        &snapshot::deployment(&ours, text(&our_set, "/metadata/name")),
        &snapshot::deployment(&twin, &twin_set),
    );
    context.check(
        "the Deployment is as one released without Crossfade",
        different.is_empty(),
        different.join("; "),
    );
    Ok(())
}
