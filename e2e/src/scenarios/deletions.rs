//! What a user deletes in the middle of a release, of ours and of his own: what the release needs is refused, in warm as in the hand-over, and
//! the rest changes no request. Deletions that nothing refuses, as those of the cluster's own controllers, belong to `deletions_by_others`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::lane::{Lane, REPLICAS};
use crate::fixture::point::{Point, quick};
use crate::fixture::{Crossfade, Plan, SOON};
use crate::harness::api::{condition, text};
use crate::harness::app::image;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "deletions",
    control: false,
    pods: 16,
    group: 1,
    alone: false,
    limit: Duration::from_secs(300),
    run: |context| Box::pin(run(context)),
};

const PREVIEW: &str = "green-preview";
/// All that a Deployment in a release has.
const OWNED: [&str; 5] = [
    "deployments",
    "replicasets",
    "pods",
    "rollouts",
    "controllerrevisions",
];

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let mut crossfade = Crossfade::install(&context).await?;
    tokio::try_join!(canary(&crossfade), blue_green(&crossfade))?;
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

async fn canary(crossfade: &Crossfade) -> anyhow::Result<()> {
    let mut lane = Lane::start(crossfade, "canary", "canary").await?;
    lane.hand_over_slowly().await?;
    in_a_step(&mut lane).await?;
    policy_missing(&mut lane).await?;
    rollout_at_rest(&mut lane).await?;
    deployment(&mut lane).await
}

/// The opt-in, the Rollout and the parallel Deployment are kept; a policy is not, and the release goes on as it was planned.
async fn in_a_step(lane: &mut Lane<'_>) -> anyhow::Result<()> {
    let context = &lane.crossfade.context;
    let stable = lane.pods("v1").await?;
    lane.reach(Point::Observing, "v2").await?;
    all_refused(lane, Point::Observing).await?;
    let planned = lane.rollout().await?;
    let policy = "rolloutpolicies.crossfade.dev";
    context.user.must(&["delete", policy, &lane.name]).await?;
    let untouched = lane.pods("v1").await?;
    let promote = json!({"action": "promote"});
    lane.crossfade.command_of(&lane.name, &promote).await?;
    lane.until_phase("v2", "HandingOver").await?;
    all_refused(lane, Point::HandingOver).await?;
    let goes_on = lane.rollout().await?;
    lane.check(
        "all of it came before the end of the release",
        text(&goes_on, "/status/phase") == "HandingOver",
        text(&goes_on, "/status/phase"),
    );
    let steps = "/status/plan/steps";
    lane.check(
        "without its policy the release goes on as it was planned",
        planned.pointer(steps) == goes_on.pointer(steps) && stable == untouched,
        format!(
            "{:?} | {:?}",
            planned.pointer(steps),
            goes_on.pointer(steps)
        ),
    );
    lane.until_promoted("v2").await?;
    lane.gone("v1")?;
    lane.check_rest("after what was refused", "v2").await
}

/// Everything that a release in this phase needs, each tried as a user with all rights.
async fn all_refused(lane: &Lane<'_>, point: Point) -> anyhow::Result<()> {
    let context = &lane.crossfade.context;
    let before = standing(lane).await?;
    let deployment = format!("deployment/{}", lane.name);
    let rollout = format!("rollouts.crossfade.dev/{}", lane.name);
    let opted_in = format!("cannot be removed in phase {}", point.phase());
    let under_way = "a Crossfade release is under way";
    let mut attempts = vec![
        (
            vec!["annotate", &deployment, "crossfade.dev/strategy-"],
            opted_in.as_str(),
        ),
        (vec!["delete", &rollout, "--wait=false"], under_way),
        (
            vec!["delete", &rollout, "--wait=false", "--cascade=foreground"],
            under_way,
        ),
    ];
    // In the hand-over it is deleted by us.
    let parallel = format!("deployment/{}", text(&before, "/parallel/name"));
    if point != Point::HandingOver {
        attempts.push((vec!["delete", &parallel, "--wait=false"], under_way));
        attempts.push((
            vec!["delete", &parallel, "--wait=false", "--cascade=foreground"],
            under_way,
        ));
    }
    for (arguments, words) in attempts {
        let said = context.user.kubectl(&arguments, None).await?;
        lane.check(
            &format!(
                "in {}, kubectl {} is refused",
                point.phase(),
                arguments.join(" ")
            ),
            !said.ok && said.stderr.contains(words),
            format!("{}{}", said.stdout.trim(), said.stderr.trim()),
        );
    }
    let after = standing(lane).await?;
    let parallel_goes = point == Point::HandingOver;
    lane.check(
        &format!("in {}, nothing of it is lost", point.phase()),
        before.get("rollout") == after.get("rollout")
            && before.get("deployment") == after.get("deployment")
            && (parallel_goes || before.get("parallel") == after.get("parallel")),
        format!("{before} | {after}"),
    );
    Ok(())
}

/// What must be the same after something was refused.
async fn standing(lane: &Lane<'_>) -> anyhow::Result<Value> {
    let context = &lane.crossfade.context;
    let rollout = lane.rollout().await?;
    let web = context.get("deployments", &lane.name).await?;
    let parallel = lane.parallel().await?.unwrap_or_default();
    let of = |object: &Value| {
        json!({
            "name": object.pointer("/metadata/name"),
            "uid": object.pointer("/metadata/uid"),
            "deleted": object.pointer("/metadata/deletionTimestamp"),
        })
    };
    Ok(json!({
        "rollout": [of(&rollout), rollout.pointer("/status/candidate/name")],
        "deployment": [of(&web), web.pointer("/metadata/annotations/crossfade.dev~1strategy")],
        "parallel": of(&parallel),
    }))
}

/// The Deployment names a policy that is gone: a push waits and says why; the policy made again lets it go.
async fn policy_missing(lane: &mut Lane<'_>) -> anyhow::Result<()> {
    let missing = "neither a RolloutPolicy of this namespace";
    lane.until("the missing policy is told at rest", SOON, |rollout| {
        let said = condition(rollout, "Stalled") == "True"
            && text(rollout, "/status/message").contains(missing);
        said.then_some(())
    })
    .await?;
    lane.crossfade.release_of(&lane.name, "v3").await?;
    gated(lane, missing, "v3").await?;
    lane.plan(&quick()).await?;
    lane.until_promoted("v3").await?;
    lane.gone("v2")?;
    lane.check_rest("after the policy was made again", "v3")
        .await
}

/// Waits until a push is held for this reason, and checks that nothing else has changed.
async fn gated(lane: &mut Lane<'_>, why: &str, tag: &str) -> anyhow::Result<()> {
    lane.until(&format!("{tag} is held"), SOON, |rollout| {
        let message = text(rollout, "/status/message");
        let held = message.contains("gated and cannot be released") && message.contains(why);
        held.then_some(())
    })
    .await?;
    let (pods, different) = (lane.pods(tag).await?, lane.service_differences().await?);
    let parallel = lane.parallel().await?;
    lane.check(
        &format!("{tag} is held: nothing but the template is changed"),
        pods.is_empty() && different.is_empty() && parallel.is_none(),
        format!("{pods:?} {}", different.join("; ")),
    );
    Ok(())
}

/// At rest nothing needs the Rollout: it may go, and is made again for the Deployment that is still opted in.
async fn rollout_at_rest(lane: &mut Lane<'_>) -> anyhow::Result<()> {
    let context = &lane.crossfade.context;
    let former = text(&lane.rollout().await?, "/metadata/uid").to_owned();
    let rollout = format!("rollouts.crossfade.dev/{}", lane.name);
    context
        .user
        .must(&["delete", &rollout, "--cascade=foreground"])
        .await?;
    lane.until("there is another Rollout, at rest", SOON, |rollout| {
        (text(rollout, "/metadata/uid") != former && text(rollout, "/status/message") == "at rest")
            .then_some(())
    })
    .await?;
    lane.check_rest("after the Rollout was deleted at rest", "v3")
        .await
}

/// The whole workload in warm, its own pods before itself: nothing of it or of us may stay, and the same manifest begins anew.
async fn deployment(lane: &mut Lane<'_>) -> anyhow::Result<()> {
    let context = &lane.crossfade.context;
    lane.reach(Point::Warm, "v4").await?;
    lane.answers("v4").await?;
    lane.finish().await?;
    let deployment = format!("deployment/{}", lane.name);
    let arguments = [
        "delete",
        &deployment,
        "--cascade=foreground",
        "--wait=false",
    ];
    context.user.must(&arguments).await?;
    for resource in OWNED {
        let watch = context.watch(resource).await?;
        let all = |found: &std::collections::BTreeMap<String, Value>| {
            let left = found.keys().any(|name| name.starts_with(&lane.name));
            (!left).then_some(())
        };
        watch
            .until(&format!("no {resource} of it are left"), SOON, all)
            .await?;
    }
    lane.until_services_as_before().await?;
    let left = lane.crossfade.leftovers_of(&lane.name).await?;
    lane.check(
        "the Deployment deleted with all it owns: nothing is left",
        left.is_empty(),
        left.join("; "),
    );
    lane.plan(&quick()).await?;
    lane.deploy().await?;
    lane.crossfade.release_of(&lane.name, "v2").await?;
    lane.until_promoted("v2").await?;
    lane.gone("v1")?;
    lane.check_rest("made again after it was deleted", "v2")
        .await?;
    lane.finish().await?;
    opted_out(lane).await
}

/// At rest the opt-in is one annotation to take away: pushes are native then, and one to bring back.
async fn opted_out(lane: &mut Lane<'_>) -> anyhow::Result<()> {
    let context = &lane.crossfade.context;
    let deployment = format!("deployment/{}", lane.name);
    let out = ["annotate", &deployment, "crossfade.dev/strategy-"];
    context.user.must(&out).await?;
    context
        .user
        .set_image(&lane.name, &image("v3"))
        .await?
        .must("pushing natively")?;
    context.until_available(&lane.name, REPLICAS).await?;
    let pods = lane.pods("v3").await?;
    let web = context.get("deployments", &lane.name).await?;
    lane.check(
        "opted out at rest, a push is native",
        pods.len() == REPLICAS as usize
            && web.pointer("/spec/paused").is_none()
            && lane.parallel().await?.is_none(),
        format!("{} pods of v3", pods.len()),
    );
    let again = ["annotate", &deployment, "crossfade.dev/strategy=canary"];
    context.user.must(&again).await?;
    lane.crossfade.until_gated(&lane.name).await?;
    // Nobody asks it anything any more.
    lane.plan(&quick().without_metrics()).await?;
    lane.crossfade.release_of(&lane.name, "v4").await?;
    lane.until_promoted("v4").await?;
    lane.until_rest().await
}

/// The preview is the user's: he may delete it while it shows the candidate. The next release asks for it.
async fn blue_green(crossfade: &Crossfade) -> anyhow::Result<()> {
    let context = &crossfade.context;
    let mut lane = Lane::start(crossfade, "green", "blue-green").await?;
    let fields = json!({"previewService": PREVIEW, "approval": {}});
    let plan = Plan::blue_green(&fields).warm("1s").without_metrics();
    lane.plan(&plan).await?;
    lane.add_service(PREVIEW, &json!({})).await?;
    until_approval(&mut lane, "v2", "v1").await?;
    let preview = format!("service/{PREVIEW}");
    context.user.must(&["delete", &preview]).await?;
    lane.forget_service(PREVIEW);
    // Nothing may move because the preview is gone.
    lane.answers("v1").await?;
    approve(&mut lane, "v2", "v1").await?;

    lane.crossfade.release_of(&lane.name, "v3").await?;
    let missing = format!("previewService: \"{PREVIEW}\" is not a Service");
    gated(&mut lane, &missing, "v3").await?;
    lane.add_service(PREVIEW, &json!({})).await?;
    until_shown(&lane, "v3", "v2").await?;
    approve(&mut lane, "v3", "v2").await?;
    lane.finish().await
}

async fn until_approval(lane: &mut Lane<'_>, tag: &str, stable: &str) -> anyhow::Result<()> {
    lane.crossfade.release_of(&lane.name, tag).await?;
    until_shown(lane, tag, stable).await
}

/// Waits for the approval, and until the preview has the candidate's pods alone.
async fn until_shown(lane: &Lane<'_>, tag: &str, stable: &str) -> anyhow::Result<()> {
    let context = &lane.crossfade.context;
    lane.until_step(tag, 0, "AwaitingApproval").await?;
    let (shown, users) = (lane.pods(tag).await?, lane.pods(stable).await?);
    for (service, pods) in [(PREVIEW, shown), (&lane.name, users)] {
        let wanted: std::collections::BTreeSet<&String> = pods.keys().collect();
        let slices = context.watch("endpointslices").await?;
        slices
            .until(&format!("{service} has {wanted:?}"), SOON, |slices| {
                let of_service = slices.values().filter(|slice| {
                    text(slice, "/metadata/labels/kubernetes.io~1service-name") == service
                });
                let ready: Vec<String> = of_service
                    .flat_map(crate::harness::context::ready_endpoints)
                    .collect();
                (ready.len() == wanted.len() && ready.iter().all(|pod| wanted.contains(pod)))
                    .then_some(())
            })
            .await?;
    }
    Ok(())
}

async fn approve(lane: &mut Lane<'_>, tag: &str, stable: &str) -> anyhow::Result<()> {
    let promote = json!({"action": "promote"});
    lane.crossfade.command_of(&lane.name, &promote).await?;
    lane.until_promoted(tag).await?;
    lane.gone(stable)?;
    lane.check_rest(&format!("{tag} was approved"), tag).await
}
