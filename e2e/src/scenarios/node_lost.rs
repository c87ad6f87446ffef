//! A node is lost from one moment to the next: in a step under all pods of the candidate, or under half of stable's; in warm, under the
//! candidate that carries everything. The release goes on, or rolls back where its pods find no other place; it says what happened.
//!
//! Until the cluster notices the loss, and only then, connections go to pods that are gone. Nobody can answer those: a request counts as the
//! network's loss if it was sent between the loss and three seconds after the last ready endpoint on the lost node was gone, the time a
//! proxy may take to hear of it. Whatever else fails, in the release or after it, is ours.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::node_drained::{places, until_whole};
use crate::fixture::plan::weight;
use crate::fixture::serving::{largest_sizes, serving_uids, until_answers};
use crate::fixture::{Crossfade, Plan, SOON, WEB, WHOLE};
use crate::harness::api::{number, text};
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::nodes::{FIRST, SECOND};
use crate::harness::runner::Scenario;
use crate::harness::watch::{Seen, Watch};
use crate::load::{Load, Options};

const REPLICAS: u32 = 4;
/// Until the cluster takes a silent node for lost, with room for a busy machine; it is told to after 20 s.
const NOTICED: Duration = Duration::from_secs(60);
/// From an EndpointSlice to the rules of a proxy.
const PROXY: Duration = Duration::from_secs(3);
/// A request sent so long before the loss may still have been on its way.
const UNDER_WAY: Duration = Duration::from_millis(250);

const BASE: Scenario = Scenario {
    name: "node-lost-candidate",
    control: false,
    pods: 24,
    group: 1,
    // Pods of others would come to lie on its node, and be lost.
    alone: true,
    limit: Duration::from_secs(420),
    run: |context| Box::pin(candidate(context)),
};

pub(crate) const SCENARIOS: [Scenario; 4] = [
    BASE,
    Scenario {
        name: "node-lost-no-room",
        group: 2,
        run: |context| Box::pin(no_room(context)),
        ..BASE
    },
    Scenario {
        name: "node-lost-warm",
        group: 2,
        run: |context| Box::pin(warm(context)),
        ..BASE
    },
    Scenario {
        name: "node-lost-stable",
        group: 2,
        run: |context| Box::pin(stable(context)),
        ..BASE
    },
];

async fn begin(context: &Arc<Context>) -> anyhow::Result<Crossfade> {
    let crossfade = Crossfade::install(context).await?;
    let plan = Plan::steps(vec![weight(50, "600s")]).warm("600s");
    crossfade.plan(&plan).await?;
    Ok(crossfade)
}

/// What is on the node when it is lost, and when that is.
#[derive(Debug, Clone, Copy)]
struct Case {
    stable: u32,
    candidate: u32,
    /// 0, or 1 for warm.
    step: u32,
    /// For pods in the place of those that are lost.
    room: bool,
}

/// All of stable on the first node, all of the candidate on the second.
async fn apart(context: &Arc<Context>) -> anyhow::Result<Crossfade> {
    let crossfade = begin(context).await?;
    crossfade.deploy(&App::new(WEB, REPLICAS)).await?;
    context.start_second_node().await?;
    context.cordon(FIRST, true).await?;
    Ok(crossfade)
}

const ALL_OF_THE_CANDIDATE: Case = Case {
    stable: 0,
    candidate: REPLICAS,
    step: 0,
    room: true,
};

async fn candidate(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = apart(&context).await?;
    rest(&context, crossfade, ALL_OF_THE_CANDIDATE).await
}

async fn no_room(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = apart(&context).await?;
    let case = Case {
        room: false,
        ..ALL_OF_THE_CANDIDATE
    };
    rest(&context, crossfade, case).await
}

async fn warm(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = apart(&context).await?;
    let case = Case {
        step: 1,
        ..ALL_OF_THE_CANDIDATE
    };
    rest(&context, crossfade, case).await
}

async fn stable(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = begin(&context).await?;
    context.start_second_node().await?;
    crossfade.deploy(&App::new(WEB, REPLICAS).spread()).await?;
    context.cordon(SECOND, true).await?;
    let case = Case {
        stable: REPLICAS / 2,
        candidate: 0,
        step: 0,
        room: true,
    };
    rest(&context, crossfade, case).await
}

/// Loses the node, and follows the release to its end.
async fn rest(context: &Arc<Context>, mut crossfade: Crossfade, case: Case) -> anyhow::Result<()> {
    let sets = context.watch("replicasets").await?;
    let load = context.load(WEB, Options::default()).await?;
    until_answers(&load, 100).await?;
    crossfade.release("v2").await?;
    until_whole(&crossfade, 0, REPLICAS).await?;
    if case.step > 0 {
        crossfade.command("promote").await?;
        until_whole(&crossfade, case.step, REPLICAS).await?;
    }
    context.cordon(FIRST, !case.room).await?;
    let found = places(context).await?;
    let count = |tag: &str| {
        let on = found.get(&(tag.to_owned(), SECOND.to_owned()));
        u32::try_from(on.copied().unwrap_or(0))
    };
    anyhow::ensure!(
        count("v1")? == case.stable && count("v2")? == case.candidate,
        "{found:?}"
    );

    let services = context.watch("services").await?;
    let lost = lose(context, &load).await?;
    let promoted = if case.candidate > 0 {
        // Nothing is written in a step: proxies have already left its pods. But it is no longer observed.
        until_said(&crossfade, &format!("0 of {REPLICAS} candidate pods ready")).await?;
        comes_back(&crossfade, case.step).await?
    } else {
        stable_is_short(&crossfade).await?;
        until_whole(&crossfade, 1, REPLICAS).await?;
        true
    };
    if case.step > 0 {
        check_given_back(context, &load, &services, lost.end - PROXY);
    }
    if promoted {
        crossfade.command("promote").await?;
        crossfade.until_promoted("v2").await?;
        context.until_available(WEB, REPLICAS).await?;
    }
    let rollout = crossfade.rollout().await?;
    let ended_as = text(&rollout, "/status/history/0/outcome");
    context.check(
        "it is promoted where its pods come back, and rolled back where there is no room for them",
        promoted == case.room && (promoted || ended_as == "rolled-back"),
        format!("{ended_as}: {}", text(&rollout, "/status/history/0/reason")),
    );
    context.until_endpoints(WEB, REPLICAS).await?;
    let winner = if promoted { "v2" } else { "v1" };
    until_only(context, winner).await?;
    let ended = load.now();
    until_answers(&load, 400).await?;
    let serving = serving_uids(context, WEB).await?;
    let outcome = context
        .finish_load_but(load, std::slice::from_ref(&lost))
        .await?;
    let failed = outcome.count(|record| record.failure.is_some() && lost.contains(&record.sent()));
    context.check(
        "the loss was felt",
        failed > 0,
        format!(
            "{failed} requests lost of {} sent in {:.1} s",
            outcome.count(|record| lost.contains(&record.sent())),
            (lost.end - lost.start).as_secs_f64()
        ),
    );
    let sizes = largest_sizes(&sets.history());
    let pods = outcome.pods(Duration::ZERO..Duration::MAX);
    let of_a_set = |pod: &String| sizes.keys().any(|set| pod.starts_with(&format!("{set}-")));
    let last = outcome.versions(ended..Duration::MAX, None);
    context.check(
        "only pods of the two ReplicaSets answered, in the end only those of one",
        serving.len() == REPLICAS as usize
            && sizes.values().filter(|size| **size > 0).count() == 2
            && sizes.values().all(|size| *size <= i64::from(REPLICAS))
            && pods.keys().all(of_a_set)
            && last.keys().eq([winner]),
        format!("{} pods; {sizes:?}; in the end {last:?}", pods.len()),
    );
    crossfade.check_laws().await?;
    crossfade.controller.stop(Duration::from_secs(10)).await?;
    Ok(())
}

/// Gives the time in which a request may be lost.
async fn lose(context: &Context, load: &Load) -> anyhow::Result<Range<Duration>> {
    let slices = context.watch("endpointslices").await?;
    let start = load.now().saturating_sub(UNDER_WAY);
    context.lose_second_node().await?;
    let ready_on_it = |slice: &Value| {
        let endpoints = slice.get("endpoints").and_then(Value::as_array);
        endpoints.into_iter().flatten().any(|endpoint| {
            text(endpoint, "/nodeName") == SECOND
                && endpoint
                    .pointer("/conditions/ready")
                    .and_then(Value::as_bool)
                    == Some(true)
        })
    };
    slices
        .until("no endpoint of the lost node is ready", NOTICED, |slices| {
            (!slices.values().any(ready_on_it)).then_some(())
        })
        .await?;
    let end = load.now();
    context.say(&format!(
        "the loss was noticed after {:.1} s",
        (end - start).as_secs_f64()
    ));
    Ok(start..end + PROXY)
}

/// What it waits for in words, as soon as they are these; and `explain` says the same.
async fn until_said(crossfade: &Crossfade, words: &str) -> anyhow::Result<()> {
    crossfade
        .until(&format!("it says: {words}"), SOON, |rollout| {
            text(rollout, "/status/step/waitingOn")
                .contains(words)
                .then_some(())
        })
        .await?;
    let explained = crossfade.cli(&["explain", WEB]).await?;
    crossfade.context.check(
        "it says what happened",
        explained.stdout.contains(words),
        format!("{words} | {}", explained.words()),
    );
    Ok(())
}

/// The candidate carried everything: when its endpoints are gone, the Service has stable's key within a second.
fn check_given_back(context: &Context, load: &Load, services: &Watch, noticed: Duration) {
    let pin = |seen: &Seen| text(&seen.object, "/spec/selector/pod-template-hash").to_owned();
    let seen = services.history();
    let candidate = seen.first().map(pin).unwrap_or_default();
    let back = seen
        .iter()
        .find(|seen| pin(seen) != candidate)
        .map(|seen| load.at(seen.at));
    context.check(
        "the weight goes back to stable at once",
        !candidate.is_empty() && back.is_some_and(|at| at < noticed + Duration::from_secs(1)),
        format!("written at {back:.3?}, no endpoint left at {noticed:.3?}"),
    );
}

/// Told to go on while half of stable is gone, it waits until stable could take everything back.
async fn stable_is_short(crossfade: &Crossfade) -> anyhow::Result<()> {
    let ready = |rollout: &Value| number(rollout, "/status/stable/ready");
    crossfade
        .until("it shows that half of stable is gone", SOON, |rollout| {
            (ready(rollout) == i64::from(REPLICAS / 2)).then_some(())
        })
        .await?;
    crossfade.command("promote").await?;
    until_said(crossfade, "stable has 2 ready pods, 3 are needed").await?;
    let warm = crossfade.until_phase("Warm", WHOLE).await?;
    crossfade.context.check(
        "it goes on when stable is whole",
        ready(&warm) >= 3,
        format!("{} of {REPLICAS} ready", ready(&warm)),
    );
    Ok(())
}

/// True: the candidate is whole again and has come as far as warm; false: it was rolled back.
async fn comes_back(crossfade: &Crossfade, step: u32) -> anyhow::Result<bool> {
    let all = i64::from(REPLICAS);
    let goes_on = crossfade
        .until("it goes on or has rolled back", WHOLE, |rollout| {
            let whole = ["/status/stable/ready", "/status/candidate/ready"]
                .iter()
                .all(|side| number(rollout, side) == all);
            match text(rollout, "/status/phase") {
                "RolledBack" => Some(false),
                _ if whole && text(rollout, "/status/step/state") == "Observing" => Some(true),
                _ => None,
            }
        })
        .await?;
    if goes_on && step == 0 {
        crossfade.command("promote").await?;
        until_whole(crossfade, 1, REPLICAS).await?;
    }
    Ok(goes_on)
}

/// Waits until all pods that are not in deletion are of one version; on the lost node nobody ends those that are.
async fn until_only(context: &Context, tag: &str) -> anyhow::Result<()> {
    let end = format!(":{tag}");
    let pods = context.watch("pods").await?;
    pods.until(&format!("only pods of {tag} are left"), SOON, |pods| {
        pods.values()
            .all(|pod| {
                let lost = text(pod, "/spec/nodeName") == SECOND
                    && pod.pointer("/metadata/deletionTimestamp").is_some();
                lost || text(pod, "/spec/containers/0/image").ends_with(&end)
            })
            .then_some(())
    })
    .await
}
