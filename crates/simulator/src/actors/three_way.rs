//! The patch of a client-side apply: from what was applied last, what is wanted now and what is there.
//! Pure. Written as a merge patch; lists of named entries are merged by name, as the strategic merge
//! patch of kubectl does on the server.

use serde_json::{Map, Value};

/// The patch, nothing if there is nothing to change.
#[must_use]
pub fn patch(last: Option<&Value>, wanted: &Value, live: &Value) -> Option<Value> {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let mut patch = Map::new();
            for (key, value) in wanted {
                let before = last.and_then(|last| last.get(key));
                match live.get(key) {
                    Some(there) => {
                        if let Some(part) = self::patch(before, value, there) {
                            patch.insert(key.clone(), part);
                        }
                    }
                    None if value.is_null() => {}
                    None => {
                        patch.insert(key.clone(), value.clone());
                    }
                }
            }
            for key in last
                .and_then(Value::as_object)
                .into_iter()
                .flat_map(Map::keys)
            {
                if !wanted.contains_key(key) && live.contains_key(key) {
                    patch.insert(key.clone(), Value::Null);
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (Value::Array(entries), Value::Array(there)) => {
            let merged = merge_lists(last, entries, there);
            (merged != *there).then_some(Value::Array(merged))
        }
        _ => (wanted != live).then(|| wanted.clone()),
    }
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("name")?.as_str()
}

fn merge_lists(last: Option<&Value>, wanted: &[Value], live: &[Value]) -> Vec<Value> {
    let last = last
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if wanted.iter().chain(live).any(|entry| name(entry).is_none()) {
        // Without names a list is one value; where it holds objects, the server's defaults are kept.
        return wanted
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                live.get(index)
                    .filter(|there| {
                        there.is_object() && entry.is_object() && live.len() == wanted.len()
                    })
                    .map_or_else(
                        || entry.clone(),
                        |there| applied(last.get(index), entry, there),
                    )
            })
            .collect();
    }
    let find =
        |list: &[Value], wanted: Option<&str>| list.iter().position(|entry| name(entry) == wanted);
    let mut merged: Vec<Value> = live
        .iter()
        .filter_map(|there| match find(wanted, name(there)) {
            Some(index) => {
                let before = find(last, name(there)).and_then(|index| last.get(index));
                Some(applied(before, &wanted[index], there))
            }
            // Somebody else's entry stays; one of ours that is no longer wanted goes.
            None => find(last, name(there)).is_none().then(|| there.clone()),
        })
        .collect();
    merged.extend(
        wanted
            .iter()
            .filter(|entry| find(live, name(entry)).is_none())
            .cloned(),
    );
    merged
}

/// The value after the patch.
fn applied(last: Option<&Value>, wanted: &Value, live: &Value) -> Value {
    let mut value = live.clone();
    if let Some(patch) = patch(last, wanted, live) {
        merge(&mut value, &patch);
    }
    value
}

/// RFC 7386.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(map) = value else { return };
    for (key, part) in patch {
        if part.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), part);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_and_the_fields_of_others_are_no_difference() {
        let wanted = json!({"spec": {"replicas": 3, "template": {"containers": [{"name": "a", "image": "x"}]}}});
        let live = json!({"spec": {"replicas": 3, "paused": true, "template": {"containers": [
            {"name": "a", "image": "x", "imagePullPolicy": "Always"}, {"name": "injected", "image": "y"}]}}, "status": {}});
        assert_eq!(patch(Some(&wanted), &wanted, &live), None);
    }

    #[test]
    fn only_what_was_applied_before_is_removed() {
        let last = json!({"a": 1, "list": [{"name": "x", "v": 1, "w": 1}, {"name": "old"}], "labels": {"p": "1"}});
        let wanted = json!({"list": [{"name": "x", "v": 2}, {"name": "new"}], "labels": {}});
        let live = json!({"a": 1, "b": 2, "list": [{"name": "x", "v": 1, "w": 1, "d": 0}, {"name": "old"}, {"name": "other"}], "labels": {"p": "1", "q": "2"}});
        assert_eq!(
            patch(Some(&last), &wanted, &live),
            Some(
                json!({"a": null, "labels": {"p": null}, "list": [{"name": "x", "v": 2, "d": 0}, {"name": "other"}, {"name": "new"}]})
            )
        );
    }
}
