//! Blue-green: all traffic at once, after a preview and an approval, and back again when it must.

use serde_json::json;

use super::releases::promotes;
use super::{End, Scenario, Setup};
use crate::json::{entries, text};
use crate::world::manifests::{App, Front, Spread, plan};
use crate::world::stage::Stage;

const PREVIEW: &str = "web-preview";

/// A preview beside the Service of the users, and a person to approve.
fn with_preview(_: &mut fastrand::Rng) -> Setup {
    let mut setup = at_once();
    setup.plan["strategy"]["blueGreen"] = json!({ "previewService": PREVIEW, "approval": {} });
    if let Some(app) = setup.apps.first_mut() {
        app.fronts.push(Front {
            preview: true,
            ..Front::named(PREVIEW)
        });
    }
    setup
}

/// Behind more than kube-proxy with policy Cluster: flips go by way of both sides.
pub(super) fn spread(spread: Spread) -> Setup {
    let mut setup = at_once();
    for front in setup.apps.iter_mut().flat_map(|app| &mut app.fronts) {
        front.spread = spread;
    }
    setup
}

fn bare(_: &mut fastrand::Rng) -> Setup {
    at_once()
}

pub(super) fn at_once() -> Setup {
    let mut plan = plan();
    plan["strategy"] = json!({ "blueGreen": {} });
    // All pods at once, under clocks that are wrong by half a minute.
    plan["progressDeadline"] = json!("3m");
    // What stable answered in ten seconds is enough to judge by; with the controller away for longer than the limit it goes on
    // unjudged, as its plan says, and a bad version is promoted.
    plan["analysis"]["noData"] = json!({ "limit": "5m" });
    let app = App {
        strategy: "blue-green",
        ..App::new(4)
    };
    Setup {
        apps: vec![app],
        plan,
        writes: 160,
        ..Setup::default()
    }
}

/// Every pod that the preview names is of this image.
fn preview_shows(stage: &Stage, image: &str) -> bool {
    let named: Vec<String> = stage
        .list("endpointslices")
        .iter()
        .filter(|slice| text(slice, "/metadata/labels/kubernetes.io~1service-name") == PREVIEW)
        .flat_map(|slice| {
            entries(slice, "/endpoints")
                .map(|endpoint| text(endpoint, "/targetRef/name").to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    !named.is_empty()
        && named.iter().all(|name| {
            stage
                .get("pods", name)
                .is_some_and(|pod| text(&pod, "/spec/containers/0/image").ends_with(image))
        })
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    promotes("blue-green-promotes", bare),
    Scenario {
        name: "blue-green-with-preview-and-approval",
        setup: with_preview,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "AwaitingApproval").await?;
                stage
                    .until("the preview shows the candidate", |stage| {
                        preview_shows(stage, ":v2")
                    })
                    .await?;
                stage.command(json!({ "action": "promote" })).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "blue-green-aborted-at-its-approval",
        setup: with_preview,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "AwaitingApproval").await?;
                stage.command(json!({ "action": "abort" })).await?;
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: true,
    },
    Scenario {
        name: "blue-green-bad-under-load",
        setup: bare,
        script: |stage| {
            Box::pin(async move {
                stage.errors("v2", 30);
                stage.push("v2").await?;
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: true,
    },
    Scenario {
        name: "blue-green-undone-in-warm",
        setup: bare,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "Observing").await?;
                stage.command(json!({ "action": "undo" })).await?;
                stage.until_phase("Idle").await
            })
        },
        end: End::Promoted("v1"),
        comparable: true,
    },
    Scenario {
        name: "blue-green-another-template-at-its-approval",
        setup: with_preview,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "AwaitingApproval").await?;
                stage.push("v3").await?;
                stage
                    .until("the preview shows the newer candidate", |stage| {
                        text(&stage.rollout(), "/status/step/state") == "AwaitingApproval"
                            && preview_shows(stage, ":v3")
                    })
                    .await?;
                stage.command(json!({ "action": "promote" })).await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
];
