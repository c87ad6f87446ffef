//! Whether two templates are the same, and how one is recognised after its pods are gone.
//!
//! Two objects read together are compared as the Deployment controller does: without the label
//! `pod-template-hash`, null as absent. The fingerprint is only for templates that no longer exist
//! anywhere in the cluster (rejected ones); it is never compared with the controller's hash.

use crossfade_api::annotations::POD_TEMPLATE_HASH;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Whether two raw templates mean the same pods.
#[must_use]
pub fn same_template(left: &Value, right: &Value) -> bool {
    same(left, right, Place::Template)
}

/// Where in a template a value stands, as far as its hash label needs to be found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Template,
    Metadata,
    Labels,
    Elsewhere,
}

/// Equality of the normal forms, without building them: templates are compared in every pass.
fn same(left: &Value, right: &Value, place: Place) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let counts = |name: &str, value: &Value| {
                !(value.is_null() || place == Place::Labels && name == POD_TEMPLATE_HASH)
            };
            let size = |map: &Map<String, Value>| {
                map.iter()
                    .filter(|(name, value)| counts(name, value))
                    .count()
            };
            size(left) == size(right)
                && left.iter().all(|(name, value)| {
                    let inner = match (place, name.as_str()) {
                        (Place::Template, "metadata") => Place::Metadata,
                        (Place::Metadata, "labels") => Place::Labels,
                        _ => Place::Elsewhere,
                    };
                    !counts(name, value)
                        || right
                            .get(name)
                            .is_some_and(|other| !other.is_null() && same(value, other, inner))
                })
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same(left, right, Place::Elsewhere))
        }
        _ => left == right,
    }
}

/// A fingerprint of a raw template: SHA-256 over its normal form, in hexadecimal.
///
/// A server that defaults more fields after an upgrade changes it; then a rejected template that is
/// pushed again is tried again, which is the harmless side.
#[must_use]
pub fn fingerprint(template: &Value) -> String {
    let mut text = String::new();
    write_sorted(&normal(template), &mut text);
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A ReplicaSet's template as its Deployment had it: without `pod-template-hash`.
#[must_use]
pub fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(POD_TEMPLATE_HASH);
    }
    template
}

/// Images of the containers of a template, in order.
#[must_use]
pub fn images(template: &Value) -> Vec<String> {
    template
        .pointer("/spec/containers")
        .and_then(Value::as_array)
        .map(|containers| {
            containers
                .iter()
                .filter_map(|container| Some(container.get("image")?.as_str()?.to_owned()))
                .collect()
        })
        .unwrap_or_default()
}

fn normal(template: &Value) -> Value {
    let mut template = without_nulls(template);
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(POD_TEMPLATE_HASH);
    }
    template
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// JSON with sorted keys, whatever order the map type keeps.
fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            text.push('{');
            for key in keys {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_sorted(map.get(key).unwrap_or(&Value::Null), text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for value in list {
                write_sorted(value, text);
                text.push(',');
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hash_label_and_nulls_do_not_count() {
        let bare = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "app:1"}]}});
        let stored = json!({
            "metadata": {"labels": {"app": "web", "pod-template-hash": "abc"}, "creationTimestamp": null},
            "spec": {"containers": [{"image": "app:1"}]},
        });
        assert!(same_template(&bare, &stored));
        assert_eq!(fingerprint(&bare), fingerprint(&stored));
        let other = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "app:2"}]}});
        assert!(!same_template(&bare, &other));
        assert_ne!(fingerprint(&bare), fingerprint(&other));
        assert_eq!(images(&other), ["app:2"]);
    }

    #[test]
    fn comparing_agrees_with_the_normal_form() {
        let templates = [
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "a"}]}}),
            json!({"metadata": {"labels": {"app": "web", "pod-template-hash": "x"}, "annotations": null}, "spec": {"containers": [{"image": "a", "args": null}]}}),
            // Elsewhere the key is the user's own, and null in a list is a value.
            json!({"metadata": {"annotations": {"pod-template-hash": "x"}, "labels": {"app": "web"}}, "spec": {"containers": [{"image": "a"}]}}),
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "a"}, null]}}),
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "a"}], "labels": {"pod-template-hash": "x"}}}),
            json!({"metadata": {"labels": null}, "spec": {"containers": [{"image": "a"}]}}),
            json!({"metadata": {"labels": {"pod-template-hash": "x"}}, "spec": {"containers": [{"image": "a"}]}}),
            json!({"metadata": {}, "spec": {"containers": [{"image": "a"}]}}),
            json!(null),
        ];
        for left in &templates {
            for right in &templates {
                assert_eq!(
                    same_template(left, right),
                    normal(left) == normal(right),
                    "{left} {right}"
                );
            }
        }
    }

    #[test]
    fn fields_we_do_not_know_count() {
        let known = json!({"spec": {"containers": [{"image": "app:1"}]}});
        let newer = json!({"spec": {"containers": [{"image": "app:1", "fromTheFuture": 1}]}});
        assert!(!same_template(&known, &newer));
    }
}
