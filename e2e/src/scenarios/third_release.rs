//! The third revision in a row, scaled from 4 to 3 at the one moment of the hand-over at which the Deployment has no active ReplicaSet of
//! its own: no history comes up, and the judged pods stay.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fixture::plan::weight;
use crate::fixture::serving::{
    owner, pods_of, revisions, serving_uids, until_answers, until_no_pods_of,
};
use crate::fixture::{Crossfade, Plan, SOON, WEB, WHOLE};
use crate::harness::api::{Patch, collection, number, text};
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::watch::{Seen, Watch};
use crate::load::Options;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "third-release",
    control: false,
    pods: 12,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

fn tag(set: &Value) -> &str {
    text(set, "/spec/template/spec/containers/0/image")
        .rsplit(':')
        .next()
        .unwrap_or_default()
}

fn version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion")
        .parse()
        .unwrap_or(0)
}

/// Waits until the active ReplicaSet is parked, and leaves the controller held there. From the first parked one on it runs a few
/// milliseconds at a time, or a scenario on busy cores would come too late for the moment between park and transfer.
async fn until_parked(crossfade: &Crossfade, sets: &Watch) -> anyhow::Result<u64> {
    let is_parked = |set: &Value| matches!(owner(set), Some(("Rollout", _)));
    sets.until("a ReplicaSet is parked", WHOLE, |sets| {
        sets.values().any(is_parked).then_some(())
    })
    .await?;
    let path = collection(&crossfade.context.namespace, "replicasets");
    let deadline = Instant::now() + SOON;
    loop {
        crossfade.controller.hold(true)?;
        let (now, version_now) = crossfade.context.api.list(&path).await?;
        let found = now
            .iter()
            .find(|set| tag(set) == "v2" && is_parked(set))
            .map(version);
        if let Some(parked) = found {
            return Ok(parked);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the active ReplicaSet is not parked (at {version_now})"
        );
        crossfade.controller.hold(false)?;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    crossfade
        .plan(&Plan::steps(vec![weight(50, "1s")]).warm("1s"))
        .await?;
    crossfade.deploy(&App::new(WEB, 4)).await?;
    let load = context.load(WEB, Options::default()).await?;
    until_answers(&load, 100).await?;
    crossfade.release("v2").await?;
    crossfade.until_promoted("v2").await?;

    let sets = context.watch("replicasets").await?;
    crossfade.release("v3").await?;
    crossfade.until_step(1, "Observing", SOON).await?;
    let judged = pods_of(&context, "v3").await?;
    let parked = until_parked(&crossfade, &sets).await?;
    let scaled = context
        .api
        .patch(
            &format!("{}/scale", context.path("deployments", WEB)),
            Patch::Merge,
            &json!({"spec": {"replicas": 3}}),
        )
        .await?;
    let scaled = version(&scaled);
    crossfade.controller.hold(false)?;
    crossfade.until_promoted("v3").await?;
    context.until_available(WEB, 3).await?;
    context.until_endpoints(WEB, 3).await?;
    let serving = serving_uids(&context, WEB).await?;
    until_no_pods_of(&context, "v2").await?;
    until_answers(&load, 200).await?;
    context.finish_load(load).await?;

    let history = sets.history();
    let of = |which: &str| -> Vec<&Seen> {
        history
            .iter()
            .filter(|seen| tag(&seen.object) == which)
            .collect()
    };
    let transferred = of("v3")
        .iter()
        .find(|seen| owner(&seen.object) == Some(("Deployment", WEB)))
        .map(|seen| version(&seen.object))
        .unwrap_or(0);
    context.check(
        "scaled between park and transfer",
        parked < scaled && scaled < transferred,
        format!("resourceVersions: parked {parked}, scaled {scaled}, transferred {transferred}"),
    );
    let size = |seen: &Seen| {
        number(&seen.object, "/spec/replicas").max(number(&seen.object, "/status/replicas"))
    };
    let first: Vec<i64> = of("v1").into_iter().map(size).collect();
    context.check(
        "the history ReplicaSet stays at 0",
        !first.is_empty() && first.iter().all(|size| *size == 0),
        format!("{first:?}"),
    );
    // The second one goes down once and never up.
    let second: Vec<i64> = of("v2")
        .into_iter()
        .map(|seen| number(&seen.object, "/spec/replicas"))
        .collect();
    context.check(
        "the old ReplicaSet goes to 0 and stays there",
        second.is_sorted_by(|a, b| a >= b) && second.last() == Some(&0),
        format!("{second:?}"),
    );
    let mut full = false;
    let mut least = i64::MAX;
    for seen in of("v3") {
        full |= number(&seen.object, "/status/readyReplicas") == 4;
        if full {
            least = least
                .min(number(&seen.object, "/spec/replicas"))
                .min(number(&seen.object, "/status/readyReplicas"));
        }
    }
    context.check(
        "the candidate is never under 3",
        full && least == 3,
        format!("the least was {least}"),
    );
    let uids: std::collections::BTreeSet<String> = judged.into_values().collect();
    context.check(
        "three of the judged pods serve",
        serving.len() == 3 && serving.is_subset(&uids),
        format!("{serving:?} of {uids:?}"),
    );
    let revisions = revisions(&context, WEB).await?;
    let expected = [(1, "v1"), (2, "v2"), (3, "v3")];
    context.check(
        "revisions 1, 2, 3",
        revisions
            .iter()
            .map(|(revision, tag)| (*revision, tag.as_str()))
            .eq(expected),
        format!("{revisions:?}"),
    );
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}
