//! Webhooks: who is asked about what, in which order and how often, what answers and failures mean.
//! Answers as kube-apiserver 1.34 gives them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use crossfade_fakeapi::{Call, Caller, WebhookCaller, WebhookTarget};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Method;
use serde_json::{Value, json};

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

type Answer = Arc<dyn Fn(&WebhookTarget, &Value) -> Result<Value, String> + Send + Sync>;

/// Answers by a function and keeps what it was asked.
struct Server {
    answer: Answer,
    delay: Duration,
    asked: Mutex<Vec<(String, Value)>>,
}

impl WebhookCaller for Server {
    fn call(
        &self,
        webhook: WebhookTarget,
        review: Value,
        _timeout: Duration,
    ) -> BoxFuture<'static, Result<Value, String>> {
        let request = review["request"].clone();
        self.asked
            .lock()
            .unwrap()
            .push((webhook.name.clone(), request.clone()));
        let (answer, delay) = (Arc::clone(&self.answer), self.delay);
        async move {
            tokio::time::sleep(delay).await;
            answer(&webhook, &request)
        }
        .boxed()
    }
}

impl Server {
    fn names(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(name, _)| name.clone()).collect()
    }

    fn last(&self) -> Value {
        self.asked.lock().unwrap().last().unwrap().1.clone()
    }

    fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

fn response(request: &Value, fields: Value) -> Value {
    let mut response = json!({ "uid": request["uid"], "allowed": true });
    for (key, value) in fields.as_object().unwrap() {
        response[key] = value.clone();
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}

fn patch(request: &Value, patch: Value) -> Value {
    let patch = STANDARD.encode(patch.to_string());
    response(request, json!({ "patchType": "JSONPatch", "patch": patch }))
}

fn set_label(request: &Value, name: &str, value: &str) -> Value {
    patch(
        request,
        json!([{ "op": "add", "path": format!("/metadata/labels/{name}"), "value": value }]),
    )
}

/// A webhook for Deployments; `more` replaces fields.
fn webhook(name: &str, more: Value) -> Value {
    let mut webhook = json!({
        "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": { "service": { "namespace": "ops", "name": "hooks", "path": "/admit" } },
        "rules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
            "operations": ["CREATE", "UPDATE", "DELETE"] }],
    });
    for (key, value) in more.as_object().unwrap() {
        webhook[key] = value.clone();
    }
    webhook
}

fn configuration(kind: &str, name: &str, webhooks: &[Value]) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": { "name": name }, "webhooks": webhooks,
    })
}

async fn world(
    answer: impl Fn(&WebhookTarget, &Value) -> Result<Value, String> + Send + Sync + 'static,
) -> (World, Arc<Server>) {
    slow_world(Duration::ZERO, answer).await
}

async fn slow_world(
    delay: Duration,
    answer: impl Fn(&WebhookTarget, &Value) -> Result<Value, String> + Send + Sync + 'static,
) -> (World, Arc<Server>) {
    let world = World::new();
    let server = Arc::new(Server {
        answer: Arc::new(answer),
        delay,
        asked: Mutex::default(),
    });
    world
        .api
        .set_webhooks(Arc::clone(&server) as Arc<dyn WebhookCaller>);
    (world, server)
}

async fn mutating(world: &World, name: &str, webhooks: &[Value]) {
    let body = configuration("MutatingWebhookConfiguration", name, webhooks);
    world.create(MUTATING, body).await;
}

async fn validating(world: &World, name: &str, webhooks: &[Value]) {
    let body = configuration("ValidatingWebhookConfiguration", name, webhooks);
    world.create(VALIDATING, body).await;
}

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
async fn patches_change_the_object_which_is_defaulted_again() {
    let (world, _) = world(|_, request| {
        Ok(patch(
            request,
            json!([
                { "op": "add", "path": "/spec/paused", "value": true },
                { "op": "add", "path": "/spec/template/spec/containers/-", "value": { "name": "side", "image": "s:1" } },
            ]),
        ))
    })
    .await;
    mutating(&world, "m", &[webhook("a.b.c", json!({}))]).await;
    let stored = world.create(DEPLOYMENTS, deployment("web")).await;
    assert_eq!(stored["spec"]["paused"], true);
    let side = &stored["spec"]["template"]["spec"]["containers"][1];
    assert_eq!(side["imagePullPolicy"], "IfNotPresent");
    assert_eq!(stored["metadata"]["generation"], 1);
}

#[tokio::test]
async fn a_dry_run_is_admitted_and_changed_alike() {
    let (world, server) = world(|_, request| {
        Ok(patch(
            request,
            json!([{ "op": "add", "path": "/spec/paused", "value": true }]),
        ))
    })
    .await;
    mutating(&world, "m", &[webhook("a.b.c", json!({}))]).await;
    let reply = world
        .call(Call::json(
            Method::POST,
            format!("{DEPLOYMENTS}?dryRun=All"),
            deployment("web"),
        ))
        .await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.body["spec"]["paused"], true);
    assert_eq!(server.last()["dryRun"], true);
    assert_eq!(world.get(format!("{DEPLOYMENTS}/web")).await.status, 404);
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
async fn a_refusal_carries_the_webhooks_code_reason_and_text() {
    let (world, _) = world(|_, request| {
        let name = request["name"].as_str().unwrap_or_default();
        Ok(response(
            request,
            match name {
                "a" => json!({ "allowed": false, "status": { "code": 403, "reason": "Forbidden", "message": "not today" } }),
                "b" => json!({ "allowed": false, "status": { "message": "no" } }),
                _ => json!({ "allowed": false }),
            },
        ))
    })
    .await;
    validating(&world, "v", &[webhook("a.b.c", json!({}))]).await;
    let refused = world.post(DEPLOYMENTS, deployment("a")).await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.body,
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "admission webhook \"a.b.c\" denied the request: not today",
            "reason": "Forbidden", "code": 403 })
    );
    let plain = world.post(DEPLOYMENTS, deployment("b")).await;
    assert_eq!((plain.status, plain.reason()), (400, ""));
    assert_eq!(
        plain.body["message"],
        "admission webhook \"a.b.c\" denied the request: no"
    );
    let silent = world.post(DEPLOYMENTS, deployment("c")).await;
    assert_eq!(
        silent.body["message"],
        "admission webhook \"a.b.c\" denied the request without explanation"
    );
    assert_eq!(world.get(DEPLOYMENTS).await.body["items"], json!([]));
}

#[tokio::test]
async fn a_webhook_nobody_answers_for_fails_or_is_passed_over() {
    let (world, _) = world(|_, _| Err("connection refused".to_owned())).await;
    mutating(
        &world,
        "open",
        &[webhook("open.b.c", json!({ "failurePolicy": "Ignore" }))],
    )
    .await;
    validating(
        &world,
        "open",
        &[webhook("open.b.c", json!({ "failurePolicy": "Ignore" }))],
    )
    .await;
    world.create(DEPLOYMENTS, deployment("a")).await;
    mutating(&world, "shut", &[webhook("shut.b.c", json!({}))]).await;
    let refused = world.post(DEPLOYMENTS, deployment("b")).await;
    assert_eq!((refused.status, refused.reason()), (500, "InternalError"));
    assert_eq!(
        refused.body["message"],
        "Internal error occurred: failed calling webhook \"shut.b.c\": failed to call webhook: connection refused"
    );
}

#[tokio::test(start_paused = true)]
async fn a_webhook_has_its_time_and_no_more() {
    let (world, _) = slow_world(Duration::from_secs(4), |_, request| {
        Ok(response(request, json!({})))
    })
    .await;
    validating(
        &world,
        "v",
        &[webhook("slow.b.c", json!({ "timeoutSeconds": 5 }))],
    )
    .await;
    let begin = tokio::time::Instant::now();
    world.create(DEPLOYMENTS, deployment("a")).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(4));
    world.delete(format!("{VALIDATING}/v"), json!({})).await;
    validating(
        &world,
        "v",
        &[webhook("slow.b.c", json!({ "timeoutSeconds": 3 }))],
    )
    .await;
    let begin = tokio::time::Instant::now();
    let refused = world.post(DEPLOYMENTS, deployment("b")).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
    assert_eq!(
        refused.body["message"],
        "Internal error occurred: failed calling webhook \"slow.b.c\": failed to call webhook: Post \"https://hooks.ops.svc:443/admit?timeout=3s\": context deadline exceeded"
    );
}

#[tokio::test(start_paused = true)]
async fn validating_webhooks_are_asked_at_once_mutating_ones_one_by_one() {
    let (world, server) = slow_world(Duration::from_secs(2), |_, request| {
        Ok(response(request, json!({})))
    })
    .await;
    let two = [webhook("one.b.c", json!({})), webhook("two.b.c", json!({}))];
    validating(&world, "v", &two).await;
    let begin = tokio::time::Instant::now();
    world.create(DEPLOYMENTS, deployment("a")).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(2));
    mutating(&world, "m", &two).await;
    let begin = tokio::time::Instant::now();
    world.create(DEPLOYMENTS, deployment("b")).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(6));
    assert_eq!(server.names().len(), 6);
}

#[tokio::test]
async fn answers_that_are_none_count_as_failures() {
    let (world, _) = world(|_, request| {
        Ok(match request["name"].as_str().unwrap_or_default() {
            "uid" => response(&json!({ "uid": "other" }), json!({})),
            "kind" => json!({ "response": { "uid": request["uid"], "allowed": true } }),
            "patch" => response(request, json!({ "patch": "W10=" })),
            "path" => patch(request, json!([{ "op": "remove", "path": "/nowhere" }])),
            _ => json!({}),
        })
    })
    .await;
    mutating(&world, "m", &[webhook("a.b.c", json!({}))]).await;
    for (name, expected) in [
        (
            "kind",
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got , Kind=",
        ),
        (
            "patch",
            "webhook returned response.patch but not response.patchType",
        ),
        ("none", "webhook response was absent"),
    ] {
        let refused = world.post(DEPLOYMENTS, deployment(name)).await;
        assert_eq!(
            refused.body["message"],
            format!(
                "Internal error occurred: failed calling webhook \"a.b.c\": received invalid webhook response: {expected}"
            )
        );
    }
    let uid = world.post(DEPLOYMENTS, deployment("uid")).await;
    let message = uid.body["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("expected response.uid=") && message.ends_with("got \"other\""),
        "{message}"
    );
    let path = world.post(DEPLOYMENTS, deployment("path")).await;
    assert_eq!((path.status, path.reason()), (500, "InternalError"));
}

#[tokio::test]
async fn warnings_reach_the_caller() {
    let (world, _) =
        world(|_, request| Ok(response(request, json!({ "warnings": ["mind the gap"] })))).await;
    mutating(&world, "m", &[webhook("a.b.c", json!({}))]).await;
    let reply = world.post(DEPLOYMENTS, deployment("web")).await;
    assert_eq!(reply.warnings, ["mind the gap"]);
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
