//! Reading raw objects: what the oracles and scripts look at is JSON as the server stores it, never a
//! decoded type, so that a mistake of ours in a type cannot hide itself.

use crossfade_fakeapi::At;
use serde_json::Value;

/// The value at a pointer.
#[must_use]
pub fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    object.at(pointer)
}

/// The text at a pointer; empty if it is not there.
#[must_use]
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The whole number at a pointer; 0 if it is not there.
#[must_use]
pub fn number(object: &Value, pointer: &str) -> i64 {
    at(object, pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// True at a pointer; absent is false.
#[must_use]
pub fn flag(object: &Value, pointer: &str) -> bool {
    at(object, pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// The entries at a pointer; none if it is not there.
pub fn entries<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    at(object, pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A map with text values, such as labels.
pub fn pairs<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    at(object, pointer)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

/// One label.
#[must_use]
pub fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    in_map(object, "/metadata/labels", name)
}

/// One annotation.
#[must_use]
pub fn annotation<'a>(object: &'a Value, name: &str) -> &'a str {
    in_map(object, "/metadata/annotations", name)
}

/// One value of a map with text values; empty if it is not there.
#[must_use]
pub fn in_map<'a>(object: &'a Value, pointer: &str, name: &str) -> &'a str {
    at(object, pointer)
        .and_then(|map| map.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The owner that controls the object: its kind and uid.
#[must_use]
pub fn controller(object: &Value) -> Option<(&str, &str)> {
    entries(object, "/metadata/ownerReferences")
        .find(|owner| flag(owner, "/controller"))
        .map(|owner| (text(owner, "/kind"), text(owner, "/uid")))
}

/// The status of a condition; empty if it is not there.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    entries(object, "/status/conditions")
        .find(|condition| text(condition, "/type") == kind)
        .map_or("", |condition| text(condition, "/status"))
}

/// Whether it is on its way out.
#[must_use]
pub fn deleting(object: &Value) -> bool {
    at(object, "/metadata/deletionTimestamp").is_some()
}

/// Whether a map of labels has every pair of a selector. An empty selector selects nothing, as a
/// Service's does.
#[must_use]
pub fn selects(selector: Option<&Value>, labels: Option<&Value>) -> bool {
    let Some(selector) = selector
        .and_then(Value::as_object)
        .filter(|map| !map.is_empty())
    else {
        return false;
    };
    selector
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Two templates that mean the same pods: without the hash label, null as absent.
#[must_use]
pub fn same_pods(left: &Value, right: &Value) -> bool {
    plain(left) == plain(right)
}

fn plain(template: &Value) -> Value {
    let mut copy = without_nulls(template);
    if let Some(labels) = copy
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove("pod-template-hash");
    }
    copy
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// Where two values differ, as paths with both sides; empty when they are equal.
#[must_use]
pub fn differences(left: &Value, right: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", left, right, &mut found);
    found
}

fn compare(at: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => compare(&format!("{at}/{key}"), x, y, found),
                    (x, y) => found.push(format!("{at}/{key}: {} | {}", shown(x), shown(y))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (x, y)) in a.iter().zip(b).enumerate() {
                compare(&format!("{at}/{index}"), x, y, found);
            }
        }
        _ if left != right => {
            found.push(format!(
                "{at}: {} | {}",
                shown(Some(left)),
                shown(Some(right))
            ));
        }
        _ => {}
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(
        || "absent".to_owned(),
        |value| value.to_string().chars().take(200).collect(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_selector_selects_nothing() {
        let labels = json!({"app": "web", "pod-template-hash": "a"});
        assert!(selects(Some(&json!({"app": "web"})), Some(&labels)));
        assert!(!selects(
            Some(&json!({"app": "web", "pod-template-hash": "b"})),
            Some(&labels)
        ));
        assert!(!selects(Some(&json!({})), Some(&labels)));
        assert!(!selects(None, Some(&labels)));
    }

    #[test]
    fn the_hash_label_and_nulls_make_no_other_pods() {
        let bare = json!({"metadata": {"labels": {"app": "web"}}, "spec": {}});
        let stored = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "web", "pod-template-hash": "x"}}, "spec": {}});
        assert!(same_pods(&bare, &stored));
        assert!(!same_pods(
            &bare,
            &json!({"metadata": {"labels": {"app": "web"}}, "spec": {"new": 1}})
        ));
    }

    #[test]
    fn differences_name_their_path() {
        let (a, b) = (json!({"x": {"y": 1}}), json!({"x": {"y": 2}, "w": 0}));
        assert_eq!(differences(&a, &b), ["/x/y: 1 | 2", "/w: absent | 0"]);
    }
}
