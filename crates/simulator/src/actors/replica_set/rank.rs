//! Which pods of a ReplicaSet go first when it shrinks. Pure. After `ActivePodsWithRanks` of
//! `pkg/controller/controller_utils.go`, Kubernetes 1.34.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::actors::object::{annotation, condition, list, number, pod_ready, text, time, uid};

/// Lower goes first; -2^31 to 2^31 - 1, 0 where it is not set.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pods to delete: the first `count` in the order of the real controller. `related` are the pods
/// of all ReplicaSets of the same owner: of two on one node, one goes before one that stands alone.
#[must_use]
pub fn first_to_go(
    pods: &[Arc<Value>],
    related: &[Arc<Value>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Value>> {
    let mut pods = pods.to_vec();
    if count < pods.len() {
        let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in related {
            *on_node.entry(node(pod)).or_default() += 1;
        }
        let crowd = |pod: &Value| on_node.get(node(pod)).copied().unwrap_or_default();
        pods.sort_by(|left, right| {
            order(left, right, now, crowd(left), crowd(right))
                // The real sort is not stable; a name decides here so that a seed replays.
                .then_with(|| text(left, "/metadata/name").cmp(text(right, "/metadata/name")))
        });
    }
    pods.truncate(count);
    pods
}

fn node(pod: &Value) -> &str {
    text(pod, "/spec/nodeName")
}

fn phase(pod: &Value) -> u8 {
    match text(pod, "/status/phase") {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn cost(pod: &Value) -> i32 {
    annotation(pod, DELETION_COST)
        .and_then(|cost| cost.parse().ok())
        .unwrap_or(0)
}

fn restarts(pod: &Value) -> i64 {
    list(pod, "/status/containerStatuses")
        .iter()
        .map(|status| number(status, "/restartCount"))
        .max()
        .unwrap_or(0)
}

fn ready_since(pod: &Value) -> Option<Timestamp> {
    time(condition(pod, "Ready")?, "/lastTransitionTime")
}

/// Ages are compared by their power of two, so that a rolling update does not always hit the same
/// ones; within one power the uid decides.
fn younger_first(
    left: Option<Timestamp>,
    right: Option<Timestamp>,
    now: Timestamp,
    uids: (&str, &str),
) -> Ordering {
    let (Some(left), Some(right)) = (left, right) else {
        // A missing time counts as the youngest.
        return left.is_some().cmp(&right.is_some());
    };
    if left == right {
        return Ordering::Equal;
    }
    let power = |at: Timestamp| -> i32 {
        let age = now.as_nanosecond() - at.as_nanosecond();
        if age > 0 {
            // The integer part of the binary logarithm.
            i32::try_from(age.ilog2()).unwrap_or(i32::MAX)
        } else {
            -1
        }
    };
    power(left)
        .cmp(&power(right))
        .then_with(|| uids.0.cmp(uids.1))
}

fn order(left: &Value, right: &Value, now: Timestamp, crowds: usize, crowd: usize) -> Ordering {
    let assigned = |pod: &Value| !node(pod).is_empty();
    let uids = (uid(left), uid(right));
    assigned(left)
        .cmp(&assigned(right))
        .then_with(|| phase(left).cmp(&phase(right)))
        .then_with(|| pod_ready(left).cmp(&pod_ready(right)))
        .then_with(|| cost(left).cmp(&cost(right)))
        .then_with(|| crowd.cmp(&crowds))
        .then_with(|| {
            if pod_ready(left) && pod_ready(right) {
                younger_first(ready_since(left), ready_since(right), now, uids)
            } else {
                Ordering::Equal
            }
        })
        .then_with(|| restarts(right).cmp(&restarts(left)))
        .then_with(|| {
            let created = |pod| time(pod, "/metadata/creationTimestamp");
            younger_first(created(left), created(right), now, uids)
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, ready: bool, since: &str, more: Value) -> Arc<Value> {
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": since, "annotations": more},
            "spec": {"nodeName": node},
            "status": {"phase": if node.is_empty() { "Pending" } else { "Running" },
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": since}]},
        });
        if node.is_empty() {
            pod["spec"] = json!({});
        }
        Arc::new(pod)
    }

    fn gone(pods: &[Arc<Value>], count: usize) -> Vec<String> {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        first_to_go(pods, pods, count, now)
            .iter()
            .map(|pod| text(pod, "/metadata/name").to_owned())
            .collect()
    }

    #[test]
    fn unscheduled_then_unready_then_cheap_then_crowded_then_young() {
        let old = "2026-01-01T00:00:00Z";
        let pods = [
            pod("steady", "n1", true, old, json!({})),
            pod("young", "n4", true, "2026-01-01T11:59:00Z", json!({})),
            pod("crowded1", "n2", true, old, json!({})),
            pod("crowded2", "n2", true, old, json!({})),
            pod("cheap", "n3", true, old, json!({DELETION_COST: "-5"})),
            pod("unready", "n5", false, old, json!({})),
            pod("unscheduled", "", false, old, json!({})),
        ];
        assert_eq!(
            gone(&pods, 6),
            [
                "unscheduled",
                "unready",
                "cheap",
                "crowded1",
                "crowded2",
                "young"
            ]
        );
    }

    #[test]
    fn ages_within_one_power_of_two_are_equal() {
        // 100 and 110 minutes: the uid decides, not the age.
        let pods = [
            pod("a", "n1", true, "2026-01-01T10:10:00Z", json!({})),
            pod("b", "n2", true, "2026-01-01T10:20:00Z", json!({})),
        ];
        assert_eq!(gone(&pods, 1), ["a"]);
    }
}
