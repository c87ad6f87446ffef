//! What is POSTed to a pod: its binding to a node, and its eviction.

use crate::At;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Write, body, delete, is_terminating, metadata_text};
use crate::answer::Answer;
use crate::commit::Commit;
use crate::error::StatusError;
use crate::history::Stored;
use crate::request::{Place, Request};
use crate::selector::LabelSelector;
use crate::state::FakeApi;
use crate::{Call, Key, Verb};

/// A POST below a name.
pub(crate) async fn post(
    api: &FakeApi,
    request: &Request,
    place: Place,
) -> Result<Answer, StatusError> {
    if place.resource.storage != "pods" {
        return Err(StatusError::method_not_allowed());
    }
    match place.subresource.as_str() {
        "binding" => bind(&Write::new(api, request, place, "CreateOptions")?, request),
        "eviction" => {
            let write = Write::new(api, request, place, "CreateOptions")?;
            evict(&write, request).await
        }
        _ => Err(StatusError::method_not_allowed()),
    }
}

fn bind(write: &Write<'_>, request: &Request) -> Result<Answer, StatusError> {
    let binding = body(request)?;
    let node = binding
        .at("/target/name")
        .and_then(Value::as_str)
        .filter(|node| !node.is_empty())
        .ok_or_else(|| StatusError::bad_request("target.name: Required value"))?;
    let resource = &write.place.resource;
    let name = &write.place.name;
    let now = write.api.now();
    write.api.publish(|state| {
        let current = state
            .stores
            .get("pods")
            .and_then(|store| store.get(&write.place.namespace, name))
            .cloned();
        let Some(current) = current else {
            return (Err(StatusError::not_found(resource, name)), None);
        };
        let refuse = |detail: String| Err(StatusError::conflict(resource, name, &detail));
        if is_terminating(&current.value) {
            return (
                refuse(format!(
                    "pod {name} is being deleted, cannot be assigned to a host"
                )),
                None,
            );
        }
        let assigned = current
            .value
            .at("/spec/nodeName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !assigned.is_empty() {
            return (
                refuse(format!(
                    "pod {name} is already assigned to node {assigned:?}"
                )),
                None,
            );
        }
        let (_, change) = state.commit(Commit {
            caller: write.caller,
            verb: Verb::Create,
            subresource: "binding",
            key: write.key(name),
            after: Some(bound(&current, node, &now)),
        });
        (Ok(()), Some(change))
    })?;
    Ok(Answer::value(201, success()))
}

fn bound(current: &Stored, node: &str, now: &str) -> Value {
    let mut pod = Value::clone(&current.value);
    if let Some(Value::Object(spec)) = pod.get_mut("spec") {
        spec.insert("nodeName".to_owned(), Value::from(node));
    }
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    });
    if let Some(map) = pod.as_object_mut() {
        let status = map
            .entry("status")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(status) = status.as_object_mut() {
            let conditions = status
                .entry("conditions")
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Some(conditions) = conditions.as_array_mut() {
                conditions.retain(|condition| {
                    condition.get("type").and_then(Value::as_str) != Some("PodScheduled")
                });
                conditions.push(condition);
            }
        }
    }
    pod
}

fn success() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
}

/// A budget that covers the pod must allow it; then it is a deletion.
async fn evict(write: &Write<'_>, request: &Request) -> Result<Answer, StatusError> {
    let eviction = body(request)?;
    let pod = write.current()?;
    let condition = |kind: &str| {
        pod.value
            .at("/status/conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|condition| {
                condition.get("type").and_then(Value::as_str) == Some(kind)
                    && condition.get("status").and_then(Value::as_str) == Some("True")
            })
    };
    let phase = pod
        .value
        .at("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let free = matches!(phase, "Pending" | "Succeeded" | "Failed") || is_terminating(&pod.value);
    if !free {
        let budgets = budgets(write, &pod.value)?;
        if budgets.len() > 1 {
            return Err(StatusError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        if let Some(budget) = budgets.first() {
            take_from(write, budget, condition("Ready")).await?;
        }
    }
    let options = eviction.get("deleteOptions").cloned();
    let mut place = write.place.clone();
    place.subresource = String::new();
    let call = Request {
        method: http::Method::DELETE,
        body: options,
        ..request.clone()
    };
    delete::one(write.api, &call, place).await?;
    Ok(Answer::value(201, success()))
}

fn budgets(write: &Write<'_>, pod: &Value) -> Result<Vec<Arc<Value>>, StatusError> {
    let labels = pod.at("/metadata/labels");
    let mut found = Vec::new();
    for budget in write
        .api
        .list("poddisruptionbudgets", Some(&write.place.namespace))
    {
        let selects = match budget.at("/spec/selector") {
            Some(selector) => LabelSelector::from_object(selector)?.matches(labels),
            None => false,
        };
        if selects {
            found.push(budget);
        }
    }
    Ok(found)
}

/// One disruption fewer is allowed, or none is and the eviction is refused (429).
async fn take_from(write: &Write<'_>, budget: &Value, ready: bool) -> Result<(), StatusError> {
    let number = |pointer: &str| {
        budget
            .at(pointer)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    let name = metadata_text(budget, "name");
    if !ready {
        let always = budget
            .at("/spec/unhealthyPodEvictionPolicy")
            .and_then(Value::as_str)
            == Some("AlwaysAllow");
        let healthy = number("/status/currentHealthy") >= number("/status/desiredHealthy")
            && number("/status/desiredHealthy") > 0;
        if always || healthy {
            return Ok(());
        }
    }
    let refuse = |cause: String| {
        Err(StatusError::new(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        )
        .with_details(json!({ "causes": [{ "reason": "DisruptionBudget", "message": cause }] })))
    };
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return refuse(format!(
            "The disruption budget {name} is still being processed by the server."
        ));
    }
    let allowed = number("/status/disruptionsAllowed");
    if allowed <= 0 {
        return refuse(format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("/status/desiredHealthy"),
            number("/status/currentHealthy")
        ));
    }
    let key = Key::new("poddisruptionbudgets", &write.place.namespace, name);
    let mut disrupted = Map::new();
    disrupted.insert(write.place.name.clone(), Value::from(write.api.now()));
    let patch = json!({
        "metadata": { "resourceVersion": metadata_text(budget, "resourceVersion") },
        "status": { "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted },
    });
    let reply = Box::pin(write.api.call(
        &crate::Caller::new("system:apiserver", "kube-apiserver/v1.34"),
        Call::patch(
            format!(
                "/apis/policy/v1/namespaces/{}/{}/{}/status",
                key.namespace, key.resource, key.name
            ),
            "application/merge-patch+json",
            patch,
        ),
    ))
    .await;
    if reply.is_success() {
        return Ok(());
    }
    refuse(format!(
        "The disruption budget {name} is still being processed by the server."
    ))
}
