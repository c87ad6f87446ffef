//! Stable's template is pushed again in each phase of a release: stable serves in the end, with the pods it had unless the hand-over had begun,
//! and nothing tells of the release but its history. Another template belongs to `template_in_each_phase`.

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
    name: "revert-in-each-phase",
    control: false,
    pods: 24,
    group: 1,
    alone: false,
    limit: Duration::from_secs(240),
    run: |context| Box::pin(run(context)),
};

const STABLE: &str = "v1";

const FIRST: [(Point, &str); 3] = [
    (Point::Preparing, "v2"),
    (Point::Settling, "v3"),
    (Point::Observing, "v4"),
];
/// The hand-over last: from then on stable has other pods.
const SECOND: [(Point, &str); 2] = [(Point::Warm, "v2"), (Point::HandingOver, "v3")];
const THIRD: [(Point, &str); 2] = [(Point::RollingBack, "v2"), (Point::RolledBack, "v3")];

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
    points: &[(Point, &str)],
    webhook: &Webhook,
) -> anyhow::Result<()> {
    let mut lane = Lane::start(crossfade, name, "canary").await?;
    if points.iter().any(|(point, _)| *point == Point::HandingOver) {
        lane.hand_over_slowly().await?;
    }
    for (point, tag) in points {
        one(&mut lane, *point, tag, webhook)
            .await
            .map_err(|problem| problem.context(format!("{name}, a revert in {point:?}")))?;
    }
    lane.finish().await
}

async fn one(
    lane: &mut Lane<'_>,
    point: Point,
    tag: &str,
    webhook: &Webhook,
) -> anyhow::Result<()> {
    let what = format!("stable's template in {point:?}");
    let stable = lane.pods(STABLE).await?;
    lane.reach_holding(point, tag, webhook).await?;
    let asked = lane.push(STABLE).await?;
    if point == Point::Preparing {
        // The push came while the creation of the candidate was under way.
        webhook.let_go();
    }
    if point == Point::HandingOver {
        return handed_over(lane, &what, asked, tag).await;
    }
    lane.until_over(tag).await?;
    lane.gone(tag)?;
    lane.until_rest().await?;
    let (outcome, next) = match point {
        Point::RollingBack => ("aborted", "RolledBack"),
        Point::RolledBack => ("aborted", "Idle"),
        _ => ("superseded", "RollingBack"),
    };
    lane.check_phases(&what, asked, [point.phase(), next]);
    lane.check_history(&what, &[(tag, outcome)]).await?;
    let rollout = lane.rollout().await?;
    let reason = text(&rollout, "/status/history/0/reason");
    lane.check(
        &format!("{what}: the history tells why"),
        outcome != "superseded" || reason == "stable's template was pushed again",
        reason,
    );
    lane.check_rest(&what, STABLE).await?;
    let now = lane.pods(STABLE).await?;
    lane.check(
        &format!("{what}: no pod of stable is replaced"),
        now == stable,
        format!("{stable:?} | {now:?}"),
    );
    Ok(())
}

/// Forward only: the release ends as promoted, then stable's template is the next one, and has served before.
async fn handed_over(
    lane: &mut Lane<'_>,
    what: &str,
    asked: tokio::time::Instant,
    tag: &str,
) -> anyhow::Result<()> {
    lane.until_over(tag).await?;
    lane.until_promoted(STABLE).await?;
    lane.gone(tag)?;
    lane.check_phases(what, asked, ["HandingOver", "Preparing"]);
    lane.check_history(what, &[(STABLE, "promoted"), (tag, "promoted")])
        .await?;
    let phases = lane.phases_since(asked);
    lane.check(
        &format!("{what}: it takes the short plan"),
        phases.iter().any(|phase| phase == "Warm")
            && !phases.iter().any(|phase| phase == "Progressing"),
        phases.join(", "),
    );
    lane.check_rest(what, STABLE).await
}
