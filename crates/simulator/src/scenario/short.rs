//! Sides that fall short and come back: N = 0 for a while, nodes that hold one side alone, no room on the nodes, evicted pods; and what
//! is given back only when the last pod has gone. Nodes that are lost under both sides are in `gone` and `disturbed`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::hands::{any_of, check};
use super::{End, Scenario, Setup};
use crate::actors::{Delay, Manner, Patch, path};
use crate::json::{label, text};
use crate::world::install::NAMESPACE;
use crate::world::manifests::{App, Front, Spread, WEB, image};
use crate::world::stage::Stage;

/// Pods end by other hands too. The deadline is longer than a cluster takes to give pods of a lost node up.
fn lossy(_: &mut fastrand::Rng) -> Setup {
    let mut setup = Setup {
        lossless: false,
        writes: 600,
        ..Setup::default()
    };
    setup.plan["progressDeadline"] = json!("20m");
    setup
}

fn behind(fronts: Vec<Front>) -> Setup {
    Setup {
        apps: vec![App {
            fronts,
            ..App::new(4)
        }],
        lossless: false,
        writes: 400,
        ..Setup::default()
    }
}

/// Behind such a Service a pod may get requests until it is gone: only then the pin goes.
async fn given_back_after_the_last_pod(stage: Arc<Stage>) -> Result<(), String> {
    stage.push("v2").await?;
    stage.until_step(0, "Observing").await?;
    stage.command(json!({ "action": "abort" })).await?;
    any_of(&stage, &["RollingBack", "RolledBack"]).await?;
    stage
        .until("the Service is given back", |stage| {
            stage
                .get("services", WEB)
                .is_some_and(|service| label(&service, "crossfade.dev/held-by").is_empty())
        })
        .await?;
    let pods = stage.list("pods");
    let left = pods
        .iter()
        .any(|pod| text(pod, "/spec/containers/0/image") == image("v2"));
    check(
        !left,
        "the Service was given back before the last pod had gone",
    )?;
    stage.until_rolled_back().await
}

/// So many of these serve.
async fn serve(stage: &Arc<Stage>, tag: &'static str, count: usize) -> Result<(), String> {
    stage
        .until(&format!("{count} of {tag} serve"), |stage| {
            stage.serving().get(&image(tag)).copied().unwrap_or(0) >= count
        })
        .await
}

/// Whether users reach the candidate alone: its hash is in the Service's selector.
fn points_at(stage: &Stage, tag: &str) -> bool {
    let service = stage.get("services", WEB).unwrap_or_default();
    let hash = text(&service, "/spec/selector/pod-template-hash");
    let pods = stage.list("pods");
    !hash.is_empty()
        && pods.iter().any(|pod| {
            label(pod, "pod-template-hash") == hash
                && text(pod, "/spec/containers/0/image") == image(tag)
        })
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "scaled-to-nothing-for-a-while",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                for step in [1, 2] {
                    stage.until_step(step, "Observing").await?;
                    stage.scale(0).await?;
                    tokio::time::sleep(Duration::from_secs(40)).await;
                    check(
                        matches!(stage.phase().as_str(), "Progressing" | "Warm"),
                        "it did not wait for pods to be wanted again",
                    )?;
                    stage.scale(4).await?;
                }
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "given-back-after-the-last-pod-local",
        setup: |_| {
            behind(vec![Front {
                spread: Spread::Local,
                ..Front::named(WEB)
            }])
        },
        script: |stage| Box::pin(given_back_after_the_last_pod(stage)),
        end: End::RolledBack("v1"),
        comparable: false,
    },
    Scenario {
        name: "given-back-after-the-last-pod-not-ready-published",
        setup: |_| {
            behind(vec![Front {
                publishes_not_ready: true,
                ..Front::named(WEB)
            }])
        },
        script: |stage| Box::pin(given_back_after_the_last_pod(stage)),
        end: End::RolledBack("v1"),
        comparable: false,
    },
    Scenario {
        name: "node-of-the-candidate-lost-in-warm",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                // Every pod of v2 on a node of its own.
                let nodes = &stage.cluster.actors().nodes;
                for name in ["node-1", "node-2"] {
                    nodes.put(name, 0);
                }
                nodes.put("node-3", 110);
                stage.push("v2").await?;
                stage.until_step(2, "Observing").await?;
                for name in ["node-1", "node-2"] {
                    nodes.put(name, 110);
                }
                nodes.lose("node-3");
                // Back at once, and again when the cluster has given the lost pods up, minutes later.
                stage
                    .until("stable has everything back", |stage| points_at(stage, "v1"))
                    .await?;
                stage
                    .until("the candidate has everything again", |stage| {
                        points_at(stage, "v2") || stage.phase() == "Idle"
                    })
                    .await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "stable-finds-no-node",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                // Room for four, which is stable alone: whoever ends now is not replaced beside the candidate.
                let nodes = &stage.cluster.actors().nodes;
                nodes.put("node-1", 2);
                nodes.put("node-2", 2);
                let of_stable = |pod: &Value| text(pod, "/spec/containers/0/image") == image("v1");
                let pods = stage.list("pods");
                for pod in pods.iter().filter(|pod| of_stable(pod)).take(2) {
                    let gone = stage
                        .delete("pods", text(pod, "/metadata/name"), "Background")
                        .await;
                    gone.map_err(|refused| refused.message)?;
                }
                serve(&stage, "v1", 4).await?;
                nodes.put("node-1", 110);
                nodes.put("node-2", 110);
                any_of(&stage, &["Idle", "RolledBack"]).await
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "a-pod-of-stable-is-evicted-in-warm",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(2, "Observing").await?;
                let pods = stage.list("pods");
                let of_stable = pods
                    .iter()
                    .find(|pod| text(pod, "/spec/containers/0/image") == image("v1"));
                let Some(pod) = of_stable else {
                    return Err("no pod of v1 is left in warm".to_owned());
                };
                // The kubelet evicts: the pod stays there, Failed, until somebody deletes it.
                let kubelet = stage.cluster.client("system:node:node", "kubelet/v1.34.4");
                let name = text(pod, "/metadata/name");
                let status = json!({ "status": {
                    "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory.",
                    "conditions": [{ "type": "Ready", "status": "False", "reason": "PodFailed" }],
                } });
                let path = path("pods", NAMESPACE, name, "status");
                let evicted = kubelet.patch(Patch::Merge, &path, &[], status).await;
                evicted.map_err(|refused| refused.message)?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "more-are-wanted-and-few-are-lost",
        setup: |draw| {
            let mut setup = lossy(draw);
            setup.plan["warm"] = json!("5m");
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(2, "Observing").await?;
                // Twelve more are minutes away. What the candidate may lack is a quarter of the four it was whole with, not of sixteen.
                let slow = Manner {
                    start: Delay::exactly(Duration::from_secs(120)),
                    ..Manner::default()
                };
                stage.manner("v2", slow);
                stage.scale(16).await?;
                tokio::time::sleep(Duration::from_secs(20)).await;
                check(
                    points_at(&stage, "v2"),
                    "more were wanted, and weight was lowered for it",
                )?;
                let pods = stage.list("pods");
                let serving = pods.iter().filter(|pod| {
                    text(pod, "/spec/containers/0/image") == image("v2")
                        && crate::oracles::model::can_serve(pod)
                });
                for pod in serving.take(2) {
                    let gone = stage
                        .delete("pods", text(pod, "/metadata/name"), "Background")
                        .await;
                    gone.map_err(|refused| refused.message)?;
                }
                stage
                    .until("stable has everything back", |stage| points_at(stage, "v1"))
                    .await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
];
