//! A side's ReplicaSet is taken away while a release keeps the Deployment paused, and templates that
//! somebody lets pass without analysis.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::hands::any_of;
use super::{End, Scenario, Setup};
use crate::actors::Patch;
use crate::json::{controller, text};
use crate::oracles::model::size;
use crate::world::manifests::{WEB, image};
use crate::world::stage::Stage;

/// Pods end by other hands too.
fn lossy(_: &mut fastrand::Rng) -> Setup {
    Setup {
        lossless: false,
        writes: 320,
        ..Setup::default()
    }
}

/// Name of the ReplicaSet with pods of this version that is the Deployment's.
pub(super) fn set_of(stage: &Stage, tag: &str) -> Option<String> {
    stage
        .list("replicasets")
        .into_iter()
        .filter(|set| size(set) > 0)
        .filter(|set| {
            controller(set).is_some_and(|(kind, _)| kind == "Deployment")
                && text(set, "/spec/template/spec/containers/0/image") == image(tag)
        })
        .map(|set| text(&set, "/metadata/name").to_owned())
        .next()
}

/// `kubectl delete replicaset`, and the pods with it.
pub(super) async fn delete_set(
    stage: &Arc<Stage>,
    tag: &str,
    propagation: &str,
) -> Result<(), String> {
    let name = set_of(stage, tag).ok_or_else(|| format!("no ReplicaSet of {tag} has pods"))?;
    stage
        .delete("replicasets", &name, propagation)
        .await
        .map_err(|refused| refused.message)
}

/// Pods of this version, and no others of the Deployment's, are as many as it wants.
pub(super) async fn whole(stage: &Arc<Stage>, tag: &'static str) -> Result<(), String> {
    stage
        .until("stable is whole again, alone", |stage| {
            let serving = stage.serving();
            let wanted = stage.get("deployments", WEB).map_or(0, |web| size(&web));
            let of_stable = serving.get(&image(tag)).copied().unwrap_or(0);
            i64::try_from(of_stable).unwrap_or(0) >= wanted && serving.len() == 1
        })
        .await
}

/// `kubectl set image` and the bypass in one write.
pub(super) async fn push_past(stage: &Arc<Stage>, tag: &str, reason: &str) -> Result<(), String> {
    let template = stage.app(tag).template();
    let body = json!({
        "metadata": { "annotations": { "crossfade.dev/bypass": reason } },
        "spec": { "template": { "spec": { "containers": template["spec"]["containers"] } } },
    });
    stage
        .patch(Patch::Merge, "deployments", WEB, &body)
        .await
        .map(|_| ())
}

/// The newest release passed without analysis, and its own rollout has ended.
pub(super) async fn until_bypassed(stage: &Arc<Stage>, tag: &'static str) -> Result<(), String> {
    stage
        .until("it has passed", |stage| {
            let rollout = stage.rollout();
            text(&rollout, "/status/phase") == "Idle"
                && text(&rollout, "/status/history/0/outcome") == "bypassed"
                && text(&rollout, "/status/history/0/images/0") == image(tag)
        })
        .await?;
    whole(stage, tag).await
}

/// Two versions behind: then the Deployment has a history to start from.
async fn with_history(stage: &Arc<Stage>) -> Result<(), String> {
    stage.push("v2").await?;
    stage.until_promoted("v2").await
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "stable-deleted-in-a-step",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                delete_set(&stage, "v1", "Background").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "stable-deleted-in-a-step-foreground",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                delete_set(&stage, "v1", "Foreground").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "stable-deleted-in-an-undo",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                with_history(&stage).await?;
                stage.command(json!({ "action": "undo" })).await?;
                any_of(&stage, &["Warm", "HandingOver"]).await?;
                delete_set(&stage, "v2", "Background").await?;
                stage.until_promoted("v1").await
            })
        },
        end: End::Promoted("v1"),
        comparable: false,
    },
    Scenario {
        name: "candidates-replica-set-deleted-in-a-step",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "Observing").await?;
                delete_set(&stage, "v2", "Background").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "candidates-replica-set-deleted-in-warm",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_phase("Warm").await?;
                delete_set(&stage, "v2", "Background").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "stable-deleted-with-a-history",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                with_history(&stage).await?;
                stage.push("v3").await?;
                stage.until_step(0, "Observing").await?;
                delete_set(&stage, "v2", "Background").await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "stable-deleted-in-warm-then-aborted",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                with_history(&stage).await?;
                stage.push("v3").await?;
                stage.until_phase("Warm").await?;
                stage.until_step(2, "Observing").await?;
                delete_set(&stage, "v2", "Background").await?;
                stage.command(json!({ "action": "abort" })).await?;
                stage.until_rolled_back().await?;
                whole(&stage, "v2").await
            })
        },
        end: End::RolledBack("v2"),
        comparable: false,
    },
    Scenario {
        name: "stable-deleted-when-rolled-back",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                with_history(&stage).await?;
                stage.errors("v3", 30);
                stage.push("v3").await?;
                stage.until_rolled_back().await?;
                delete_set(&stage, "v2", "Background").await?;
                whole(&stage, "v2").await?;
                stage.push("v2").await?;
                stage.until_phase("Idle").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "scaled-to-nothing-and-back-when-rolled-back",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                with_history(&stage).await?;
                stage.errors("v3", 30);
                stage.push("v3").await?;
                stage.until_rolled_back().await?;
                stage.scale(0).await?;
                tokio::time::sleep(Duration::from_secs(40)).await;
                stage.scale(3).await?;
                whole(&stage, "v2").await?;
                stage.push("v2").await?;
                stage.until_phase("Idle").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "bypass-in-a-step",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                push_past(&stage, "v3", "INC-7: v2 is broken").await?;
                until_bypassed(&stage, "v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "bypass-when-rolled-back",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.errors("v2", 30);
                stage.push("v2").await?;
                stage.until_rolled_back().await?;
                push_past(&stage, "v3", "INC-8: now").await?;
                until_bypassed(&stage, "v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "bypass-at-rest",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                push_past(&stage, "v2", "INC-9: at once").await?;
                until_bypassed(&stage, "v2").await?;
                // The value that is left means nothing.
                stage.push("v3").await?;
                stage.until_phase("Progressing").await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
];
