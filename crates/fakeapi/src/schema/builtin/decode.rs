//! What decoding into the server's own types does to built-in objects: nulls and empty `omitempty`
//! fields do not come back. Wrong types are refused in `schema::go`.
//!
//! Fields the types do not have are kept, unlike on the real server: the types are not known here.
//! Defaults are filled in elsewhere.

use serde_json::Value;

use crate::resource::ResourceType;

/// Maps from text to text: their keys are the user's, not fields.
const TEXT_MAPS: [&str; 8] = [
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "data",
    "binaryData",
    "stringData",
    "fieldsV1",
];

/// Maps that are left out when they have no entry.
const EMPTY_MAPS: [&str; 9] = [
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "data",
    "binaryData",
    "stringData",
    "limits",
    "requests",
];

/// Lists that are kept without elements.
const KEPT_LISTS: [&str; 4] = ["endpoints", "addresses", "rules", "containers"];

const FALSE: [&str; 8] = [
    "paused",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "stdin",
    "stdinOnce",
    "tty",
    "publishNotReadyAddresses",
];

const ZERO: [&str; 11] = [
    "minReadySeconds",
    "nodePort",
    "hostPort",
    "initialDelaySeconds",
    "observedGeneration",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
    "fullyLabeledReplicas",
    "terminatingReplicas",
];

const EMPTY_TEXTS: [&str; 15] = [
    "note",
    "nodeName",
    "hostname",
    "subdomain",
    "serviceAccountName",
    "serviceAccount",
    "priorityClassName",
    "clusterIP",
    "loadBalancerIP",
    "externalName",
    "generateName",
    "workingDir",
    "subPath",
    "value",
    "appProtocol",
];

/// Drops what encoding leaves out.
pub(super) fn normalise(resource: &ResourceType, object: &mut Value) {
    // Raw content: a null in a schema's default or in a revision's data is meant.
    match resource.plural.as_str() {
        "controllerrevisions" | "customresourcedefinitions" => {
            super::super::shape::metadata(object);
        }
        _ => {
            let selector_is_text_map = resource.plural == "services";
            fields(object, selector_is_text_map);
            super::super::shape::metadata(object);
        }
    }
}

fn fields(value: &mut Value, selector_is_text_map: bool) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| !left_out(name, value));
            for (name, inner) in map.iter_mut() {
                let text_map = TEXT_MAPS.contains(&name.as_str())
                    || name == "selector" && selector_is_text_map;
                if !text_map {
                    fields(inner, selector_is_text_map);
                } else if matches!(name.as_str(), "labels" | "annotations") {
                    empty_texts(inner);
                }
            }
        }
        Value::Array(list) => {
            for inner in list {
                fields(inner, selector_is_text_map);
            }
        }
        _ => {}
    }
}

/// A null among texts is an empty one.
fn empty_texts(map: &mut Value) {
    for value in map
        .as_object_mut()
        .into_iter()
        .flat_map(serde_json::Map::values_mut)
    {
        if value.is_null() {
            *value = Value::from("");
        }
    }
}

fn left_out(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        // An empty list of managers says something.
        Value::Array(_) if name == "managedFields" => false,
        Value::Array(list) => list.is_empty() && !KEPT_LISTS.contains(&name),
        Value::Object(map) => map.is_empty() && EMPTY_MAPS.contains(&name),
        Value::Bool(false) => FALSE.contains(&name),
        Value::Number(number) => number.as_i64() == Some(0) && ZERO.contains(&name),
        Value::String(text) => text.is_empty() && EMPTY_TEXTS.contains(&name),
        Value::Bool(true) => false,
    }
}
