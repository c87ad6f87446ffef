//! Whether a webhook or policy is meant for a request: rules, namespaceSelector, objectSelector.
//!
//! Expressions do not belong here. `matchPolicy` makes no difference: every kind has one stored form.

use std::sync::Arc;

use serde_json::Value;

use super::{Attributes, Operation, request};
use crate::Key;
use crate::error::StatusError;
use crate::selector::LabelSelector;
use crate::state::FakeApi;

/// Whether admission leaves a resource alone, so that a broken configuration can be mended.
pub(super) fn exempt(attributes: &Attributes) -> bool {
    attributes.resource.group == "admissionregistration.k8s.io"
}

fn lists(list: Option<&Value>, wanted: &str) -> bool {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(|entry| entry == "*" || entry == wanted)
}

/// Whether one of the rules names this request.
pub(super) fn rules(rules: Option<&Value>, attributes: &Attributes) -> bool {
    rules
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|rule| self::rule(rule, attributes))
}

fn rule(rule: &Value, attributes: &Attributes) -> bool {
    let resource = &attributes.resource;
    let named = rule.get("resourceNames").and_then(Value::as_array);
    lists(rule.get("operations"), attributes.operation.name())
        && lists(rule.get("apiGroups"), &resource.group)
        && lists(rule.get("apiVersions"), &resource.version)
        && scope(rule, attributes)
        && rule
            .get("resources")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|entry| takes(entry, &resource.plural, &attributes.subresource))
        && named.is_none_or(|names| {
            names.is_empty() || names.contains(&Value::from(attributes.key.name.as_str()))
        })
}

/// `deployments`, `deployments/scale`, `*/scale`, `deployments/*`, `*`, `*/*`. Without a slash an entry
/// takes no subresource, `*` neither.
fn takes(entry: &str, plural: &str, subresource: &str) -> bool {
    let (resource, sub) = entry.split_once('/').unwrap_or((entry, ""));
    (resource == "*" || resource == plural) && (sub == "*" || sub == subresource)
}

fn scope(rule: &Value, attributes: &Attributes) -> bool {
    match rule.get("scope").and_then(Value::as_str) {
        Some("Namespaced") => attributes.resource.namespaced,
        Some("Cluster") => !attributes.resource.namespaced,
        _ => true,
    }
}

/// The namespace an object is in; None for objects of the cluster.
///
/// # Errors
///
/// 404 when it is not there.
pub(super) fn namespace(
    api: &FakeApi,
    attributes: &Attributes,
) -> Result<Option<Arc<Value>>, StatusError> {
    let name = request::namespace(attributes);
    if name.is_empty() {
        return Ok(None);
    }
    match api.get(&Key::new("namespaces", "", name)) {
        Some(found) => Ok(Some(found)),
        None if !attributes.resource.namespaced => Ok(None),
        None => Err(StatusError::new(
            404,
            "NotFound",
            format!("namespaces \"{name}\" not found"),
        )),
    }
}

fn labels(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("labels")
}

/// What is selected by: the owner's `namespaceSelector` and `objectSelector`.
pub(super) fn selectors(
    api: &FakeApi,
    owner: &Value,
    attributes: &Attributes,
    object: &Value,
    old: &Value,
) -> Result<bool, StatusError> {
    let parse = |name: &str| match owner.get(name) {
        Some(Value::Object(map)) if !map.is_empty() => {
            LabelSelector::from_object(&Value::Object(map.clone())).map(Some)
        }
        _ => Ok(None),
    };
    if let Some(selector) = parse("namespaceSelector")? {
        let itself = attributes.resource.plural == "namespaces"
            && attributes.resource.group.is_empty()
            && attributes.subresource.is_empty()
            && attributes.operation != Operation::Delete;
        let selected = if itself {
            selector.matches(labels(object))
        } else {
            match namespace(api, attributes)? {
                Some(namespace) => selector.matches(labels(&namespace)),
                None => true,
            }
        };
        if !selected {
            return Ok(false);
        }
    }
    Ok(parse("objectSelector")?.is_none_or(|selector| {
        [object, old]
            .iter()
            .any(|object| object.is_object() && selector.matches(labels(object)))
    }))
}
