//! Webhooks: who is asked about what, and in which order and how often. As kube-apiserver 1.34 does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;
mod webhooks;

use common::*;
use crossfade_fakeapi::{Call, Caller};
use serde_json::{Value, json};
use webhooks::*;

#[tokio::test]
async fn configurations_get_their_defaults() {
    let (world, _) = world(|_, request| Ok(response(request, json!({})))).await;
    let body = configuration(
        "MutatingWebhookConfiguration",
        "m",
        &[webhook("a.b.c", json!({}))],
    );
    let stored = world.create(MUTATING, body).await;
    let hook = &stored["webhooks"][0];
    assert_eq!(hook["failurePolicy"], "Fail");
    assert_eq!(hook["matchPolicy"], "Equivalent");
    assert_eq!(hook["timeoutSeconds"], 10);
    assert_eq!(hook["reinvocationPolicy"], "Never");
    assert_eq!(hook["namespaceSelector"], json!({}));
    assert_eq!(hook["rules"][0]["scope"], "*");
    assert_eq!(hook["clientConfig"]["service"]["port"], 443);
}

#[tokio::test]
async fn the_request_says_who_does_what_to_which_object() {
    let (world, server) = world(|_, request| Ok(response(request, json!({})))).await;
    mutating(&world, "m", &[webhook("a.b.c", json!({}))]).await;
    world.create(DEPLOYMENTS, deployment("web")).await;
    let request = server.last();
    assert_eq!(request["operation"], "CREATE");
    assert_eq!(request["name"], "web");
    assert_eq!(request["namespace"], "default");
    assert_eq!(
        request["kind"],
        json!({ "group": "apps", "version": "v1", "kind": "Deployment" })
    );
    assert_eq!(
        request["resource"],
        json!({ "group": "apps", "version": "v1", "resource": "deployments" })
    );
    assert_eq!(request["userInfo"]["username"], "admin");
    assert_eq!(request["dryRun"], false);
    assert_eq!(request["oldObject"], Value::Null);
    // Defaults are in, what the registry gives is not.
    assert_eq!(request["object"]["spec"]["revisionHistoryLimit"], 10);
    assert_eq!(request["object"]["metadata"].get("uid"), None);
    world
        .merge(
            format!("{DEPLOYMENTS}/web"),
            json!({ "spec": { "replicas": 5 } }),
        )
        .await;
    let request = server.last();
    assert_eq!(request["operation"], "UPDATE");
    assert_eq!(request["oldObject"]["spec"]["replicas"], 2);
    assert_eq!(request["object"]["spec"]["replicas"], 5);
    world.delete(format!("{DEPLOYMENTS}/web"), json!({})).await;
    let request = server.last();
    assert_eq!(request["operation"], "DELETE");
    assert_eq!(request["object"], Value::Null);
    assert_eq!(request["oldObject"]["spec"]["replicas"], 5);
}

#[tokio::test]
async fn rules_choose_resources_subresources_operations_and_scope() {
    let (world, server) = world(|_, request| Ok(response(request, json!({})))).await;
    let rule = |resources: Value, operations: Value| {
        json!({ "rules": [{ "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources,
            "operations": operations }] })
    };
    validating(
        &world,
        "v",
        &[
            webhook("scale.b.c", rule(json!(["deployments/scale"]), json!(["UPDATE"]))),
            webhook("all.b.c", rule(json!(["*"]), json!(["*"]))),
            webhook("every.b.c", rule(json!(["*/*"]), json!(["UPDATE"]))),
            webhook("status.b.c", rule(json!(["*/status"]), json!(["*"]))),
            webhook("cluster.b.c", json!({ "rules": [{ "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["namespaces", "configmaps"], "operations": ["CREATE"], "scope": "Cluster" }] })),
        ],
    )
    .await;
    world.create(DEPLOYMENTS, deployment("web")).await;
    assert_eq!(server.names(), ["all.b.c"]);
    server.forget();
    let path = format!("{DEPLOYMENTS}/web");
    world
        .merge(
            format!("{path}/scale"),
            json!({ "spec": { "replicas": 3 } }),
        )
        .await;
    assert_eq!(server.names(), ["scale.b.c", "every.b.c"]);
    let request = server.last();
    assert_eq!(request["subResource"], "scale");
    assert_eq!(
        request["kind"],
        json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" })
    );
    assert_eq!(request["object"]["spec"]["replicas"], 3);
    server.forget();
    world
        .merge(
            format!("{path}/status"),
            json!({ "status": { "replicas": 3 } }),
        )
        .await;
    assert_eq!(server.names(), ["every.b.c", "status.b.c"]);
    server.forget();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" } });
    world.create("/api/v1/namespaces", namespace).await;
    assert_eq!(server.names(), ["all.b.c", "cluster.b.c"]);
    server.forget();
    world.create(CONFIGMAPS, configmap("c", json!({}))).await;
    assert_eq!(server.names(), ["all.b.c"]);
    // The configurations themselves are left alone.
    server.forget();
    world.delete(format!("{VALIDATING}/v"), json!({})).await;
    assert_eq!(server.names(), [] as [&str; 0]);
}

#[tokio::test]
async fn selectors_look_at_the_namespace_and_at_both_objects() {
    let (world, server) = world(|_, request| Ok(response(request, json!({})))).await;
    validating(
        &world,
        "v",
        &[
            webhook("object.b.c", json!({ "objectSelector": { "matchLabels": { "managed": "yes" } } })),
            webhook("space.b.c", json!({ "namespaceSelector": { "matchExpressions": [
                { "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["default"] }] } })),
        ],
    )
    .await;
    let mut managed = deployment("web");
    managed["metadata"]["labels"]["managed"] = json!("yes");
    world.create(DEPLOYMENTS, managed).await;
    assert_eq!(server.names(), ["object.b.c"]);
    server.forget();
    let path = format!("{DEPLOYMENTS}/web");
    let drop_label = json!({ "metadata": { "labels": { "managed": null } } });
    world.merge(&path, drop_label).await;
    assert_eq!(
        server.names(),
        ["object.b.c"],
        "the old object still had it"
    );
    server.forget();
    world
        .merge(&path, json!({ "spec": { "replicas": 1 } }))
        .await;
    assert_eq!(server.names(), [] as [&str; 0]);
    let elsewhere = DEPLOYMENTS.replace("/default/", "/kube-system/");
    world.create(&elsewhere, deployment("web")).await;
    assert_eq!(server.names(), ["space.b.c"]);
}

#[tokio::test]
async fn conditions_decide_and_a_false_one_outweighs_an_error() {
    let (world, server) = world(|_, request| Ok(response(request, json!({})))).await;
    let conditions = |expressions: &[&str], policy: &str| {
        let list: Vec<Value> = expressions
            .iter()
            .enumerate()
            .map(|(place, text)| json!({ "name": format!("c{place}"), "expression": text }))
            .collect();
        json!({ "matchConditions": list, "failurePolicy": policy,
            "rules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
                "operations": ["UPDATE"] }] })
    };
    world.create(DEPLOYMENTS, deployment("web")).await;
    let scaled = "object.spec.replicas != oldObject.spec.replicas";
    mutating(
        &world,
        "m",
        &[
            webhook(
                "yes.b.c",
                conditions(&[scaled, "request.userInfo.username == 'admin'"], "Fail"),
            ),
            webhook(
                "no.b.c",
                conditions(&["object.spec.missing == 1", "false"], "Fail"),
            ),
            webhook(
                "open.b.c",
                conditions(&["object.spec.missing == 1"], "Ignore"),
            ),
        ],
    )
    .await;
    let path = format!("{DEPLOYMENTS}/web");
    let scale = |replicas: i64| json!({ "spec": { "replicas": replicas } });
    assert_eq!(world.merge(&path, scale(3)).await.status, 200);
    assert_eq!(server.names(), ["yes.b.c"]);
    let other = Caller::new("somebody", "x");
    world
        .api
        .call(&other, Call::patch(&path, MERGE, scale(4)))
        .await;
    assert_eq!(server.names(), ["yes.b.c"]);
    mutating(
        &world,
        "n",
        &[webhook(
            "broken.b.c",
            conditions(&["object.spec.missing == 1"], "Fail"),
        )],
    )
    .await;
    let refused = world.merge(&path, scale(5)).await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.body["message"],
        "deployments.apps \"web\" is forbidden: expression 'object.spec.missing == 1' resulted in error: no such key: missing"
    );
}

#[tokio::test]
async fn webhooks_are_asked_in_order_and_again_if_a_later_one_changed_something() {
    let (world, server) = world(|target, request| {
        Ok(match target.name.as_str() {
            "late.b.c" => set_label(request, "late", "1"),
            "first.b.c" => set_label(request, "first", "1"),
            _ => response(request, json!({})),
        })
    })
    .await;
    let again = json!({ "reinvocationPolicy": "IfNeeded" });
    mutating(&world, "b", &[webhook("late.b.c", again.clone())]).await;
    let mut skipped = again.clone();
    skipped["matchConditions"] =
        json!([{ "name": "late", "expression": "'late' in object.metadata.labels" }]);
    mutating(
        &world,
        "a",
        &[
            webhook("first.b.c", again),
            webhook("once.b.c", json!({})),
            webhook("skipped.b.c", skipped),
        ],
    )
    .await;
    let stored = world.create(DEPLOYMENTS, deployment("web")).await;
    assert_eq!(stored["metadata"]["labels"]["late"], "1");
    // `skipped` would match the second time, but was not called the first time.
    assert_eq!(
        server.names(),
        ["first.b.c", "once.b.c", "late.b.c", "first.b.c"]
    );
}

#[tokio::test]
async fn mistakes_in_a_configuration_are_named() {
    let (world, _) = world(|_, request| Ok(response(request, json!({})))).await;
    let refuse = async |more: Value| {
        let body = configuration(
            "MutatingWebhookConfiguration",
            "m",
            &[webhook("a.b.c", more)],
        );
        let reply = world.post(MUTATING, body).await;
        assert_eq!(reply.status, 422, "{}", reply.body);
        reply.body["message"].as_str().unwrap().to_owned()
    };
    let begin =
        "MutatingWebhookConfiguration.admissionregistration.k8s.io \"m\" is invalid: webhooks[0].";
    let condition = json!({ "matchConditions": [{ "name": "c", "expression": "nobody == 1" }] });
    let message = refuse(condition).await;
    assert!(message.starts_with(&format!("{begin}matchConditions[0].expression: Invalid value: \"nobody == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nobody' (in container '')")), "{message}");
    assert_eq!(
        refuse(json!({ "timeoutSeconds": 31 })).await,
        format!(
            "{begin}timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"
        )
    );
    assert_eq!(
        refuse(json!({ "sideEffects": "Some" })).await,
        format!(
            "{begin}sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""
        )
    );
}
