//! Who undoes what a release does, again and again: the Service's selector past admission, the parallel Deployment, the
//! release itself. How often is too often, and what goes on after a word. Tools that apply whole objects are in `others`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::gone::collected;
use super::{End, Scenario, Setup};
use crate::actors::Patch;
use crate::json::text;
use crate::world::install;
use crate::world::manifests::{WEB, image};
use crate::world::stage::Stage;

/// The way out that a held release prints.
const MEND: &str = "ignoreDifferences";
const HELD: &str = "held until retry";

fn busy(_: &mut fastrand::Rng) -> Setup {
    Setup {
        writes: 1_500,
        ..Setup::default()
    }
}

fn lossy(draw: &mut fastrand::Rng) -> Setup {
    Setup {
        lossless: false,
        ..busy(draw)
    }
}

/// The key in the selector of the users' Service.
fn key(stage: &Stage) -> String {
    stage.get("services", WEB).map_or_else(String::new, |web| {
        text(&web, "/spec/selector/pod-template-hash").to_owned()
    })
}

/// Takes the key out, as a tool does that applies what stands in Git.
async fn writes_back(stage: &Arc<Stage>) -> Result<(), String> {
    let body = json!({ "spec": { "selector": { "pod-template-hash": null } } });
    (stage.patch(Patch::Merge, "services", WEB, &body).await).map(|_| ())
}

/// Everything is on the candidate and judged.
fn in_warm(stage: &Stage) -> bool {
    stage.phase() == "Warm" && text(&stage.rollout(), "/status/step/state") == "Observing"
}

/// It goes on only after a word, and says so.
fn held(stage: &Stage) -> bool {
    let reason = text(&stage.rollout(), "/status/history/0/reason").to_owned();
    stage.phase() == "RolledBack" && reason.contains(HELD)
}

/// Some release has ended because of the selector, and it is said how to make peace.
fn ended_by_it(stage: &Stage) -> bool {
    let rollout = stage.rollout();
    let history = rollout
        .get("status")
        .and_then(|status| status.get("history"));
    (history.and_then(Value::as_array).into_iter().flatten()).any(|entry| {
        let reason = text(entry, "/reason");
        text(entry, "/outcome") == "interrupted"
            && reason.contains("spec.selector")
            && reason.contains(MEND)
    })
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "aborted-often-is-no-fight",
        setup: busy,
        script: |stage| {
            Box::pin(async move {
                for _ in 0..3 {
                    stage.push("v2").await?;
                    stage.until_step(0, "Observing").await?;
                    stage.command(json!({ "action": "abort" })).await?;
                    stage.until_rolled_back().await?;
                    stage.push("v1").await?;
                    stage.until_phase("Idle").await?;
                }
                stage.push("v2").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "selector-written-back-once-in-each-stay",
        setup: |draw| {
            let mut setup = busy(draw);
            setup.plan["warm"] = json!("5m");
            setup
        },
        script: |stage| {
            Box::pin(async move {
                install::unguard_services(&stage.api).await?;
                stage.push("v2").await?;
                for _ in 0..3 {
                    stage.until("warm", in_warm).await?;
                    // Seldom enough not to be three times in five minutes.
                    tokio::time::sleep(Duration::from_secs(180)).await;
                    writes_back(&stage).await?;
                }
                stage.until("it ends by it", ended_by_it).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "selector-written-back-in-three-releases-is-held",
        setup: busy,
        script: |stage| {
            Box::pin(async move {
                install::unguard_services(&stage.api).await?;
                stage.push("v2").await?;
                let ready = |stage: &Stage| in_warm(stage) && !key(stage).is_empty() || held(stage);
                // Three in each of three releases; faults may make some go unseen.
                for _ in 0..20 {
                    stage.until("warm or held", ready).await?;
                    if held(&stage) {
                        break;
                    }
                    writes_back(&stage).await?;
                }
                stage.until("it is held", held).await?;
                if !ended_by_it(&stage) {
                    return Err("it does not say how to make peace".to_owned());
                }
                stage.command(json!({ "action": "retry" })).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "selector-written-back-at-the-hand-over",
        setup: busy,
        script: |stage| {
            Box::pin(async move {
                install::unguard_services(&stage.api).await?;
                stage.push("v2").await?;
                let too_late = |stage: &Stage| stage.parked() || ended_by_it(stage);
                stage
                    .until("the hand-over begins", |stage| {
                        stage.phase() == "HandingOver" || too_late(stage)
                    })
                    .await?;
                // Written while nobody looks: the next stage is the park, a moment later.
                stage.processes.hold();
                writes_back(&stage).await?;
                stage.processes.release(stage.setup.replicas());
                for _ in 0..2 {
                    let there = |stage: &Stage| !key(stage).is_empty() || too_late(stage);
                    stage.until("it is pinned again", there).await?;
                    // Seen as written: what was not is no fight. Stable's drain is longer.
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    if too_late(&stage) || stage.phase() != "HandingOver" {
                        break;
                    }
                    writes_back(&stage).await?;
                }
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "giving-way-is-no-write-of-others",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                install::unguard_services(&stage.api).await?;
                stage.push("v2").await?;
                for _ in 0..2 {
                    stage.until("warm", in_warm).await?;
                    let candidates = key(&stage);
                    let image = image("v2");
                    let pods = stage.list("pods");
                    let of_it =
                        |pod: &Value| text(pod, "/spec/containers/0/image") == image.as_str();
                    for pod in pods.iter().filter(|pod| of_it(pod)).take(2) {
                        (stage.delete("pods", text(pod, "/metadata/name"), "Background"))
                            .await
                            .map_err(|refused| refused.message)?;
                    }
                    // With faults nobody may have looked before the pods were there again.
                    let over = |stage: &Stage| {
                        key(stage) != candidates
                            || stage.serving().get(&image).copied().unwrap_or_default() >= 4
                    };
                    stage.until("stable has everything", over).await?;
                    stage
                        .until("the candidate is whole", |stage| {
                            stage.serving().get(&image).copied().unwrap_or_default() >= 4
                        })
                        .await?;
                }
                stage.until("warm", in_warm).await?;
                writes_back(&stage).await?;
                stage.until_promoted("v2").await?;
                if ended_by_it(&stage) {
                    return Err("our own writes were counted".to_owned());
                }
                Ok(())
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "parallel-deployment-collected-for-ever-is-held",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                let judged = |stage: &Stage| {
                    text(&stage.rollout(), "/status/step/state") == "Observing"
                        && stage.parallel().is_some()
                        || held(stage)
                };
                for _ in 0..6 {
                    stage.until("judged or held", judged).await?;
                    let Some(parallel) = stage.parallel() else {
                        break;
                    };
                    collected(&stage, "deployments", text(&parallel, "/metadata/name")).await?;
                    // What is deleted is seen a moment later.
                    stage
                        .until("it is seen", |stage| {
                            text(&stage.rollout(), "/status/step/state") != "Observing"
                                || stage.phase() == "RollingBack"
                                || stage.phase() == "RolledBack"
                        })
                        .await?;
                }
                stage.until("it is held", held).await?;
                stage.command(json!({ "action": "retry" })).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
];
