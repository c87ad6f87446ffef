//! What decoding into the server's own types does to built-in objects: wrong types are refused,
//! nulls and empty `omitempty` fields do not come back.
//!
//! Fields the types do not have are kept, unlike on the real server: the types are not known here.
//! Defaults are filled in elsewhere.

use serde_json::Value;

use crate::error::StatusError;
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

const EMPTY_TEXTS: [&str; 14] = [
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

fn left_out(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty() && !KEPT_LISTS.contains(&name),
        Value::Object(map) => map.is_empty() && EMPTY_MAPS.contains(&name),
        Value::Bool(false) => FALSE.contains(&name),
        Value::Number(number) => number.as_i64() == Some(0) && ZERO.contains(&name),
        Value::String(text) => text.is_empty() && EMPTY_TEXTS.contains(&name),
        Value::Bool(true) => false,
    }
}

/// Refuses values whose type the server's types do not have, in the fields people get wrong.
pub(super) fn check(resource: &ResourceType, object: &Value) -> Result<(), StatusError> {
    let refuse = |found: &str, field: &str, wanted: &str| {
        let (kind, version) = (&resource.kind, &resource.version);
        Err(StatusError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: json: cannot unmarshal {found} into Go struct field {field} of type {wanted}"
        )))
    };
    for (pointer, owner) in [
        ("/metadata/labels", "ObjectMeta"),
        ("/metadata/annotations", "ObjectMeta"),
        ("/spec/template/metadata/labels", "ObjectMeta"),
        ("/spec/template/metadata/annotations", "ObjectMeta"),
        ("/spec/selector/matchLabels", "LabelSelector"),
    ] {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        match object.pointer(pointer) {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => {
                let wrong = map
                    .values()
                    .find(|value| !value.is_string() && !value.is_null());
                if let Some(value) = wrong {
                    return refuse(go_kind(value), &format!("{owner}.{path}"), "string");
                }
            }
            Some(other) => {
                let field = format!("{owner}.{path}");
                return refuse(go_kind(other), &field, "map[string]string");
            }
        }
    }
    let scalars: &[(&str, &str)] = match resource.plural.as_str() {
        "deployments" | "replicasets" => &[
            ("replicas", "int32"),
            ("paused", "bool"),
            ("minReadySeconds", "int32"),
            ("revisionHistoryLimit", "int32"),
            ("progressDeadlineSeconds", "int32"),
        ],
        _ => &[],
    };
    for (field, wanted) in scalars {
        let Some(value) = object.get("spec").and_then(|spec| spec.get(*field)) else {
            continue;
        };
        let right = value.is_null()
            || match *wanted {
                "bool" => value.is_boolean(),
                _ => value
                    .as_i64()
                    .is_some_and(|number| i32::try_from(number).is_ok()),
            };
        if !right {
            let found = match value {
                Value::Number(number) => format!("number {number}"),
                other => go_kind(other).to_owned(),
            };
            let owner = format!("{}Spec.spec.{field}", resource.kind);
            return refuse(&found, &owner, wanted);
        }
    }
    Ok(())
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
