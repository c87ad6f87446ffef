//! Metadata of every object: names, labels, annotations, owners, finalizers.
//!
//! What an update may not touch because the server sets it itself (uid, creationTimestamp, generation)
//! belongs to the core. Order and texts: `ValidateObjectMeta` and `ValidateObjectMetaUpdate` of
//! k8s.io/apimachinery.

use serde_json::{Map, Value};

use super::field::{Causes, Path};
use super::names;
use crate::resource::ResourceType;

/// All keys and values of annotations together, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

fn text<'v>(map: &'v Value, name: &str) -> &'v str {
    map.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(map: &'v Value, name: &str) -> &'v [Value] {
    map.get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Which syntax a kind's names have.
fn name_errors(resource: &ResourceType, name: &str) -> Vec<String> {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => names::label(name),
        ("", "services") => names::label_1035(name),
        ("rbac.authorization.k8s.io", _) => path_segment(name),
        _ => names::subdomain(name),
    }
}

fn path_segment(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .into_iter()
        .filter(|part| name.contains(part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// Metadata of a new object: names have the syntax of their kind.
pub(super) fn check(resource: &ResourceType, metadata: &Value, causes: &mut Causes) {
    with_names(
        resource,
        metadata,
        &|name| name_errors(resource, name),
        causes,
    );
}

/// Metadata of any object: names only have to fit into a path.
pub(super) fn check_common(resource: &ResourceType, metadata: &Value, causes: &mut Causes) {
    with_names(resource, metadata, &path_segment, causes);
}

fn with_names(
    resource: &ResourceType,
    metadata: &Value,
    name_errors: &dyn Fn(&str) -> Vec<String>,
    causes: &mut Causes,
) {
    let root = Path::Root;
    let path = root.child("metadata");
    let (name, generate) = (text(metadata, "name"), text(metadata, "generateName"));
    if !generate.is_empty() {
        // Masked as the server masks it: five letters follow.
        let stem = generate.strip_suffix('-').map(|stem| format!("{stem}a"));
        for detail in name_errors(stem.as_deref().unwrap_or(generate)) {
            causes.invalid(path.child("generateName"), &Value::from(generate), &detail);
        }
    }
    if name.is_empty() {
        causes.required(path.child("name"), "name or generateName is required");
    } else {
        for detail in name_errors(name) {
            causes.invalid(path.child("name"), &Value::from(name), &detail);
        }
    }
    if resource.namespaced {
        let namespace = text(metadata, "namespace");
        if namespace.is_empty() {
            causes.required(path.child("namespace"), "");
        } else {
            for detail in names::label(namespace) {
                causes.invalid(path.child("namespace"), &Value::from(namespace), &detail);
            }
        }
    } else if metadata.get("namespace").is_some() {
        causes.forbidden(path.child("namespace"), "not allowed on this type");
    }
    contents(metadata, &path, causes);
    for finalizer in list(metadata, "finalizers") {
        let key = finalizer.as_str().unwrap_or_default();
        for detail in names::qualified(key) {
            causes.invalid(path.child("finalizers"), finalizer, &detail);
        }
    }
}

fn contents(metadata: &Value, path: &Path<'_>, causes: &mut Causes) {
    labels(metadata.get("labels"), &path.child("labels"), causes);
    annotations(
        metadata.get("annotations"),
        &path.child("annotations"),
        causes,
    );
    owners(metadata, path, causes);
}

/// Labels, of an object or a template.
pub(super) fn labels(labels: Option<&Value>, path: &Path<'_>, causes: &mut Causes) {
    let empty = Map::new();
    for (key, value) in labels.and_then(Value::as_object).unwrap_or(&empty) {
        for detail in names::qualified(key) {
            causes.invalid(path, &Value::from(key.as_str()), &detail);
        }
        for detail in names::label_value(value.as_str().unwrap_or_default()) {
            causes.invalid(path, value, &detail);
        }
    }
}

/// Annotations, of an object or a template.
pub(super) fn annotations(annotations: Option<&Value>, path: &Path<'_>, causes: &mut Causes) {
    let empty = Map::new();
    let mut total = 0;
    for (key, value) in annotations.and_then(Value::as_object).unwrap_or(&empty) {
        for detail in names::qualified(&key.to_ascii_lowercase()) {
            causes.invalid(path, &Value::from(key.as_str()), &detail);
        }
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > ANNOTATIONS_LIMIT {
        causes.too_long(path, u64::try_from(ANNOTATIONS_LIMIT).unwrap_or(u64::MAX));
    }
}

fn owners(metadata: &Value, path: &Path<'_>, causes: &mut Causes) {
    let path = path.child("ownerReferences");
    let owners = list(metadata, "ownerReferences");
    let mut controller: Option<&Value> = None;
    for owner in owners {
        let version = text(owner, "apiVersion");
        if version.rsplit('/').next().is_none_or(str::is_empty) {
            causes.invalid(
                path.child("apiVersion"),
                &Value::from(version),
                "version must not be empty",
            );
        }
        for field in ["kind", "name", "uid"] {
            let value = text(owner, field);
            if value.is_empty() {
                causes.invalid(path.child(field), &Value::from(value), "must not be empty");
            }
        }
        if owner.get("controller").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        if let Some(first) = controller {
            let reference =
                |owner: &Value| format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            let detail = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                reference(first),
                reference(owner)
            );
            causes.invalid_printed(path, &printed(owners), &detail);
        } else {
            controller = Some(owner);
        }
    }
}

/// Owner references as the server's type prints them: in the order of its fields.
fn printed(owners: &[Value]) -> String {
    let fields = [
        "apiVersion",
        "kind",
        "name",
        "uid",
        "controller",
        "blockOwnerDeletion",
    ];
    let one = |owner: &Value| {
        let texts: Vec<String> = fields
            .iter()
            .filter_map(|field| Some(format!("\"{field}\":{}", owner.get(*field)?)))
            .collect();
        format!("{{{}}}", texts.join(","))
    };
    let all: Vec<String> = owners.iter().map(one).collect();
    format!("[{}]", all.join(","))
}

/// What an update may not do to metadata.
pub(super) fn check_update(new: &Value, old: &Value, causes: &mut Causes) {
    let root = Path::Root;
    let path = root.child("metadata");
    if old.get("deletionTimestamp").is_some() {
        let before = list(old, "finalizers");
        let added: Vec<&str> = list(new, "finalizers")
            .iter()
            .filter(|finalizer| !before.contains(finalizer))
            .filter_map(Value::as_str)
            .collect();
        if !added.is_empty() {
            let quoted: Vec<String> = added.iter().map(|name| super::field::quote(name)).collect();
            causes.forbidden(
                path.child("finalizers"),
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    quoted.join(", ")
                ),
            );
        }
    }
    for field in ["name", "namespace", "uid"] {
        if text(new, field) != text(old, field) {
            let value = Value::from(text(new, field));
            causes.invalid(path.child(field), &value, "field is immutable");
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (now, before) = (new.get(field), old.get(field));
        if now != before {
            let value = now.cloned().unwrap_or_default();
            causes.invalid(path.child(field), &value, "field is immutable");
        }
    }
    contents(new, &path, causes);
}

/// What the built-in kinds ask of finalizers besides: theirs are the only ones without a domain.
pub(super) fn finalizers(metadata: &Value, causes: &mut Causes) {
    let root = Path::Root;
    let path = root.child("metadata");
    let list_path = path.child("finalizers");
    for (place, finalizer) in list(metadata, "finalizers").iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        let standard = matches!(name, "kubernetes" | "orphan" | "foregroundDeletion");
        if !standard && !name.contains('/') {
            causes.invalid(
                list_path.index(place),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            );
        }
    }
}
