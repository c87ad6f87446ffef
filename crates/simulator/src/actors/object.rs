//! Reading raw Kubernetes objects. Pure. No rule of any controller belongs here.

use crossfade_fakeapi::At;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Text at a JSON pointer, empty if there is none.
#[must_use]
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .at(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Number at a JSON pointer, 0 if there is none.
#[must_use]
pub fn number(object: &Value, pointer: &str) -> i64 {
    object
        .at(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// Whether `true` stands at a JSON pointer.
#[must_use]
pub fn flag(object: &Value, pointer: &str) -> bool {
    object.at(pointer).and_then(Value::as_bool) == Some(true)
}

/// Entries of the list at a JSON pointer.
#[must_use]
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .at(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// `metadata.name`.
#[must_use]
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// `metadata.namespace`.
#[must_use]
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// `metadata.uid`.
#[must_use]
pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// Whether it has a deletionTimestamp.
#[must_use]
pub fn deleting(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

/// `spec.replicas`, 1 where it is not set (the API's default).
#[must_use]
pub fn replicas(object: &Value) -> i64 {
    object
        .at("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1)
}

/// One annotation. Names hold slashes, so no pointer.
#[must_use]
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.at("/metadata/annotations")?.get(name)?.as_str()
}

/// The labels.
#[must_use]
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object.at("/metadata/labels")?.as_object()
}

/// The owner reference marked as controller.
#[must_use]
pub fn controller_of(object: &Value) -> Option<&Value> {
    list(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| flag(owner, "/controller"))
}

/// uid of the controller, empty if there is none.
#[must_use]
pub fn controller_uid(object: &Value) -> &str {
    controller_of(object).map_or("", |owner| text(owner, "/uid"))
}

/// The condition of this type in `status.conditions`.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == kind)
}

/// A point in time at a JSON pointer.
#[must_use]
pub fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

/// As the API writes points in time: whole seconds, cut off.
#[must_use]
pub fn stamp(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).map_or_else(|_| at.to_string(), |at| at.to_string())
}

/// A pod's condition Ready.
#[must_use]
pub fn pod_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| text(ready, "/status") == "True")
}

/// Neither ended nor being deleted.
#[must_use]
pub fn pod_active(pod: &Value) -> bool {
    !pod_finished(pod) && !deleting(pod)
}

/// Whether all its containers have ended for good.
#[must_use]
pub fn pod_finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Whether these labels fit a plain map of labels, as in `Service.spec.selector`. An empty map
/// fits nothing.
#[must_use]
pub fn fits_map(wanted: Option<&Map<String, Value>>, labels: Option<&Map<String, Value>>) -> bool {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
        return false;
    };
    wanted
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether these labels fit a LabelSelector. An empty selector fits everything, a missing one
/// nothing.
#[must_use]
pub fn fits(selector: Option<&Value>, labels: Option<&Map<String, Value>>) -> bool {
    let Some(selector) = selector.filter(|selector| selector.is_object()) else {
        return false;
    };
    let of = |key: &str| {
        labels
            .and_then(|labels| labels.get(key))
            .and_then(Value::as_str)
    };
    let equal = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .is_none_or(|wanted| {
            wanted
                .iter()
                .all(|(key, value)| of(key).is_some() && of(key) == value.as_str())
        });
    equal
        && list(selector, "/matchExpressions").iter().all(|rule| {
            let found = of(text(rule, "/key"));
            let listed = found.is_some_and(|found| {
                list(rule, "/values")
                    .iter()
                    .any(|value| value.as_str() == Some(found))
            });
            match text(rule, "/operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// An owner reference that makes `owner` the controller.
#[must_use]
pub fn controller_reference(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Sets one annotation and says whether it changed.
pub fn annotate(object: &mut Value, key: &str, value: &str) -> bool {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return false;
    };
    let annotations = metadata
        .entry("annotations")
        .or_insert_with(|| Value::Object(Map::new()));
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    let Some(annotations) = annotations.as_object_mut() else {
        return false;
    };
    if annotations.get(key).and_then(Value::as_str) == Some(value) {
        return false;
    }
    annotations.insert(key.to_owned(), value.into());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_as_the_api_reads_them() {
        let labels = json!({"app": "web", "tier": "front"});
        let labels = labels.as_object();
        for (selector, fit) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "x"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
                true,
            ),
        ] {
            assert_eq!(fits(Some(&selector), labels), fit, "{selector}");
        }
        assert!(!fits(None, labels));
        assert!(!fits_map(json!({}).as_object(), labels));
        assert!(fits_map(json!({"app": "web"}).as_object(), labels));
        assert!(!fits_map(
            json!({"app": "web", "pod-template-hash": "x"}).as_object(),
            labels
        ));
    }

    #[test]
    fn times_are_whole_seconds() {
        let at: Timestamp = "2026-01-02T03:04:05.999Z".parse().unwrap();
        assert_eq!(stamp(at), "2026-01-02T03:04:05Z");
    }
}
