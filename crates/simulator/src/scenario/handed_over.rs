//! What is lost or appears in the hand-over, when there is no way back any more: at a moment the controller is away, something
//! happens, and whoever leads next finds it. What people push and command in the hand-over is in `phases` and `commands`.

use std::sync::Arc;
use std::time::Duration;

use super::abandoned;
use super::gone::collected;
use super::hands::{allow, any_of, delete_pods, refuse, serves_alone, tells};
use super::stable::delete_set;
use super::{End, Scenario, long, lossy};
use crate::actors::{Delay, Manner};
use crate::json::{controller, flag, text};
use crate::world::cluster::in_namespace;
use crate::world::manifests::{Front, WEB};
use crate::world::stage::Stage;

/// The hand-over of v2 has begun and nothing is parked; nobody leads. With faults the moment may be over before anybody has looked.
async fn stopped_at_its_beginning(stage: &Arc<Stage>) -> Result<(), String> {
    stage.push("v2").await?;
    any_of(stage, &["HandingOver"]).await?;
    stage.processes.hold();
    Ok(())
}

/// A ReplicaSet is parked: from there on it goes forward only. Nobody leads.
async fn stopped_when_parked(stage: &Arc<Stage>) -> Result<(), String> {
    stage.push("v2").await?;
    stage
        .until("a ReplicaSet is parked", |stage| stage.parked())
        .await?;
    stage.processes.hold();
    Ok(())
}

fn goes_on(stage: &Arc<Stage>) {
    stage.processes.release(stage.setup.replicas());
}

/// The garbage collector takes the parallel Deployment, whoever asked for it.
async fn parallel_collected(stage: &Arc<Stage>) -> Result<(), String> {
    match stage.parallel() {
        Some(parallel) => collected(stage, "deployments", text(&parallel, "/metadata/name")).await,
        None => Ok(()),
    }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "rollout-collected-when-parked",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stopped_when_parked(&stage).await?;
                collected(&stage, "rollouts", WEB).await?;
                goes_on(&stage);
                // Nobody remembers the release; what is parked shows that it must be finished.
                serves_alone(&stage, "v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "parallel-deployment-collected-while-handing-over",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stopped_at_its_beginning(&stage).await?;
                parallel_collected(&stage).await?;
                goes_on(&stage);
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "parallel-deployment-collected-when-parked",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stopped_when_parked(&stage).await?;
                parallel_collected(&stage).await?;
                goes_on(&stage);
                serves_alone(&stage, "v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "candidates-replica-set-deleted-while-handing-over",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                // From then on the parallel Deployment makes none in its place.
                stage
                    .until("the parallel Deployment is paused", |stage| {
                        stage
                            .parallel()
                            .is_some_and(|parallel| flag(&parallel, "/spec/paused"))
                    })
                    .await?;
                stage.processes.hold();
                // The Deployment controller has seen that, too.
                tokio::time::sleep(Duration::from_secs(1)).await;
                delete_set(&stage, "v2", "Background").await?;
                goes_on(&stage);
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "a-parked-replica-set-is-deleted",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stopped_when_parked(&stage).await?;
                for set in stage.list("replicasets") {
                    if controller(&set).is_some_and(|(kind, _)| kind == "Rollout") {
                        let name = text(&set, "/metadata/name");
                        let gone = stage.delete("replicasets", name, "Background").await;
                        gone.map_err(|refused| refused.message)?;
                    }
                }
                goes_on(&stage);
                serves_alone(&stage, "v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "workload-deleted-when-parked",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stopped_when_parked(&stage).await?;
                abandoned::delete(&stage).await?;
                goes_on(&stage);
                abandoned::given_back(&stage).await
            })
        },
        end: End::Gone,
        comparable: false,
    },
    Scenario {
        name: "services-appear-when-parked",
        setup: long,
        script: |stage| {
            Box::pin(async move {
                stopped_when_parked(&stage).await?;
                for name in ["late-one", "late-two", "late-three"] {
                    let service = in_namespace(stage.app("v1").service(Front::named(name)));
                    stage.create("services", &service).await?;
                }
                goes_on(&stage);
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "candidates-pods-are-lost-before-the-park",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stopped_at_its_beginning(&stage).await?;
                // Those that take their places are not there in time.
                let slow = Manner {
                    start: Delay::exactly(Duration::from_secs(60)),
                    ..Manner::default()
                };
                stage.manner("v2", slow);
                delete_pods(&stage, "v2").await?;
                goes_on(&stage);
                // Stable is whole and takes everything back; then it is tried again.
                any_of(
                    &stage,
                    &["RollingBack", "Preparing", "Progressing", "RolledBack"],
                )
                .await?;
                stage.manner("v2", Manner::default());
                any_of(&stage, &["Idle", "RolledBack"]).await?;
                if stage.phase() == "RolledBack" {
                    let retry = serde_json::json!({ "action": "retry" });
                    stage.command(retry).await?;
                }
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "scaled-to-nothing-while-handing-over",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                any_of(&stage, &["HandingOver"]).await?;
                stage.scale(0).await?;
                any_of(&stage, &["Idle"]).await?;
                stage.scale(3).await?;
                serves_alone(&stage, "v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "services-are-refused-while-handing-over",
        setup: |draw| {
            let mut setup = long(draw);
            setup.writes = 2_000;
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stopped_when_parked(&stage).await?;
                refuse(&stage, "services", &["UPDATE"]).await?;
                goes_on(&stage);
                // No stage is left out: it waits, and says so.
                tells(&stage, "HandOverSlow").await?;
                allow(&stage).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
];
