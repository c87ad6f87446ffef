//! managedFields of other people's objects: what was there before us is put back after each write.
//!
//! A write of ours to a selector takes the whole, atomic field from its manager; the user's next
//! unforced server-side apply would then get a conflict, before any admission could help.

use serde_json::{Value, json};

/// The managedFields of an object without entries of this manager, and whether there were any.
///
/// With an entry of ours the list is no longer what the users left: fields that we wrote are missing in
/// theirs, and what they left has to come from memory.
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
    (Value::Array(entries), ours)
}

/// The selector of a Service, which a write of ours took, given to the one other manager of fields in
/// `spec`, for when there is no memory of who had it. Of several nobody can tell; then it stays without,
/// and the next apply gets it without a conflict.
#[must_use]
pub fn with_selector(mut entries: Value) -> Value {
    let mut of_spec = entries
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            entry
                .pointer_mut("/fieldsV1/f:spec")
                .and_then(Value::as_object_mut)
        });
    if let (Some(only), None) = (of_spec.next(), of_spec.next()) {
        only.entry("f:selector").or_insert_with(|| json!({}));
    }
    entries
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
        let labels = entry("labeller", json!({"f:metadata": {"f:labels": {}}}));
        let without = entry("kubectl", json!({"f:spec": {"f:ports": {}}}));
        let with = entry(
            "kubectl",
            json!({"f:spec": {"f:ports": {}, "f:selector": {}}}),
        );
        assert_eq!(
            with_selector(json!([without, labels])),
            json!([with, labels]),
            "one manager"
        );
        let other = entry("ports", json!({"f:spec": {"f:type": {}}}));
        assert_eq!(
            with_selector(json!([without, other])),
            json!([without, other]),
            "nobody can tell"
        );
    }
}
