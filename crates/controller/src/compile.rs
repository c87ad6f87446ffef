//! From an effect to the requests that carry it out. Pure, and without a choice: each request holds
//! the precondition that makes it harmless if the object is not as it was seen.

use std::collections::BTreeMap;

use crossfade_api::FIELD_MANAGER;
use crossfade_api::annotations::{
    CANDIDATE, DESIRED_REPLICAS, INSTALLATION, MAX_REPLICAS, ORIGINALS, POD_TEMPLATE_HASH,
    REVISION, ROLLOUT_UID, WORKLOAD_UID,
};
use crossfade_engine::Effect;
use crossfade_engine::effect::{NewParallel, NewReplicaSet, ServiceWrite, SplitTo, Target};
use crossfade_traffic_switching::managed_fields;
use crossfade_traffic_switching::service::{Point, merge_patch, unmark_patch, unpin_patch};
use http::Method;
use serde_json::{Map, Value, json};

use crate::wire::{JSON, JSON_PATCH, Link, MERGE_PATCH, WireRequest, path};

/// Whose effect it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub namespace: String,
    pub workload: String,
    pub workload_uid: String,
    pub rollout: String,
    pub rollout_uid: String,
    /// Of the controller.
    pub installation: String,
}

/// The requests of an effect, in order.
#[must_use]
pub fn compile(effect: &Effect, names: &Names) -> Vec<WireRequest> {
    let namespace = names.namespace.as_str();
    match effect {
        Effect::Split { services, to } => services
            .iter()
            .flat_map(|write| split(write, to, names))
            .collect(),
        Effect::GiveBack { services } => services
            .iter()
            .flat_map(|write| give_back(write, names))
            .collect(),
        Effect::RestoreManagedFields {
            service,
            managed_fields,
        } => {
            vec![patch(
                JSON_PATCH,
                path::services(namespace, &service.name),
                managed_fields::restore_patch(&service.resource_version, managed_fields),
                "restore managedFields",
            )]
        }
        Effect::KeepTemplate {
            name,
            candidate,
            hash,
            template,
            metadata,
        } => {
            let mut body = json!({
                "apiVersion": "apps/v1",
                "kind": "ControllerRevision",
                "metadata": { "name": name, "namespace": namespace, "labels": with(&metadata.labels, labels(names, candidate)), "ownerReferences": [workload_owner(names)] },
                "data": { "hash": hash, "template": template },
                "revision": 1,
            });
            if !metadata.annotations.is_empty() {
                body["metadata"]["annotations"] = json!(metadata.annotations);
            }
            let path = path::revisions(namespace, "");
            vec![create(path, body, "keep stable's template")]
        }
        Effect::DropKeptTemplate { target } => vec![delete(
            path::revisions(namespace, &target.name),
            target,
            "Background",
            "drop a kept template",
        )],
        Effect::CreateParallel(new) => vec![create(
            path::deployments(namespace, ""),
            parallel(new, names),
            "create the parallel Deployment",
        )],
        Effect::ScaleParallel { target, to, .. } => vec![merge(
            path::deployments(namespace, &target.name),
            target,
            json!({ "replicas": to }),
            "scale the parallel Deployment",
        )],
        Effect::PauseParallel { target } => vec![merge(
            path::deployments(namespace, &target.name),
            target,
            json!({ "paused": true }),
            "pause the parallel Deployment",
        )],
        Effect::DeleteParallel { target } => vec![delete(
            path::deployments(namespace, &target.name),
            &by_uid(target),
            "Background",
            "delete the parallel Deployment",
        )],
        // The uid is enough: what it owns has been taken from it before.
        Effect::OrphanParallel { target } => vec![delete(
            path::deployments(namespace, &target.name),
            target,
            "Orphan",
            "delete the parallel Deployment, keeping what it owns",
        )],
        Effect::CreateReplicaSet(new) => vec![create(
            path::replica_sets(namespace, ""),
            replica_set(new, names),
            "make stable's ReplicaSet again",
        )],
        Effect::DeleteReplicaSet { target } => vec![delete(
            path::replica_sets(namespace, &target.name),
            target,
            "Background",
            "delete an empty ReplicaSet with the candidate's template",
        )],
        Effect::Park {
            target,
            owner_index,
        } => vec![json_patch(
            path::replica_sets(namespace, &target.name),
            target,
            vec![
                json!({ "op": "test", "path": owner_path(*owner_index, "/uid"), "value": names.workload_uid }),
                json!({ "op": "replace", "path": owner_path(*owner_index, ""), "value": rollout_owner(names) }),
            ],
            "park a ReplicaSet",
        )],
        Effect::Transfer {
            target,
            owner_index,
            has_annotations,
            replicas,
            maximum,
            revision,
            copied,
        } => {
            let mut operations = vec![
                json!({ "op": "replace", "path": owner_path(*owner_index, ""), "value": workload_owner(names) }),
                json!({ "op": "replace", "path": "/spec/replicas", "value": replicas }),
            ];
            operations.extend(annotate(
                *has_annotations,
                &[
                    (DESIRED_REPLICAS, replicas.to_string()),
                    (MAX_REPLICAS, maximum.to_string()),
                    (REVISION, revision.to_string()),
                ],
            ));
            // The Deployment controller copied them from the parallel Deployment, and `kubectl rollout undo` would take
            // them on to the user's. Whether it did is not asked: a removal alone would be refused where there is nothing.
            for key in std::iter::once(ORIGINALS).chain(copied.iter().map(String::as_str)) {
                let path = format!("/metadata/annotations/{}", escaped(key));
                operations.push(json!({ "op": "add", "path": path, "value": "" }));
                operations.push(json!({ "op": "remove", "path": path }));
            }
            vec![json_patch(
                path::replica_sets(namespace, &target.name),
                target,
                operations,
                "hand the judged ReplicaSet over",
            )]
        }
        Effect::ScaleReplicaSet { target, to, .. } => vec![merge(
            path::replica_sets(namespace, &target.name),
            target,
            json!({ "replicas": to }),
            "scale a ReplicaSet",
        )],
        Effect::Return {
            target,
            owner_index,
        } => vec![json_patch(
            path::replica_sets(namespace, &target.name),
            target,
            vec![
                json!({ "op": "test", "path": owner_path(*owner_index, "/uid"), "value": names.rollout_uid }),
                json!({ "op": "remove", "path": owner_path(*owner_index, "") }),
            ],
            "give a parked ReplicaSet back",
        )],
        Effect::WriteTemplate { target, from, to } => {
            let path = path::deployments(namespace, &target.name);
            let body = json!([
                { "op": "test", "path": "/metadata/uid", "value": target.uid },
                { "op": "test", "path": "/spec/template", "value": from },
                { "op": "replace", "path": "/spec/template", "value": to },
                { "op": "add", "path": "/spec/paused", "value": true },
            ]);
            let write = patch(JSON_PATCH, path.clone(), body, "write a template back");
            let mut disown = patch(
                JSON_PATCH,
                path,
                managed_fields::restore_patch("", &json!([])),
                "leave managedFields to others",
            );
            disown.link = Link::Disown;
            vec![write, disown]
        }
        Effect::Disown {
            target,
            managed_fields,
        } => vec![patch(
            JSON_PATCH,
            path::deployments(namespace, &target.name),
            managed_fields::restore_patch(&target.resource_version, managed_fields),
            "leave managedFields to others",
        )],
        // No resourceVersion: the workload's status moves all the time, and what must not have moved
        // is tested as a whole.
        Effect::Unpause { target, template } => vec![patch(
            JSON_PATCH,
            path::deployments(namespace, &target.name),
            json!([
                { "op": "test", "path": "/metadata/uid", "value": target.uid },
                { "op": "test", "path": "/spec/template", "value": template },
                { "op": "remove", "path": "/spec/paused" },
            ]),
            "unpause the workload",
        )],
    }
}

/// The kind an effect writes, as objects name it.
#[must_use]
pub const fn kind_of(effect: &Effect) -> &'static str {
    match effect {
        Effect::Split { .. } | Effect::GiveBack { .. } | Effect::RestoreManagedFields { .. } => {
            "Service"
        }
        Effect::KeepTemplate { .. } | Effect::DropKeptTemplate { .. } => "ControllerRevision",
        Effect::CreateParallel(_)
        | Effect::ScaleParallel { .. }
        | Effect::PauseParallel { .. }
        | Effect::DeleteParallel { .. }
        | Effect::OrphanParallel { .. }
        | Effect::WriteTemplate { .. }
        | Effect::Disown { .. }
        | Effect::Unpause { .. } => "Deployment",
        Effect::CreateReplicaSet(_)
        | Effect::DeleteReplicaSet { .. }
        | Effect::Park { .. }
        | Effect::Transfer { .. }
        | Effect::ScaleReplicaSet { .. }
        | Effect::Return { .. } => "ReplicaSet",
    }
}

fn split(write: &ServiceWrite, to: &SplitTo, names: &Names) -> Vec<WireRequest> {
    let point = match to {
        SplitTo::Stable { hash } | SplitTo::Candidate { hash } => Point::At(hash),
        SplitTo::Both => Point::Both,
        SplitTo::Released => Point::Released,
    };
    let service = &write.service;
    let Some(body) = merge_patch(
        &service.uid,
        &service.resource_version,
        write.from.as_deref(),
        write.held,
        point,
        &names.workload_uid,
    ) else {
        return Vec::new();
    };
    let path = path::services(&names.namespace, &service.name);
    let mut requests = vec![patch(MERGE_PATCH, path.clone(), body, "point a Service")];
    let mut restore = patch(
        JSON_PATCH,
        path,
        managed_fields::restore_patch("", &write.managed_fields),
        "restore managedFields",
    );
    restore.link = Link::AfterPrevious;
    requests.push(restore);
    requests
}

fn give_back(write: &ServiceWrite, names: &Names) -> Vec<WireRequest> {
    let service = &write.service;
    let path = path::services(&names.namespace, &service.name);
    let mut requests = Vec::new();
    if write.from.is_some() {
        let body = unpin_patch(&service.uid, &service.resource_version);
        requests.push(patch(
            MERGE_PATCH,
            path.clone(),
            body,
            "take the pin off a Service",
        ));
    }
    let fields = &write.managed_fields;
    let follows = !requests.is_empty();
    let version = if follows {
        ""
    } else {
        service.resource_version.as_str()
    };
    let mut last = if write.held {
        let body = unmark_patch(&service.uid, version, fields);
        patch(JSON_PATCH, path, body, "take the mark off a Service")
    } else {
        let body = managed_fields::restore_patch(version, fields);
        patch(JSON_PATCH, path, body, "restore managedFields")
    };
    if follows {
        last.link = Link::AfterPrevious;
    }
    requests.push(last);
    requests
}

fn replica_set(new: &NewReplicaSet, names: &Names) -> Value {
    let mut selector = new.selector.clone();
    if let Some(map) = selector.as_object_mut() {
        let labels = map.entry("matchLabels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(POD_TEMPLATE_HASH.to_owned(), json!(new.hash));
        }
    }
    // As the Deployment controller makes its own: labels of the pods, sizes and revision as notes.
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": new.name,
            "namespace": names.namespace,
            "labels": new.template.pointer("/metadata/labels"),
            "annotations": {
                DESIRED_REPLICAS: new.replicas.to_string(),
                MAX_REPLICAS: new.maximum.to_string(),
                REVISION: new.revision.to_string(),
            },
            "ownerReferences": [workload_owner(names)],
        },
        "spec": {
            "replicas": new.replicas,
            "minReadySeconds": new.min_ready_seconds,
            "selector": selector,
            "template": new.template,
        },
    })
}

fn parallel(new: &NewParallel, names: &Names) -> Value {
    let mut spec = json!({
        "replicas": new.replicas,
        "revisionHistoryLimit": 0,
        "selector": new.selector,
        "template": new.template,
    });
    if let Some(spec) = spec.as_object_mut() {
        if new.min_ready_seconds > 0 {
            spec.insert("minReadySeconds".to_owned(), json!(new.min_ready_seconds));
        }
        if let Some(seconds) = new.progress_deadline_seconds {
            spec.insert("progressDeadlineSeconds".to_owned(), json!(seconds));
        }
        if new.strategy.is_object() {
            spec.insert("strategy".to_owned(), new.strategy.clone());
        }
    }
    let mut labels = labels(names, &new.candidate);
    labels[INSTALLATION] = json!(names.installation);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": new.name,
            "namespace": names.namespace,
            "labels": with(&new.metadata.labels, labels),
            "annotations": with(&new.metadata.annotations, json!({ ORIGINALS: new.originals.to_string() })),
            "ownerReferences": [workload_owner(names)],
        },
        "spec": spec,
    })
}

/// What users want an object to carry, and ours, which win.
fn with(wanted: &BTreeMap<String, String>, ours: Value) -> Value {
    let mut all: Map<String, Value> = (wanted.iter())
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    if let Value::Object(ours) = ours {
        all.extend(ours);
    }
    Value::Object(all)
}

/// Only ours: copied labels would let GitOps tools and selectors of others see a second `web`.
fn labels(names: &Names, candidate: &str) -> Value {
    json!({ WORKLOAD_UID: names.workload_uid, ROLLOUT_UID: names.rollout_uid, CANDIDATE: candidate })
}

fn workload_owner(names: &Names) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": names.workload, "uid": names.workload_uid, "controller": true, "blockOwnerDeletion": true })
}

fn rollout_owner(names: &Names) -> Value {
    json!({ "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout", "name": names.rollout, "uid": names.rollout_uid, "controller": true, "blockOwnerDeletion": false })
}

fn owner_path(index: usize, rest: &str) -> String {
    format!("/metadata/ownerReferences/{index}{rest}")
}

fn annotate(has_annotations: bool, values: &[(&str, String)]) -> Vec<Value> {
    if has_annotations {
        return values
            .iter()
            .map(|(name, value)| json!({ "op": "add", "path": format!("/metadata/annotations/{}", escaped(name)), "value": value }))
            .collect();
    }
    let map: Map<String, Value> = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    vec![json!({ "op": "add", "path": "/metadata/annotations", "value": map })]
}

/// A name as part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn by_uid(target: &Target) -> Target {
    Target {
        resource_version: String::new(),
        ..target.clone()
    }
}

fn request(
    method: Method,
    content_type: &'static str,
    path: String,
    body: Value,
    purpose: &'static str,
) -> WireRequest {
    WireRequest {
        method,
        path: format!("{path}?fieldManager={FIELD_MANAGER}"),
        content_type,
        body: Some(body),
        purpose,
        link: Link::None,
    }
}

fn patch(
    content_type: &'static str,
    path: String,
    body: Value,
    purpose: &'static str,
) -> WireRequest {
    request(Method::PATCH, content_type, path, body, purpose)
}

fn create(path: String, body: Value, purpose: &'static str) -> WireRequest {
    WireRequest {
        link: Link::Create,
        ..request(Method::POST, JSON, path, body, purpose)
    }
}

fn merge(path: String, target: &Target, spec: Value, purpose: &'static str) -> WireRequest {
    patch(
        MERGE_PATCH,
        path,
        json!({ "metadata": { "uid": target.uid, "resourceVersion": target.resource_version }, "spec": spec }),
        purpose,
    )
}

fn json_patch(
    path: String,
    target: &Target,
    operations: Vec<Value>,
    purpose: &'static str,
) -> WireRequest {
    let mut all = vec![
        json!({ "op": "test", "path": "/metadata/resourceVersion", "value": target.resource_version }),
        json!({ "op": "test", "path": "/metadata/uid", "value": target.uid }),
    ];
    all.extend(operations);
    patch(JSON_PATCH, path, Value::Array(all), purpose)
}

fn delete(path: String, target: &Target, propagation: &str, purpose: &'static str) -> WireRequest {
    let mut preconditions = json!({ "uid": target.uid });
    if let Some(map) = preconditions.as_object_mut()
        && !target.resource_version.is_empty()
    {
        map.insert("resourceVersion".to_owned(), json!(target.resource_version));
    }
    WireRequest {
        method: Method::DELETE,
        path,
        content_type: JSON,
        body: Some(
            json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation, "preconditions": preconditions }),
        ),
        purpose,
        link: Link::None,
    }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
