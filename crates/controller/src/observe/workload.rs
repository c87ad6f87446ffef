//! The user's Deployment and ours. Numbers are resolved as the Deployment controller resolves them.

use crossfade_api::FIELD_MANAGER;
use crossfade_api::annotations::{
    BYPASS, BYPASS_TEMPLATE, CANDIDATE, ORIGINALS, REVISION, STRATEGY,
};
use crossfade_engine::observed::{Parallel, Workload};
use crossfade_traffic_switching::managed_fields;
use serde_json::Value;

use super::read::{
    annotation, condition, count, deleting, failure, flag, label, list, number, text,
};

/// What `kubectl apply` leaves.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The user's Deployment.
#[must_use]
pub fn workload(object: &Value, claimed_by: Option<String>) -> Workload {
    let replicas = object
        .pointer("/spec/replicas")
        .map_or(1, |_| count(object, "/spec/replicas"));
    let (max_surge, max_unavailable) = surge(object, replicas);
    Workload {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
        resource_version: text(object, "/metadata/resourceVersion").to_owned(),
        generation: number(object, "/metadata/generation"),
        observed_generation: number(object, "/status/observedGeneration"),
        deleting: deleting(object),
        replicas,
        paused: flag(object, "/spec/paused"),
        paused_by_manifest: paused_by_manifest(object),
        strategy_annotation: annotation(object, STRATEGY).map(str::to_owned),
        rolling_update: matches!(text(object, "/spec/strategy/type"), "" | "RollingUpdate"),
        max_surge,
        max_unavailable,
        min_ready_seconds: count(object, "/spec/minReadySeconds"),
        selector: object
            .pointer("/spec/selector")
            .cloned()
            .unwrap_or_default(),
        strategy: object
            .pointer("/spec/strategy")
            .cloned()
            .unwrap_or_default(),
        progress_deadline_seconds: object
            .pointer("/spec/progressDeadlineSeconds")
            .and_then(Value::as_u64)
            .and_then(|seconds| u32::try_from(seconds).ok()),
        template: object
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default(),
        revision: annotation(object, REVISION)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        status_replicas: count(object, "/status/replicas"),
        status_updated: count(object, "/status/updatedReplicas"),
        available: condition(object, "Available")
            .is_some_and(|condition| text(condition, "/status") == "True"),
        claimed_by,
        others_managed_fields: Some(managed_fields::of_others(object, FIELD_MANAGER))
            .and_then(|(others, ours)| ours.then_some(others)),
        bypass: annotation(object, BYPASS).map(str::to_owned),
        bypass_template: annotation(object, BYPASS_TEMPLATE).map(str::to_owned),
    }
}

/// A Deployment of ours.
#[must_use]
pub fn parallel(object: &Value) -> Parallel {
    Parallel {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
        resource_version: text(object, "/metadata/resourceVersion").to_owned(),
        generation: number(object, "/metadata/generation"),
        observed_generation: number(object, "/status/observedGeneration"),
        deleting: deleting(object),
        candidate: label(object, CANDIDATE).to_owned(),
        replicas: object
            .pointer("/spec/replicas")
            .map_or(1, |_| count(object, "/spec/replicas")),
        paused: flag(object, "/spec/paused"),
        template: object
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default(),
        replica_failure: failure(object, "ReplicaFailure"),
        originals: annotation(object, ORIGINALS).and_then(|text| serde_json::from_str(text).ok()),
    }
}

/// maxSurge and maxUnavailable in pods: surge is rounded up, unavailable down; a quarter each where
/// nothing is said; not both 0, then one may be unavailable.
fn surge(object: &Value, replicas: u32) -> (u32, u32) {
    let value = |name: &str| {
        object
            .pointer("/spec/strategy/rollingUpdate")
            .and_then(|update| update.get(name))
            .filter(|value| !value.is_null())
    };
    let surge = resolve(value("maxSurge"), replicas, true);
    let unavailable = resolve(value("maxUnavailable"), replicas, false);
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable.min(replicas.max(1)))
    }
}

fn resolve(value: Option<&Value>, replicas: u32, up: bool) -> u32 {
    let percent = match value {
        None => 25,
        Some(Value::String(text)) => match text
            .strip_suffix('%')
            .and_then(|text| text.parse::<u64>().ok())
        {
            Some(percent) => percent,
            None => return text.parse().unwrap_or_default(),
        },
        Some(other) => {
            return other
                .as_u64()
                .and_then(|pods| u32::try_from(pods).ok())
                .unwrap_or_default();
        }
    };
    let share = percent.saturating_mul(u64::from(replicas));
    let pods = if up { share.div_ceil(100) } else { share / 100 };
    u32::try_from(pods).unwrap_or(u32::MAX)
}

/// Who asks for `paused: true` himself: then unpausing would only be undone by the next apply. The
/// gate's own pause is in no manifest, and no manager of an apply owns it.
fn paused_by_manifest(object: &Value) -> Option<String> {
    let applied =
        annotation(object, LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok());
    if applied.is_some_and(|manifest| flag(&manifest, "/spec/paused")) {
        return Some("kubectl apply".to_owned());
    }
    list(object, "/metadata/managedFields")
        .find(|entry| {
            text(entry, "/operation") == "Apply"
                && entry.pointer("/fieldsV1/f:spec/f:paused").is_some()
        })
        .map(|entry| text(entry, "/manager").to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: u32, rolling: Value) -> Value {
        json!({"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}})
    }

    #[test]
    fn surge_as_the_deployment_controller_resolves_it() {
        for (replicas, rolling, expected) in [
            (
                10,
                json!({"maxSurge": "25%", "maxUnavailable": "25%"}),
                (3, 2),
            ),
            (4, json!({}), (1, 1)),
            (3, json!({"maxSurge": 2, "maxUnavailable": 0}), (2, 0)),
            (3, json!({"maxSurge": 0, "maxUnavailable": "10%"}), (0, 1)),
            (
                1,
                json!({"maxSurge": "25%", "maxUnavailable": "25%"}),
                (1, 0),
            ),
        ] {
            let seen = workload(&deployment(replicas, rolling.clone()), None);
            assert_eq!(
                (seen.max_surge, seen.max_unavailable),
                expected,
                "{replicas} {rolling}"
            );
        }
        assert_eq!(
            workload(&json!({"spec": {}}), None).replicas,
            1,
            "the API's default"
        );
    }

    #[test]
    fn a_pause_of_the_manifest_is_told_from_the_gates() {
        let gated = json!({"metadata": {"managedFields": [{"manager": "crossfade", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}}]}, "spec": {"paused": true}});
        assert_eq!(workload(&gated, None).paused_by_manifest, None);
        let applied = json!({"metadata": {"managedFields": [{"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:spec": {"f:paused": {}}}}]}});
        assert_eq!(
            workload(&applied, None).paused_by_manifest.as_deref(),
            Some("argocd")
        );
        let client =
            json!({"metadata": {"annotations": {(LAST_APPLIED): "{\"spec\":{\"paused\":true}}"}}});
        assert_eq!(
            workload(&client, None).paused_by_manifest.as_deref(),
            Some("kubectl apply")
        );
    }
}
