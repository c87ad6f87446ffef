//! `/scale`: an object's size by itself, as `autoscaling/v1 Scale`.

use crate::At;
use serde_json::{Map, Value, json};

use crate::error::StatusError;
use crate::managed::Size;
use crate::resource::ResourceType;

/// The Scale of an object.
pub(crate) fn of(resource: &ResourceType, object: &Value) -> Value {
    let at = |path: &[String]| {
        path.iter()
            .try_fold(object, |value, field| value.get(field))
            .cloned()
    };
    let mut spec = Map::new();
    let mut status = Map::new();
    if let Some(scale) = &resource.scale {
        // Left out when 0.
        if let Some(replicas) =
            at(&scale.spec_replicas).filter(|replicas| replicas.as_i64() != Some(0))
        {
            spec.insert("replicas".to_owned(), replicas);
        }
        status.insert(
            "replicas".to_owned(),
            at(&scale.status_replicas).unwrap_or_else(|| Value::from(0)),
        );
        if let Some(selector) = scale.selector.as_ref().and_then(|path| at(path)) {
            let text = match selector {
                Value::String(text) => text,
                other => selector_text(&other),
            };
            status.insert("selector".to_owned(), Value::from(text));
        }
    }
    let mut metadata = Map::new();
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object
            .get("metadata")
            .and_then(|metadata| metadata.get(field))
        {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status })
}

/// What managedFields must know of the size an object now has.
pub(crate) fn size(resource: &ResourceType, object: &Value) -> Option<Size> {
    let path = &resource.scale.as_ref()?.spec_replicas;
    let replicas = path
        .iter()
        .try_fold(object, |value, field| value.get(field));
    let field = path.iter().rev().fold(Map::new(), |below, name| {
        Map::from_iter([(format!("f:{name}"), Value::Object(below))])
    });
    Some(Size {
        field,
        left_out: replicas.is_none_or(|replicas| replicas.as_i64() == Some(0)),
    })
}

/// A custom object has to state its size to have one.
pub(crate) fn refuse_without_size(
    resource: &ResourceType,
    object: &Value,
) -> Result<(), StatusError> {
    let Some(scale) = resource.scale.as_ref().filter(|_| resource.custom) else {
        return Ok(());
    };
    let path = format!("/{}", scale.spec_replicas.join("/"));
    if object.at(&path).is_some() {
        return Ok(());
    }
    Err(StatusError::internal(&format!(
        "the spec replicas field \".{}\" does not exist",
        scale.spec_replicas.join(".")
    )))
}

/// A selector as text: `app=web,tier in (a,b)`.
fn selector_text(selector: &Value) -> String {
    let mut parts = Vec::new();
    for (key, value) in selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for expression in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let text = |field: &str| {
            expression
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let values = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(",");
        parts.push(match text("operator") {
            "In" => format!("{} in ({values})", text("key")),
            "NotIn" => format!("{} notin ({values})", text("key")),
            "Exists" => text("key").to_owned(),
            _ => format!("!{}", text("key")),
        });
    }
    parts.join(",")
}

/// The object with the size, and the resourceVersion if one is stated, of a Scale.
pub(crate) fn into_object(
    resource: &ResourceType,
    scale: &Value,
    object: &Value,
) -> Result<Value, StatusError> {
    let mut object = object.clone();
    let Some(paths) = &resource.scale else {
        return Err(StatusError::no_such_path());
    };
    let replicas = scale
        .at("/spec/replicas")
        .filter(|replicas| !replicas.is_null())
        .cloned()
        .unwrap_or_else(|| Value::from(0));
    match replicas.as_i64() {
        // A custom kind's own validation says so.
        Some(count) if count >= 0 || resource.custom => {}
        Some(_) => {
            let name = super::metadata_text(&object, "name");
            return Err(StatusError::invalid_kind(
                "autoscaling",
                "Scale",
                name,
                &[crate::error::Cause::invalid(
                    "spec.replicas",
                    &replicas,
                    "must be greater than or equal to 0",
                )],
            ));
        }
        None => {
            return Err(StatusError::bad_request(
                "json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32",
            ));
        }
    }
    put(&mut object, &paths.spec_replicas, replicas);
    for field in ["resourceVersion", "uid"] {
        let stated = super::metadata_text(scale, field).to_owned();
        if let (false, Some(metadata)) = (stated.is_empty(), super::metadata_mut(&mut object)) {
            metadata.insert(field.to_owned(), Value::from(stated));
        }
    }
    Ok(object)
}

/// Writes a value at a path, making the maps on the way.
fn put(slot: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *slot = value;
        return;
    };
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    if let Some(map) = slot.as_object_mut() {
        put(map.entry(first.clone()).or_insert(Value::Null), rest, value);
    }
}
