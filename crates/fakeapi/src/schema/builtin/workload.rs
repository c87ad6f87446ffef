//! Deployments and ReplicaSets.
//!
//! What their controllers do does not belong here. Order and texts: `ValidateDeployment` and
//! `ValidateReplicaSet` of Kubernetes 1.34, `pkg/apis/apps/validation`.

use serde_json::{Map, Value, json};

use super::{elements, get, immutable, map_in, maps_in, not_negative, pod, pod_checks, set, text};
use crate::resource::ResourceType;
use crate::schema::ROOT;
use crate::schema::field::{Causes, Path};

/// Fills in defaults.
pub(super) fn default(resource: &ResourceType, object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    let deployment = resource.plural == "deployments";
    let Some(spec) = map_in(map, "spec") else {
        return;
    };
    set(spec, "replicas", 1);
    if let Some(template) = map_in(spec, "template") {
        pod::template(template);
    }
    if deployment {
        set(spec, "revisionHistoryLimit", 10);
        set(spec, "progressDeadlineSeconds", 600);
        if let Some(strategy) = map_in(spec, "strategy") {
            self::strategy(strategy);
        }
    }
    if let Some(status) = map_in(map, "status") {
        let times: &[&str] = if deployment {
            &["lastUpdateTime", "lastTransitionTime"]
        } else {
            &["lastTransitionTime"]
        };
        for condition in maps_in(status, "conditions") {
            for time in times {
                condition.entry(*time).or_insert(Value::Null);
            }
        }
        if deployment {
            // Left out when 0, unlike a ReplicaSet's.
            status.retain(|name, value| !(name == "replicas" && value.as_i64() == Some(0)));
        } else {
            set(status, "replicas", 0);
        }
    }
}

fn strategy(strategy: &mut Map<String, Value>) {
    set(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
        && let Some(rolling) = map_in(strategy, "rollingUpdate")
    {
        set(rolling, "maxUnavailable", "25%");
        set(rolling, "maxSurge", "25%");
    }
}

/// Validates a write.
pub(super) fn validate(
    resource: &ResourceType,
    new: &Value,
    old: Option<&Value>,
    causes: &mut Causes,
) {
    let path = ROOT.child("spec");
    let spec = get(new, "spec");
    not_negative(spec, "replicas", &path, causes);
    if resource.plural == "replicasets" {
        not_negative(spec, "minReadySeconds", &path, causes);
    }
    selector_and_template(spec, &path, causes);
    if resource.plural == "deployments" {
        check_strategy(get(spec, "strategy"), &path.child("strategy"), causes);
        not_negative(spec, "minReadySeconds", &path, causes);
        not_negative(spec, "revisionHistoryLimit", &path, causes);
        let deadline = get(spec, "progressDeadlineSeconds");
        if let Some(seconds) = deadline.as_i64() {
            not_negative(spec, "progressDeadlineSeconds", &path, causes);
            if seconds <= get(spec, "minReadySeconds").as_i64().unwrap_or(0) {
                causes.invalid(
                    path.child("progressDeadlineSeconds"),
                    deadline,
                    "must be greater than minReadySeconds",
                );
            }
        }
    }
    let before = old.map(|old| get(get(old, "spec"), "selector"));
    immutable(
        get(spec, "selector"),
        before,
        &path.child("selector"),
        causes,
    );
}

/// Validates a write of the status.
pub(super) fn validate_status(
    resource: &ResourceType,
    new: &Value,
    old: Option<&Value>,
    causes: &mut Causes,
) {
    let path = ROOT.child("status");
    let status = get(new, "status");
    let deployment = resource.plural == "deployments";
    let parts: &[&str] = if deployment {
        &["updatedReplicas", "readyReplicas", "availableReplicas"]
    } else {
        &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"]
    };
    for name in ["observedGeneration", "replicas", "unavailableReplicas"]
        .iter()
        .chain(parts)
        .chain(&["terminatingReplicas", "collisionCount"])
    {
        not_negative(status, name, &path, causes);
    }
    let count = |name: &str| get(status, name).as_i64().unwrap_or(0);
    for name in parts {
        if count(name) > count("replicas") {
            causes.invalid(
                path.child(name),
                &Value::from(count(name)),
                "cannot be greater than status.replicas",
            );
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        causes.invalid(
            path.child("availableReplicas"),
            &Value::from(count("availableReplicas")),
            "cannot be greater than readyReplicas",
        );
    }
    let before = old.map_or(0, |old| {
        get(get(old, "status"), "collisionCount")
            .as_i64()
            .unwrap_or(0)
    });
    if deployment && count("collisionCount") < before {
        causes.invalid(
            path.child("collisionCount"),
            &Value::from(count("collisionCount")),
            "cannot be decremented",
        );
    }
}

fn selector_and_template(spec: &Value, path: &Path<'_>, causes: &mut Causes) {
    let selector = get(spec, "selector");
    let selector_path = path.child("selector");
    let template = get(spec, "template");
    let template_path = path.child("template");
    let empty = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    if selector.is_null() {
        causes.required(selector_path, "");
    } else {
        super::selector(selector, &selector_path, causes);
        if empty {
            // The server says "deployment" of ReplicaSets too.
            let detail = "empty selector is invalid for deployment";
            causes.invalid(selector_path, &json!({}), detail);
        }
    }
    // No selector takes nothing, an empty one is not compared.
    let labels = get(get(template, "metadata"), "labels");
    if selector.is_null() || !empty && !matches(selector, labels) {
        let meta_path = template_path.child("metadata");
        causes.invalid(
            meta_path.child("labels"),
            labels,
            "`selector` does not match template `labels`",
        );
    }
    pod_checks::template(template, &template_path, causes);
    let spec_path = template_path.child("spec");
    let pod = get(template, "spec");
    if !text(pod, "restartPolicy").is_empty() && text(pod, "restartPolicy") != "Always" {
        causes.not_supported(
            spec_path.child("restartPolicy"),
            get(pod, "restartPolicy"),
            ["Always"],
        );
    }
    if pod.get("activeDeadlineSeconds").is_some() {
        causes.forbidden(
            spec_path.child("activeDeadlineSeconds"),
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        );
    }
}

/// Whether a label selector takes these labels.
fn matches(selector: &Value, labels: &Value) -> bool {
    let equal = get(selector, "matchLabels")
        .as_object()
        .is_none_or(|wanted| {
            wanted
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        });
    equal
        && elements(selector, "matchExpressions")
            .iter()
            .all(|expression| {
                let found = labels.get(text(expression, "key"));
                let listed =
                    found.is_some_and(|found| elements(expression, "values").contains(found));
                match text(expression, "operator") {
                    "In" => listed,
                    "NotIn" => !listed,
                    "Exists" => found.is_some(),
                    _ => found.is_none(),
                }
            })
}

fn check_strategy(strategy: &Value, path: &Path<'_>, causes: &mut Causes) {
    let rolling = get(strategy, "rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => causes.forbidden(
            path.child("rollingUpdate"),
            "may not be specified when strategy `type` is 'Recreate'",
        ),
        "Recreate" => {}
        "RollingUpdate" => rolling_update(rolling, &path.child("rollingUpdate"), causes),
        other => causes.not_supported_printed(
            path,
            &format!(
                "{{\"Type\":{other:?},\"RollingUpdate\":{}}}",
                if rolling.is_null() {
                    "null".to_owned()
                } else {
                    format!(
                        "{{\"MaxUnavailable\":{},\"MaxSurge\":{}}}",
                        get(rolling, "maxUnavailable"),
                        get(rolling, "maxSurge")
                    )
                }
            ),
            ["Recreate", "RollingUpdate"],
        ),
    }
}

fn rolling_update(rolling: &Value, path: &Path<'_>, causes: &mut Causes) {
    let (unavailable, surge) = (get(rolling, "maxUnavailable"), get(rolling, "maxSurge"));
    amount(unavailable, &path.child("maxUnavailable"), causes);
    amount(surge, &path.child("maxSurge"), causes);
    if plain(unavailable) == 0 && plain(surge) == 0 {
        causes.invalid(
            path.child("maxUnavailable"),
            unavailable,
            "may not be 0 when `maxSurge` is 0",
        );
    }
    if percent(unavailable).is_some_and(|share| share > 100) {
        causes.invalid(
            path.child("maxUnavailable"),
            unavailable,
            "must not be greater than 100%",
        );
    }
}

fn percent(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| digits.parse().ok()).flatten()
}

/// The number before a percent sign, or the number.
fn plain(value: &Value) -> i64 {
    percent(value)
        .and_then(|share| i64::try_from(share).ok())
        .or_else(|| value.as_i64())
        .unwrap_or(0)
}

/// A number of pods or a share of them.
fn amount(value: &Value, path: &Path<'_>, causes: &mut Causes) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            causes.invalid(path, value, "must be greater than or equal to 0");
        }
        Value::String(_) if percent(value).is_none() => causes.invalid(
            path,
            value,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
        _ => {}
    }
}
