//! Pod templates: which are the same, and the hash a ReplicaSet is named by. Pure. Nothing about
//! Crossfade's own comparison belongs here: this is the Deployment controller's.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The label the Deployment controller adds to each ReplicaSet, its selector and its pods.
pub const HASH_LABEL: &str = "pod-template-hash";

/// Objects that are plain structs or maps in the server's types: empty means absent there. For
/// other objects empty is a value (`emptyDir: {}`, `securityContext: {}`).
const EMPTY_IS_ABSENT: [&str; 8] = [
    "metadata",
    "labels",
    "annotations",
    "resources",
    "limits",
    "requests",
    "nodeSelector",
    "matchLabels",
];

/// Whether two templates are equal to the Deployment controller: semantically, null and empty lists
/// as absent, without the hash label.
#[must_use]
pub fn same(left: Option<&Value>, right: Option<&Value>) -> bool {
    let (Some(Value::Object(left)), Some(Value::Object(right))) = (left, right) else {
        return left.is_none() && right.is_none();
    };
    keys(left, right).all(|key| {
        if key == "metadata" {
            same_metadata(left.get(key), right.get(key))
        } else {
            equal(key, left.get(key), right.get(key))
        }
    })
}

fn same_metadata(left: Option<&Value>, right: Option<&Value>) -> bool {
    let nothing = Map::new();
    let left = left.and_then(Value::as_object).unwrap_or(&nothing);
    let right = right.and_then(Value::as_object).unwrap_or(&nothing);
    keys(left, right).all(|key| {
        if key != "labels" {
            return equal(key, left.get(key), right.get(key));
        }
        let labels = |side: &Map<String, Value>| -> Vec<(String, Value)> {
            let mut labels: Vec<(String, Value)> = side
                .get("labels")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter(|(name, _)| *name != HASH_LABEL)
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            labels.sort_by(|a, b| a.0.cmp(&b.0));
            labels
        };
        labels(left) == labels(right)
    })
}

fn keys<'a>(
    left: &'a Map<String, Value>,
    right: &'a Map<String, Value>,
) -> impl Iterator<Item = &'a str> {
    left.keys()
        .chain(right.keys().filter(|key| !left.contains_key(*key)))
        .map(String::as_str)
}

fn present<'a>(key: &str, value: Option<&'a Value>) -> Option<&'a Value> {
    value.filter(|value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty() || !EMPTY_IS_ABSENT.contains(&key),
        _ => true,
    })
}

fn equal(key: &str, left: Option<&Value>, right: Option<&Value>) -> bool {
    match (present(key, left), present(key, right)) {
        (None, None) => true,
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            keys(left, right).all(|key| equal(key, left.get(key), right.get(key)))
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal("", Some(left), Some(right)))
        }
        (left, right) => left == right,
    }
}

/// A hash of the template and the Deployment's collision count: FNV-1a, 32 bit, as the server's, over
/// our own text of it, in the server's alphabet (`rand.SafeEncodeString`). The real value cannot be
/// had outside Go (it is taken over a debug dump), and nobody may rely on it.
#[must_use]
pub fn hash(template: &Value, collisions: i64) -> String {
    let mut text = String::new();
    canonical("", template, &mut text);
    if collisions > 0 {
        let _ = write!(text, "#{collisions}");
    }
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    hash.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

/// Sorted text of what is there, so that equal templates give equal hashes whatever their order.
fn canonical(key: &str, value: &Value, text: &mut String) {
    match present(key, Some(value)) {
        Some(Value::Object(map)) => {
            let mut keys: Vec<&String> = map
                .iter()
                .filter(|(key, value)| {
                    key.as_str() != HASH_LABEL && present(key, Some(value)).is_some()
                })
                .map(|(key, _)| key)
                .collect();
            keys.sort();
            text.push('{');
            for key in keys {
                let _ = write!(text, "{key}:");
                canonical(key, &map[key.as_str()], text);
            }
            text.push('}');
        }
        Some(Value::Array(list)) => {
            text.push('[');
            for entry in list {
                canonical("", entry, text);
                text.push(',');
            }
            text.push(']');
        }
        Some(other) => {
            let _ = write!(text, "{other};");
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_label_null_and_empty_do_not_count() {
        let plain = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
        let stored = json!({"metadata": {"creationTimestamp": null, "annotations": {}, "labels": {"app": "web", "pod-template-hash": "abc"}},
            "spec": {"volumes": [], "containers": [{"name": "a", "image": "x", "resources": {}}]}});
        assert!(same(Some(&plain), Some(&stored)));
        assert_eq!(hash(&plain, 0), hash(&stored, 0));
        assert_ne!(hash(&plain, 0), hash(&plain, 1));
    }

    #[test]
    fn what_pods_could_tell_counts() {
        let base = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
        for other in [
            json!({"metadata": {"labels": {"app": "web", "more": "1"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}),
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "y"}]}}),
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"securityContext": {}, "containers": [{"name": "a", "image": "x"}]}}),
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b"}]}}),
        ] {
            assert!(!same(Some(&base), Some(&other)), "{other}");
            assert_ne!(hash(&base, 0), hash(&other, 0), "{other}");
        }
    }

    #[test]
    fn a_hash_fits_a_label_and_a_name() {
        let hash = hash(&json!({"spec": {}}), 3);
        assert!(!hash.is_empty() && hash.len() <= 10);
        assert!(
            hash.chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        );
    }
}
