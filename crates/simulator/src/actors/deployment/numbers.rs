//! Numbers of a Deployment's strategy and of its ReplicaSets. Pure.

use crossfade_fakeapi::At;
use std::sync::Arc;

use serde_json::Value;

use crate::actors::object::{annotation, number, replicas, text};

/// Annotations the Deployment controller keeps on its ReplicaSets.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// A count or a share of `total`.
fn resolve(value: Option<&Value>, total: i64, up: bool) -> i64 {
    match value {
        Some(Value::Number(count)) => count.as_i64().unwrap_or_default(),
        Some(Value::String(share)) => {
            let percent: i64 = share.trim_end_matches('%').parse().unwrap_or_default();
            let product = percent * total;
            if up {
                (product + 99).div_euclid(100)
            } else {
                product.div_euclid(100)
            }
        }
        _ => 0,
    }
}

/// Whether the strategy is RollingUpdate, which is also the default.
#[must_use]
pub fn rolling(deployment: &Value) -> bool {
    text(deployment, "/spec/strategy/type") != "Recreate"
}

fn fence_posts(deployment: &Value) -> (i64, i64) {
    let total = replicas(deployment);
    let surge = surge_of_new(deployment);
    let unavailable = resolve(
        deployment.at("/spec/strategy/rollingUpdate/maxUnavailable"),
        total,
        false,
    );
    // Both 0 would never move: shares of a small number may round to that.
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable)
    }
}

/// maxSurge as it is used for the size of the new ReplicaSet: rounded up.
#[must_use]
pub fn surge_of_new(deployment: &Value) -> i64 {
    resolve(
        deployment.at("/spec/strategy/rollingUpdate/maxSurge"),
        replicas(deployment),
        true,
    )
}

/// maxSurge in pods; 0 for Recreate.
#[must_use]
pub fn max_surge(deployment: &Value) -> i64 {
    if rolling(deployment) {
        fence_posts(deployment).0
    } else {
        0
    }
}

/// maxUnavailable in pods; 0 for Recreate and for no replicas.
#[must_use]
pub fn max_unavailable(deployment: &Value) -> i64 {
    let total = replicas(deployment);
    if !rolling(deployment) || total == 0 {
        return 0;
    }
    fence_posts(deployment).1.min(total)
}

/// progressDeadlineSeconds, if there is one: the largest 32-bit number means none.
#[must_use]
pub fn progress_deadline(deployment: &Value) -> Option<i64> {
    deployment
        .at("/spec/progressDeadlineSeconds")
        .and_then(Value::as_i64)
        .filter(|seconds| *seconds != i64::from(i32::MAX))
}

/// A whole number in an annotation.
#[must_use]
pub fn counted(object: &Value, name: &str) -> Option<i64> {
    annotation(object, name)?.parse().ok()
}

/// Sum of the sizes asked for.
#[must_use]
pub fn asked(sets: &[Arc<Value>]) -> i64 {
    sets.iter().map(|set| replicas(set)).sum()
}

/// Sum of a number in the statuses.
#[must_use]
pub fn reported(sets: &[Arc<Value>], field: &str) -> i64 {
    let pointer = format!("/status/{field}");
    sets.iter().map(|set| number(set, &pointer)).sum()
}

/// How large the new ReplicaSet may become now: as far as the surge leaves room. `others` are all
/// ReplicaSets but the new one, which has `size`.
#[must_use]
pub fn replicas_of_new(deployment: &Value, others: &[Arc<Value>], size: i64) -> i64 {
    let wanted = replicas(deployment);
    if !rolling(deployment) {
        return wanted;
    }
    let room = wanted + surge_of_new(deployment) - asked(others) - size;
    if room <= 0 {
        size
    } else {
        size + room.min(wanted - size)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: i64, surge: Value, unavailable: Value) -> Value {
        json!({"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}})
    }

    #[test]
    fn surge_rounds_up_and_unavailable_down() {
        for (count, surge, unavailable) in [(4, 1, 1), (10, 3, 2), (3, 1, 0), (1, 1, 0), (0, 0, 0)]
        {
            let found = deployment(count, json!("25%"), json!("25%"));
            assert_eq!(
                (max_surge(&found), max_unavailable(&found)),
                (surge, unavailable),
                "{count}"
            );
        }
        let stuck = deployment(3, json!(0), json!("10%"));
        assert_eq!((max_surge(&stuck), max_unavailable(&stuck)), (0, 1));
        let more_than_there_are = deployment(3, json!(1), json!(10));
        assert_eq!(max_unavailable(&more_than_there_are), 3);
        let recreate = json!({"spec": {"replicas": 3, "strategy": {"type": "Recreate"}}});
        assert_eq!((max_surge(&recreate), max_unavailable(&recreate)), (0, 0));
    }
}
