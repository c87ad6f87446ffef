//! Webhooks: what their answers, their silence and their slowness mean. As kube-apiserver 1.34 does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;
mod webhooks;

use std::time::Duration;

use common::*;
use crossfade_fakeapi::Call;
use http::Method;
use serde_json::json;
use webhooks::*;

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
