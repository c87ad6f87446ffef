//! Worlds drawn from the seed: sizes, plan, versions, and what people and other actors do at which
//! moment. Only the laws say how such a world may go.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::stable::push_past;
use super::{End, Scenario, Setup};
use crate::actors::{Autoscaler, Crash, Delay, Fate, Flap, Manner, Meddler};
use crate::json::text;
use crate::random::{chance, one_of};
use crate::trace::lock;
use crate::world::cluster::Metrics;
use crate::world::install::NAMESPACE;
use crate::world::manifests::{App, Front, Spread, WEB, plan};
use crate::world::stage::Stage;

/// The random scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "random",
    setup,
    script: |stage| Box::pin(script(stage)),
    end: End::AnyRest,
    comparable: false,
};

/// The Service that shows a candidate before all traffic moves to it.
const PREVIEW: &str = "web-preview";

/// What stands there, and the plan.
fn setup(draw: &mut Rng) -> Setup {
    let replicas = draw.u32(1..=7);
    let names = ["web", "web-internal", "web-admin"];
    let fronts = names
        .iter()
        .take(
            draw.usize(0..=names.len())
                .max(usize::from(chance(draw, 85))),
        )
        .map(|name| Front {
            name,
            preview: false,
            publishes_not_ready: chance(draw, 10),
            spread: match draw.u32(0..100) {
                0..10 => Spread::Local,
                10..20 => Spread::Headless,
                _ => Spread::Cluster,
            },
        })
        .collect();
    let (surge, unavailable) = one_of(
        draw,
        &[
            ("25%", "25%"),
            ("100%", "0%"),
            ("1", "0"),
            ("0", "1"),
            ("50%", "50%"),
        ],
        ("25%", "25%"),
    );
    let amount = |text: &str| {
        text.parse::<u32>()
            .map_or_else(|_| json!(text), |count| json!(count))
    };
    let mut plan = drawn_plan(draw);
    let blue_green = chance(draw, 20);
    let mut fronts: Vec<Front> = fronts;
    if blue_green {
        plan["strategy"] = json!({ "blueGreen": {} });
        if draw.bool() {
            plan["strategy"]["blueGreen"]["previewService"] = json!(PREVIEW);
            fronts.push(Front {
                preview: true,
                ..Front::named(PREVIEW)
            });
        }
        if draw.bool() {
            let then = one_of(draw, &["abort", "advance"], "abort");
            plan["strategy"]["blueGreen"]["approval"] = json!({ "timeout": "90s", "then": then });
        }
    }
    let app = App {
        strategy: if blue_green { "blue-green" } else { "canary" },
        fronts,
        max_surge: amount(surge),
        max_unavailable: amount(unavailable),
        min_ready_seconds: one_of(draw, &[0, 0, 0, 2, 5], 0),
        odd_fields: chance(draw, 30),
        ..App::new(replicas)
    };
    Setup {
        apps: vec![app],
        plan,
        controllers: one_of(draw, &[1, 1, 2], 1),
        lease: Duration::from_secs(one_of(draw, &[6, 15, 30], 15)),
        write_timeout: Duration::from_secs(one_of(draw, &[2, 5], 5)),
        requests: one_of(draw, &[20, 100, 400], 100),
        exits_at_once: draw.bool(),
        lossless: false,
        writes: 6_000,
        applied_by: None,
        beside: chance(draw, 12),
    }
}

fn drawn_plan(draw: &mut Rng) -> Value {
    let mut plan = plan();
    let mut steps = Vec::new();
    for _ in 0..draw.usize(1..=3) {
        if chance(draw, 12) {
            steps.push(json!({ "approval": { "timeout": "90s", "then": one_of(draw, &["abort", "advance"], "abort") } }));
        } else {
            let weight = one_of(draw, &[1, 5, 10, 20, 34, 50, 75, 99], 20);
            let stay = one_of(draw, &["0s", "2s", "5s", "30s"], "5s");
            steps.push(json!({ "weight": weight, "for": stay }));
        }
    }
    plan["strategy"]["canary"]["steps"] = json!(steps);
    if chance(draw, 25) {
        plan["strategy"]["canary"]["minReplicas"] = json!(draw.u32(1..=3));
    }
    plan["warm"] = json!(one_of(draw, &["0s", "6s", "30s"], "6s"));
    if chance(draw, 30) {
        plan["analysis"] = json!({ "source": "none" });
    } else {
        plan["analysis"]["minRequests"] = json!(one_of(draw, &[0, 20, 100], 20));
        plan["analysis"]["noData"] =
            json!({ "limit": "2m", "then": one_of(draw, &["rollback", "stay"], "rollback") });
        plan["analysis"]["inconclusive"] =
            json!(one_of(draw, &["advance", "hold", "rollback"], "advance"));
    }
    if chance(draw, 30) {
        plan["traffic"] = json!({ "settle": { "floor": "2s" }, "drain": { "atLeast": "7s" } });
    }
    plan
}

/// Two or three versions, each with a manner of its own, and a few deeds at drawn moments of each.
async fn script(stage: Arc<Stage>) -> Result<(), String> {
    let releases = lock(&stage.draw).usize(1..=3);
    foreign(&stage);
    for tag in ["v2", "v3", "v4"].into_iter().take(releases) {
        let deeds = {
            let mut draw = lock(&stage.draw);
            manner(&stage, tag, &mut draw);
            (0..draw.usize(0..=3))
                .map(|_| (Duration::from_millis(draw.u64(0..50_000)), draw.u32(0..118)))
                .collect::<Vec<_>>()
        };
        let pushed = tokio::time::timeout(Duration::from_secs(300), stage.push(tag)).await;
        if let Ok(Err(refused)) = pushed {
            stage
                .trace
                .line(&format_args!("the push is refused: {refused}"));
        }
        let mut deeds = deeds;
        deeds.sort_unstable();
        let began = tokio::time::Instant::now();
        for (at, what) in deeds {
            tokio::time::sleep_until(began + at).await;
            deed(&stage, what).await;
        }
        let patience = lock(&stage.draw).u64(20..200);
        let _ = tokio::time::timeout(
            Duration::from_secs(patience),
            stage.until("it ends", |stage| {
                matches!(stage.phase().as_str(), "Idle" | "RolledBack")
            }),
        )
        .await;
    }
    heal(&stage).await;
    Ok(())
}

/// Whoever else writes.
fn foreign(stage: &Arc<Stage>) {
    let drawn = lock(&stage.draw).u32(0..100);
    let random = stage.cluster.actors().random("foreign");
    if drawn < 15 {
        let autoscaler = Autoscaler {
            client: stage.cluster.client(
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
                "kube-controller-manager/v1.34.4",
            ),
            deployment: (NAMESPACE.to_owned(), WEB.to_owned()),
            every: Delay::millis(2_000, 20_000),
            sizes: 1..=7,
            times: 6,
            random,
        };
        stage.cluster.add(autoscaler.run());
    } else if drawn < 25 && !stage.fronts().is_empty() {
        let meddler = Meddler {
            client: stage.cluster.client("meddler", "meddler/v1"),
            resource: "services".to_owned(),
            object: (NAMESPACE.to_owned(), WEB.to_owned()),
            every: Delay::millis(1_000, 15_000),
            times: 6,
            patches: vec![
                json!({ "spec": { "selector": { "pod-template-hash": null } } }),
                json!({ "metadata": { "labels": { "crossfade.dev/held-by": null } } }),
            ],
            random,
        };
        stage.cluster.add(meddler.run());
    }
}

/// How a version behaves.
fn manner(stage: &Arc<Stage>, tag: &str, draw: &mut Rng) {
    let usual = Manner {
        start: Delay::millis(200, one_of(draw, &[1_000, 3_000, 15_000], 3_000)),
        ..Manner::default()
    };
    let chosen = match draw.u32(0..100) {
        0..=54 => usual,
        55..=64 => {
            let percent = one_of(draw, &[1, 5, 20, 60], 20);
            stage.errors(tag, percent);
            usual
        }
        65..=69 => Manner {
            fate: Fate::CrashLoop(Duration::from_millis(800)),
            ..usual
        },
        70..=73 => Manner {
            fate: Fate::ImagePullBackOff,
            ..usual
        },
        74..=77 => Manner {
            fate: Fate::NeverReady,
            ..usual
        },
        78..=83 => Manner {
            crash: Some(Crash {
                after: Duration::from_secs(draw.u64(3..30)),
                times: draw.u32(1..4),
            }),
            ..usual
        },
        84..=90 => Manner {
            flap: Some(Flap {
                ready: Duration::from_secs(draw.u64(2..20)),
                unready: Duration::from_millis(draw.u64(300..6_000)),
                answers: draw.bool(),
                times: draw.u32(1..6),
            }),
            ..usual
        },
        _ => {
            let metrics = one_of(
                draw,
                &[
                    Metrics::Missing,
                    Metrics::Late,
                    Metrics::NotANumber,
                    Metrics::Reset,
                    Metrics::Stale,
                    Metrics::ServerError,
                ],
                Metrics::Missing,
            );
            stage.cluster.metrics(tag, metrics);
            usual
        }
    };
    stage.manner(tag, chosen);
}

/// What somebody does at a drawn moment; refusals are theirs to live with.
async fn deed(stage: &Arc<Stage>, what: u32) {
    let (number, size) = {
        let mut draw = lock(&stage.draw);
        (draw.usize(0..100), draw.u32(1..=8))
    };
    let command = |fields: Value| async move {
        let _ = tokio::time::timeout(Duration::from_secs(30), stage.command(fields)).await;
    };
    match what {
        0..=14 => command(json!({ "action": "abort" })).await,
        15..=21 => command(json!({ "action": "promote" })).await,
        22..=26 => command(json!({ "action": "promote", "full": true })).await,
        27..=32 => command(json!({ "action": "pause" })).await,
        33..=38 => command(json!({ "action": "resume" })).await,
        39..=43 => command(json!({ "action": "retry" })).await,
        44..=55 => {
            let _ = tokio::time::timeout(Duration::from_secs(30), stage.scale(size)).await;
        }
        56..=61 => {
            let _ = tokio::time::timeout(Duration::from_secs(30), stage.push("v1")).await;
        }
        62..=66 => {
            let _ = tokio::time::timeout(Duration::from_secs(30), stage.push("v5")).await;
        }
        67..=76 => {
            let pods = stage.list("pods");
            if let Some(pod) = pods.get(number % pods.len().max(1)) {
                let _ = stage
                    .delete("pods", text(pod, "/metadata/name"), "Background")
                    .await;
            }
        }
        77..=80 => {
            let _ = stage
                .patch_once("deployments", WEB, &json!({ "spec": { "paused": null } }))
                .await;
        }
        81..=84 => {
            let _ = stage
                .patch_once("deployments", WEB, &json!({ "spec": { "paused": true } }))
                .await;
        }
        85..=88 => {
            let nodes = stage.cluster.actors().nodes.all();
            if let Some(node) = nodes.get(number % nodes.len().max(1)) {
                stage.cluster.actors().nodes.lose(&node.name);
            }
        }
        89..=92 => {
            if let Some(parallel) = stage.parallel() {
                let _ = stage
                    .delete(
                        "deployments",
                        text(&parallel, "/metadata/name"),
                        "Background",
                    )
                    .await;
            }
        }
        93..=95 => {
            let propagation = if number < 50 {
                "Background"
            } else {
                "Foreground"
            };
            let _ = stage.delete("deployments", WEB, propagation).await;
            let _ = tokio::time::timeout(
                Duration::from_secs(60),
                stage.until("the Deployment is gone", |stage| {
                    stage.get("deployments", WEB).is_none()
                }),
            )
            .await;
            let _ = stage
                .create("deployments", &stage.app("v6").deployment())
                .await;
        }
        96..=97 => {
            let _ = stage.delete("rollouts", WEB, "Background").await;
        }
        100..=103 => command(json!({ "action": "undo" })).await,
        104..=107 => {
            let reason = format!("INC-{number}");
            let pushed = push_past(stage, "v7", &reason);
            let _ = tokio::time::timeout(Duration::from_secs(30), pushed).await;
        }
        108..=110 => {
            let _ = tokio::time::timeout(Duration::from_secs(30), stage.scale(0)).await;
        }
        111..=113 => {
            let sets = stage.list("replicasets");
            if let Some(set) = sets.get(number % sets.len().max(1)) {
                let _ = stage
                    .delete("replicasets", text(set, "/metadata/name"), "Background")
                    .await;
            }
        }
        114..=117 => opt_out_for_a_while(stage).await,
        _ => {
            let _ = stage
                .patch_once(
                    "deployments",
                    WEB,
                    &json!({ "metadata": { "labels": { "team": "shop" } } }),
                )
                .await;
        }
    }
}

/// The annotation that opts in is taken off and put back half a minute later.
async fn opt_out_for_a_while(stage: &Arc<Stage>) {
    let web = stage.get("deployments", WEB);
    let strategy =
        web.map(|web| text(&web, "/metadata/annotations/crossfade.dev~1strategy").to_owned());
    let Some(strategy) = strategy.filter(|strategy| !strategy.is_empty()) else {
        return;
    };
    let patch = |strategy: Value| json!({ "metadata": { "annotations": { "crossfade.dev/strategy": strategy } } });
    let _ = stage
        .patch_once("deployments", WEB, &patch(Value::Null))
        .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let _ = stage
        .patch_once("deployments", WEB, &patch(json!(strategy)))
        .await;
}

/// At the end the cluster is whole again, and a release that nobody decided on is decided.
async fn heal(stage: &Arc<Stage>) {
    for (name, room) in &[("node-1", 110), ("node-2", 110)] {
        stage.cluster.actors().nodes.put(name, *room);
    }
    stage.cluster.actors().metrics.heal();
    stage.cluster.quota(None);
    tokio::time::sleep(Duration::from_secs(30)).await;
    if stage
        .get("deployments", WEB)
        .is_some_and(|web| crate::json::number(&web, "/spec/replicas") == 0)
    {
        let _ = tokio::time::timeout(Duration::from_secs(60), stage.scale(2)).await;
    }
}
