//! Releases while others write the same objects: a Git tool in its three ways, an autoscaler, another
//! controller, a person with kubectl.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::stable::delete_set;
use super::{End, Scenario, Setup};
use crate::actors::{Applies, Autoscaler, Delay, Git, Meddler, Patch, Repository};
use crate::trace::lock;
use crate::world::cluster::in_namespace;
use crate::world::install::{self, NAMESPACE};
use crate::world::manifests::{WEB, image};
use crate::world::stage::Stage;

/// The world ends with an error if it takes more.
const TURNS: usize = 12;

fn busy(_: &mut fastrand::Rng) -> Setup {
    Setup {
        writes: 1_500,
        ..Setup::default()
    }
}

fn by_git(draw: &mut fastrand::Rng) -> Setup {
    Setup {
        applied_by: Some("argocd"),
        ..busy(draw)
    }
}

fn lossy(draw: &mut fastrand::Rng) -> Setup {
    Setup {
        lossless: false,
        ..busy(draw)
    }
}

/// Applies the old Service and the new Deployment every two seconds until the version is promoted.
async fn applied(stage: Arc<Stage>, applies: Applies, manager: &'static str) -> Result<(), String> {
    let repository = Repository::default();
    let app = stage.app("v1");
    let mut deployment = app.deployment();
    for front in stage.fronts() {
        repository.push(in_namespace(app.service(front)));
    }
    repository.push(in_namespace(deployment.clone()));
    stage
        .cluster
        .add(tool(&stage, applies, manager, &repository).run());
    tokio::time::sleep(Duration::from_secs(5)).await;
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image("v2"));
    repository.push(in_namespace(deployment));
    stage.until_promoted("v2").await
}

fn tool(
    stage: &Arc<Stage>,
    applies: Applies,
    manager: &'static str,
    repository: &Repository,
) -> Git {
    Git {
        client: stage.cluster.client("gitops", "argocd/v3"),
        repository: repository.clone(),
        applies,
        manager: manager.to_owned(),
        every: Delay::exactly(Duration::from_secs(2)),
        random: stage.cluster.actors().random("git"),
    }
}

/// Takes the pin out of the Service again and again, for up to 48 seconds.
fn writes_the_selector(stage: &Arc<Stage>) -> Meddler {
    Meddler {
        client: stage.cluster.client("meddler", "meddler/v1"),
        resource: "services".to_owned(),
        object: (NAMESPACE.to_owned(), WEB.to_owned()),
        every: Delay::millis(500, 4_000),
        times: 12,
        patches: vec![
            json!({ "spec": { "selector": { "pod-template-hash": null } } }),
            json!({ "metadata": { "labels": { "crossfade.dev/held-by": null } } }),
            json!({ "spec": { "selector": { "app": "web", "pod-template-hash": null } }, "metadata": { "labels": { "team": "shop" } } }),
        ],
        random: stage.cluster.actors().random("meddler"),
    }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "git-client-side",
        setup: busy,
        script: |stage| Box::pin(applied(stage, Applies::ClientSide, "argocd")),
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "git-server-side",
        setup: by_git,
        script: |stage| Box::pin(applied(stage, Applies::ServerSide, "argocd")),
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "git-server-side-forced",
        setup: by_git,
        script: |stage| Box::pin(applied(stage, Applies::ServerSideForced, "argocd")),
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "autoscaled",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let autoscaler = Autoscaler {
                    client: stage.cluster.client(
                        "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
                        "kube-controller-manager/v1.34.4",
                    ),
                    deployment: (NAMESPACE.to_owned(), WEB.to_owned()),
                    every: Delay::millis(1_000, 9_000),
                    sizes: 2..=6,
                    times: 8,
                    random: stage.cluster.actors().random("autoscaler"),
                };
                stage.cluster.add(autoscaler.run());
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                tokio::time::sleep(Duration::from_secs(80)).await;
                Ok(())
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "somebody-writes-the-selector",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.cluster.add(writes_the_selector(&stage).run());
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(())
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "somebody-writes-the-selector-unguarded",
        setup: busy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                install::unguard_services(&stage.api).await?;
                stage.cluster.add(writes_the_selector(&stage).run());
                tokio::time::sleep(Duration::from_secs(60)).await;
                stage
                    .until("it ends", |stage| {
                        matches!(stage.phase().as_str(), "Idle" | "RolledBack")
                    })
                    .await?;
                let rollout = stage.rollout();
                let reason = crate::json::text(&rollout, "/status/history/0/reason");
                // How often the key was there to be taken out is drawn; held, it names who writes what.
                if stage.phase() == "RolledBack" && !reason.contains("wrote spec.selector") {
                    return Err(format!("it is held and does not say why: {reason}"));
                }
                Ok(())
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "two-tools-write-the-template-in-turn",
        setup: busy,
        script: |stage| {
            Box::pin(async move {
                for _ in 0..TURNS {
                    stage.push("v2").await?;
                    let begun = |stage: &Stage| {
                        matches!(stage.phase().as_str(), "Progressing" | "RolledBack")
                    };
                    stage.until("v2 is released or held", begun).await?;
                    if stage.phase() == "RolledBack" {
                        return Ok(());
                    }
                    stage.push("v1").await?;
                    stage.until_phase("Idle").await?;
                }
                Err("it goes on for ever".to_owned())
            })
        },
        end: End::RolledBack("v1"),
        comparable: true,
    },
    Scenario {
        name: "a-service-appears-in-mid-release",
        setup: busy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "Observing").await?;
                let mut service = stage
                    .app("v1")
                    .service(crate::world::manifests::Front::named("web-late"));
                service["metadata"]["labels"] = json!({ "app": "web", "late": "true" });
                stage.create("services", &service).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "a-person-resumes-and-deletes-pods",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                // `kubectl rollout resume`: stays paused by admission.
                let body = json!({ "spec": { "paused": null } });
                let _ = stage.patch_once("deployments", WEB, &body).await;
                for _ in 0..2 {
                    let pods = stage.list("pods");
                    let choice = lock(&stage.draw).usize(0..pods.len().max(1));
                    if let Some(pod) = pods.get(choice) {
                        let name = crate::json::text(pod, "/metadata/name").to_owned();
                        let _ = stage.delete("pods", &name, "Background").await;
                    }
                    tokio::time::sleep(Duration::from_secs(3)).await;
                }
                stage
                    .until("it ends", |stage| {
                        matches!(stage.phase().as_str(), "Idle" | "RolledBack")
                    })
                    .await
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "the-copy-of-the-template-is-deleted",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "Observing").await?;
                for revision in stage.list("controllerrevisions") {
                    let name = crate::json::text(&revision, "/metadata/name").to_owned();
                    let _ = stage
                        .delete("controllerrevisions", &name, "Background")
                        .await;
                }
                // Nobody watches copies: whoever leads next finds that it is gone.
                stage.processes.hold();
                stage.processes.release(stage.setup.replicas());
                stage
                    .until("the copy is made again", |stage| {
                        !stage.list("controllerrevisions").is_empty()
                    })
                    .await?;
                delete_set(&stage, "v1", "Background").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "not-opted-in-beside-it",
        setup: |draw| {
            let mut setup = busy(draw);
            let mut other = crate::world::manifests::App::new(2);
            other.name = "plain";
            other.opted_in = false;
            other.fronts = vec![crate::world::manifests::Front::named("plain")];
            setup.apps.push(other);
            setup.lossless = false;
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                let body = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image("v9") }]);
                stage
                    .patch(Patch::Json, "deployments", "plain", &body)
                    .await?;
                stage
                    .until("the other one is released natively", |stage| {
                        stage.serving().get(&image("v9")) == Some(&2)
                    })
                    .await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
];
