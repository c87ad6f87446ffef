//! What of an object is kept in memory. Pure. Templates and whatever a patch is made from stay
//! byte-true; what nobody reads is dropped before it is stored.

use crossfade_api::annotations::STRATEGY;
use serde_json::{Map, Value, json};

/// Everything but managedFields.
#[must_use]
pub fn without_managed_fields(mut object: Value) -> Option<Value> {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    Some(object)
}

/// Everything, managedFields too: they are put back after our writes.
#[must_use]
pub fn whole(object: Value) -> Option<Value> {
    Some(object)
}

/// Of a Deployment's metadata: who it is, its generation and our annotations, if it is opted in.
#[must_use]
pub fn opted_in(object: Value) -> Option<Value> {
    let meta = object.get("metadata")?;
    let annotations = meta.get("annotations").and_then(Value::as_object)?;
    annotations.get(STRATEGY)?;
    let ours: Map<String, Value> = annotations
        .iter()
        .filter(|(name, _)| name.starts_with("crossfade.dev/"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut kept = copy(
        meta,
        &[
            "namespace",
            "name",
            "uid",
            "generation",
            "resourceVersion",
            "deletionTimestamp",
        ],
    );
    kept.insert("annotations".to_owned(), Value::Object(ours));
    Some(json!({ "metadata": kept }))
}

/// Of a pod: identity, labels, owners, scrape annotations, names of containers and their states.
#[must_use]
pub fn pod(object: Value) -> Option<Value> {
    let meta = object.get("metadata")?;
    let mut kept = copy(
        meta,
        &[
            "namespace",
            "name",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "deletionTimestamp",
            "labels",
            "ownerReferences",
        ],
    );
    if let Some(annotations) = meta.get("annotations").and_then(Value::as_object) {
        let scrape: Map<String, Value> = annotations
            .iter()
            .filter(|(name, _)| name.starts_with("prometheus.io/"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        kept.insert("annotations".to_owned(), Value::Object(scrape));
    }
    let containers: Vec<Value> = object
        .pointer("/spec/containers")
        .and_then(Value::as_array)
        .map(|list| {
            list.iter()
                .map(|container| Value::Object(copy(container, &["name"])))
                .collect()
        })
        .unwrap_or_default();
    let status = object.get("status").map(|status| {
        copy(
            status,
            &[
                "phase",
                "conditions",
                "containerStatuses",
                "initContainerStatuses",
                "podIP",
                "reason",
                "message",
            ],
        )
    });
    Some(
        json!({ "metadata": kept, "spec": { "containers": containers }, "status": status.unwrap_or_default() }),
    )
}

/// Of an EndpointSlice: whose it is, and of each endpoint its pod and conditions.
#[must_use]
pub fn slice(object: Value) -> Option<Value> {
    let meta = copy(
        object.get("metadata")?,
        &["namespace", "name", "uid", "resourceVersion", "labels"],
    );
    let endpoints: Vec<Value> = object
        .get("endpoints")
        .and_then(Value::as_array)
        .map(|list| {
            list.iter()
                .map(|endpoint| Value::Object(copy(endpoint, &["conditions", "targetRef"])))
                .collect()
        })
        .unwrap_or_default();
    Some(json!({ "metadata": meta, "endpoints": endpoints }))
}

fn copy(object: &Value, names: &[&str]) -> Map<String, Value> {
    names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), object.get(*name)?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_opted_in_holds_nothing() {
        assert_eq!(
            opted_in(json!({"metadata": {"name": "web", "annotations": {"a": "b"}}})),
            None
        );
        assert_eq!(opted_in(json!({"metadata": {"name": "web"}})), None);
        let kept = opted_in(json!({"metadata": {
            "namespace": "n", "name": "web", "uid": "u", "generation": 3, "resourceVersion": "9", "labels": {"x": "y"},
            "annotations": {"crossfade.dev/strategy": "canary", "kubectl.kubernetes.io/last-applied-configuration": "long"},
        }}))
        .unwrap();
        assert_eq!(
            kept["metadata"]["annotations"],
            json!({"crossfade.dev/strategy": "canary"})
        );
        assert!(kept["metadata"].get("labels").is_none());
    }

    #[test]
    fn a_pod_keeps_what_the_planner_reads() {
        let kept = pod(json!({
            "metadata": {"name": "p", "uid": "u", "annotations": {"prometheus.io/port": "8080", "other": "x"}, "managedFields": []},
            "spec": {"containers": [{"name": "app", "env": [{"name": "SECRET", "value": "x"}]}], "volumes": []},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.1.1.1"},
        }))
        .unwrap();
        assert_eq!(kept["spec"], json!({"containers": [{"name": "app"}]}));
        assert_eq!(
            kept["metadata"]["annotations"],
            json!({"prometheus.io/port": "8080"})
        );
        assert_eq!(
            kept["status"],
            json!({"phase": "Running", "podIP": "10.0.0.1"})
        );
    }
}
