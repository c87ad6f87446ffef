//! Releases that are refused, at the start or when something comes in between, until the user mends what the message names; and
//! Deployments that no Service stands in front of. Strategies that change in mid-release are in `gone`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::hands::{check, push_is_gated, says, serves_alone, writes};
use super::{End, Scenario, Setup, lossy};
use crate::actors::Patch;
use crate::json::{flag, text};
use crate::world::manifests::{App, WEB, image, plan};
use crate::world::stage::Stage;

/// Beside another Deployment, which nobody releases.
fn beside_another(draw: &mut fastrand::Rng) -> Setup {
    let mut setup = lossy(draw);
    setup.apps.push(App {
        name: OTHER,
        opted_in: false,
        fronts: Vec::new(),
        ..App::new(1)
    });
    setup
}

const OTHER: &str = "other";

/// Consumers of a queue: nobody sends them requests, their health is the verdict.
fn without_a_service(draw: &mut fastrand::Rng) -> Setup {
    let mut plan = plan();
    plan["analysis"] = json!({ "source": "none" });
    Setup {
        apps: vec![App {
            fronts: Vec::new(),
            ..App::new(4)
        }],
        plan,
        ..lossy(draw)
    }
}

async fn service(stage: &Arc<Stage>, body: Value) -> Result<(), String> {
    (stage.patch(Patch::Merge, "services", WEB, &body).await).map(|_| ())
}

/// Nothing of v2 has been made: v1 serves, the gated template waits.
fn nothing_begun(stage: &Stage) -> Result<(), String> {
    let waits = stage
        .get("deployments", WEB)
        .is_some_and(|web| flag(&web, "/spec/paused"));
    check(
        waits && stage.parallel().is_none() && !stage.serving().contains_key(&image("v2")),
        "v2 was released, though it is refused",
    )
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "the-service-names-a-hash-itself",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let names =
                    |hash: Value| json!({ "spec": { "selector": { "pod-template-hash": hash } } });
                service(&stage, names(json!("abc"))).await?;
                stage.push("v2").await?;
                says(&stage, "names pod-template-hash").await?;
                nothing_begun(&stage)?;
                service(&stage, names(Value::Null)).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "the-service-is-held-by-another-release",
        setup: beside_another,
        script: |stage| {
            Box::pin(async move {
                let other = stage.get("deployments", OTHER).unwrap_or_default();
                let held = |uid: Value| json!({ "metadata": { "labels": { "crossfade.dev/held-by": uid } } });
                let uid = text(&other, "/metadata/uid");
                service(&stage, held(json!(uid))).await?;
                stage.push("v2").await?;
                says(&stage, "is held by the release of another Deployment").await?;
                nothing_begun(&stage)?;
                // Whoever held it is gone, and its mark with it.
                let gone = stage.delete("deployments", OTHER, "Background").await;
                gone.map_err(|refused| refused.message)?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "refused-and-the-serving-template-again",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let recreate = json!({ "type": "Recreate", "rollingUpdate": null });
                writes(&stage, json!({ "spec": { "strategy": recreate } })).await?;
                stage.push("v2").await?;
                says(&stage, "Recreate").await?;
                nothing_begun(&stage)?;
                // The pause was the gate's, and goes.
                stage.push("v1").await?;
                serves_alone(&stage, "v1").await
            })
        },
        end: End::Promoted("v1"),
        comparable: false,
    },
    Scenario {
        name: "opted-out-while-gated",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let strategy = |kind: &str| json!({ "spec": { "strategy": { "type": kind, "rollingUpdate": null } } });
                let opts = |value: Value| json!({ "metadata": { "annotations": { "crossfade.dev/strategy": value } } });
                writes(&stage, strategy("Recreate")).await?;
                stage.push("v2").await?;
                says(&stage, "Recreate").await?;
                // Nobody's any more, it stays paused on a template that never served, and says so.
                writes(&stage, opts(Value::Null)).await?;
                says(&stage, "has to opt in again").await?;
                nothing_begun(&stage)?;
                writes(&stage, opts(json!("canary"))).await?;
                says(&stage, "Recreate").await?;
                writes(&stage, strategy("RollingUpdate")).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "no-metrics-port-is-known",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let annotations = json!({ "prometheus.io/scrape": null, "prometheus.io/port": null, "prometheus.io/path": null });
                let containers = &stage.app("v2").template()["spec"]["containers"];
                let template = json!({ "metadata": { "annotations": annotations }, "spec": { "containers": containers } });
                writes(&stage, json!({ "spec": { "template": template } })).await?;
                says(&stage, "no metrics port is known").await?;
                nothing_begun(&stage)?;
                writes(
                    &stage,
                    json!({ "spec": { "template": stage.app("v2").template() } }),
                )
                .await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "aborted-without-a-service",
        setup: without_a_service,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                stage.command(json!({ "action": "abort" })).await?;
                stage.until_rolled_back().await?;
                // Without a Service the share of work is the share of pods: none is left.
                check(
                    stage.parallel().is_none(),
                    "the candidate still stands there",
                )
            })
        },
        end: End::RolledBack("v1"),
        comparable: true,
    },
    Scenario {
        name: "rejected-is-held-when-rolled-back",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                for tag in ["v2", "v3"] {
                    stage.errors(tag, 30);
                    stage.push(tag).await?;
                    stage
                        .until(&format!("{tag} is taken back"), |stage| {
                            stage.phase() == "RolledBack"
                                && text(&stage.rollout(), "/status/history/0/images/0")
                                    == image(tag)
                        })
                        .await?;
                }
                // Not v2 again without somebody's word.
                check(
                    push_is_gated(&stage, "v2").await?,
                    "v2 passed, though it was rejected",
                )?;
                tokio::time::sleep(Duration::from_secs(60)).await;
                check(
                    stage.parallel().is_none(),
                    "a rejected template was released again",
                )?;
                // It may have been seen late.
                stage.until_rolled_back().await?;
                stage.errors("v2", 0);
                stage.command(json!({ "action": "retry" })).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "undone-without-a-service",
        setup: |draw| {
            let mut setup = without_a_service(draw);
            setup.plan["analysis"] = json!({ "minRequests": 0 });
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_promoted("v2").await?;
                // Nobody sends requests, and none are asked for: back goes by health alone.
                stage.command(json!({ "action": "undo" })).await?;
                stage.until_promoted("v1").await
            })
        },
        end: End::Promoted("v1"),
        comparable: false,
    },
];
