//! The table of waits: what a plan says of approvals, pauses and missing numbers, and what happens when something never comes about.
//! Approvals that are given and pauses that end soon are in `commands`, candidates that never become ready in `releases`.

use std::time::Duration;

use serde_json::{Value, json};

use super::hands::{allow, check, refuse, says};
use super::stable::{delete_set, whole};
use super::{End, Scenario, Setup, long, lossy};
use crate::actors::{Delay, Flap, Manner};
use crate::json::text;
use crate::oracles::model::size;
use crate::world::cluster::Metrics;
use crate::world::manifests::plan;
use crate::world::stage::Stage;

/// What is refused is tried again and again.
fn refused(draw: &mut fastrand::Rng) -> Setup {
    Setup {
        writes: 2_000,
        ..long(draw)
    }
}

fn with_approval(approval: &Value) -> Setup {
    let mut plan = plan();
    plan["strategy"]["canary"]["steps"] = json!([{ "weight": 20, "for": "4s" }, { "approval": approval }, { "weight": 50, "for": "4s" }]);
    Setup {
        plan,
        writes: 400,
        ..Setup::default()
    }
}

/// Hours of it are told by the health of pods alone.
fn unmeasured(draw: &mut fastrand::Rng) -> Setup {
    let mut setup = long(draw);
    setup.plan["analysis"] = json!({ "source": "none" });
    setup.requests = 20;
    setup
}

/// Events of this reason.
fn events(stage: &Stage, reason: &str) -> usize {
    let events = stage.list("events");
    let of_it = events
        .iter()
        .filter(|event| text(event, "/reason") == reason);
    of_it.count()
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "approval-runs-out-and-it-is-aborted",
        setup: |_| with_approval(&json!({ "timeout": "60s", "then": "abort" })),
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: true,
    },
    Scenario {
        name: "approval-runs-out-and-it-goes-on",
        setup: |_| with_approval(&json!({ "timeout": "60s", "then": "advance" })),
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "AwaitingApproval").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "approval-does-not-run-out-under-a-pause",
        setup: |_| with_approval(&json!({ "timeout": "5m", "then": "abort" })),
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "AwaitingApproval").await?;
                stage.command(json!({ "action": "pause" })).await?;
                stage.until_step(1, "Paused").await?;
                tokio::time::sleep(Duration::from_secs(600)).await;
                stage.command(json!({ "action": "resume" })).await?;
                stage.until_step(1, "AwaitingApproval").await?;
                stage
                    .command(json!({ "action": "promote", "step": 1 }))
                    .await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "paused-for-hours",
        setup: unmeasured,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "Observing").await?;
                stage.command(json!({ "action": "pause" })).await?;
                stage.until_step(0, "Paused").await?;
                tokio::time::sleep(Duration::from_secs(2 * 3_600 + 300)).await;
                stage.until_step(0, "Paused").await?;
                // An event may be lost with the process that was to write it.
                check(
                    events(&stage, "StillPaused") > 0,
                    "no event says that it is still paused",
                )?;
                stage.command(json!({ "action": "resume" })).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "metrics-missing-and-it-stays",
        setup: |draw| {
            let mut setup = long(draw);
            setup.plan["analysis"]["noData"] = json!({ "limit": "60s", "then": "stay" });
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.cluster.metrics("v2", Metrics::Missing);
                stage.push("v2").await?;
                stage.until_step(0, "Held").await?;
                tokio::time::sleep(Duration::from_secs(300)).await;
                check(
                    stage.phase() == "Progressing",
                    "it did not stay, as its plan says",
                )?;
                stage.cluster.metrics("v2", Metrics::Good);
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "readiness-that-comes-and-goes-is-no-progress",
        setup: |draw| {
            let mut setup = lossy(draw);
            setup.plan["strategy"]["canary"]["steps"] = json!([{ "weight": 50, "for": "4s" }]);
            if let Some(app) = setup.apps.first_mut() {
                app.max_unavailable = json!(0);
            }
            setup
        },
        script: |stage| {
            Box::pin(async move {
                // Each pod is ready now and then, all of them hardly ever: the deadline is not longer for it.
                let flap = Flap {
                    ready: Duration::from_secs(1),
                    unready: Duration::from_secs(30),
                    answers: true,
                    times: 200,
                };
                let manner = Manner {
                    start: Delay::millis(0, 29_000),
                    flap: Some(flap),
                    ..Manner::default()
                };
                stage.manner("v2", manner);
                stage.push("v2").await?;
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: false,
    },
    Scenario {
        name: "stable-cannot-be-made-again",
        setup: |draw| Setup {
            lossless: false,
            ..refused(draw)
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                refuse(&stage, "replicasets", &["CREATE"]).await?;
                delete_set(&stage, "v1", "Background").await?;
                stage
                    .until("nothing of v1 serves", |stage| stage.serving().len() == 1)
                    .await?;
                stage.command(json!({ "action": "abort" })).await?;
                // Weight 0 would serve nobody: it says so and asks.
                says(&stage, "force").await?;
                stage
                    .command(json!({ "action": "abort", "force": true }))
                    .await?;
                stage.until_rolled_back().await?;
                // Nothing waits for it any more; it is made all the same, as soon as it may be.
                allow(&stage).await?;
                whole(&stage, "v1").await
            })
        },
        end: End::RolledBack("v1"),
        comparable: false,
    },
    Scenario {
        name: "canary-of-at-least-two-pods",
        setup: |draw| {
            let mut setup = long(draw);
            setup.plan["strategy"]["canary"]["minReplicas"] = json!(2);
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                // A share of 20 % beside four pods would be one.
                stage.until_step(0, "Observing").await?;
                let pods = stage.parallel().map_or(0, |parallel| size(&parallel));
                check(pods == 2, "the smallest canary is not of two pods")?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "services-are-refused-from-the-start",
        setup: refused,
        script: |stage| {
            Box::pin(async move {
                refuse(&stage, "services", &["UPDATE"]).await?;
                stage.push("v2").await?;
                stage.until_rolled_back().await?;
                allow(&stage).await
            })
        },
        end: End::RolledBack("v1"),
        comparable: false,
    },
    Scenario {
        name: "services-are-refused-in-a-step",
        setup: refused,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                // The flip is never written: back, and that is not written either.
                refuse(&stage, "services", &["UPDATE"]).await?;
                stage.until_phase("RollingBack").await?;
                stage
                    .until("it is told that the way back is slow", |stage| {
                        events(stage, "RollBackSlow") > 0
                    })
                    .await?;
                tokio::time::sleep(Duration::from_secs(300)).await;
                check(
                    stage.phase() == "RollingBack",
                    "the roll-back ended without its writes",
                )?;
                allow(&stage).await?;
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: false,
    },
];
