//! What passes natively and what does not: nothing to judge against, limits of that, the word of somebody who lets a template past,
//! and a native rollout that was stopped half-way. Bypasses at rest, in a step and when rolled back are in `stable`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::hands::{any_of, breaks, check, mends, push_is_gated, says, serves_alone, writes};
use super::phases::{Point, reach};
use super::stable::{push_past, until_bypassed, whole};
use super::{End, Scenario, Setup};
use crate::actors::{Deed, Fate, Manner, done};
use crate::json::{flag, text};
use crate::trace::lock;
use crate::world::install::{self, NAMESPACE};
use crate::world::manifests::{App, WEB, image};
use crate::world::stage::Stage;

/// A minute, by a clock that may have been set back by two.
const STUCK: Duration = Duration::from_secs(200);

/// Pods end by other hands too, and a release may wait for the old ones to come back.
fn lossy(_: &mut fastrand::Rng) -> Setup {
    let mut setup = Setup {
        lossless: false,
        writes: 400,
        ..Setup::default()
    };
    setup.plan["progressDeadline"] = json!("15m");
    setup
}

/// All pods may be unavailable: the Deployment calls itself available with none.
fn all_may_be_away(draw: &mut fastrand::Rng) -> Setup {
    let app = App {
        max_unavailable: json!("100%"),
        ..App::new(4)
    };
    Setup {
        apps: vec![app],
        ..lossy(draw)
    }
}

/// Pods of v1 can serve again, and the newest template is released; somebody tries again what was taken back meanwhile.
async fn released_after_all(stage: &Arc<Stage>, tag: &'static str) -> Result<(), String> {
    mends(stage, "v1").await?;
    stage
        .until("v1 serves again", |stage| {
            stage.serving().get(&image("v1")).copied() == Some(4)
        })
        .await?;
    any_of(stage, &["Idle", "RolledBack"]).await?;
    if stage.phase() == "RolledBack" {
        stage.command(json!({ "action": "retry" })).await?;
    }
    stage.until_promoted(tag).await
}

/// The bypass in the hand-over or in the roll-back: that ends first.
async fn passed_in(stage: Arc<Stage>, point: Point) -> Result<(), String> {
    reach(&stage, point).await?;
    push_past(&stage, "v3", "INC-7: now").await?;
    until_bypassed(&stage, "v3").await
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "scaled-to-nothing-and-a-push-passes",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.scale(0).await?;
                stage
                    .until("no pod is left", |stage| stage.list("pods").is_empty())
                    .await?;
                let gated = push_is_gated(&stage, "v2").await?;
                check(!gated, "v2 was gated with nothing to judge it against")?;
                stage.scale(3).await?;
                serves_alone(&stage, "v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "never-available-and-a-push-passes",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let never = Manner {
                    fate: Fate::NeverReady,
                    ..Manner::default()
                };
                stage.manner("v2", never);
                let gone = stage.delete("deployments", WEB, "Foreground").await;
                gone.map_err(|refused| refused.message)?;
                stage
                    .until("the Deployment is gone", |stage| {
                        stage.get("deployments", WEB).is_none()
                    })
                    .await?;
                stage
                    .create("deployments", &stage.app("v2").deployment())
                    .await?;
                tokio::time::sleep(STUCK).await;
                let gated = push_is_gated(&stage, "v3").await?;
                check(!gated, "v3 was gated where no pod had ever been available")?;
                serves_alone(&stage, "v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "nothing-is-available-by-leave-and-a-push-is-gated",
        setup: all_may_be_away,
        script: |stage| {
            Box::pin(async move {
                breaks(&stage, "v1").await?;
                tokio::time::sleep(STUCK).await;
                // The condition says that it is available: it says nothing.
                check(push_is_gated(&stage, "v2").await?, "v2 passed natively")?;
                released_after_all(&stage, "v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "nothing-is-available-in-a-step-and-a-push-is-gated",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                breaks(&stage, "v1").await?;
                tokio::time::sleep(STUCK).await;
                check(
                    push_is_gated(&stage, "v3").await?,
                    "v3 passed natively in mid-release",
                )?;
                released_after_all(&stage, "v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "nothing-is-available-and-a-rejected-push-is-gated",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.errors("v2", 30);
                stage.push("v2").await?;
                stage.until_rolled_back().await?;
                stage.push("v1").await?;
                stage.until_phase("Idle").await?;
                breaks(&stage, "v1").await?;
                tokio::time::sleep(STUCK).await;
                check(
                    push_is_gated(&stage, "v2").await?,
                    "v2 passed natively, though it was rejected",
                )?;
                stage.errors("v2", 0);
                released_after_all(&stage, "v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "nothing-is-available-and-what-waits-stays-gated",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let recreate = json!({ "type": "Recreate", "rollingUpdate": null });
                writes(&stage, json!({ "spec": { "strategy": recreate } })).await?;
                stage.push("v2").await?;
                says(&stage, "Recreate").await?;
                breaks(&stage, "v1").await?;
                tokio::time::sleep(STUCK).await;
                check(
                    push_is_gated(&stage, "v3").await?,
                    "v3 passed natively over one that waits",
                )?;
                let rolling = json!({ "type": "RollingUpdate" });
                writes(&stage, json!({ "spec": { "strategy": rolling } })).await?;
                released_after_all(&stage, "v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "a-bypass-that-undo-brings-back-means-nothing",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                push_past(&stage, "v2", "INC-1: at once").await?;
                until_bypassed(&stage, "v2").await?;
                stage.push("v3").await?;
                stage.until_promoted("v3").await?;
                // The annotations of v2's ReplicaSet come back with its template, that bypass among them.
                let undo = Deed::KubectlUndo {
                    deployment: (NAMESPACE.to_owned(), WEB.to_owned()),
                };
                let mut random = lock(&stage.draw).fork();
                while let Err(refused) = done(&stage.api, &stage.user, &undo, &mut random).await {
                    // The controller, and with it admission, may be away.
                    check(refused.status != 404, &refused.message)?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                check(
                    stage
                        .get("deployments", WEB)
                        .is_some_and(|web| flag(&web, "/spec/paused")),
                    "kubectl rollout undo passed natively",
                )?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "a-bypass-without-a-template-means-nothing",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.errors("v2", 30);
                stage.push("v2").await?;
                stage.until_rolled_back().await?;
                let bypass = json!({ "crossfade.dev/bypass": "INC-2: let it pass" });
                writes(&stage, json!({ "metadata": { "annotations": bypass } })).await?;
                tokio::time::sleep(Duration::from_secs(30)).await;
                let held = stage.phase() == "RolledBack"
                    && stage
                        .get("deployments", WEB)
                        .is_some_and(|web| flag(&web, "/spec/paused"));
                check(
                    held,
                    "a bypass let a template pass that it did not come with",
                )?;
                // Left there it means nothing for the next one either.
                stage.push("v3").await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "bypass-while-handing-over",
        setup: lossy,
        script: |stage| Box::pin(passed_in(stage, Point::HandingOver)),
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "bypass-in-the-roll-back",
        setup: lossy,
        script: |stage| Box::pin(passed_in(stage, Point::RollingBack)),
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "a-native-rollout-is-stopped-half-way",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let never = Manner {
                    fate: Fate::NeverReady,
                    ..Manner::default()
                };
                stage.manner("v2", never);
                push_past(&stage, "v2", "INC-3: at once").await?;
                stage
                    .until("both versions have pods", |stage| {
                        let pods = stage.list("pods");
                        pods.iter()
                            .any(|pod| text(pod, "/spec/containers/0/image") == image("v2"))
                    })
                    .await?;
                writes(&stage, json!({ "spec": { "paused": true } })).await?;
                stage.push("v3").await?;
                says(&stage, "ReplicaSets of the Deployment have pods").await?;
                check(
                    !stage.serving().contains_key(&image("v3")),
                    "v3 was released beside a native rollout",
                )?;
                // As the message says.
                stage.push("v1").await?;
                writes(&stage, json!({ "spec": { "paused": Value::Null } })).await?;
                whole(&stage, "v1").await?;
                stage
                    .until("the native rollout has ended", |stage| {
                        let pods = stage.list("pods");
                        pods.iter()
                            .all(|pod| text(pod, "/spec/containers/0/image") == image("v1"))
                    })
                    .await?;
                stage.push("v3").await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "unpaused-past-admission-in-a-step",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                stage.oracles.unguarded();
                install::unguard(&stage.api).await?;
                // Requests before judgement: the pins go first, even if that mixes versions.
                writes(&stage, json!({ "spec": { "paused": Value::Null } })).await?;
                serves_alone(&stage, "v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
];
