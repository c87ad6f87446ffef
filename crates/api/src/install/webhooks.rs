//! Admission configurations and the policy against deletions.
//!
//! Each mutating hook is a configuration of its own: in an emergency they are deleted one by one
//! (traffic; unpin by hand; gate and backstop; unpause by hand). The conditions decide alone whom
//! our server ever sees: Deployments that are not opted in and Services that are not in a release
//! never wait for it. They use `has`, `in` and `!=` only, which every server from 1.30 on knows.

use serde_json::{Value, json};

use super::{Admission, Installation};

/// Seconds the API server waits for us; live reads have two of them.
const TIMEOUT: u32 = 5;

const OPTED_IN: &str = "(has(object.metadata.annotations) && 'crossfade.dev/strategy' in object.metadata.annotations) \
    || (has(oldObject.metadata.annotations) && 'crossfade.dev/strategy' in oldObject.metadata.annotations)";

const UNPAUSED_OR_OPTED_OUT: &str = "((has(oldObject.spec.paused) && oldObject.spec.paused) && !(has(object.spec.paused) && object.spec.paused)) \
    || ((has(oldObject.metadata.annotations) && 'crossfade.dev/strategy' in oldObject.metadata.annotations) \
    && !(has(object.metadata.annotations) && 'crossfade.dev/strategy' in object.metadata.annotations))";

const TEMPLATE_CHANGES: &str = "object.spec.template != oldObject.spec.template";

const TEMPLATE_CHANGES_UNPAUSED: &str = "(object.spec.template != oldObject.spec.template && !(has(object.spec.paused) && object.spec.paused))";

const HELD: &str =
    "has(oldObject.metadata.labels) && 'crossfade.dev/held-by' in oldObject.metadata.labels";

/// Our mark or the selector: both are put back by the server, nothing else is looked at.
const HELD_CHANGES: &str = "!has(object.metadata.labels) || !('crossfade.dev/held-by' in object.metadata.labels) \
    || object.metadata.labels['crossfade.dev/held-by'] != oldObject.metadata.labels['crossfade.dev/held-by'] \
    || has(object.spec.selector) != has(oldObject.spec.selector) \
    || (has(object.spec.selector) && has(oldObject.spec.selector) && object.spec.selector != oldObject.spec.selector)";

const COMMANDED: &str = "has(object.spec) && has(object.spec.control) \
    && (request.operation != 'UPDATE' || !has(oldObject.spec) || !has(oldObject.spec.control) \
    || object.spec.control != oldObject.spec.control)";

/// A parallel Deployment that another installation made is guarded by the policy of that one, which lets it
/// delete its own.
fn deleted_in_a_release(installation: &Installation) -> String {
    let name = &installation.name;
    format!(
        "request.resource.resource == 'rollouts' \
         ? (has(oldObject.status) && has(oldObject.status.phase) && oldObject.status.phase != 'Idle') \
         : (has(oldObject.metadata.labels) && 'crossfade.dev/rollout-uid' in oldObject.metadata.labels \
         && (!('crossfade.dev/installation' in oldObject.metadata.labels) \
         || oldObject.metadata.labels['crossfade.dev/installation'] == '{name}'))"
    )
}

fn not_us(installation: &Installation) -> String {
    format!("request.userInfo.username != '{}'", installation.username())
}

fn client_config(installation: &Installation, hook: &str) -> Value {
    let mut config = match &installation.admission {
        Admission::Url(base) => json!({ "url": format!("{}/{hook}", base.trim_end_matches('/')) }),
        Admission::Service { port } => json!({ "service": {
            "name": installation.service_name(),
            "namespace": installation.namespace,
            "path": format!("/{hook}"),
            "port": port,
        } }),
    };
    if let Some(bundle) = &installation.ca_bundle {
        config["caBundle"] = json!(bundle);
    }
    config
}

fn condition(name: &str, expression: &str) -> Value {
    json!({ "name": name, "expression": expression })
}

fn rule(group: &str, version: &str, resource: &str, operations: &[&str]) -> Value {
    json!({
        "apiGroups": [group], "apiVersions": [version], "resources": [resource],
        "operations": operations, "scope": "Namespaced",
    })
}

struct Hook<'a> {
    name: &'a str,
    rule: Value,
    conditions: Vec<Value>,
    failure_policy: &'a str,
}

fn webhook(installation: &Installation, hook: &Hook<'_>) -> Value {
    json!({
        "name": format!("{}.crossfade.dev", hook.name),
        "admissionReviewVersions": ["v1"],
        "clientConfig": client_config(installation, hook.name),
        "failurePolicy": hook.failure_policy,
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT,
        "namespaceSelector": installation.namespace_selector(),
        "rules": [hook.rule],
        "matchConditions": hook.conditions,
    })
}

fn configuration(installation: &Installation, kind: &str, name: &str, webhook: &Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": { "name": name, "labels": installation.labels() },
        "webhooks": [webhook],
    })
}

fn deployment_conditions(installation: &Installation, template: &str) -> Vec<Value> {
    vec![
        condition("opted-in", OPTED_IN),
        condition("guarded", &format!("{template} || {UNPAUSED_OR_OPTED_OUT}")),
        condition(
            "not-our-unpause",
            &format!("{} || {TEMPLATE_CHANGES}", not_us(installation)),
        ),
    ]
}

/// The mutating configurations: gate, traffic, stamp.
#[must_use]
pub fn mutating(installation: &Installation) -> Vec<Value> {
    let mut gate = webhook(
        installation,
        &Hook {
            name: "gate",
            rule: rule("apps", "v1", "deployments", &["UPDATE"]),
            conditions: deployment_conditions(installation, TEMPLATE_CHANGES),
            failure_policy: "Fail",
        },
    );
    // A mutator after us may change the template again: we want to see the result.
    gate["reinvocationPolicy"] = json!("IfNeeded");
    let mut traffic = webhook(
        installation,
        &Hook {
            name: "traffic",
            rule: rule("", "v1", "services", &["UPDATE"]),
            conditions: vec![
                condition("ours", HELD),
                condition("changed", HELD_CHANGES),
                condition("not-us", &not_us(installation)),
            ],
            failure_policy: "Fail",
        },
    );
    traffic["reinvocationPolicy"] = json!("IfNeeded");
    let mut stamp = webhook(
        installation,
        &Hook {
            name: "stamp",
            rule: rule(
                "crossfade.dev",
                "v1alpha1",
                "rollouts",
                &["CREATE", "UPDATE"],
            ),
            conditions: vec![
                condition("commanded", COMMANDED),
                condition("not-us", &not_us(installation)),
            ],
            // A command must reach a release even when our server does not answer; it then counts as
            // unverified.
            failure_policy: "Ignore",
        },
    );
    stamp["reinvocationPolicy"] = json!("Never");
    installation
        .mutating_names()
        .iter()
        .zip([gate, traffic, stamp])
        .map(|(name, hook)| {
            configuration(installation, "MutatingWebhookConfiguration", name, &hook)
        })
        .collect()
}

/// The validating configuration: what must never be stored, whoever asks.
#[must_use]
pub fn validating(installation: &Installation) -> Value {
    let backstop = webhook(
        installation,
        &Hook {
            name: "backstop",
            rule: rule("apps", "v1", "deployments", &["UPDATE"]),
            conditions: deployment_conditions(installation, TEMPLATE_CHANGES_UNPAUSED),
            failure_policy: "Fail",
        },
    );
    configuration(
        installation,
        "ValidatingWebhookConfiguration",
        &installation.validating_name(),
        &backstop,
    )
}

/// The policy against deletions in mid-release, and its binding. It needs no server of ours.
#[must_use]
pub fn deletes(installation: &Installation) -> Vec<Value> {
    let name = installation.policy_name();
    let metadata = json!({ "name": name, "labels": installation.labels() });
    let cluster = format!(
        "!(request.userInfo.username in ['{}','system:kube-controller-manager',\
         'system:serviceaccount:kube-system:namespace-controller',\
         'system:serviceaccount:kube-system:generic-garbage-collector'])",
        installation.username()
    );
    vec![
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "namespaceSelector": installation.namespace_selector(),
                    "resourceRules": [
                        rule("apps", "v1", "deployments", &["DELETE"]),
                        rule("", "v1", "services", &["DELETE"]),
                        rule("crossfade.dev", "v1alpha1", "rollouts", &["DELETE"]),
                    ],
                },
                "matchConditions": [
                    condition("in-a-release", &deleted_in_a_release(installation)),
                    condition("not-us-or-the-cluster", &cluster),
                ],
                "validations": [{
                    // A namespace must be able to go at any time.
                    "expression": "namespaceObject != null && has(namespaceObject.metadata.deletionTimestamp)",
                    "message": format!(
                        "a Crossfade release is under way and needs this object. End the release first: \
                         `crossfade abort` takes the new version away, `crossfade promote --full` keeps it; \
                         after a rollback `crossfade undo` ends it. \
                         If Crossfade is gone for good: kubectl delete validatingadmissionpolicybinding {name}"
                    ),
                    "reason": "Forbidden",
                }],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": { "policyName": name, "validationActions": ["Deny"] },
        }),
    ]
}

/// All of it.
#[must_use]
pub fn admission(installation: &Installation) -> Vec<Value> {
    let mut all = deletes(installation);
    all.extend(mutating(installation));
    all.push(validating(installation));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hook_is_a_configuration_of_its_own() {
        let names: Vec<_> = mutating(&Installation::default())
            .iter()
            .map(|configuration| {
                assert_eq!(configuration["webhooks"].as_array().unwrap().len(), 1);
                configuration["metadata"]["name"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(
            names,
            ["crossfade-gate", "crossfade-traffic", "crossfade-stamp"]
        );
    }

    #[test]
    fn only_the_stamp_may_be_missing() {
        let installation = Installation::default();
        for configuration in mutating(&installation)
            .into_iter()
            .chain([validating(&installation)])
        {
            let hook = &configuration["webhooks"][0];
            let expected = if hook["name"] == "stamp.crossfade.dev" {
                "Ignore"
            } else {
                "Fail"
            };
            assert_eq!(hook["failurePolicy"], expected, "{}", hook["name"]);
            assert_eq!(hook["timeoutSeconds"], 5);
            assert_eq!(hook["sideEffects"], "None");
        }
    }

    #[test]
    fn gate_and_backstop_differ_in_the_template_alone() {
        let installation = Installation::default();
        let gate = &mutating(&installation)[0]["webhooks"][0]["matchConditions"];
        let backstop = &validating(&installation)["webhooks"][0]["matchConditions"];
        assert_eq!(gate[0], backstop[0]);
        assert_eq!(gate[2], backstop[2]);
        assert!(
            backstop[1]["expression"]
                .as_str()
                .unwrap()
                .starts_with(TEMPLATE_CHANGES_UNPAUSED)
        );
        assert!(
            gate[1]["expression"]
                .as_str()
                .unwrap()
                .starts_with(TEMPLATE_CHANGES)
        );
    }

    #[test]
    fn the_service_account_and_namespaces_are_put_in() {
        let installation = Installation {
            name: "blue".to_owned(),
            namespace: "ops".to_owned(),
            service_account: "runner".to_owned(),
            namespaces: Some(vec!["shop".to_owned()]),
            admission: Admission::Url("https://10.0.0.1:9443/".to_owned()),
            ca_bundle: Some("Zm9v".to_owned()),
        };
        let text = serde_json::to_string(&admission(&installation)).unwrap();
        assert!(text.contains("system:serviceaccount:ops:runner"));
        assert!(!text.contains("crossfade-system"));
        assert!(text.contains("https://10.0.0.1:9443/gate"));
        for configuration in mutating(&installation) {
            let hook = &configuration["webhooks"][0];
            assert_eq!(
                hook["namespaceSelector"]["matchExpressions"][0]["values"],
                json!(["shop"])
            );
            assert_eq!(hook["clientConfig"]["caBundle"], "Zm9v");
        }
    }
}
