//! Deployments and Services out of the ordinary, released side by side: each goes all the way and no pod of it is replaced, or is taken
//! back with the reason. What happens to requests belongs to the other scenarios.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::plan::merge;
use crate::fixture::{Crossfade, Plan, SOON, WHOLE};
use crate::harness::api::{collection, condition, text};
use crate::harness::app::{App, image};
use crate::harness::context::Context;
use crate::harness::runner::Scenario;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "unusual",
    control: false,
    pods: 44,
    group: 2,
    alone: false,
    limit: Duration::from_secs(420),
    run: |context| Box::pin(run(context)),
};

/// A Deployment of that name and a Service before it, and what is out of the ordinary about them.
struct Unusual {
    name: &'static str,
    replicas: u32,
    deployment: Value,
    service: Value,
    /// Part of the reason for which it is taken back; absent: it is promoted.
    taken_back: Option<&'static str>,
}

const ORDINARY: Unusual = Unusual {
    name: "",
    replicas: 2,
    deployment: Value::Null,
    service: Value::Null,
    taken_back: None,
};

/// As long as a Service may be named; its pods' names are cut short by the API server.
const LONG: &str = "a-name-of-sixty-three-letters-is-the-longest-a-service-may-have";

fn all() -> Vec<Unusual> {
    vec![
        Unusual {
            name: LONG,
            ..ORDINARY
        },
        Unusual {
            name: "expressions",
            deployment: json!({"spec": {"selector": {"matchLabels": null, "matchExpressions": [
                {"key": "app", "operator": "In", "values": ["expressions", "express"]},
                {"key": "retired", "operator": "DoesNotExist"},
            ]}}}),
            ..ORDINARY
        },
        Unusual {
            // Copied together with a manifest of `kubectl get -o yaml`.
            name: "pasted-hash",
            deployment: json!({"spec": {"template": {"metadata": {"labels": {"pod-template-hash": "5d4f8c7b9"}}}}}),
            ..ORDINARY
        },
        Unusual {
            name: "one-at-a-time",
            deployment: json!({"spec": {
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
                "minReadySeconds": 2, "revisionHistoryLimit": 0,
            }}),
            ..ORDINARY
        },
        Unusual {
            name: "one-pod",
            replicas: 1,
            ..ORDINARY
        },
        Unusual {
            name: "without-service",
            service: json!({"spec": {"selector": {"app": "nobody"}}}),
            ..ORDINARY
        },
        Unusual {
            name: "client-ip",
            service: json!({"spec": {"sessionAffinity": "ClientIP"}}),
            ..ORDINARY
        },
        Unusual {
            name: "local",
            service: json!({"spec": {"internalTrafficPolicy": "Local"}}),
            ..ORDINARY
        },
        Unusual {
            name: "load-balancer",
            service: json!({"spec": {"type": "LoadBalancer"}}),
            ..ORDINARY
        },
        Unusual {
            name: "headless",
            service: json!({"spec": {"clusterIP": "None"}}),
            ..ORDINARY
        },
        Unusual {
            name: "not-ready-yet",
            service: json!({"spec": {"publishNotReadyAddresses": true}}),
            ..ORDINARY
        },
        Unusual {
            // One node, and no two of its pods may share one.
            name: "no-room",
            replicas: 1,
            deployment: json!({"spec": {"template": {"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "no-room"}}},
            ]}}}}}}),
            taken_back: Some("anti-affinity"),
            ..ORDINARY
        },
    ]
}

/// Pods of one version that are ready, with a Service before them or without.
async fn ready_pods(context: &Context, app: &str, tag: &str) -> anyhow::Result<usize> {
    let pods = format!(
        "{}?labelSelector=app={app}",
        collection(&context.namespace, "pods")
    );
    let (pods, _) = context.api.list(&pods).await?;
    let ready = pods.iter().filter(|pod| {
        text(pod, "/spec/containers/0/image") == image(tag)
            && text(pod, "/metadata/deletionTimestamp").is_empty()
            && condition(pod, "Ready") == "True"
    });
    Ok(ready.count())
}

async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let crossfade = Crossfade::install(&context).await?;
    let more = json!({
        "progressDeadline": "40s",
        "createdMetadata": {"labels": {"team": "payments"}, "annotations": {"example.com/asked-by": "a policy"}},
    });
    crossfade
        .plan(&Plan::default().without_metrics().more(&more))
        .await?;
    let deployments = context.watch("deployments").await?;
    let all = all();
    for one in &all {
        let app = App::new(one.name, one.replicas).canary();
        let (mut deployment, mut service) = (app.deployment(), app.service());
        merge(&mut deployment, &one.deployment);
        merge(&mut service, &one.service);
        for object in [&deployment, &service] {
            context.user.apply(object).await?.must(one.name)?;
        }
    }
    for one in &all {
        context.until_available(one.name, one.replicas).await?;
        crossfade
            .until_of(one.name, "it is held and at rest", SOON, |rollout| {
                (text(rollout, "/status/phase") == "Idle").then_some(())
            })
            .await?;
        crossfade.until_gated(one.name).await?;
    }
    for one in &all {
        crossfade.release_of(one.name, "v2").await?;
    }
    for one in &all {
        let wanted = image("v2");
        let ended = crossfade
            .until_of(one.name, "its release has ended", WHOLE, |rollout| {
                let entry = rollout.pointer("/status/history/0")?;
                let there = text(entry, "/images/0") == wanted
                    && ["Idle", "RolledBack"].contains(&text(rollout, "/status/phase"));
                there.then(|| entry.clone())
            })
            .await?;
        let (outcome, reason) = (text(&ended, "/outcome"), text(&ended, "/reason"));
        if let Some(part) = one.taken_back {
            context.check(
                &format!("{}: taken back, and why", one.name),
                outcome == "rolled-back" && reason.contains(part),
                format!("{outcome}: {reason}"),
            );
            continue;
        }
        let serving = ready_pods(&context, one.name, "v2").await?;
        context.check(
            &format!("{}: promoted, no pod replaced", one.name),
            outcome == "promoted"
                && ended.get("replacedPods").is_none()
                && serving == one.replicas as usize,
            format!("{outcome}: {reason}; {serving} pods are ready"),
        );
    }
    let seen = deployments.history();
    let created: Vec<&Value> = (seen.iter().map(|seen| &seen.object))
        .filter(|object| !text(object, "/metadata/labels/crossfade.dev~1candidate").is_empty())
        .collect();
    let bare = created.iter().find(|object| {
        text(object, "/metadata/labels/team") != "payments"
            || text(object, "/metadata/annotations/example.com~1asked-by") != "a policy"
    });
    let names: BTreeSet<&str> = (created.iter())
        .map(|object| text(object, "/metadata/name"))
        .collect();
    context.check(
        "every parallel Deployment carried what createdMetadata asks for",
        bare.is_none() && names.len() >= all.len(),
        format!("{} parallel Deployments; without: {bare:?}", names.len()),
    );
    crossfade.check_laws().await
}
