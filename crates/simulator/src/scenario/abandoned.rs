//! Workloads that are deleted for good in mid-release: Rollout and memory go with them, and what stood on
//! their Services must not stay.

use std::sync::Arc;

use super::{End, Scenario, Setup};
use crate::world::manifests::WEB;
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
];
