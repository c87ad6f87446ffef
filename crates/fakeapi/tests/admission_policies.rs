//! ValidatingAdmissionPolicies: which requests they judge, what their expressions see, and what the
//! caller is told. Answers as kube-apiserver 1.34 gives them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use common::*;
use crossfade_fakeapi::{Call, Caller};
use serde_json::{Value, json};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

/// A policy for Deployments; `more` replaces fields of the spec.
fn policy(more: Value) -> Value {
    let mut policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": "p" },
        "spec": {
            "matchConstraints": { "resourceRules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"],
                "resources": ["deployments"], "operations": ["CREATE", "UPDATE", "DELETE"] }] },
            "validations": [{ "expression": "true" }],
        },
    });
    for (key, value) in more.as_object().unwrap() {
        policy["spec"][key] = value.clone();
    }
    policy
}

fn binding(actions: &[&str], more: Value) -> Value {
    let mut binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": "b" }, "spec": { "policyName": "p", "validationActions": actions },
    });
    for (key, value) in more.as_object().unwrap() {
        binding["spec"][key] = value.clone();
    }
    binding
}

async fn world(spec: Value) -> World {
    let world = World::new();
    world.create(POLICIES, policy(spec)).await;
    world.create(BINDINGS, binding(&["Deny"], json!({}))).await;
    world
}

#[tokio::test]
async fn a_validation_that_does_not_hold_refuses_with_its_reason() {
    for (reason, code, name) in [
        (None, 422, "Invalid"),
        (Some("Forbidden"), 403, "Forbidden"),
        (Some("Unauthorized"), 401, "Unauthorized"),
        (Some("RequestEntityTooLarge"), 413, "RequestEntityTooLarge"),
    ] {
        let mut validation =
            json!({ "expression": "object.spec.replicas < 2", "message": "too many" });
        if let Some(reason) = reason {
            validation["reason"] = json!(reason);
        }
        let world = world(json!({ "validations": [validation] })).await;
        let refused = world.post(DEPLOYMENTS, deployment("web")).await;
        let text = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: too many";
        assert_eq!(
            refused.body,
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": format!("deployments.apps \"web\" is forbidden: {text}"),
                "reason": name, "code": code,
                "details": { "name": "web", "group": "apps", "kind": "deployments", "causes": [{ "message": text }] } })
        );
    }
}

#[tokio::test]
async fn messages_come_from_the_expression_then_the_text_then_the_rule() {
    let told = async |validation: Value| {
        let world = world(json!({ "validations": [validation] })).await;
        let refused = world.post(DEPLOYMENTS, deployment("web")).await;
        let message = refused.body["message"].as_str().unwrap().to_owned();
        message.split("denied request: ").nth(1).unwrap().to_owned()
    };
    let rule = "object.spec.replicas < 2";
    assert_eq!(
        told(json!({ "expression": rule, "messageExpression": "'%d are too many'.format([object.spec.replicas])" })).await,
        "2 are too many"
    );
    assert_eq!(
        told(
            json!({ "expression": rule, "messageExpression": "object.missing", "message": "plain" })
        )
        .await,
        "plain"
    );
    assert_eq!(
        told(json!({ "expression": rule })).await,
        format!("failed expression: {rule}")
    );
    assert_eq!(
        told(json!({ "expression": "object.missing" })).await,
        "expression 'object.missing' resulted in error: no such key: missing"
    );
}

#[tokio::test]
async fn variables_use_those_before_them() {
    let world = world(json!({
        "variables": [
            { "name": "count", "expression": "object.spec.replicas" },
            { "name": "double", "expression": "variables.count * 2" },
            { "name": "never", "expression": "object.missing" },
        ],
        "validations": [{ "expression": "variables.double == 4 || variables.never" }],
    }))
    .await;
    world.create(DEPLOYMENTS, deployment("web")).await;
    let mut other = deployment("other");
    other["spec"]["replicas"] = json!(3);
    let refused = world.post(DEPLOYMENTS, other).await;
    assert!(refused.body["message"].as_str().unwrap().ends_with(
        "resulted in error: composited variable \"never\" fails to evaluate: no such key: missing"
    ));
}

#[tokio::test]
async fn failures_follow_the_policy() {
    let validations = json!([{ "expression": "object.missing" }]);
    let open = world(json!({ "failurePolicy": "Ignore", "validations": validations })).await;
    open.create(DEPLOYMENTS, deployment("web")).await;
    let conditions = json!([{ "name": "c", "expression": "object.missing" }]);
    let shut = world(json!({ "matchConditions": conditions })).await;
    let refused = shut.post(DEPLOYMENTS, deployment("web")).await;
    assert_eq!((refused.status, refused.reason()), (422, "Invalid"));
    let open = world(json!({ "matchConditions": conditions, "failurePolicy": "Ignore" })).await;
    open.create(DEPLOYMENTS, deployment("web")).await;
}

/// The policy by which an installation keeps objects of a release from being deleted.
fn deletes() -> Value {
    json!({
        "matchConstraints": { "resourceRules": [{ "apiGroups": ["apps", ""], "apiVersions": ["*"],
            "resources": ["deployments", "configmaps"], "operations": ["DELETE"] }] },
        "matchConditions": [
            { "name": "marked", "expression": "has(oldObject.metadata.labels) && 'example.com/held' in oldObject.metadata.labels" },
            { "name": "not-the-cluster", "expression": "!(request.userInfo.username in ['system:kube-controller-manager'])" },
        ],
        "validations": [{
            "expression": "namespaceObject != null && has(namespaceObject.metadata.deletionTimestamp)",
            "message": "is held", "reason": "Forbidden",
        }],
    })
}

#[tokio::test]
async fn deletions_are_judged_by_the_old_object_the_caller_and_the_namespace() {
    let world = world(deletes()).await;
    let mut held = deployment("held");
    held["metadata"]["labels"]["example.com/held"] = json!("1");
    world.create(DEPLOYMENTS, held.clone()).await;
    world.create(DEPLOYMENTS, deployment("free")).await;
    let free = world.delete(format!("{DEPLOYMENTS}/free"), json!({})).await;
    assert_eq!(free.status, 200);
    let path = format!("{DEPLOYMENTS}/held");
    for options in [
        json!({}),
        json!({ "propagationPolicy": "Foreground" }),
        json!({ "propagationPolicy": "Orphan" }),
    ] {
        let refused = world.delete(&path, options).await;
        assert_eq!((refused.status, refused.reason()), (403, "Forbidden"));
    }
    let all = world.delete(DEPLOYMENTS, json!({})).await;
    assert_eq!(all.status, 403, "{}", all.body);
    let cluster = Caller::new("system:kube-controller-manager", "kcm");
    let gone = world.api.call(&cluster, Call::delete(&path)).await;
    assert_eq!(gone.status, 200);
    // In a namespace that goes, nothing is held.
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" } });
    world.create("/api/v1/namespaces", namespace).await;
    let inside = DEPLOYMENTS.replace("/default/", "/n/");
    world.create(&inside, held).await;
    let path = format!("{inside}/held");
    assert_eq!(world.delete(&path, json!({})).await.status, 403);
    world.delete("/api/v1/namespaces/n", json!({})).await;
    assert_eq!(world.delete(&path, json!({})).await.status, 200);
}

#[tokio::test]
async fn a_namespace_is_not_known_to_conditions() {
    let world = world(json!({
        "matchConditions": [{ "name": "c", "expression": "namespaceObject.metadata.name == 'default'" }],
    }))
    .await;
    let refused = world.post(DEPLOYMENTS, deployment("web")).await;
    assert!(
        refused.body["message"]
            .as_str()
            .unwrap()
            .ends_with("resulted in error: no such key: metadata")
    );
}

#[tokio::test]
async fn bindings_narrow_and_choose_what_happens() {
    let no = json!({ "validations": [{ "expression": "false", "message": "no" }] });
    let world = World::new();
    world.create(POLICIES, policy(no)).await;
    // Without a binding a policy does nothing.
    world.create(DEPLOYMENTS, deployment("a")).await;
    let narrow = json!({ "matchResources": { "namespaceSelector": {
        "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } } } });
    world.create(BINDINGS, binding(&["Deny"], narrow)).await;
    world.create(DEPLOYMENTS, deployment("b")).await;
    let elsewhere = DEPLOYMENTS.replace("/default/", "/kube-system/");
    assert_eq!(world.post(&elsewhere, deployment("b")).await.status, 422);
    world.delete(format!("{BINDINGS}/b"), json!({})).await;
    world
        .create(BINDINGS, binding(&["Warn", "Audit"], json!({})))
        .await;
    let warned = world.post(DEPLOYMENTS, deployment("c")).await;
    assert_eq!(warned.status, 201);
    assert_eq!(
        warned.warnings,
        ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]
    );
}

#[tokio::test]
async fn what_is_not_evaluated_here_is_refused_when_it_is_written() {
    let world = World::new();
    let refuse = async |more: Value| {
        let reply = world.post(POLICIES, policy(more)).await;
        assert_eq!(reply.status, 422, "{}", reply.body);
        reply.body["message"].as_str().unwrap().to_owned()
    };
    let params = refuse(json!({ "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" } })).await;
    assert!(params.contains("spec.paramKind: Forbidden"), "{params}");
    let authorizer = refuse(
        json!({ "validations": [{ "expression": "authorizer.path('/').check('get').allowed()" }] }),
    )
    .await;
    assert!(
        authorizer.contains("undeclared reference to 'authorizer'"),
        "{authorizer}"
    );
    let unknown = refuse(json!({ "validations": [{ "expression": "variables.x == 1" }] })).await;
    assert!(unknown.contains("undefined field 'x'"), "{unknown}");
    let both = world
        .post(BINDINGS, binding(&["Deny", "Warn"], json!({})))
        .await;
    assert_eq!(both.status, 422);
}
