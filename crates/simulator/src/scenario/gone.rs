//! Objects of a release that go, come or do not fit while it needs them: Services, the parallel Deployment, the Rollout, nodes, room;
//! and changes of mind of whoever opted in. Pods and metrics that misbehave are in `disturbed`, stable's own objects in `stable`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{End, Scenario, Setup, long, lossy};
use crate::actors::Patch;
use crate::json::text;
use crate::world::cluster::in_namespace;
use crate::world::manifests::{App, Front, WEB, image, plan};
use crate::world::stage::Stage;

/// The plan waits longer than a cluster takes to give pods of a lost node up.
pub(super) fn patient(draw: &mut fastrand::Rng) -> Setup {
    let mut setup = lossy(draw);
    setup.plan["progressDeadline"] = json!("20m");
    setup
}

const PREVIEW: &str = "web-preview";

fn with_preview(draw: &mut fastrand::Rng) -> Setup {
    let mut plan = plan();
    plan["strategy"] = json!({ "blueGreen": { "previewService": PREVIEW, "approval": {} } });
    let preview = Front {
        preview: true,
        ..Front::named(PREVIEW)
    };
    let app = App {
        strategy: "blue-green",
        fronts: vec![Front::named(WEB), preview],
        ..App::new(4)
    };
    Setup {
        apps: vec![app],
        plan,
        ..lossy(draw)
    }
}

/// What only the cluster's own controllers may do in mid-release.
pub(super) async fn collected(
    stage: &Arc<Stage>,
    resource: &str,
    name: &str,
) -> Result<(), String> {
    let collector = stage.cluster.client(
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "kube-controller-manager/v1.34.4",
    );
    let options = json!({ "propagationPolicy": "Background" });
    let gone = (collector.delete(resource, crate::world::install::NAMESPACE, name, options)).await;
    gone.map(|_| ()).map_err(|refused| refused.message)
}

/// `kubectl replace --force`: a while without the Service.
async fn replaced(stage: &Arc<Stage>, front: Front) -> Result<(), String> {
    (stage.delete("services", front.name, "Background").await)
        .map_err(|refused| refused.message)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let service = in_namespace(stage.app("v1").service(front));
    stage.create("services", &service).await
}

async fn ends(stage: &Arc<Stage>) -> Result<(), String> {
    let over = |stage: &Stage| matches!(stage.phase().as_str(), "Idle" | "RolledBack");
    stage.until("it ends", over).await
}

async fn writes(stage: &Arc<Stage>, body: Value) -> Result<(), String> {
    (stage.patch(Patch::Merge, "deployments", WEB, &body).await).map(|_| ())
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "service-replaced-in-the-roll-back",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                stage.command(json!({ "action": "abort" })).await?;
                stage.until_phase("RollingBack").await?;
                replaced(&stage, Front::named(WEB)).await?;
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: false,
    },
    Scenario {
        name: "service-replaced-in-warm",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_phase("Warm").await?;
                replaced(&stage, Front::named(WEB)).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "services-appear-while-handing-over",
        setup: long,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_phase("HandingOver").await?;
                for name in ["late-one", "late-two", "late-three"] {
                    let service = in_namespace(stage.app("v1").service(Front::named(name)));
                    stage.create("services", &service).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "preview-replaced-in-the-roll-back",
        setup: with_preview,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "AwaitingApproval").await?;
                stage.command(json!({ "action": "abort" })).await?;
                stage.until_phase("RollingBack").await?;
                let preview = Front {
                    preview: true,
                    ..Front::named(PREVIEW)
                };
                replaced(&stage, preview).await?;
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: false,
    },
    Scenario {
        name: "parallel-deployment-collected-in-a-step",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                if let Some(parallel) = stage.parallel() {
                    collected(&stage, "deployments", text(&parallel, "/metadata/name")).await?;
                }
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "rollout-collected-in-a-step",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                collected(&stage, "rollouts", WEB).await?;
                ends(&stage).await
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "rollout-collected-while-handing-over",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_phase("HandingOver").await?;
                collected(&stage, "rollouts", WEB).await?;
                ends(&stage).await
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "node-lost-under-both-in-a-step",
        setup: patient,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                stage.cluster.lose_a_node_of(&image("v1"));
                ends(&stage).await
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "stable-has-no-room",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                stage.cluster.quota(Some(6));
                let image = image("v1");
                let of_stable = |pod: &Value| text(pod, "/spec/containers/0/image") == image;
                let pods = stage.list("pods");
                for pod in pods.iter().filter(|pod| of_stable(pod)).take(2) {
                    let gone =
                        (stage.delete("pods", text(pod, "/metadata/name"), "Background")).await;
                    gone.map_err(|refused| refused.message)?;
                }
                let whole = |stage: &Stage| stage.serving().get(&image).copied() == Some(4);
                stage.until("stable is whole again", whole).await?;
                stage.cluster.quota(None);
                ends(&stage).await
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "strategy-is-recreate-in-a-step",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                let strategy = json!({ "type": "Recreate", "rollingUpdate": null });
                writes(&stage, json!({ "spec": { "strategy": strategy } })).await?;
                ends(&stage).await
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "opted-out-and-in-again",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let opts = |value: Value| json!({ "metadata": { "annotations": { "crossfade.dev/strategy": value } } });
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                writes(&stage, opts(Value::Null)).await?;
                stage.push("v3").await?;
                let native = |stage: &Stage| stage.serving().get(&image("v3")).copied() == Some(4);
                stage.until("v3 is out", native).await?;
                writes(&stage, opts(json!("canary"))).await?;
                stage
                    .until("it is at rest", |stage| stage.phase() == "Idle")
                    .await?;
                stage.push("v4").await?;
                stage.until_promoted("v4").await
            })
        },
        end: End::Promoted("v4"),
        comparable: false,
    },
    Scenario {
        name: "nothing-is-available-and-a-push-passes",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                // Every pod of it fails its readiness from now on, and those that take their places.
                let never = crate::actors::Manner {
                    fate: crate::actors::Fate::NeverReady,
                    ..crate::actors::Manner::default()
                };
                stage.manner("v2", never);
                for pod in stage.list("pods") {
                    let gone =
                        (stage.delete("pods", text(&pod, "/metadata/name"), "Background")).await;
                    gone.map_err(|refused| refused.message)?;
                }
                // A minute, by a clock that may have been set back by two.
                tokio::time::sleep(Duration::from_secs(200)).await;
                let template = stage.app("v3").template();
                let body = json!({ "spec": { "template": { "spec": { "containers": template["spec"]["containers"] } } } });
                let stored = stage.patch(Patch::Merge, "deployments", WEB, &body).await?;
                if crate::json::flag(&stored, "/spec/paused") {
                    return Err("it was gated, with nothing to judge it against".to_owned());
                }
                let native = |stage: &Stage| stage.serving().get(&image("v3")).copied() == Some(4);
                stage.until("v3 is out natively", native).await?;
                if text(&stage.rollout(), "/status/history/0/images/0") == image("v3") {
                    return Err("it was released".to_owned());
                }
                Ok(())
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
];
