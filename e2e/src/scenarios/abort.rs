//! Abort in each phase up to warm: stable's pods are untouched and no request is lost. And how long it takes, with ten at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::fixture::plan::{approval, weight};
use crate::fixture::serving::{pods_of, until_answers};
use crate::fixture::statistics::percentile;
use crate::fixture::{Crossfade, Plan, SOON, WEB, WHOLE};
use crate::harness::api::text;
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::watch::Seen;
use crate::load::Options;

const BASE: Scenario = Scenario {
    name: "abort-each-phase",
    control: false,
    pods: 12,
    group: 1,
    alone: false,
    limit: Duration::from_secs(420),
    run: |context| Box::pin(each_phase(context, App::new(WEB, 4), Options::default())),
};

pub(crate) const SCENARIOS: [Scenario; 3] = [
    BASE,
    Scenario {
        name: "abort-each-phase-exits",
        run: |context| {
            let app = App::new(WEB, 4).exits_at_once();
            Box::pin(each_phase(context, app, Options::new_connections_only()))
        },
        ..BASE
    },
    Scenario {
        name: "abort-latency",
        pods: 40,
        run: |context| Box::pin(latency(context)),
        ..BASE
    },
];

/// Where an abort comes, and the plan and image that lead there.
struct Point {
    name: &'static str,
    tag: &'static str,
    plan: Plan,
    phase: &'static str,
    step: u64,
    state: &'static str,
    /// Said on the way there.
    pause: bool,
}

fn points() -> Vec<Point> {
    let long = || Plan::steps(vec![weight(20, "600s")]);
    let quick = || Plan::steps(vec![weight(50, "0s")]).warm("600s");
    let point = |name, tag, plan, state| Point {
        name,
        tag,
        plan,
        phase: "Progressing",
        step: 0,
        state,
        pause: false,
    };
    vec![
        Point {
            phase: "Preparing",
            ..point("Preparing", "v2", long(), "Scaling")
        },
        // Its pods never come: there it stays.
        point("Scaling", "cannot-be-pulled", long(), "Scaling"),
        point("Shifting", "v3", long(), "Shifting"),
        point("Settling", "v4", long(), "Settling"),
        point("Observing", "v5", long(), "Observing"),
        point(
            "Held",
            "v6",
            Plan::steps(vec![weight(20, "0s")]).analysis(&json!({"minRequests": 1_000_000})),
            "Held",
        ),
        Point {
            step: 1,
            ..point(
                "AwaitingApproval",
                "v7",
                Plan::steps(vec![weight(20, "0s"), approval()]),
                "AwaitingApproval",
            )
        },
        Point {
            pause: true,
            ..point("Paused", "v8", long(), "Paused")
        },
        Point {
            phase: "Warm",
            step: 1,
            ..point("Warm, Settling", "v9", quick(), "Settling")
        },
        Point {
            phase: "Warm",
            step: 1,
            ..point("Warm, Observing", "slow", quick(), "Observing")
        },
    ]
}

fn is_at(rollout: &Value, point: &Point) -> bool {
    text(rollout, "/status/candidate/images/0") == image(point.tag)
        && text(rollout, "/status/phase") == point.phase
        && (point.phase == "Preparing"
            || (text(rollout, "/status/step/state") == point.state
                && rollout
                    .pointer("/status/step/index")
                    .and_then(Value::as_u64)
                    == Some(point.step)))
}

async fn each_phase(context: Arc<Context>, app: App, options: Options) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    crossfade.deploy(&app).await?;
    let stable = pods_of(&context, "v1").await?;
    let load = context.load(WEB, options).await?;
    until_answers(&load, 100).await?;
    for point in points() {
        crossfade.plan(&point.plan).await?;
        crossfade.release(point.tag).await?;
        if point.pause {
            crossfade.until_step(0, "Settling", SOON).await?;
            crossfade.command("pause").await?;
        }
        crossfade
            .until(&format!("at {}", point.name), SOON, |rollout| {
                is_at(rollout, &point).then_some(())
            })
            .await?;
        let answered = crossfade.command("abort").await?;
        let ended = crossfade
            .until_ended(point.tag, "aborted", WHOLE)
            .await
            .map_err(|problem| problem.context(format!("abort in {}", point.name)))?;
        // The phase the controller was in when it read the command may be a later one: it had not seen the abort yet.
        let rolling = crossfade
            .rollouts
            .history()
            .iter()
            .find(|seen| {
                seen.at >= answered && text(&seen.object, "/status/phase") == "RollingBack"
            })
            .map(|seen| seen.at.saturating_duration_since(answered));
        let now = pods_of(&context, "v1").await?;
        context.check(
            &format!("abort in {}: stable's pods are untouched", point.name),
            now == stable && text(&ended, "/status/control/outcome") == "done",
            format!(
                "RollingBack seen after {:.3} s; {}",
                rolling.unwrap_or_default().as_secs_f64(),
                if now == stable {
                    String::new()
                } else {
                    format!("{stable:?} are now {now:?}")
                }
            ),
        );
    }
    // Back to what serves: unpaused, and no pod is replaced.
    crossfade.release("v1").await?;
    crossfade.until_phase("Idle", SOON).await?;
    context.until_available(WEB, 4).await?;
    let now = pods_of(&context, "v1").await?;
    context.check(
        "reverting the template replaces no pod",
        now == stable,
        format!("{now:?}"),
    );
    until_answers(&load, 100).await?;
    context.finish_load(load).await?;
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

const TEN: usize = 10;
const ROUNDS: [&str; 5] = ["v2", "v3", "v4", "v5", "v6"];

async fn latency(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    // The shortest waits: what is measured is over before them.
    let waits = json!({"traffic": {"settle": {"floor": "1s"}, "drain": {"atLeast": "1s"}}});
    let plan = Plan::steps(vec![weight(20, "600s")])
        .without_metrics()
        .more(&waits);
    crossfade.plan(&plan).await?;
    let names: Vec<String> = (0..TEN).map(|n| format!("web{n}")).collect();
    let apps: Vec<App> = names
        .iter()
        .map(|name| App::new(name, 2).exits_at_once().canary())
        .collect();
    let items: Vec<Value> = apps
        .iter()
        .flat_map(|app| [app.deployment(), app.service()])
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    context
        .user
        .apply(&list)
        .await?
        .must("applying ten Deployments")?;
    try_join_all(names.iter().map(|name| context.until_available(name, 2))).await?;
    for name in &names {
        crossfade
            .until_of(name, "it is held and at rest", SOON, |rollout| {
                (text(rollout, "/status/phase") == "Idle").then_some(())
            })
            .await?;
    }
    crossfade.until_gated("web0").await?;
    let services = context.watch("services").await?;
    let mut seconds = Vec::new();
    for tag in ROUNDS {
        let objects: Vec<String> = names
            .iter()
            .map(|name| format!("deployment/{name}"))
            .collect();
        let new_image = format!("app={}", image(tag));
        let mut arguments = vec!["set", "image"];
        arguments.extend(objects.iter().map(String::as_str));
        arguments.push(&new_image);
        context.user.must(&arguments).await?;
        for name in &names {
            crossfade
                .until_of(name, &format!("{tag} is observed"), WHOLE, |rollout| {
                    (text(rollout, "/status/step/state") == "Observing"
                        && text(rollout, "/status/candidate/images/0") == image(tag))
                    .then_some(())
                })
                .await?;
        }
        let before = services.history().len();
        let control = json!({"action": "abort"});
        let answers = try_join_all(
            names
                .iter()
                .map(|name| crossfade.command_of(name, &control)),
        )
        .await?;
        for name in &names {
            crossfade
                .until_ended_of(name, tag, "aborted", WHOLE)
                .await?;
        }
        let seen = services.history();
        let zero = weight_zero(seen.get(before..).unwrap_or_default());
        for (name, answered) in names.iter().zip(answers) {
            let Some(at) = zero.get(name) else {
                anyhow::bail!("the write of weight 0 of {name} was not seen");
            };
            // Seen before the answer: none at all.
            seconds.push(at.saturating_duration_since(answered).as_secs_f64());
        }
    }
    let (half, most) = (percentile(&mut seconds, 0.5), percentile(&mut seconds, 1.0));
    context.check(
        "weight 0 is written at once",
        seconds.len() == TEN * ROUNDS.len() && most < 2.0,
        format!(
            "{} aborts, ten at a time: p50 {:.0} ms, maximum {:.0} ms from the answer to the PATCH to the write seen",
            seconds.len(),
            half * 1000.0,
            most * 1000.0
        ),
    );
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

/// When each Service was first seen pinned.
fn weight_zero(history: &[Seen]) -> BTreeMap<String, tokio::time::Instant> {
    let mut times = BTreeMap::new();
    for seen in history {
        if seen
            .object
            .pointer("/spec/selector/pod-template-hash")
            .is_some()
        {
            times
                .entry(text(&seen.object, "/metadata/name").to_owned())
                .or_insert(seen.at);
        }
    }
    times
}
