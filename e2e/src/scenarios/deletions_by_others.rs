//! Deletions that nothing refuses: the garbage collector's identity may delete what the policy keeps from users. The parallel Deployment and
//! the Rollout are lost in the middle of a release, in the background and with `foreground`: stable takes everything back, the template is
//! released again, and no request is lost. What users may delete belongs to `deletions`.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::lane::Lane;
use crate::fixture::point::Point;
use crate::fixture::{Crossfade, SOON};
use crate::harness::api::text;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use anyhow::Context as _;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "deletions-by-others",
    control: false,
    pods: 16,
    group: 2,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

/// It has the right to delete everything, and the policy against deletions lets it pass.
const COLLECTOR: &str = "--as=system:serviceaccount:kube-system:generic-garbage-collector";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Parallel,
    Rollout,
}

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    tokio::try_join!(
        lane(&crossfade, "first", Lost::Parallel),
        lane(&crossfade, "second", Lost::Rollout),
    )?;
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

async fn lane(crossfade: &Crossfade, name: &str, lost: Lost) -> anyhow::Result<()> {
    let mut lane = Lane::start(crossfade, name, "canary").await?;
    let mut stable = "v1";
    for (point, tag, cascade) in [
        (Point::Observing, "v2", "background"),
        (Point::Observing, "v3", "foreground"),
        (Point::Warm, "v4", "background"),
        (Point::Warm, "v5", "foreground"),
    ] {
        one(&mut lane, lost, point, [stable, tag], cascade)
            .await
            .map_err(|problem| {
                problem.context(format!("{lost:?} deleted in {point:?}, {cascade}"))
            })?;
        stable = tag;
    }
    lane.finish().await
}

async fn one(
    lane: &mut Lane<'_>,
    lost: Lost,
    point: Point,
    [stable, tag]: [&str; 2],
    cascade: &str,
) -> anyhow::Result<()> {
    let what = format!("{lost:?} deleted in {point:?}, {cascade}");
    let context = &lane.crossfade.context;
    let pods = lane.pods(stable).await?;
    lane.reach(point, tag).await?;
    let former = lane.rollout().await?;
    let object = match lost {
        Lost::Parallel => {
            let parallel = lane.parallel().await?;
            let parallel = parallel.context("there is no parallel Deployment")?;
            format!("deployment/{}", text(&parallel, "/metadata/name"))
        }
        Lost::Rollout => format!("rollouts.crossfade.dev/{}", lane.name),
    };
    let cascade = format!("--cascade={cascade}");
    let arguments = ["delete", &object, &cascade, "--wait=false", COLLECTOR];
    let asked = tokio::time::Instant::now();
    context.user.must(&arguments).await?;
    // The same template starts anew when the first candidate is gone.
    let candidate = text(&former, "/status/candidate/name");
    lane.until("its candidate was taken away", SOON, |rollout| {
        let entry = rollout.pointer("/status/history/0")?;
        (text(entry, "/candidate") == candidate).then_some(())
    })
    .await?;
    let now = lane.pods(stable).await?;
    lane.check(
        &format!("{what}: no pod of stable is replaced"),
        now == pods,
        format!("{pods:?} | {now:?}"),
    );
    lane.until_promoted(tag).await?;
    lane.gone(stable)?;
    lane.check_history(&what, &[(tag, "promoted"), (tag, "interrupted")])
        .await?;
    let rollout = lane.rollout().await?;
    let reason = text(&rollout, "/status/history/1/reason");
    let why = match lost {
        Lost::Parallel => {
            lane.check_phases(&what, asked, [point.phase(), "RollingBack"]);
            "deleted by somebody else"
        }
        // Another one, which remembers nothing.
        Lost::Rollout => "what was remembered about the release is gone",
    };
    let another = text(&rollout, "/metadata/uid") != text(&former, "/metadata/uid");
    lane.check(
        &format!("{what}: the history tells why"),
        reason.contains(why) && another == (lost == Lost::Rollout),
        reason,
    );
    lane.check_rest(&what, tag).await
}
