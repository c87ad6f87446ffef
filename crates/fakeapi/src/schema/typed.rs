//! The types of server-side apply: what an applied configuration may not be before anything is done
//! with it. Texts: structured-merge-diff's `typed`. Values are validated elsewhere, later.

use crate::At;
use serde_json::Value;

use super::go::{self, Wanted};
use crate::error::StatusError;
use crate::resource::ResourceType;

/// Fields of a Deployment's spec.
const DEPLOYMENT: [&str; 8] = [
    "replicas",
    "selector",
    "template",
    "strategy",
    "minReadySeconds",
    "revisionHistoryLimit",
    "paused",
    "progressDeadlineSeconds",
];

/// Of a condition.
const DEPLOYMENTS_TIME: &str = "lastUpdateTime";

/// `schema`: of a custom kind.
pub(super) fn check(
    resource: &ResourceType,
    version: &str,
    schema: Option<&Value>,
    config: &Value,
) -> Result<(), StatusError> {
    let mut wrong = Vec::new();
    match schema {
        Some(schema) => {
            let known = schema.get("properties").unwrap_or(&Value::Null);
            for (name, value) in config.as_object().into_iter().flatten() {
                match known.get(name) {
                    _ if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") => {}
                    Some(schema) => inside(value, schema, &format!(".{name}"), &mut wrong),
                    None => wrong.push(format!(".{name}: field not declared in schema")),
                }
            }
        }
        None => {
            if resource.plural == "deployments" {
                for name in config
                    .get("spec")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flat_map(|spec| spec.keys())
                {
                    if !DEPLOYMENT.contains(&name.as_str()) {
                        wrong.push(format!(".spec.{name}: field not declared in schema"));
                    }
                }
            }
            for index in strange_times(resource, config) {
                let kind = config
                    .at(&format!("/status/conditions/{index}/type"))
                    .cloned()
                    .unwrap_or_default();
                wrong.push(format!(
                    ".status.conditions[type={kind}].{DEPLOYMENTS_TIME}: field not declared in schema"
                ));
            }
        }
    }
    for (pointer, _, wanted) in go::fields(resource) {
        if let Some(value) = config.at(pointer) {
            field(value, &pointer.replace('/', "."), wanted, &mut wrong);
        }
    }
    let owners = config.at("/metadata/ownerReferences");
    keyed(owners, &["uid"], ".metadata.ownerReferences", &mut wrong);
    set(
        config.at("/metadata/finalizers"),
        ".metadata.finalizers",
        &mut wrong,
    );
    if schema.is_none() {
        built_in_lists(config, &mut wrong);
    }
    let place = place_of(resource, version, config);
    if !wrong.is_empty() {
        let listed = match wrong.as_slice() {
            [one] => one.clone(),
            several => format!("errors:\n  {}", several.join("\n  ")),
        };
        return Err(StatusError::new(
            500,
            "",
            format!("failed to create typed patch object {place}: {listed}"),
        ));
    }
    Ok(())
}

/// Whether the server's own types take an applied configuration: looked at after conflicts.
///
/// # Errors
///
/// 500 with the first thing they do not take.
pub(super) fn convertible(
    resource: &ResourceType,
    version: &str,
    config: &Value,
) -> Result<(), StatusError> {
    let place = place_of(resource, version, config);
    match go::wrong(resource, config) {
        Some(problem) if problem.starts_with("illegal base64") => Err(unconverted(
            resource,
            version,
            &place,
            &format!("error decoding from json: {problem}"),
        )),
        Some(problem) => Err(unconverted(resource, version, &place, &problem)),
        None => Ok(()),
    }
}

/// How these messages name an object.
fn place_of(resource: &ResourceType, version: &str, config: &Value) -> String {
    let text = |field: &str| super::text_of(config, field).to_owned();
    format!(
        "({}/{}; {}/{version}, Kind={})",
        text("namespace"),
        text("name"),
        resource.group,
        resource.kind
    )
}

fn unconverted(resource: &ResourceType, version: &str, place: &str, problem: &str) -> StatusError {
    let group = &resource.group;
    let kind = &resource.kind;
    StatusError::new(
        500,
        "",
        format!(
            "failed to convert new object {place} to proper version: unable to convert unstructured object to {group}/{version}, Kind={kind}: {problem}"
        ),
    )
}

/// Fields of a custom object, or of a Deployment's spec, that its schema does not know.
pub(super) fn unknown(
    resource: &ResourceType,
    schema: Option<&Value>,
    object: &Value,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(schema) = schema {
        let known = schema.get("properties").unwrap_or(&Value::Null);
        for (name, value) in object.as_object().into_iter().flatten() {
            match known.get(name) {
                _ if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") => {}
                Some(schema) => strange(value, schema, name, &mut wrong),
                None => wrong.push(name.clone()),
            }
        }
    } else if resource.plural == "deployments" && resource.group == "apps" {
        wrong = object
            .get("spec")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|spec| spec.keys())
            .filter(|name| !DEPLOYMENT.contains(&name.as_str()))
            .map(|name| format!("spec.{name}"))
            .collect();
    }
    wrong.extend(
        strange_times(resource, object)
            .into_iter()
            .map(|index| format!("status.conditions[{index}].{DEPLOYMENTS_TIME}")),
    );
    wrong
}

fn strange(value: &Value, schema: &Value, place: &str, wrong: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties");
            let additional = schema.get("additionalProperties");
            let open = schema.get("x-kubernetes-preserve-unknown-fields")
                == Some(&Value::Bool(true))
                || additional.is_some();
            for (name, inner) in map {
                let place = format!("{place}.{name}");
                match properties.and_then(|known| known.get(name)).or(additional) {
                    Some(below) => strange(inner, below, &place, wrong),
                    None if open => {}
                    None => wrong.push(place),
                }
            }
        }
        Value::Array(list) => {
            if let Some(below) = schema.get("items") {
                for (index, item) in list.iter().enumerate() {
                    strange(item, below, &format!("{place}[{index}]"), wrong);
                }
            }
        }
        _ => {}
    }
}

/// Where the conditions of a ReplicaSet carry the time that only a Deployment's have.
fn strange_times(resource: &ResourceType, object: &Value) -> Vec<usize> {
    if resource.plural != "replicasets" {
        return Vec::new();
    }
    object
        .at("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, condition)| condition.get(DEPLOYMENTS_TIME).is_some())
        .map(|(index, _)| index)
        .collect()
}

/// Drops them from a Deployment or a ReplicaSet.
pub(super) fn prune(resource: &ResourceType, object: &mut Value) {
    for index in strange_times(resource, object) {
        if let Some(Value::Object(condition)) =
            object.pointer_mut(&format!("/status/conditions/{index}"))
        {
            condition.remove(DEPLOYMENTS_TIME);
        }
    }
    if resource.plural == "deployments"
        && resource.group == "apps"
        && let Some(Value::Object(spec)) = object.get_mut("spec")
    {
        spec.retain(|name, _| DEPLOYMENT.contains(&name.as_str()));
    }
}

fn built_in_lists(config: &Value, wrong: &mut Vec<String>) {
    for (pointer, place) in [
        (
            "/spec/template/spec/containers",
            ".spec.template.spec.containers",
        ),
        ("/spec/containers", ".spec.containers"),
    ] {
        keyed(config.at(pointer), &["name"], place, wrong);
    }
    keyed(
        config.at("/status/conditions"),
        &["type"],
        ".status.conditions",
        wrong,
    );
}

fn field(value: &Value, place: &str, wanted: Wanted, wrong: &mut Vec<String>) {
    match wanted {
        Wanted::Text | Wanted::MicroTime => scalar(value, "string", place, wrong),
        Wanted::Flag => scalar(value, "boolean", place, wrong),
        Wanted::Whole | Wanted::WholeLong => scalar(value, "integer", place, wrong),
        Wanted::Texts | Wanted::Bytes => match value {
            Value::Object(map) => {
                for (name, value) in map {
                    scalar(value, "string", &format!("{place}.{name}"), wrong);
                }
            }
            Value::Null => {}
            other => wrong.push(format!("{place}: expected map, got {}", plainly(other))),
        },
    }
}

fn scalar(value: &Value, kind: &str, place: &str, wrong: &mut Vec<String>) {
    let right = match kind {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        _ => value.is_number(),
    };
    if right || value.is_null() {
        return;
    }
    wrong.push(match kind {
        "string" => format!("{place}: expected string, got {}", shown(value)),
        "boolean" => format!("{place}: expected boolean, got {}", plainly(value)),
        _ => format!(
            "{place}: expected numeric (int or float), got {}",
            go_type(value)
        ),
    });
}

/// A value as Go prints the wrapper of it.
fn shown(value: &Value) -> String {
    let inner = match value {
        Value::String(text) => super::field::quote(text),
        Value::Object(_) => go_syntax(value),
        other => other.to_string(),
    };
    format!("&value.valueUnstructured{{Value:{inner}}}")
}

/// A value as `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    let listed = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Object(map) => {
            let parts = map
                .iter()
                .map(|(name, value)| format!("{}:{}", super::field::quote(name), go_syntax(value)));
            format!("map[string]interface {{}}{{{}}}", listed(parts.collect()))
        }
        Value::Array(list) => {
            let parts = list.iter().map(go_syntax);
            format!("[]interface {{}}{{{}}}", listed(parts.collect()))
        }
        Value::String(text) => super::field::quote(text),
        Value::Null => "interface {}(nil)".to_owned(),
        other => other.to_string(),
    }
}

/// The same as `%v` prints it.
fn plainly(value: &Value) -> String {
    fn inner(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Array(list) => {
                let parts: Vec<String> = list.iter().map(inner).collect();
                format!("[{}]", parts.join(" "))
            }
            Value::Object(map) => {
                let parts: Vec<String> = map
                    .iter()
                    .map(|(name, value)| format!("{name}:{}", inner(value)))
                    .collect();
                format!("map[{}]", parts.join(" "))
            }
            other => other.to_string(),
        }
    }
    format!("&{{{}}}", inner(value))
}

/// The type Go has it in.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn inside(value: &Value, schema: &Value, place: &str, wrong: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    let text = |field: &str| {
        schema
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let flag = |field: &str| schema.get(field) == Some(&Value::Bool(true));
    match text("type") {
        "object" => object(value, schema, place, wrong),
        "array" => {
            let Some(list) = value.as_array() else {
                wrong.push(format!("{place}: expected list, got {}", plainly(value)));
                return;
            };
            let keys: Vec<&str> = schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            match text("x-kubernetes-list-type") {
                "map" => keyed(Some(value), &keys, place, wrong),
                "set" => set(Some(value), place, wrong),
                _ => {}
            }
            let nothing = Value::Null;
            let below = schema.get("items").unwrap_or(&nothing);
            for (index, item) in list.iter().enumerate() {
                let name = if keys.is_empty() {
                    format!("{place}[{index}]")
                } else {
                    let parts: Vec<String> = keys
                        .iter()
                        .map(|key| format!("{key}={}", item.get(*key).unwrap_or(&nothing)))
                        .collect();
                    format!("{place}[{}]", parts.join(","))
                };
                inside(item, below, &name, wrong);
            }
        }
        _ if flag("x-kubernetes-int-or-string") => {}
        kind @ ("string" | "boolean" | "integer" | "number") => scalar(value, kind, place, wrong),
        _ => {}
    }
}

fn object(value: &Value, schema: &Value, place: &str, wrong: &mut Vec<String>) {
    let Some(map) = value.as_object() else {
        wrong.push(format!("{place}: expected map, got {}", plainly(value)));
        return;
    };
    let properties = schema.get("properties");
    let additional = schema.get("additionalProperties");
    let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
        || properties.is_none() && additional.is_none();
    for (name, inner) in map {
        let below = properties
            .and_then(|properties| properties.get(name))
            .or(additional.filter(|below| below.is_object()));
        let place = format!("{place}.{name}");
        match below {
            Some(below) => inside(inner, below, &place, wrong),
            None if open || additional == Some(&Value::Bool(true)) => {}
            None => wrong.push(format!("{place}: field not declared in schema")),
        }
    }
}

/// A list whose items have keys has none twice.
fn keyed(list: Option<&Value>, keys: &[&str], place: &str, wrong: &mut Vec<String>) {
    let mut seen: Vec<Vec<Option<&Value>>> = Vec::new();
    let mut told: Vec<Vec<Option<&Value>>> = Vec::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        let own: Vec<Option<&Value>> = keys.iter().map(|key| item.get(*key)).collect();
        if seen.contains(&own) && !told.contains(&own) {
            let parts: Vec<String> = keys
                .iter()
                .zip(&own)
                .filter_map(|(key, value)| Some(format!("{key}={}", (*value)?)))
                .collect();
            wrong.push(format!(
                "{place}: duplicate entries for key [{}]",
                parts.join(",")
            ));
            told.push(own.clone());
        }
        seen.push(own);
    }
}

/// A set has no value twice.
fn set(list: Option<&Value>, place: &str, wrong: &mut Vec<String>) {
    let mut seen: Vec<&Value> = Vec::new();
    for item in list.and_then(Value::as_array).into_iter().flatten() {
        if seen.contains(&item) {
            wrong.push(format!("{place}: duplicate entries for key [={item}]"));
        }
        seen.push(item);
    }
}
