//! managedFields of other people's objects: what was there before us is put back after each write.
//!
//! A write of ours to a selector takes the whole, atomic field from its manager; the user's next
//! unforced server-side apply would then get a conflict, before any admission could help.

use serde_json::{Value, json};

/// The managedFields of an object without entries of this manager, and whether there were any.
///
/// With an entry of ours the list is no longer what the users left: the selector that we wrote is missing
/// in theirs, and what they left has to come from memory. For when there is none, it is given to the one
/// other manager of fields in `spec`; of several nobody can tell whose it was, and it stays without:
/// then the next apply gets it without a conflict.
#[must_use]
pub fn of_others(object: &Value, manager: &str) -> (Value, bool) {
    let mut entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let all = entries.len();
    entries.retain(|entry| entry.get("manager").and_then(Value::as_str) != Some(manager));
    let ours = entries.len() < all;
    if ours {
        let mut of_spec = entries.iter_mut().filter_map(|entry| {
            entry
                .pointer_mut("/fieldsV1/f:spec")
                .and_then(Value::as_object_mut)
        });
        if let (Some(only), None) = (of_spec.next(), of_spec.next()) {
            only.entry("f:selector").or_insert_with(|| json!({}));
        }
    }
    (Value::Array(entries), ours)
}

/// A JSON patch that puts managedFields back if the object still is the one our write answered with.
#[must_use]
pub fn restore_patch(resource_version: &str, managed_fields: &Value) -> Value {
    json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": resource_version },
        { "op": "replace", "path": "/metadata/managedFields", "value": managed_fields },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_ours_are_left_out_and_told() {
        let theirs = json!({"metadata": {"managedFields": [{"manager": "kubectl"}]}});
        assert_eq!(
            of_others(&theirs, "crossfade"),
            (json!([{"manager": "kubectl"}]), false)
        );
        let mixed = json!({"metadata": {"managedFields": [{"manager": "kubectl"}, {"manager": "crossfade"}]}});
        assert_eq!(
            of_others(&mixed, "crossfade"),
            (json!([{"manager": "kubectl"}]), true)
        );
        assert_eq!(
            of_others(&json!({"metadata": {}}), "crossfade"),
            (json!([]), false)
        );
    }

    #[test]
    fn the_selector_that_we_took_goes_to_the_only_other_manager_of_the_spec() {
        let entry = |manager: &str, fields: Value| json!({"manager": manager, "fieldsV1": fields});
        let ours = entry("crossfade", json!({"f:spec": {"f:selector": {}}}));
        let labels = entry("labeller", json!({"f:metadata": {"f:labels": {}}}));
        let without = entry("kubectl", json!({"f:spec": {"f:ports": {}}}));
        let with = entry(
            "kubectl",
            json!({"f:spec": {"f:ports": {}, "f:selector": {}}}),
        );
        let read = |entries: Value| {
            of_others(
                &json!({"metadata": {"managedFields": entries}}),
                "crossfade",
            )
            .0
        };
        assert_eq!(
            read(json!([without, labels, ours])),
            json!([with, labels]),
            "one manager"
        );
        let other = entry("ports", json!({"f:spec": {"f:type": {}}}));
        assert_eq!(
            read(json!([without, other, ours])),
            json!([without, other]),
            "nobody can tell"
        );
        assert_eq!(
            read(json!([without, labels])),
            json!([without, labels]),
            "nothing of ours, nothing taken"
        );
    }
}
