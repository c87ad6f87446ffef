//! Two installations serve one namespace: who began a release carries it out, the other leaves it alone, and at rest neither
//! writes. What one installation's own processes do to each other is in `disturbed`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::stable::{push_past, until_bypassed};
use super::{End, Scenario, Setup};
use crate::actors::Patch;
use crate::json::text;
use crate::world::install;
use crate::world::manifests::WEB;
use crate::world::stage::Stage;

fn two(_: &mut fastrand::Rng) -> Setup {
    Setup {
        beside: true,
        writes: 320,
        ..Setup::default()
    }
}

fn lossy(draw: &mut fastrand::Rng) -> Setup {
    Setup {
        lossless: false,
        ..two(draw)
    }
}

/// The runbook's way: the installation that carries the release out is gone for good, and the other is given it.
async fn give_on(stage: &Arc<Stage>) -> Result<(), String> {
    let rollout = stage.rollout();
    let holder = text(&rollout, "/status/controller").to_owned();
    let another = install::another();
    let first = crossfade_api::install::Installation::default();
    // Each has one process.
    let (index, gone, left) = if holder == another.name {
        (1, another, first)
    } else {
        (0, first, another)
    };
    stage.processes.retire(index);
    // Nobody is that fast: what it sent has landed by then.
    tokio::time::sleep(stage.setup.write_timeout + Duration::from_secs(1)).await;
    let body = json!({ "status": { "controller": left.name } });
    let status = format!("{WEB}/status");
    stage
        .patch(Patch::Merge, "rollouts", &status, &body)
        .await?;
    install::remove(&stage.api, &gone).await
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two-installations-promote-in-turn",
        setup: two,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                stage.push("v3").await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: true,
    },
    Scenario {
        name: "two-installations-abort",
        setup: two,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                stage.command(json!({ "action": "abort" })).await?;
                stage.until_rolled_back().await?;
                stage.push("v3").await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: true,
    },
    Scenario {
        name: "two-installations-revert",
        setup: two,
        script: |stage| {
            Box::pin(async move {
                stage.errors("v2", 30);
                stage.push("v2").await?;
                stage.until_rolled_back().await?;
                stage.push("v1").await?;
                stage.until_phase("Idle").await
            })
        },
        end: End::Promoted("v1"),
        comparable: true,
    },
    Scenario {
        name: "two-installations-the-holder-ends",
        setup: two,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                give_on(&stage).await?;
                stage.until_promoted("v2").await?;
                stage.push("v3").await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: true,
    },
    Scenario {
        name: "two-installations-bypass",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                push_past(&stage, "v2", "INC-9: at once").await?;
                until_bypassed(&stage, "v2").await?;
                stage.push("v3").await?;
                stage.until_step(1, "Observing").await?;
                push_past(&stage, "v4", "INC-10: v3 is broken").await?;
                until_bypassed(&stage, "v4").await
            })
        },
        end: End::Promoted("v4"),
        comparable: false,
    },
];
