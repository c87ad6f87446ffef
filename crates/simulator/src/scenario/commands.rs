//! What a person commands and changes in mid-release: abort in each phase, pause, promote, retry, another
//! template, the old one again.

use std::time::Duration;

use serde_json::json;

use super::{End, Scenario, Script, Setup, usual};
use crate::world::manifests::plan;

/// Aborted at some point: stable serves.
const fn aborted(name: &'static str, script: Script) -> Scenario {
    Scenario {
        name,
        setup: usual,
        script,
        end: End::RolledBack("v1"),
        comparable: true,
    }
}

const fn promoted(name: &'static str, tag: &'static str, script: Script) -> Scenario {
    Scenario {
        name,
        setup: long,
        script,
        end: End::Promoted(tag),
        comparable: true,
    }
}

fn long(_: &mut fastrand::Rng) -> Setup {
    Setup {
        writes: 260,
        ..Setup::default()
    }
}

fn with_approval(_: &mut fastrand::Rng) -> Setup {
    let mut plan = plan();
    plan["strategy"]["canary"]["steps"] =
        json!([{ "weight": 20, "for": "4s" }, { "approval": {} }, { "weight": 50, "for": "4s" }]);
    Setup {
        plan,
        ..Setup::default()
    }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    aborted("abort-in-preparing", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage
                .until("the release is under way", |stage| {
                    !matches!(stage.phase().as_str(), "" | "Idle")
                })
                .await?;
            stage.command(json!({ "action": "abort" })).await?;
            stage.until_rolled_back().await
        })
    }),
    aborted("abort-while-settling", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_step(0, "Settling").await?;
            stage.command(json!({ "action": "abort" })).await?;
            stage.until_rolled_back().await
        })
    }),
    aborted("abort-while-observing", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_step(1, "Observing").await?;
            stage
                .command(json!({ "action": "abort", "reason": "looks odd" }))
                .await?;
            stage.until_rolled_back().await
        })
    }),
    aborted("abort-in-warm", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_phase("Warm").await?;
            stage.until_step(2, "Observing").await?;
            stage.command(json!({ "action": "abort" })).await?;
            stage.until_rolled_back().await
        })
    }),
    Scenario {
        name: "abort-too-late",
        setup: usual,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_phase("HandingOver").await?;
                stage.command(json!({ "action": "abort" })).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    promoted("abort-then-retry", "v2", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_step(0, "Observing").await?;
            stage.command(json!({ "action": "abort" })).await?;
            stage.until_rolled_back().await?;
            stage.command(json!({ "action": "retry" })).await?;
            stage.until_promoted("v2").await
        })
    }),
    promoted("pause-and-resume", "v2", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_step(0, "Observing").await?;
            stage.command(json!({ "action": "pause" })).await?;
            stage.until_step(0, "Paused").await?;
            tokio::time::sleep(Duration::from_secs(90)).await;
            stage.command(json!({ "action": "resume" })).await?;
            stage.until_promoted("v2").await
        })
    }),
    promoted("promote-in-full", "v2", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_step(0, "Observing").await?;
            stage
                .command(json!({ "action": "promote", "full": true, "reason": "hotfix" }))
                .await?;
            stage.until_promoted("v2").await
        })
    }),
    Scenario {
        name: "approval",
        setup: with_approval,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "AwaitingApproval").await?;
                tokio::time::sleep(Duration::from_secs(60)).await;
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
        name: "approval-never-given",
        setup: with_approval,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "AwaitingApproval").await
            })
        },
        end: End::AnyRest,
        comparable: true,
    },
    promoted("another-template-in-mid-release", "v3", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_step(0, "Observing").await?;
            stage.push("v3").await?;
            stage.until_promoted("v3").await
        })
    }),
    promoted("another-template-in-the-hand-over", "v3", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage
                .until("a ReplicaSet is parked", |stage| stage.parked())
                .await?;
            stage.push("v3").await?;
            stage.until_promoted("v3").await
        })
    }),
    Scenario {
        name: "reverted-in-mid-release",
        setup: usual,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                stage.push("v1").await?;
                stage.until_phase("Idle").await
            })
        },
        end: End::Promoted("v1"),
        comparable: true,
    },
    Scenario {
        name: "reverted-after-the-roll-back",
        setup: usual,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "Observing").await?;
                stage.command(json!({ "action": "abort" })).await?;
                stage.until_rolled_back().await?;
                stage.push("v1").await?;
                stage.until_phase("Idle").await
            })
        },
        end: End::Promoted("v1"),
        comparable: true,
    },
    promoted("back-to-an-earlier-version", "v1", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_promoted("v2").await?;
            stage.push("v1").await?;
            stage.until_promoted("v1").await
        })
    }),
    Scenario {
        name: "back-to-an-earlier-version-by-steps",
        setup: |draw| {
            let mut setup = long(draw);
            setup.plan["retainedRevisions"] = json!("steps");
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                stage.push("v1").await?;
                // The short plan has no step before the warm stay.
                stage.until_step(1, "Observing").await?;
                stage.until_promoted("v1").await
            })
        },
        end: End::Promoted("v1"),
        comparable: true,
    },
    Scenario {
        name: "undo-in-warm",
        setup: long,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(2, "Observing").await?;
                stage.command(json!({ "action": "undo" })).await?;
                stage.until_phase("Idle").await
            })
        },
        end: End::Promoted("v1"),
        comparable: true,
    },
    Scenario {
        name: "undo-when-rolled-back",
        setup: long,
        script: |stage| {
            Box::pin(async move {
                stage.errors("v2", 30);
                stage.push("v2").await?;
                stage.until_rolled_back().await?;
                stage.command(json!({ "action": "undo" })).await?;
                stage.until_phase("Idle").await
            })
        },
        end: End::Promoted("v1"),
        comparable: false,
    },
    promoted("undo-after-a-promotion", "v1", |stage| {
        Box::pin(async move {
            stage.push("v2").await?;
            stage.until_promoted("v2").await?;
            stage
                .command(json!({ "action": "undo", "reason": "customers call" }))
                .await?;
            stage.until_promoted("v1").await
        })
    }),
    promoted("undo-to-a-revision", "v1", |stage| {
        Box::pin(async move {
            for tag in ["v2", "v3"] {
                stage.push(tag).await?;
                stage.until_promoted(tag).await?;
            }
            stage
                .command(json!({ "action": "undo", "revision": 1 }))
                .await?;
            stage.until_promoted("v1").await
        })
    }),
];
