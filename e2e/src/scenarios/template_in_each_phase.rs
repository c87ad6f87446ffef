//! Another template is pushed in each phase of a release: the newest one is released in the end, what it took the place of is asked by nobody
//! new, and no request is lost. Stable's template pushed again belongs to `revert_in_each_phase`.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::Crossfade;
use crate::fixture::lane::Lane;
use crate::fixture::point::Point;
use crate::harness::api::text;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::harness::webhook::Webhook;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "template-in-each-phase",
    control: false,
    pods: 24,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

/// A release, where it is when others are pushed, and those, the last of which is to serve.
struct Case {
    point: Point,
    old: &'static str,
    pushed: &'static [&'static str],
}

const fn case(point: Point, old: &'static str, pushed: &'static [&'static str]) -> Case {
    Case { point, old, pushed }
}

const FIRST: [Case; 3] = [
    case(Point::Preparing, "v2", &["v3"]),
    case(Point::Settling, "v4", &["v5"]),
    case(Point::Observing, "v6", &["v7"]),
];
const SECOND: [Case; 2] = [
    case(Point::Warm, "v2", &["v3"]),
    case(Point::HandingOver, "v4", &["v5"]),
];
const THIRD: [Case; 2] = [
    // The first of the two must never run.
    case(Point::RollingBack, "v2", &["v3", "v4"]),
    case(Point::RolledBack, "v5", &["v6"]),
];

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    let webhook =
        Webhook::start_on_creation(&context, &format!("zzz-{}", context.namespace)).await?;
    tokio::try_join!(
        lane(&crossfade, "first", &FIRST, &webhook),
        lane(&crossfade, "second", &SECOND, &webhook),
        lane(&crossfade, "third", &THIRD, &webhook),
    )?;
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

async fn lane(
    crossfade: &Crossfade,
    name: &str,
    cases: &[Case],
    webhook: &Webhook,
) -> anyhow::Result<()> {
    let mut lane = Lane::start(crossfade, name, "canary").await?;
    if cases.iter().any(|case| case.point == Point::HandingOver) {
        lane.hand_over_slowly().await?;
    }
    let mut stable = "v1";
    for case in cases {
        stable = one(&mut lane, case, stable, webhook)
            .await
            .map_err(|problem| problem.context(format!("{name}, a push in {:?}", case.point)))?;
    }
    lane.finish().await
}

/// Returns what serves in the end.
async fn one(
    lane: &mut Lane<'_>,
    case: &Case,
    stable: &str,
    webhook: &Webhook,
) -> anyhow::Result<&'static str> {
    let Case { point, old, pushed } = *case;
    let what = format!("another template in {point:?}");
    lane.reach_holding(point, old, webhook).await?;
    let mut asked = None;
    for tag in pushed {
        let at = lane.push(tag).await?;
        asked.get_or_insert(at);
    }
    if point == Point::Preparing {
        // The push came while the creation of the candidate was under way.
        webhook.let_go();
    }
    let newest = pushed.last().copied().unwrap_or(old);
    let outcome = match point {
        Point::HandingOver => "promoted",
        Point::RollingBack | Point::RolledBack => "aborted",
        _ => "superseded",
    };
    lane.until_over(old).await?;
    if outcome != "promoted" {
        lane.gone(old)?;
    }
    lane.until_promoted(newest).await?;
    lane.gone(stable)?;
    if outcome == "promoted" {
        lane.gone(old)?;
    }
    let next = match point {
        Point::HandingOver | Point::RolledBack => "Preparing",
        Point::RollingBack => "RolledBack",
        _ => "RollingBack",
    };
    if let Some(asked) = asked {
        lane.check_phases(&what, asked, [point.phase(), next]);
    }
    // One that was overtaken before it began has no entry.
    lane.check_history(&what, &[(newest, "promoted"), (old, outcome)])
        .await?;
    let rollout = lane.rollout().await?;
    let reason = text(&rollout, "/status/history/1/reason");
    lane.check(
        &format!("{what}: the history tells why"),
        outcome != "superseded" || reason == "another template was pushed",
        reason,
    );
    lane.check(
        &format!("{what}: the pods that were judged serve"),
        rollout.pointer("/status/history/0/replacedPods").is_none(),
        format!("{:?}", rollout.pointer("/status/history/0/replacedPods")),
    );
    lane.check_rest(&what, newest).await?;
    for tag in pushed.iter().filter(|tag| **tag != newest) {
        let phases = lane.crossfade.rollouts.history();
        let began = phases.iter().any(|seen| {
            text(&seen.object, "/metadata/name") == lane.name
                && text(&seen.object, "/status/candidate/images/0").ends_with(&format!(":{tag}"))
        });
        lane.check(
            &format!("{what}: {tag}, overtaken, never begins"),
            !began,
            "",
        );
        lane.never(tag);
    }
    Ok(newest)
}
