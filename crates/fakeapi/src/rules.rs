//! How each kind behaves when it is written, beyond its schema: what a write may touch, when the
//! generation moves, whether a PUT needs a resourceVersion. From the strategies in
//! `k8s.io/kubernetes/pkg/registry` (1.34) and apiextensions' for custom kinds.

use crate::At;
use serde_json::{Map, Value, json};

use crate::resource::ResourceType;

/// Whether a PUT without resourceVersion replaces whatever is there (`AllowUnconditionalUpdate`).
pub(crate) fn unconditional_update(resource: &ResourceType) -> bool {
    !resource.custom
        && !matches!(
            resource.group.as_str(),
            "admissionregistration.k8s.io"
                | "apiextensions.k8s.io"
                | "coordination.k8s.io"
                | "policy"
        )
}

/// Whether a PUT to a name that is not there creates (`AllowCreateOnUpdate`).
pub(crate) fn create_on_update(resource: &ResourceType) -> bool {
    matches!(
        resource.group.as_str(),
        "coordination.k8s.io" | "rbac.authorization.k8s.io" | "events.k8s.io"
    ) || resource.storage == "events.core"
        || resource.group.is_empty() && resource.plural == "services"
}

/// Whether a deletion waits for somebody else to end the object (`CheckGracefulDelete`): pods.
pub(crate) fn is_graceful(resource: &ResourceType) -> bool {
    resource.group.is_empty() && resource.plural == "pods"
}

/// Whether a finished deletion answers with the object and not with a Status.
pub(crate) fn returns_deleted(resource: &ResourceType) -> bool {
    resource.group.is_empty()
        && matches!(
            resource.plural.as_str(),
            "pods" | "services" | "serviceaccounts"
        )
}

/// The top fields whose change moves the generation; annotations too for some.
fn counted(resource: &ResourceType) -> Option<&'static [&'static str]> {
    if resource.custom {
        return None;
    }
    Some(match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments" | "replicasets")
        | ("", "pods")
        | ("policy" | "networking.k8s.io" | "apiextensions.k8s.io", _)
        | (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicies" | "validatingadmissionpolicybindings",
        ) => &["spec"],
        ("admissionregistration.k8s.io", _) => &["webhooks"],
        ("discovery.k8s.io", _) => &["endpoints", "ports", "addressType"],
        _ => &[],
    })
}

fn has_generation(resource: &ResourceType) -> bool {
    counted(resource).is_none_or(|fields| !fields.is_empty())
}

/// Before an object is created: the generation begins, and the status is the server's or nobody's.
pub(crate) fn prepare_create(resource: &ResourceType, object: &mut Value, now: &str) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    if resource.status {
        map.remove("status");
        if let Some(status) = first_status(resource, map, now) {
            map.insert("status".to_owned(), status);
        }
    }
    if resource.group.is_empty() && resource.plural == "namespaces" {
        prepare_namespace(map);
    }
    if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
        // A kind without generation keeps what it was sent.
        if has_generation(resource) {
            metadata.insert("generation".to_owned(), Value::from(1));
        }
    }
}

fn first_status(resource: &ResourceType, object: &Map<String, Value>, now: &str) -> Option<Value> {
    Some(match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments") | ("", "nodes") | ("admissionregistration.k8s.io", _) => json!({}),
        ("apps", "replicasets") => json!({ "replicas": 0 }),
        ("", "pods") => {
            let spec = object.get("spec").unwrap_or(&Value::Null);
            json!({ "phase": "Pending", "qosClass": quality(spec) })
        }
        ("", "services") => json!({ "loadBalancer": {} }),
        ("networking.k8s.io", _) => json!({ "loadBalancer": {} }),
        ("", "namespaces") => json!({ "phase": "Active" }),
        ("autoscaling", _) => json!({ "desiredReplicas": 0, "currentMetrics": null }),
        ("policy", _) => {
            json!({ "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 })
        }
        ("apiextensions.k8s.io", _) => definition_status(object, now),
        _ => return None,
    })
}

/// What the server's own controllers find of a new definition; here at once, there within a second.
fn definition_status(object: &Map<String, Value>, now: &str) -> Value {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let condition = |kind: &str, reason: &str, message: &str| json!({ "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now });
    let stored: Vec<&Value> = spec
        .get("versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|version| version.get("storage").and_then(Value::as_bool) == Some(true))
        .filter_map(|version| version.get("name"))
        .collect();
    json!({
        "acceptedNames": spec.get("names").cloned().unwrap_or_default(),
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": stored,
    })
}

fn prepare_namespace(object: &mut Map<String, Value>) {
    let name = object
        .get("metadata")
        .and_then(|metadata| metadata.get("name"))
        .cloned()
        .unwrap_or_default();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        let labels = metadata
            .entry("labels")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".to_owned(), name);
        }
    }
    let spec = object
        .entry("spec")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("finalizers".to_owned(), json!(["kubernetes"]));
    }
}

/// The quality of service class of a pod, by requests and limits of cpu and memory.
fn quality(spec: &Value) -> &'static str {
    let containers = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| {
            spec.get(list)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        });
    let mut any = false;
    let mut all = true;
    for container in containers {
        let amount = |kind: &str, name: &str| {
            container
                .get("resources")
                .and_then(|resources| resources.get(kind)?.get(name))
        };
        for name in ["cpu", "memory"] {
            let (request, limit) = (amount("requests", name), amount("limits", name));
            any |= request.is_some() || limit.is_some();
            all &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, all) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}

/// Fields that a write of `/status` of a custom kind changes, or may state.
fn is_of_status(field: &str) -> bool {
    matches!(field, "status" | "apiVersion")
}

/// Fields of the metadata that belong to the write itself.
fn is_of_writing(field: &str) -> bool {
    matches!(field, "managedFields" | "resourceVersion")
}

/// Makes a field what it was. Most often it is: comparing is cheaper than copying.
pub(crate) fn put_back(map: &mut Map<String, Value>, field: &str, before: Option<&Value>) {
    match before {
        Some(value) if map.get(field) == Some(value) => {}
        Some(value) => {
            map.insert(field.to_owned(), value.clone());
        }
        None => {
            map.remove(field);
        }
    }
}

/// Puts back what a write to this endpoint may not touch.
pub(crate) fn confine(resource: &ResourceType, subresource: &str, new: &mut Value, old: &Value) {
    let keep = |new: &mut Value, field: &str| {
        if let Some(map) = new.as_object_mut() {
            put_back(map, field, old.get(field));
        }
    };
    match subresource {
        "status" if resource.custom || resource.group == "apiextensions.k8s.io" => {
            let (Some(map), Some(before)) = (new.as_object_mut(), old.as_object()) else {
                return;
            };
            map.retain(|field, _| is_of_status(field) || before.contains_key(field));
            for (field, value) in before {
                match (field.as_str(), map.get_mut(field)) {
                    (field, _) if is_of_status(field) => {}
                    ("metadata", Some(Value::Object(metadata))) => {
                        let empty = Map::new();
                        let before = value.as_object().unwrap_or(&empty);
                        metadata
                            .retain(|field, _| is_of_writing(field) || before.contains_key(field));
                        for (field, value) in before {
                            if !is_of_writing(field) {
                                put_back(metadata, field, Some(value));
                            }
                        }
                    }
                    (field, _) => put_back(map, field, Some(value)),
                }
            }
        }
        "status" => {
            keep(new, "spec");
            let kept: &[&str] = match resource.plural.as_str() {
                "deployments" => &["labels"],
                "pods" => &["ownerReferences", "deletionTimestamp"],
                _ => &[],
            };
            for field in kept {
                let value = old.get("metadata").and_then(|metadata| metadata.get(field));
                if let Some(Value::Object(metadata)) = new.get_mut("metadata") {
                    put_back(metadata, field, value);
                }
            }
        }
        "finalize" => keep(new, "status"),
        _ if resource.status => {
            keep(new, "status");
            if resource.group.is_empty() && resource.plural == "namespaces" {
                let finalizers = old.at("/spec/finalizers").cloned();
                if let (Some(Value::Object(spec)), Some(finalizers)) =
                    (new.get_mut("spec"), finalizers)
                {
                    spec.insert("finalizers".to_owned(), finalizers);
                }
            }
        }
        _ => {}
    }
}

/// What an update can never change is as before (`rest.BeforeUpdate`), and the generation moves when
/// what it counts has changed.
pub(crate) fn prepare_update(
    resource: &ResourceType,
    subresource: &str,
    new: &mut Value,
    old: &Value,
) {
    let old_metadata = old.get("metadata").unwrap_or(&Value::Null);
    let moved =
        subresource != "status" && has_generation(resource) && has_moved(resource, new, old);
    let Some(Value::Object(metadata)) = new.get_mut("metadata") else {
        return;
    };
    for field in ["creationTimestamp", "generation"] {
        match old_metadata.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if let Some(value) = old_metadata.get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    if let (None | Some(Value::Null), Some(uid)) = (metadata.get("uid"), old_metadata.get("uid")) {
        metadata.insert("uid".to_owned(), uid.clone());
    }
    metadata.remove("selfLink");
    if moved {
        let next = old_metadata
            .get("generation")
            .and_then(Value::as_i64)
            .unwrap_or_default()
            + 1;
        metadata.insert("generation".to_owned(), Value::from(next));
    }
}

fn has_moved(resource: &ResourceType, new: &Value, old: &Value) -> bool {
    let Some(fields) = counted(resource) else {
        // A custom kind: anything but metadata, and but status where that is an endpoint of its own.
        let counts = |name: &str| {
            let status = resource.status && name == "status";
            !status && !matches!(name, "metadata" | "apiVersion" | "kind")
        };
        let empty = Map::new();
        let new = new.as_object().unwrap_or(&empty);
        let old = old.as_object().unwrap_or(&empty);
        return new
            .iter()
            .any(|(name, value)| counts(name) && old.get(name) != Some(value))
            || old
                .keys()
                .any(|name| counts(name) && !new.contains_key(name));
    };
    let value = |object: &Value, field: &str| {
        object
            .get(field)
            .filter(|value| value.as_array().is_none_or(|list| !list.is_empty()))
            .filter(|value| !value.is_null())
            .cloned()
    };
    if fields
        .iter()
        .any(|field| value(new, field) != value(old, field))
    {
        return true;
    }
    if resource.group == "discovery.k8s.io" {
        return new.at("/metadata/labels") != old.at("/metadata/labels");
    }
    // The Deployment controller must notice annotations, so they count there.
    let annotations = |object: &Value| -> Option<Value> {
        object
            .get("metadata")?
            .get("annotations")
            .filter(|annotations| annotations.as_object().is_some_and(|map| !map.is_empty()))
            .cloned()
    };
    resource.group == "apps"
        && resource.plural == "deployments"
        && annotations(new) != annotations(old)
}

/// What the server warns of when a write has passed: names that make bad host names, finalizers of nobody.
pub(crate) fn warn(
    resource: &ResourceType,
    new: &Value,
    old: Option<&Value>,
    mut say: impl FnMut(String),
) {
    let metadata = |object: &Value, field: &str| {
        object
            .get("metadata")
            .and_then(|metadata| metadata.get(field))
            .cloned()
            .unwrap_or_default()
    };
    let names_pods = matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        ("apps", "deployments" | "replicasets") | ("", "pods")
    );
    if names_pods
        && old.is_none()
        && metadata(new, "name")
            .as_str()
            .is_some_and(|name| name.contains('.'))
    {
        let used = if resource.plural == "pods" {
            "the Pod's hostname"
        } else {
            "Pod names and hostnames"
        };
        say(format!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
        ));
    }
    let grace = new.at("/spec/template/spec/terminationGracePeriodSeconds");
    if resource.group == "apps"
        && grace
            .and_then(Value::as_i64)
            .is_some_and(|seconds| seconds < 0)
    {
        say("spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1".to_owned());
    }
    if !resource.custom {
        return;
    }
    let before = old
        .map(|old| metadata(old, "finalizers"))
        .unwrap_or_default();
    for finalizer in metadata(new, "finalizers").as_array().into_iter().flatten() {
        let known = before
            .as_array()
            .is_some_and(|before| before.contains(finalizer));
        let name = finalizer.as_str().unwrap_or_default();
        if !known
            && !name.contains('/')
            && !matches!(name, "orphan" | "foregroundDeletion" | "kubernetes")
        {
            say(format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
}
