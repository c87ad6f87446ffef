//! managedFields of other people's objects: what was there before us is put back after each write.
//!
//! A write of ours to a selector takes the whole, atomic field from its manager; the user's next
//! unforced server-side apply would then get a conflict, before any admission could help.

use serde_json::{Value, json};

/// The managedFields of an object, if none of the entries is ours.
///
/// With an entry of ours the list is no longer what the users left, and what they left has to come
/// from memory.
#[must_use]
pub fn foreign(object: &Value, manager: &str) -> Option<Value> {
    let entries = object
        .pointer("/metadata/managedFields")
        .cloned()
        .unwrap_or_else(|| json!([]));
    let ours = entries.as_array().is_some_and(|list| {
        list.iter()
            .any(|entry| entry.get("manager").and_then(Value::as_str) == Some(manager))
    });
    (!ours).then_some(entries)
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
    fn only_a_list_without_our_entry_counts() {
        let theirs = json!({"metadata": {"managedFields": [{"manager": "kubectl"}]}});
        assert_eq!(
            foreign(&theirs, "crossfade"),
            Some(json!([{"manager": "kubectl"}]))
        );
        let mixed = json!({"metadata": {"managedFields": [{"manager": "kubectl"}, {"manager": "crossfade"}]}});
        assert_eq!(foreign(&mixed, "crossfade"), None);
        assert_eq!(
            foreign(&json!({"metadata": {}}), "crossfade"),
            Some(json!([]))
        );
    }
}
