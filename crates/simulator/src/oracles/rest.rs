//! The state at rest: nothing of ours on users' objects (law 8), and what two runs of a scenario must
//! agree in whatever went wrong in one of them.

use crossfade_fakeapi::At;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::model::{Model, can_serve, size};
use crate::json::{controller, deleting, entries, flag, label, pairs, text};

/// Annotations of the user on his Deployment; the Deployment controller copies them to its ReplicaSets.
const USERS: [&str; 6] = [
    "crossfade.dev/strategy",
    "crossfade.dev/policy",
    "crossfade.dev/steps",
    "crossfade.dev/analysis",
    "crossfade.dev/bypass",
    "crossfade.dev/bypass-template",
];

/// Kinds on which nothing of ours stays.
const KINDS: [&str; 6] = [
    "controllerrevisions",
    "deployments",
    "endpointslices",
    "pods",
    "replicasets",
    "services",
];

/// What of the controller's is left in a namespace, in words.
#[must_use]
pub fn leftovers(model: &Model, namespace: &str) -> Vec<String> {
    // While the workload stays paused on a rejected template the copy of stable's stays too.
    let keeps = model
        .of("rollouts", namespace)
        .any(|rollout| text(rollout, "/status/phase") == "RolledBack");
    let mut found = Vec::new();
    for resource in KINDS {
        for object in model.of(resource, namespace) {
            if (keeps && resource == "controllerrevisions")
                || (resource == "pods" && deleting(object))
            {
                continue;
            }
            let name = text(object, "/metadata/name");
            found.extend(
                of_ours(resource, object)
                    .into_iter()
                    .map(|what| format!("{resource} {name}: {what}")),
            );
        }
    }
    found
}

fn of_ours(resource: &str, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if resource == "controllerrevisions" {
        found.push("it is ours".to_owned());
    }
    for kind in ["/metadata/labels", "/metadata/annotations"] {
        for (key, _) in pairs(object, kind) {
            let users = kind == "/metadata/annotations" && USERS.contains(&key);
            if key.starts_with("crossfade.dev/") && !users {
                found.push(format!("{kind} {key}"));
            }
        }
    }
    if resource == "services" && object.at("/spec/selector/pod-template-hash").is_some() {
        found.push("it is pinned".to_owned());
    }
    if controller(object).is_some_and(|(kind, _)| kind == "Rollout") {
        found.push("it is owned by a Rollout".to_owned());
    }
    // Of objects users apply: a ReplicaSet is the Deployment controller's.
    let users = matches!(resource, "services" | "deployments");
    if users
        && entries(object, "/metadata/managedFields")
            .any(|entry| text(entry, "/manager") == "crossfade")
    {
        found.push("managedFields of crossfade".to_owned());
    }
    found
}

/// What a namespace looks like at the end, without names, uids, versions and times: what the calm run
/// and the faulty one of a scenario must agree in.
#[must_use]
pub fn ending(model: &Model, namespace: &str) -> Value {
    let deployments: BTreeMap<&str, Value> = model
        .of("deployments", namespace)
        .map(|object| {
            let parallel = !label(object, "crossfade.dev/rollout-uid").is_empty();
            let name = text(object, "/metadata/name");
            (
                if parallel { "of the candidate" } else { name },
                json!({
                    "paused": flag(object, "/spec/paused"),
                    "replicas": size(object),
                    "images": images(object),
                    "annotations": object.at("/metadata/annotations").filter(|_| !parallel).map(without_revision),
                }),
            )
        })
        .collect();
    let services: BTreeMap<&str, Value> = model
        .of("services", namespace)
        .map(|object| {
            (
                text(object, "/metadata/name"),
                json!({
                    "selector": object.at("/spec/selector"),
                    "labels": object.at("/metadata/labels").map(without_uid),
                    "managers": managers(object),
                }),
            )
        })
        .collect();
    let mut active: Vec<Value> = model
        .of("replicasets", namespace)
        .filter(|set| size(set) > 0)
        .map(|set| {
            let pods = model.pods(namespace, text(set, "/metadata/uid"));
            json!({
                "replicas": size(set),
                "images": images(set),
                "owner": controller(set).map(|(kind, _)| kind),
                "ready": pods.filter(|pod| can_serve(pod)).count(),
            })
        })
        .collect();
    active.sort_by_key(ToString::to_string);
    let rollouts: BTreeMap<&str, Value> = model
        .of("rollouts", namespace)
        .map(|object| {
            let outcomes: Vec<&str> = entries(object, "/status/history")
                .map(|entry| text(entry, "/outcome"))
                .collect();
            (
                text(object, "/metadata/name"),
                json!({ "phase": text(object, "/status/phase"), "history": outcomes }),
            )
        })
        .collect();
    json!({ "deployments": deployments, "services": services, "active": active, "rollouts": rollouts })
}

fn without_revision(annotations: &Value) -> Value {
    let mut annotations = annotations.clone();
    if let Some(map) = annotations.as_object_mut() {
        map.retain(|key, _| !key.starts_with("deployment.kubernetes.io/"));
    }
    annotations
}

/// That a Service is held counts, not the uid it is held for.
fn without_uid(labels: &Value) -> Value {
    let mut labels = labels.clone();
    if let Some(held) = labels.get_mut("crossfade.dev/held-by") {
        *held = json!("held");
    }
    labels
}

fn managers(object: &Value) -> Vec<&str> {
    let mut managers: Vec<&str> = entries(object, "/metadata/managedFields")
        .map(|entry| text(entry, "/manager"))
        .collect();
    managers.sort_unstable();
    managers
}

fn images(object: &Value) -> Vec<&str> {
    entries(object, "/spec/template/spec/containers")
        .map(|container| text(container, "/image"))
        .collect()
}
