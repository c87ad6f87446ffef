//! All traffic moves at once and stable's answers are too few to judge by: what the plan chose then happens. Metrics that
//! are missing or broken are in `disturbed`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::blue_green::at_once;
use super::{End, Scenario, Setup};
use crate::json::text;
use crate::world::manifests::{image, plan};
use crate::world::stage::Stage;

/// Nobody asks the app anything, until the script begins to.
fn unasked(limit: &str) -> Setup {
    let mut setup = at_once();
    setup.requests = 0;
    setup.plan["analysis"]["noData"] = json!({ "limit": limit });
    setup
}

/// Two releases; `then` is what an unclear verdict does.
fn unclear(then: &str) -> Setup {
    let mut plan = plan();
    plan["analysis"]["inconclusive"] = json!(then);
    plan["analysis"]["noData"] = json!({ "limit": "60s" });
    Setup {
        plan,
        writes: 260,
        ..Setup::default()
    }
}

fn held(stage: &Stage) -> bool {
    stage.phase() == "Warm" && text(&stage.rollout(), "/status/step/state") == "Held"
}

fn promoted(stage: &Stage, tag: &str) -> bool {
    let rollout = stage.rollout();
    stage.phase() == "Idle"
        && text(&rollout, "/status/history/0/outcome") == "promoted"
        && text(&rollout, "/status/history/0/images/0") == image(tag)
}

/// Why the newest release ended as it did.
fn reason_says(stage: &Stage, words: &str) -> Result<(), String> {
    let rollout = stage.rollout();
    let reason = text(&rollout, "/status/history/0/reason");
    if reason.contains(words) {
        return Ok(());
    }
    Err(format!("the reason is not \"{words}\": {reason}"))
}

/// v2 is out, and stable's answers before that are forgotten: an undo goes back to v1 by the short plan. In full,
/// for such a plan may hold this release too where the controller was away.
async fn undo_of_a_promotion(stage: &Arc<Stage>) -> Result<(), String> {
    stage.push("v2").await?;
    stage.until_step(0, "Observing").await?;
    let full = json!({ "action": "promote", "full": true, "reason": "to begin with" });
    stage.command(full).await?;
    stage.until_promoted("v2").await?;
    stage.command(json!({ "action": "undo" })).await
}

/// An undo that nothing can be said of is held until somebody promotes it.
async fn until_a_person_says_so(stage: Arc<Stage>) -> Result<(), String> {
    undo_of_a_promotion(&stage).await?;
    // With faults it may have taken long enough for answers to judge by.
    stage
        .until("it is held", |stage| held(stage) || promoted(stage, "v1"))
        .await?;
    if promoted(&stage, "v1") {
        return Ok(());
    }
    tokio::time::sleep(Duration::from_secs(200)).await;
    if held(&stage) {
        stage.command(json!({ "action": "promote" })).await?;
    }
    stage.until_promoted("v1").await
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "blue-green-nobody-asks-and-it-goes-on-by-health",
        setup: |_| unasked("60s"),
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "Observing").await?;
                // And in its turn the candidate answers nothing.
                stage.until_rolled_back().await?;
                reason_says(&stage, "no data")
            })
        },
        end: End::RolledBack("v1"),
        comparable: true,
    },
    Scenario {
        name: "blue-green-promoted-before-stable-has-answered",
        setup: |_| unasked("5m"),
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until("it waits for answers", held).await?;
                stage.command(json!({ "action": "promote" })).await?;
                stage.until_step(0, "Observing").await?;
                let asked = Setup {
                    requests: 200,
                    ..stage.setup.clone()
                };
                stage.cluster.start_load(&asked);
                stage.until_promoted("v2").await?;
                reason_says(&stage, "too few")
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "undo-that-is-unclear-waits-for-a-person",
        setup: |_| unclear("hold"),
        script: |stage| Box::pin(until_a_person_says_so(stage)),
        end: End::Promoted("v1"),
        comparable: false,
    },
    // Back to what was left would be no better: a person decides there, too.
    Scenario {
        name: "undo-that-is-unclear-is-not-taken-back",
        setup: |_| unclear("rollback"),
        script: |stage| Box::pin(until_a_person_says_so(stage)),
        end: End::Promoted("v1"),
        comparable: false,
    },
];
