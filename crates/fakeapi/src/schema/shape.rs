//! The form of custom objects: unknown fields pruned, nulls dropped, defaults filled in.
//!
//! Whether values are right does not belong here. Source of the rules: "Field pruning" and
//! "Defaulting" in the documentation of CustomResourceDefinitions.

use serde_json::{Map, Value};

use super::structural::Node;

/// Fields of an object's metadata; others are dropped.
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// Drops unknown and null fields of metadata, and maps and lists without entries.
pub(super) fn metadata(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, value| {
            let empty = match value {
                Value::Null => true,
                Value::Object(map) => map.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => false,
            };
            // An empty list of managers means something to a write.
            let empty = empty && !(name == "managedFields" && value.is_array());
            !empty && METADATA.contains(&name.as_str())
        });
    }
}

fn is_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

/// Drops what the schema does not know, below `value`. `whole`: the value is an object of its own.
pub(super) fn prune(value: &mut Value, node: &Node, whole: bool) {
    match value {
        Value::Object(map) => {
            if !(node.preserve_unknown || node.any_additional || node.additional.is_some()) {
                map.retain(|name, _| node.properties.contains_key(name) || whole && is_meta(name));
            }
            for (name, inner) in map.iter_mut() {
                if whole && is_meta(name) {
                    continue;
                }
                match (node.properties.get(name), &node.additional) {
                    (Some(below), _) => prune(inner, below, below.embedded),
                    (None, Some(below)) => prune(inner, below, below.embedded),
                    (None, None) => {}
                }
            }
        }
        Value::Array(list) => {
            if let Some(below) = &node.items {
                for inner in list {
                    prune(inner, below, below.embedded);
                }
            }
        }
        _ => {}
    }
}

/// Drops nulls that are not allowed and fills in defaults, below `value`.
pub(super) fn defaults(value: &mut Value, node: &Node, whole: bool) {
    match value {
        Value::Object(map) => {
            drop_nulls(map, node, whole);
            for (name, below) in &node.properties {
                if whole && is_meta(name) {
                    continue;
                }
                if let Some(default) = &below.default {
                    let wanting = |value: &Value| value.is_null() && !below.nullable;
                    if map.get(name).is_none_or(wanting) {
                        map.insert(name.clone(), default.clone());
                    }
                }
            }
            for (name, inner) in map.iter_mut() {
                if whole && is_meta(name) {
                    continue;
                }
                if let Some(below) = node.properties.get(name) {
                    defaults(inner, below, below.embedded);
                } else if let Some(below) = &node.additional {
                    if let (Value::Null, false, Some(default)) =
                        (&*inner, below.nullable, &below.default)
                    {
                        *inner = default.clone();
                    }
                    defaults(inner, below, below.embedded);
                }
            }
        }
        Value::Array(list) => {
            if let Some(below) = &node.items {
                for inner in list {
                    if let (Value::Null, false, Some(default)) =
                        (&*inner, below.nullable, &below.default)
                    {
                        *inner = default.clone();
                    }
                    defaults(inner, below, below.embedded);
                }
            }
        }
        _ => {}
    }
}

fn drop_nulls(map: &mut Map<String, Value>, node: &Node, whole: bool) {
    map.retain(|name, value| {
        if !value.is_null() || whole && is_meta(name) {
            return true;
        }
        let below = node.properties.get(name).or(node.additional.as_deref());
        below.is_none_or(|below| below.nullable || below.default.is_some())
    });
}
