//! Workloads that are deleted for good in mid-release: Rollout and memory go with them, and what stood on
//! their Services must not stay.

use std::sync::Arc;

use super::{End, Scenario, Setup};
use crate::world::manifests::{WEB, image};
use crate::world::stage::Stage;

fn setup(_: &mut fastrand::Rng) -> Setup {
    Setup {
        lossless: false,
        writes: 260,
        ..Setup::default()
    }
}

/// Deletes the Deployment and waits until all that it owned is gone.
pub(super) async fn delete(stage: &Arc<Stage>) -> Result<(), String> {
    stage
        .delete("deployments", WEB, "Background")
        .await
        .map_err(|refused| refused.message)?;
    all_gone(stage).await
}

async fn all_gone(stage: &Arc<Stage>) -> Result<(), String> {
    stage
        .until("all that it owned is gone", |stage| {
            ["deployments", "replicasets", "pods", "rollouts"]
                .iter()
                .all(|kind| stage.list(kind).is_empty())
        })
        .await
}

pub(super) async fn given_back(stage: &Arc<Stage>) -> Result<(), String> {
    stage
        .until("the Services are given back", |stage| {
            stage.changed_services().is_empty()
        })
        .await
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "workload-deleted-for-good",
        setup,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_phase("Warm").await?;
                delete(&stage).await?;
                given_back(&stage).await
            })
        },
        end: End::Gone,
        comparable: false,
    },
    Scenario {
        name: "workload-deleted-while-nobody-runs",
        setup,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "Observing").await?;
                stage.processes.hold();
                delete(&stage).await?;
                stage.processes.release(stage.setup.replicas());
                given_back(&stage).await
            })
        },
        end: End::Gone,
        comparable: false,
    },
    // Pods of a lost node are not seen to end: the Deployment is going for minutes, its Rollout is gone at once.
    Scenario {
        name: "workload-deleted-on-a-lost-node",
        setup,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                stage.cluster.lose_a_node_of(&image("v2"));
                (stage.delete("deployments", WEB, "Foreground").await)
                    .map_err(|refused| refused.message)?;
                given_back(&stage).await?;
                if stage.get("deployments", WEB).is_none() {
                    return Err(
                        "the Deployment was gone before the Services were given back".to_owned(),
                    );
                }
                for name in ["node-1", "node-2"] {
                    stage.cluster.actors().nodes.put(name, 110);
                }
                all_gone(&stage).await
            })
        },
        end: End::Gone,
        comparable: false,
    },
];
