//! A version with 20 % errors is found out and taken back by itself, having answered no more than its share; a fixed one then promotes.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::plan::weight;
use crate::fixture::serving::{pods_of, serving_uids, until_answers, until_no_pods_of};
use crate::fixture::statistics::binomial_quantile;
use crate::fixture::{Crossfade, Plan, WEB, WHOLE};
use crate::harness::api::{number, text};
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::{Kind, Options};

const BASE: Scenario = Scenario {
    name: "bad-version-drains",
    control: false,
    pods: 12,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context, App::new(WEB, 4), Options::default())),
};

pub(crate) const SCENARIOS: [Scenario; 2] = [
    BASE,
    Scenario {
        name: "bad-version-exits",
        run: |context| {
            let app = App::new(WEB, 4).exits_at_once();
            Box::pin(run(context, app, Options::new_connections_only()))
        },
        ..BASE
    },
];

async fn run(context: Arc<Context>, app: App, options: Options) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    // Long enough for the judge: its word ends the step, not the stay.
    crossfade
        .plan(&Plan::steps(vec![weight(20, "120s")]))
        .await?;
    crossfade.deploy(&app).await?;
    let stable = pods_of(&context, "v1").await?;
    let services = context.watch("services").await?;
    let load = context.load(WEB, options).await?;
    until_answers(&load, 200).await?;

    crossfade.release("bad").await?;
    let ended = crossfade.until_ended("bad", "rolled-back", WHOLE).await?;
    let pinned =
        |object: &serde_json::Value| object.pointer("/spec/selector/pod-template-hash").is_some();
    let seen = services.history();
    let unpinned = seen
        .iter()
        .position(|seen| {
            load.at(seen.at) > Duration::ZERO
                && !text(&seen.object, "/metadata/labels/crossfade.dev~1held-by").is_empty()
                && !pinned(&seen.object)
        })
        .unwrap_or(seen.len());
    // The judge may be done before the weight counts as verified: then its time in force counts from the write on.
    let verified = crossfade
        .rollouts
        .history()
        .iter()
        .find(|seen| text(&seen.object, "/status/step/state") == "Observing")
        .map(|seen| seen.at)
        .or_else(|| seen.get(unpinned).map(|seen| seen.at))
        .map(|at| load.at(at))
        .unwrap_or_default();
    let (n, c) = crossfade
        .rollouts
        .history()
        .iter()
        .rfind(|seen| text(&seen.object, "/status/phase") == "Progressing")
        .map(|seen| {
            (
                number(&seen.object, "/status/stable/replicas"),
                number(&seen.object, "/status/candidate/replicas"),
            )
        })
        .unwrap_or_default();
    let zero = seen
        .iter()
        .skip(unpinned)
        .find(|seen| pinned(&seen.object))
        .map(|seen| load.at(seen.at));
    let Some(zero) = zero else {
        anyhow::bail!("the write of weight 0 was not seen");
    };
    context.check(
        "stable's pods are untouched",
        pods_of(&context, "v1").await? == stable,
        format!("{stable:?}"),
    );
    until_no_pods_of(&context, "bad").await?;
    let taken_back = load.now();

    // What the release keeps is its own plan; the next one is shorter.
    crossfade.plan(&Plan::steps(vec![weight(50, "3s")])).await?;
    crossfade.release("v2").await?;
    crossfade.until_promoted("v2").await?;
    until_no_pods_of(&context, "v1").await?;
    until_answers(&load, 200).await?;
    let fixed = pods_of(&context, "v2").await?;
    let serving = serving_uids(&context, WEB).await?;
    let outcome = context.finish_load(load).await?;

    let versions = outcome.versions(verified..zero, Some(Kind::New));
    let all: usize = versions.values().sum();
    let its = versions.get("bad").copied().unwrap_or(0);
    let most = binomial_quantile(all, c as f64 / (n + c) as f64, 0.999);
    context.check(
        "the bad version answers no more than its share",
        its <= most && its > 0 && (n, c) == (4, 1),
        format!(
            "{its} of {all} new connections in {:.1} s from verified to weight 0, at most {most} ({c} of {} pods)",
            (zero.saturating_sub(verified)).as_secs_f64(),
            n + c
        ),
    );
    let late = outcome
        .versions(zero + Duration::from_secs(3)..taken_back, Some(Kind::New))
        .get("bad")
        .copied()
        .unwrap_or(0);
    let last = outcome.seen("bad", Some(Kind::New)).map(|(_, last)| last);
    context.check(
        "none of its answers three seconds after weight 0",
        late == 0 && taken_back > zero + Duration::from_secs(3),
        format!(
            "{late}; the last one {:.3} s after weight 0",
            last.unwrap_or_default().as_secs_f64() - zero.as_secs_f64()
        ),
    );
    let reason = text(&ended, "/status/history/0/reason");
    context.check(
        "the reason has its numbers",
        reason.contains("error") && reason.contains('%'),
        reason,
    );
    context.check(
        "the fixed version serves",
        fixed.len() == 4 && serving == fixed.values().cloned().collect(),
        format!("{fixed:?} {serving:?}"),
    );
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}
