//! Built-in kinds: what decoding, defaulting, allocation and validation do to them.
//!
//! Only kinds a controller of workloads meets, and of them what shows. Metadata is checked in
//! `schema::metadata`; statuses and generations belong to the core.

mod allocate;
mod data;
mod decode;
pub(crate) mod events;
mod names_of_ports;
mod others;
mod pod;
mod pod_checks;
mod registration;
mod registration_checks;
mod service;
mod workload;

use serde_json::{Map, Value};

use super::field::{Causes, Path};
use crate::error::StatusError;
use crate::resource::ResourceType;

pub(super) use allocate::allocate;

/// Decodes and fills in defaults.
pub(super) fn default(
    resource: &ResourceType,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), StatusError> {
    decode::normalise(resource, object);
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments" | "replicasets") => workload::default(resource, object),
        ("", "pods") => pod::default(object),
        ("", "services") => service::default(object, old),
        ("admissionregistration.k8s.io", _) => registration::default(object),
        _ => others::default(resource, object),
    }
    Ok(())
}

/// Validates all but metadata. Of statuses only those of workloads are checked.
pub(super) fn validate(
    resource: &ResourceType,
    subresource: &str,
    new: &Value,
    old: Option<&Value>,
    causes: &mut Causes,
) {
    let workload = resource.group == "apps"
        && matches!(resource.plural.as_str(), "deployments" | "replicasets");
    if subresource == "status" {
        match resource.plural.as_str() {
            _ if workload => workload::validate_status(resource, new, old, causes),
            "services" if resource.group.is_empty() => service::validate_status(new, causes),
            "pods" if resource.group.is_empty() => pod_checks::validate_status(new, causes),
            _ => {}
        }
        return;
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        _ if workload => workload::validate(resource, new, old, causes),
        ("", "pods") => pod_checks::validate(new, old, causes),
        ("", "services") => service::validate(new, old, causes),
        ("", "configmaps" | "secrets") => data::validate(&resource.plural, new, causes),
        ("events.k8s.io", _) => events::validate(new, old, causes),
        ("admissionregistration.k8s.io", plural) => {
            registration_checks::validate(plural, new, causes);
        }
        _ => others::validate(resource, new, old, causes),
    }
}

/// What is wrong with the addresses of a Service.
pub(super) fn addresses(new: &Value, old: Option<&Value>, causes: &mut Causes) {
    service::addresses(get(new, "spec"), old.map(|old| get(old, "spec")), causes);
}

/// Whether an update is also validated as a creation would be.
pub(super) fn is_created_anew(resource: &ResourceType) -> bool {
    matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        ("", "pods" | "configmaps" | "secrets")
            | ("apps", "controllerrevisions")
            | ("discovery.k8s.io", "endpointslices")
    )
}

/// Of such kinds, what an update may not do.
pub(super) fn validate_change(
    resource: &ResourceType,
    new: &Value,
    old: Option<&Value>,
    causes: &mut Causes,
) {
    let Some(old) = old else { return };
    match resource.plural.as_str() {
        "configmaps" | "secrets" => data::validate_change(&resource.plural, new, old, causes),
        _ => {}
    }
}

/// A field of a map, Null where it is absent.
fn get<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    get(value, name).as_str().unwrap_or_default()
}

fn elements<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    get(value, name).as_array().map_or(&[], Vec::as_slice)
}

/// Gives an absent field its value; an empty text is absent too.
fn set(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if map.get(name).is_none_or(|known| known.as_str() == Some("")) {
        map.insert(name.to_owned(), value.into());
    }
}

/// The same for a number whose 0 is absence.
fn set_count(map: &mut Map<String, Value>, name: &str, value: i64) {
    if map.get(name).is_none_or(|known| known.as_i64() == Some(0)) {
        map.insert(name.to_owned(), value.into());
    }
}

/// The map under a field, made if it is absent.
fn map_in<'v>(map: &'v mut Map<String, Value>, name: &str) -> Option<&'v mut Map<String, Value>> {
    map.entry(name)
        .or_insert_with(|| Map::new().into())
        .as_object_mut()
}

/// The maps of a list under a field.
fn maps_in<'v>(
    map: &'v mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'v mut Map<String, Value>> {
    map.get_mut(name)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// A whole number that may not be below 0.
fn not_negative(value: &Value, name: &str, path: &Path<'_>, causes: &mut Causes) {
    let number = get(value, name);
    if number.as_i64().is_some_and(|number| number < 0) {
        causes.invalid(
            path.child(name),
            number,
            "must be greater than or equal to 0",
        );
    }
}

/// A value that an update may not change.
fn immutable(new: &Value, old: Option<&Value>, path: &Path<'_>, causes: &mut Causes) {
    if old.is_some_and(|old| old != new) {
        causes.invalid(path, new, "field is immutable");
    }
}

/// A label selector: `matchLabels` and `matchExpressions`.
fn selector(selector: &Value, path: &Path<'_>, causes: &mut Causes) {
    super::metadata::labels(
        selector.get("matchLabels"),
        &path.child("matchLabels"),
        causes,
    );
    let list = path.child("matchExpressions");
    for (place, expression) in elements(selector, "matchExpressions").iter().enumerate() {
        let path = list.index(place);
        let values = elements(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => causes.required(
                path.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => causes.forbidden(
                path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => causes.invalid(
                path.child("operator"),
                get(expression, "operator"),
                "not a valid selector operator",
            ),
        }
        for detail in super::names::qualified(text(expression, "key")) {
            causes.invalid(path.child("key"), get(expression, "key"), &detail);
        }
    }
}
