//! Another template, stable's, or an undo, in each phase of a release: the table "phase and template" as worlds.
//! What other commands do in a phase is in `commands`, what happens to objects in `disturbed` and `stable`.

use std::sync::Arc;

use serde_json::json;

use super::{End, Scenario, Setup};
use crate::json::flag;
use crate::world::manifests::{WEB, image};
use crate::world::stage::Stage;

/// Where the release of v2 stands when the next template comes.
#[derive(Clone, Copy)]
pub(super) enum Point {
    Preparing,
    Settling,
    Observing,
    Warm,
    HandingOver,
    RollingBack,
    RolledBack,
}

/// Two releases, one after the other.
fn two(_: &mut fastrand::Rng) -> Setup {
    Setup {
        writes: 200,
        ..Setup::default()
    }
}

/// A release of v2, up to there. With faults a phase may be over before anybody has looked: then the
/// template comes in the next one.
pub(super) async fn reach(stage: &Arc<Stage>, point: Point) -> Result<(), String> {
    stage.push("v2").await?;
    match point {
        Point::Preparing => any_of(stage, &["Preparing", "Progressing"]).await,
        Point::Settling => stage.until_step(0, "Settling").await,
        Point::Observing => stage.until_step(1, "Observing").await,
        Point::Warm => any_of(stage, &["Warm"]).await,
        Point::HandingOver => {
            any_of(stage, &["Warm"]).await?;
            any_of(stage, &["HandingOver", "Idle"]).await
        }
        Point::RollingBack => {
            stage.until_step(1, "Observing").await?;
            stage.command(json!({ "action": "abort" })).await?;
            any_of(stage, &["RollingBack", "RolledBack"]).await
        }
        Point::RolledBack => {
            stage.until_step(0, "Observing").await?;
            stage.command(json!({ "action": "abort" })).await?;
            any_of(stage, &["RolledBack"]).await
        }
    }
}

async fn any_of(stage: &Arc<Stage>, phases: &[&str]) -> Result<(), String> {
    stage
        .until(&format!("phase {}", phases.join(" or ")), |stage| {
            phases.contains(&stage.phase().as_str())
        })
        .await
}

/// The newest template is released, whatever became of the one before.
async fn pushed_over(stage: Arc<Stage>, point: Point) -> Result<(), String> {
    reach(&stage, point).await?;
    stage.push("v3").await?;
    stage.until_promoted("v3").await
}

/// Stable's template ends the release; once that has begun to hand over, it is the next one.
async fn reverted(stage: Arc<Stage>, point: Point) -> Result<(), String> {
    reach(&stage, point).await?;
    stage.push("v1").await?;
    back(&stage).await
}

/// An undo writes stable's template back; once the release has begun to hand over, it goes back to it at the end.
async fn undone(stage: Arc<Stage>, point: Point) -> Result<(), String> {
    reach(&stage, point).await?;
    stage.command(json!({ "action": "undo" })).await?;
    back(&stage).await
}

async fn back(stage: &Arc<Stage>) -> Result<(), String> {
    stage
        .until("v1 serves alone and nothing is held", |stage| {
            let serving = stage.serving();
            stage.phase() == "Idle"
                && stage
                    .get("deployments", WEB)
                    .is_some_and(|web| !flag(&web, "/spec/paused"))
                && serving.len() == 1
                && serving.contains_key(&image("v1"))
        })
        .await
}

/// A world for each point.
macro_rules! worlds {
    ($($point:ident: $over:literal, $back:literal;)*) => {
        &[$(
            Scenario {
                name: $over,
                setup: two,
                script: |stage| Box::pin(pushed_over(stage, Point::$point)),
                end: End::Promoted("v3"),
                comparable: false,
            },
            Scenario {
                name: $back,
                setup: two,
                script: |stage| Box::pin(reverted(stage, Point::$point)),
                end: End::Promoted("v1"),
                comparable: false,
            },
        )*]
    };
}

/// All of them.
pub const SCENARIOS: &[Scenario] = worlds! {
    Preparing: "another-template-in-preparing", "reverted-in-preparing";
    Settling: "another-template-while-settling", "reverted-while-settling";
    Observing: "another-template-in-a-step", "reverted-in-a-step";
    Warm: "another-template-in-warm", "reverted-in-warm";
    HandingOver: "another-template-while-handing-over", "reverted-while-handing-over";
    RollingBack: "another-template-in-the-roll-back", "reverted-in-the-roll-back";
    RolledBack: "another-template-when-rolled-back", "reverted-when-rolled-back";
};

/// Undone at each point; in Warm and when RolledBack it is in `commands`.
macro_rules! undone {
    ($($point:ident: $name:literal;)*) => {
        &[$(
            Scenario {
                name: $name,
                setup: two,
                script: |stage| Box::pin(undone(stage, Point::$point)),
                end: End::Promoted("v1"),
                comparable: false,
            },
        )*]
    };
}

/// All of those.
pub const UNDONE: &[Scenario] = undone! {
    Preparing: "undone-in-preparing";
    Settling: "undone-while-settling";
    Observing: "undone-in-a-step";
    HandingOver: "undone-while-handing-over";
    RollingBack: "undone-in-the-roll-back";
};
