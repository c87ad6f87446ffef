//! A candidate that cannot run: its container crashes, its image cannot be pulled, its pods exceed a quota. Each is taken away by its
//! deadline, with the container's or the API's own reason; stable's pods are not touched.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::fixture::serving::{serving_uids, until_answers};
use crate::fixture::{Crossfade, Plan, WEB, laws};
use crate::harness::api::{collection, text};
use crate::harness::app::App;
use crate::harness::context::Context;
use crate::harness::runner::Scenario;
use crate::load::Options;

const DEADLINE: Duration = Duration::from_secs(15);
/// From a deadline to the phase that follows from it.
const PROMPTLY: Duration = Duration::from_secs(3);
/// Settle, drain, and the end of its pods.
const ROLLBACK: Duration = Duration::from_secs(60);

const BASE: Scenario = Scenario {
    name: "candidate-crashes",
    control: false,
    pods: 8,
    group: 1,
    alone: false,
    limit: Duration::from_secs(180),
    run: |context| Box::pin(run(context, Fault::Crash)),
};

pub(crate) const SCENARIOS: [Scenario; 3] = [
    BASE,
    Scenario {
        name: "candidate-not-pulled",
        run: |context| Box::pin(run(context, Fault::Image)),
        ..BASE
    },
    Scenario {
        name: "candidate-over-quota",
        run: |context| Box::pin(run(context, Fault::Quota)),
        ..BASE
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    Image,
    Quota,
}

impl Fault {
    fn tag(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Image => "nonesuch",
            Self::Quota => "v2",
        }
    }

    /// One of these stands in the reason: the words of kubelet or API server.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Crash => &["CrashLoopBackOff", "exit code 1", "exited with 1"],
            Self::Image => &["ImagePullBackOff", "ErrImagePull"],
            Self::Quota => &["exceeded quota: few"],
        }
    }
}

async fn run(context: Arc<Context>, fault: Fault) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    let deadline = format!("{}s", DEADLINE.as_secs());
    crossfade
        .plan(&Plan::default().more(&json!({"progressDeadline": deadline})))
        .await?;
    crossfade.deploy(&App::new(WEB, 4).canary()).await?;
    if fault == Fault::Quota {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "4"}},
        });
        context
            .api
            .create(&collection(&context.namespace, "resourcequotas"), &quota)
            .await?;
        // It counts nothing until its controller has seen the namespace.
        let quotas = context.watch("resourcequotas").await?;
        quotas
            .until_object("few", "the quota counts 4 pods", ROLLBACK, |quota| {
                (text(quota, "/status/used/pods") == "4").then_some(())
            })
            .await?;
    }
    let before = serving_uids(&context, WEB).await?;
    let load = context.load(WEB, Options::default()).await?;
    let pushed = crossfade.release(fault.tag()).await?;
    let rolling = crossfade
        .until_phase("RollingBack", DEADLINE + ROLLBACK)
        .await?;
    let took = pushed.elapsed();
    let (least, most) = if fault == Fault::Quota {
        (Duration::ZERO, Duration::from_secs(5))
    } else {
        (DEADLINE, DEADLINE + PROMPTLY + Duration::from_secs(2))
    };
    context.check(
        "rolled back by the deadline",
        took >= least && took <= most,
        format!("{:.1} s after the push", took.as_secs_f64()),
    );
    let ended = crossfade
        .until_ended(fault.tag(), "rolled-back", ROLLBACK)
        .await?;
    context.say(&format!(
        "at rest {:.1} s after the push",
        pushed.elapsed().as_secs_f64()
    ));
    for (name, said) in [
        ("while rolling back", text(&rolling, "/status/message")),
        ("in the history", text(&ended, "/status/history/0/reason")),
    ] {
        context.check(
            &format!("the reason is the cluster's own, {name}"),
            fault.words().iter().any(|words| said.contains(words)),
            said,
        );
    }
    let explained = crossfade.cli(&["explain", WEB]).await?;
    context.check(
        "explain gives it",
        fault
            .words()
            .iter()
            .any(|words| explained.stdout.contains(words)),
        explained.words(),
    );
    // Some traffic after the end, which only stable answers.
    until_answers(&load, 400).await?;
    let outcome = context.finish_load(load).await?;
    let seen = outcome.seen(fault.tag(), None);
    context.check(
        "the candidate answered nothing",
        seen.is_none(),
        format!("{seen:?}"),
    );
    let after = serving_uids(&context, WEB).await?;
    context.check(
        "stable's pods are untouched",
        before == after && before.len() == 4,
        format!("{before:?} | {after:?}"),
    );
    let left = laws::leftovers(&context).await?;
    context.check(
        "nothing of Crossfade is left but the Rollout",
        left.is_empty(),
        left.join("; "),
    );
    crossfade.check_log();
    Ok(())
}
