//! What is refused or held: a preview that cannot be one, an undo to nothing, a template that was rejected before; and how
//! each is mended. Refusals by admission are in `disturbed`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::blue_green::at_once;
use super::stable::{push_past, until_bypassed};
use super::{End, Scenario, Setup};
use crate::actors::{Fate, Manner, Patch};
use crate::json::{flag, text};
use crate::world::manifests::{WEB, image};
use crate::world::stage::Stage;

/// Several releases.
fn many(_: &mut fastrand::Rng) -> Setup {
    Setup {
        writes: 600,
        ..Setup::default()
    }
}

async fn says(stage: &Arc<Stage>, words: &str) -> Result<(), String> {
    stage
        .until(&format!("it says: {words}"), |stage| {
            text(&stage.rollout(), "/status/message").contains(words)
        })
        .await
}

/// The release of this version has ended so.
async fn ended(stage: &Arc<Stage>, tag: &str, phase: &str) -> Result<(), String> {
    stage
        .until(&format!("{tag} has ended, {phase}"), |stage| {
            let newest = text(&stage.rollout(), "/status/history/0/images/0") == image(tag);
            newest && stage.phase() == phase
        })
        .await
}

async fn aborted(stage: &Arc<Stage>, tag: &str) -> Result<(), String> {
    stage.push(tag).await?;
    let under_way = |stage: &Stage| {
        text(&stage.rollout(), "/status/candidate/images/0") == image(tag)
            && text(&stage.rollout(), "/status/step/state") == "Observing"
    };
    stage.until(&format!("{tag} is judged"), under_way).await?;
    stage.command(json!({ "action": "abort" })).await?;
    ended(stage, tag, "RolledBack").await
}

/// A command with this id is refused, in these words, and nothing comes of it.
async fn refused(stage: &Arc<Stage>, command: Value, words: &str) -> Result<(), String> {
    let id = text(&command, "/id").to_owned();
    stage.command(command).await?;
    stage
        .until(&format!("{id} is refused: {words}"), |stage| {
            let rollout = stage.rollout();
            text(&rollout, "/status/control/id") == id
                && text(&rollout, "/status/control/outcome") == "refused"
                && text(&rollout, "/status/control/message").contains(words)
        })
        .await?;
    if stage.phase() == "Idle" {
        return Ok(());
    }
    Err(format!("{id} was refused, and phase is {}", stage.phase()))
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "preview-is-the-only-service",
        setup: |_| {
            let mut setup = at_once();
            setup.plan["strategy"]["blueGreen"] = json!({ "previewService": WEB });
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                says(&stage, "is the only Service").await?;
                if stage.phase() != "Idle" || stage.parallel().is_some() {
                    return Err("it was refused, and began".to_owned());
                }
                // Mended, it starts by itself.
                let without =
                    json!({ "spec": { "strategy": { "blueGreen": { "previewService": null } } } });
                stage
                    .patch(Patch::Merge, "rolloutpolicies", "default", &without)
                    .await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "undo-to-what-is-not-there",
        setup: many,
        script: |stage| {
            Box::pin(async move {
                let nothing = json!({ "id": "nothing", "action": "undo" });
                refused(&stage, nothing, "no earlier revision").await?;
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                let unknown = json!({ "id": "unknown", "action": "undo", "revision": 9 });
                refused(&stage, unknown, "revision 9 is not kept").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "undo-of-what-is-gated-and-refused",
        setup: many,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                let recreate = json!({ "spec": { "strategy": { "type": "Recreate", "rollingUpdate": null } } });
                stage
                    .patch(Patch::Merge, "deployments", WEB, &recreate)
                    .await?;
                stage.push("v3").await?;
                says(&stage, "Recreate").await?;
                // v2 serves: undo takes v3 out of the template, and not v2 as well.
                stage.command(json!({ "action": "undo" })).await?;
                stage
                    .until("v2 is the template again", |stage| {
                        stage.get("deployments", WEB).is_some_and(|web| {
                            !flag(&web, "/spec/paused")
                                && text(&web, "/spec/template/spec/containers/0/image")
                                    == image("v2")
                        })
                    })
                    .await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "rejected-and-pushed-over-another-is-held",
        setup: many,
        script: |stage| {
            Box::pin(async move {
                for tag in ["v2", "v3"] {
                    stage.errors(tag, 30);
                    stage.push(tag).await?;
                    ended(&stage, tag, "RolledBack").await?;
                }
                stage.push("v2").await?;
                let held = |stage: &Stage| {
                    let rollout = stage.rollout();
                    stage.phase() == "RolledBack"
                        && text(&rollout, "/status/candidate/images/0") == image("v2")
                        && text(&rollout, "/status/message").contains("rejected")
                };
                stage.until("v2 is held", held).await?;
                tokio::time::sleep(Duration::from_secs(60)).await;
                if !held(&stage) || stage.parallel().is_some() {
                    return Err("what was rejected was tried again unasked".to_owned());
                }
                stage.errors("v2", 0);
                stage.command(json!({ "action": "retry" })).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "rejected-and-pushed-again-from-rest-is-tried-again",
        setup: many,
        script: |stage| {
            Box::pin(async move {
                stage.errors("v2", 30);
                stage.push("v2").await?;
                stage.until_rolled_back().await?;
                stage.push("v1").await?;
                stage.until_phase("Idle").await?;
                stage.errors("v2", 0);
                stage.push("v2").await?;
                stage.until_phase("Progressing").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "promoted-after-all-is-rejected-no-longer",
        setup: many,
        script: |stage| {
            Box::pin(async move {
                aborted(&stage, "v2").await?;
                stage.push("v1").await?;
                stage.until_phase("Idle").await?;
                for tag in ["v2", "v3"] {
                    stage.push(tag).await?;
                    stage.until_promoted(tag).await?;
                }
                // Over another that was taken back: what is rejected would be held.
                aborted(&stage, "v4").await?;
                stage.push("v2").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "back-to-a-version-that-never-served",
        setup: |draw| Setup {
            lossless: false,
            ..many(draw)
        },
        script: |stage| {
            Box::pin(async move {
                let never = Manner {
                    fate: Fate::NeverReady,
                    ..Manner::default()
                };
                stage.manner("v2", never);
                push_past(&stage, "v2", "INC-1: on fire").await?;
                tokio::time::sleep(Duration::from_secs(5)).await;
                push_past(&stage, "v3", "INC-2: burns all the more").await?;
                until_bypassed(&stage, "v3").await?;
                stage.manner("v2", Manner::default());
                stage.push("v2").await?;
                // Not at once to everything, as what has served before.
                stage.until_phase("Progressing").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
];
