//! Releases in a cluster that moves: scaling, nodes that are lost, metrics that are missing, admission
//! and controller that are down, mutators that come late, namespaces that go.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{End, Scenario, Setup, usual};
use crate::actors::{Flap, Manner};
use crate::json::{flag, number, text};
use crate::world::cluster::Metrics;
use crate::world::install::NAMESPACE;
use crate::world::manifests::{WEB, image};
use crate::world::stage::Stage;

fn long(_: &mut fastrand::Rng) -> Setup {
    Setup {
        writes: 260,
        ..Setup::default()
    }
}

/// Pods end by other hands too.
fn lossy(_: &mut fastrand::Rng) -> Setup {
    Setup {
        lossless: false,
        writes: 260,
        ..Setup::default()
    }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "scaling-in-each-step",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                for (step, state) in [(0, "Observing"), (1, "Observing"), (2, "Observing")] {
                    stage.until_step(step, state).await?;
                    stage.scale(8).await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    stage.scale(3).await?;
                }
                stage
                    .until("a ReplicaSet is parked", |stage| stage.parked())
                    .await?;
                stage.scale(5).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "scaled-to-nothing",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(0, "Observing").await?;
                stage.scale(0).await?;
                stage.until_rolled_back().await?;
                stage.scale(2).await
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "controller-and-admission-down",
        setup: usual,
        script: |stage| {
            Box::pin(async move {
                stage.processes.hold();
                let app = stage.app("v2");
                let body = json!({ "spec": { "template": { "spec": { "containers": app.template()["spec"]["containers"] } } } });
                match stage.patch_once("deployments", WEB, &body).await {
                    Ok(_) => return Err("a template was accepted without admission".to_owned()),
                    Err(refused) if refused.status >= 400 => {}
                    Err(refused) => return Err(refused.message),
                }
                stage.scale(3).await?;
                stage
                    .until("three pods serve", |stage| {
                        stage.get("deployments", WEB).is_some_and(|web| {
                            number(&web, "/status/replicas") == 3
                                && number(&web, "/status/availableReplicas") == 3
                        })
                    })
                    .await?;
                stage.processes.release(stage.setup.replicas());
                stage.push("v2").await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "metrics-missing-then-present",
        setup: long,
        script: |stage| {
            Box::pin(async move {
                stage.cluster.metrics("v2", Metrics::Missing);
                stage.push("v2").await?;
                stage.until_step(0, "Held").await?;
                tokio::time::sleep(Duration::from_secs(40)).await;
                stage.cluster.metrics("v2", Metrics::Good);
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "metrics-never-present",
        setup: |draw| {
            let mut setup = long(draw);
            setup.plan["analysis"]["noData"] = json!({ "limit": "60s", "then": "rollback" });
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.cluster.metrics("v2", Metrics::NotANumber);
                stage.push("v2").await?;
                stage.until_rolled_back().await
            })
        },
        end: End::RolledBack("v1"),
        comparable: true,
    },
    Scenario {
        name: "metrics-broken-in-turn",
        setup: long,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                for metrics in [
                    Metrics::Late,
                    Metrics::Reset,
                    Metrics::Stale,
                    Metrics::ServerError,
                    Metrics::Huge,
                ] {
                    stage.cluster.metrics("v2", metrics);
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    stage.cluster.metrics("v2", Metrics::Good);
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "node-lost-in-warm",
        setup: super::gone::patient,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(2, "Observing").await?;
                stage.cluster.lose_a_node_of(&image("v2"));
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
        name: "node-drained-in-a-step",
        setup: long,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                let before = stage.serving();
                for (pod, image) in stage.cluster.cordon_a_node_of(&image("v2")) {
                    // A PodDisruptionBudget: one at a time.
                    let wanted = before.get(&image).copied().unwrap_or_default();
                    stage
                        .until("those evicted before are replaced", |stage| {
                            stage.serving().get(&image).copied().unwrap_or_default() >= wanted
                        })
                        .await?;
                    let evicted = stage.delete("pods", &pod, "Background").await;
                    evicted.map_err(|refused| refused.message)?;
                }
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
    Scenario {
        name: "readiness-flaps-while-judged",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                let flap = Flap {
                    ready: Duration::from_secs(12),
                    unready: Duration::from_secs(3),
                    answers: true,
                    times: 3,
                };
                let manner = Manner {
                    flap: Some(flap),
                    ..Manner::default()
                };
                stage.manner("v2", manner);
                stage.push("v2").await?;
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
        name: "late-mutator-on-a-label",
        setup: usual,
        script: |stage| {
            Box::pin(async move {
                mutator(&stage, "").await?;
                let body = json!({ "metadata": { "labels": { "team": "shop" } } });
                let refused = stage.patch_once("deployments", WEB, &body).await;
                no_mutator(&stage).await?;
                match refused {
                    Ok(object) if flag(&object, "/spec/paused") => Ok(()),
                    Ok(_) => Err("another image was stored unpaused".to_owned()),
                    Err(refused) if refused.message.contains("admission webhook") => Ok(()),
                    Err(refused) => Err(refused.message),
                }
            })
        },
        end: End::AnyRest,
        comparable: false,
    },
    Scenario {
        name: "late-mutator-on-a-push",
        setup: long,
        script: |stage| {
            Box::pin(async move {
                mutator(&stage, "").await?;
                stage.push("v2").await?;
                no_mutator(&stage).await?;
                stage.until_promoted("v3").await
            })
        },
        end: End::Promoted("v3"),
        comparable: true,
    },
    Scenario {
        name: "late-mutator-on-our-unpause",
        setup: |draw| {
            let mut setup = long(draw);
            setup.writes = 2_000;
            setup
        },
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_phase("HandingOver").await?;
                mutator(&stage, "system:serviceaccount:crossfade-system:crossfade").await?;
                tokio::time::sleep(Duration::from_secs(45)).await;
                no_mutator(&stage).await?;
                stage.until_promoted("v2").await
            })
        },
        end: End::Promoted("v2"),
        comparable: false,
    },
    Scenario {
        name: "namespace-deleted-half-way",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                let gone = stage
                    .user
                    .call(crossfade_fakeapi::Call::delete(format!(
                        "/api/v1/namespaces/{NAMESPACE}"
                    )))
                    .await;
                gone.map_err(|refused| refused.message)?;
                stage
                    .until("the namespace is gone", |stage| {
                        stage
                            .api
                            .get(&crossfade_fakeapi::Key::new("namespaces", "", NAMESPACE))
                            .is_none()
                    })
                    .await
            })
        },
        end: End::Gone,
        comparable: false,
    },
    Scenario {
        name: "workload-recreated",
        setup: lossy,
        script: |stage| {
            Box::pin(async move {
                stage.push("v2").await?;
                stage.until_step(1, "Observing").await?;
                stage
                    .delete("deployments", WEB, "Background")
                    .await
                    .map_err(|refused| refused.message)?;
                let app = stage.app("v3");
                stage.create("deployments", &app.deployment()).await?;
                stage
                    .until("v3 serves alone", |stage| {
                        let serving = stage.serving();
                        serving.len() == 1 && serving.get(&image("v3")) == Some(&4)
                    })
                    .await
            })
        },
        end: End::Promoted("v3"),
        comparable: false,
    },
    Scenario {
        name: "killed-often",
        setup: |draw| {
            let mut setup = long(draw);
            setup.writes = 400;
            setup.controllers = 2;
            setup.lease = Duration::from_secs(3);
            setup.write_timeout = Duration::from_secs(2);
            setup
        },
        script: |stage| {
            Box::pin(async move {
                let killing = tokio::spawn(kill(Arc::clone(&stage)));
                stage.push("v2").await?;
                let promoted = stage.until_promoted("v2").await;
                killing.abort();
                for index in 0..stage.setup.controllers {
                    stage.processes.start(index);
                }
                promoted
            })
        },
        end: End::Promoted("v2"),
        comparable: true,
    },
];

/// Kills whoever leads, up to thirty times, each a moment after it has begun to lead.
async fn kill(stage: Arc<Stage>) {
    for _ in 0..30 {
        while !stage.processes.led() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let wait = crate::trace::lock(&stage.draw).u64(0..4_000);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        for index in 0..stage.setup.controllers {
            stage.processes.crash(index, None);
        }
        for index in 0..stage.setup.controllers {
            stage.processes.start(index);
        }
    }
}

const LATE: &str = "zzz";

/// A webhook of somebody else, behind all others, that writes image v3 into each Deployment named
/// `web`; of one user only, if one is named.
async fn mutator(stage: &Arc<Stage>, user: &str) -> Result<(), String> {
    let only = user.to_owned();
    stage.webhooks.add(
        "zzz.example.com",
        Arc::new(move |review: &Value| {
            let uid = text(review, "/request/uid");
            let by = text(review, "/request/userInfo/username");
            if !only.is_empty() && only != by {
                return json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": { "uid": uid, "allowed": true } });
            }
            let patch = json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image("v3") }]);
            json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
                "uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": base64(patch.to_string().as_bytes()),
            } })
        }),
    );
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": LATE },
        "webhooks": [{
            "name": "zzz.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": { "url": "https://zzz.example.com/mutate" },
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "matchConditions": [{ "name": "web", "expression": "object.metadata.name == 'web'" }],
            "rules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["UPDATE"] }],
        }],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let call = crossfade_fakeapi::Call::json(http::Method::POST, path, configuration);
    stage
        .user
        .call(call)
        .await
        .map(|_| ())
        .map_err(|refused| refused.message)
}

async fn no_mutator(stage: &Arc<Stage>) -> Result<(), String> {
    let path =
        format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{LATE}");
    let call = crossfade_fakeapi::Call::delete(path);
    stage
        .user
        .call(call)
        .await
        .map(|_| ())
        .map_err(|refused| refused.message)
}

/// The alphabet of RFC 4648, section 4.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let three = part
            .iter()
            .chain(&[0, 0])
            .take(3)
            .fold(0_usize, |all, byte| (all << 8) | usize::from(*byte));
        for place in 0..4 {
            let letter = (three >> (18 - 6 * place)) & 63;
            let known = place <= part.len();
            text.push(if known {
                char::from(*ALPHABET.get(letter).unwrap_or(&b'='))
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
