//! The plain Service: pods are told apart by one key of its selector.
//!
//! `pod-template-hash` in the selector is stable's before the candidate exists and at weight 0,
//! absent while both sides serve (the share is then the share of ready pods), the candidate's at
//! 100 %. Open connections stay where they are: kube-proxy moves new ones only.

use std::collections::BTreeMap;

use crossfade_api::annotations::{HELD_BY, POD_TEMPLATE_HASH};
use serde_json::{Map, Value, json};

use crate::managed_fields;

/// A Service as far as a release cares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The hash in its selector.
    pub pinned_to: Option<String>,
    /// It carries our mark for this workload.
    pub held: bool,
    /// It carries our mark for another workload: that one's uid.
    pub held_by_other: Option<String>,
    /// Its selector without our key.
    pub selector: BTreeMap<String, String>,
    /// managedFields without us, as near to what their users left as can be told, see
    /// [`managed_fields::with_selector`].
    pub other_managed_fields: Value,
    /// managedFields name us.
    pub in_managed_fields: bool,
    /// It publishes addresses of pods that are not ready.
    pub publish_not_ready: bool,
    /// It has no address of its own; clients see pods directly.
    pub headless: bool,
    /// It is an alias for a name elsewhere and selects nothing.
    pub external_name: bool,
    /// Nodes send to their own pods only.
    pub local_policy: bool,
    /// Something outside the cluster spreads its connections over nodes: type LoadBalancer or NodePort.
    pub by_a_load_balancer: bool,
}

/// Where a Service shall point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point<'a> {
    /// At the pods of one ReplicaSet, our mark on it.
    At(&'a str),
    /// At both sides, our mark on it.
    Both,
    /// As the user wrote it, our mark gone.
    Released,
}

/// Reads a Service.
#[must_use]
pub fn read(object: &Value, workload_uid: &str, manager: &str) -> Seen {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let mut selector: BTreeMap<String, String> = object
        .pointer("/spec/selector")
        .and_then(Value::as_object)
        .map(|map| {
            map.iter()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        })
        .unwrap_or_default();
    let pinned_to = selector.remove(POD_TEMPLATE_HASH);
    let (mut other_managed_fields, in_managed_fields) = managed_fields::of_others(object, manager);
    if in_managed_fields {
        other_managed_fields = managed_fields::with_selector(other_managed_fields);
    }
    let mark = object
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(HELD_BY))
        .and_then(Value::as_str);
    Seen {
        pinned_to,
        held: mark == Some(workload_uid),
        held_by_other: mark.filter(|uid| *uid != workload_uid).map(str::to_owned),
        selector,
        other_managed_fields,
        in_managed_fields,
        publish_not_ready: object
            .pointer("/spec/publishNotReadyAddresses")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        headless: text("/spec/clusterIP") == Some("None"),
        external_name: text("/spec/type") == Some("ExternalName"),
        by_a_load_balancer: matches!(text("/spec/type"), Some("LoadBalancer" | "NodePort")),
        local_policy: text("/spec/internalTrafficPolicy") == Some("Local")
            || text("/spec/externalTrafficPolicy") == Some("Local"),
    }
}

/// Whether a selector selects pods with these labels. An empty selector selects nothing: such a
/// Service has hand-made endpoints.
#[must_use]
pub fn selects(selector: &BTreeMap<String, String>, labels: &Map<String, Value>) -> bool {
    !selector.is_empty()
        && selector
            .iter()
            .all(|(key, value)| labels.get(key).and_then(Value::as_str) == Some(value))
}

/// The patch that points a Service, or nothing if it already points there.
///
/// A merge patch with uid and resourceVersion: the server refuses it with 409 if the Service is not
/// the one that was read. One key and one label are all it touches.
#[must_use]
pub fn merge_patch(
    uid: &str,
    resource_version: &str,
    pinned_to: Option<&str>,
    held: bool,
    to: Point<'_>,
    workload_uid: &str,
) -> Option<Value> {
    let (key, mark) = match to {
        Point::At(hash) => (Some(hash), true),
        Point::Both => (None, true),
        Point::Released => (None, false),
    };
    if pinned_to == key && held == mark {
        return None;
    }
    let mut patch = json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": { HELD_BY: mark.then_some(workload_uid) },
        },
    });
    if pinned_to != key
        && let Some(object) = patch.as_object_mut()
    {
        object.insert(
            "spec".to_owned(),
            json!({ "selector": { POD_TEMPLATE_HASH: key } }),
        );
    }
    Some(patch)
}

/// The patch that takes our mark off a Service and puts managedFields in one write.
///
/// Taking a label away makes nobody its manager, so that this write leaves no entry of ours. It goes to
/// the object that was read, at the version that was read or, after a write, answered.
#[must_use]
pub fn unmark_patch(uid: &str, resource_version: &str, managed_fields: &Value) -> Value {
    let mark = format!("/metadata/labels/{}", HELD_BY.replace('/', "~1"));
    json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": resource_version },
        { "op": "test", "path": "/metadata/uid", "value": uid },
        { "op": "remove", "path": mark },
        { "op": "replace", "path": "/metadata/managedFields", "value": managed_fields },
    ])
}

/// The patch that takes our key out of a Service's selector and leaves the mark.
#[must_use]
pub fn unpin_patch(uid: &str, resource_version: &str) -> Value {
    json!({
        "metadata": { "uid": uid, "resourceVersion": resource_version },
        "spec": { "selector": { POD_TEMPLATE_HASH: null } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(selector: Value, labels: Value) -> Value {
        json!({"metadata": {"uid": "s1", "resourceVersion": "7", "labels": labels}, "spec": {"selector": selector}})
    }

    #[test]
    fn reads_pin_and_mark() {
        let seen = read(
            &service(
                json!({"app": "web", "pod-template-hash": "abc"}),
                json!({"crossfade.dev/held-by": "w1"}),
            ),
            "w1",
            "crossfade",
        );
        assert_eq!(seen.pinned_to.as_deref(), Some("abc"));
        assert!(seen.held);
        assert_eq!(seen.selector.get("app").map(String::as_str), Some("web"));
        assert_eq!(seen.selector.len(), 1);
        let other = read(
            &service(
                json!({"app": "web"}),
                json!({"crossfade.dev/held-by": "w2"}),
            ),
            "w1",
            "crossfade",
        );
        assert!(!other.held);
        assert_eq!(other.held_by_other.as_deref(), Some("w2"));
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let labels = json!({"app": "web", "tier": "front"});
        let labels = labels.as_object().unwrap();
        assert!(!selects(&BTreeMap::new(), labels));
        assert!(selects(
            &BTreeMap::from([("app".into(), "web".into())]),
            labels
        ));
        assert!(!selects(
            &BTreeMap::from([("app".into(), "api".into())]),
            labels
        ));
    }

    #[test]
    fn touches_one_key_and_one_label() {
        let pin = merge_patch("s1", "7", None, false, Point::At("abc"), "w1").unwrap();
        assert_eq!(
            pin,
            json!({
                "metadata": {"uid": "s1", "resourceVersion": "7", "labels": {"crossfade.dev/held-by": "w1"}},
                "spec": {"selector": {"pod-template-hash": "abc"}},
            })
        );
        let widen = merge_patch("s1", "8", Some("abc"), true, Point::Both, "w1").unwrap();
        assert_eq!(
            widen.pointer("/spec/selector/pod-template-hash"),
            Some(&Value::Null)
        );
        assert_eq!(
            widen.pointer("/metadata/labels/crossfade.dev~1held-by"),
            Some(&json!("w1"))
        );
        let release = merge_patch("s1", "9", Some("abc"), true, Point::Released, "w1").unwrap();
        assert_eq!(
            release.pointer("/metadata/labels/crossfade.dev~1held-by"),
            Some(&Value::Null)
        );
        assert_eq!(
            release.pointer("/spec/selector/pod-template-hash"),
            Some(&Value::Null)
        );
    }

    #[test]
    fn writes_nothing_where_nothing_changes() {
        assert_eq!(
            merge_patch("s1", "7", Some("abc"), true, Point::At("abc"), "w1"),
            None
        );
        assert_eq!(merge_patch("s1", "7", None, true, Point::Both, "w1"), None);
        assert_eq!(
            merge_patch("s1", "7", None, false, Point::Released, "w1"),
            None
        );
        // The mark alone is enough to write: admission knows the Service by it.
        let mark = merge_patch("s1", "7", Some("abc"), false, Point::At("abc"), "w1").unwrap();
        assert_eq!(mark.get("spec"), None);
    }
}
